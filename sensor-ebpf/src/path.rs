//! From a `struct path` to bytes, on every tier alike.
//!
//! The walk goes from the dentry up, over mount points, to the root of the mount namespace, and
//! appends each name with its NUL: the record carries the names leaf first and the daemon turns them
//! round. Compared with `bpf_d_path` (fentry/LSM allow-list only, 5.10) this works in tracepoints
//! too, so that every tier reports the same path, and it does not stop at a chroot. It takes no
//! lock: a rename during the walk can mix two names, which is why a record also has the inode.

use skep_abi::{COMPONENTS_MAX, NAME_MAX, Offset, PATH_MAX};

use crate::{
    kernel::{Address, DENTRY_WORDS, MOUNT_WORDS, Members, Place, Read, Room},
    record::Draft,
};

/// Appends the names of a `struct path`.
#[inline(always)]
pub fn append<T>(draft: &mut Draft<T>, path: Address) -> Read<bool> {
    let mount = path.follow(Offset::PathMnt)?;
    walk(draft, mount, path.follow(Offset::PathDentry)?)
}

/// The same from a dentry and its mount whose types the verifier knows: read directly as far as the
/// root of that mount, from there on as [`walk`] does.
#[inline(always)]
pub fn walk_typed<T, P: Place>(draft: &mut Draft<T>, mount: P, dentry: P) -> Read<bool> {
    let start = draft.len();
    let root = mount.follow(Offset::VfsmountRoot)?;
    let mut dentry = dentry;
    for _ in 0..COMPONENTS_MAX {
        if dentry == root {
            return walk_from(draft, start, mount.address(), dentry.address());
        }
        if draft.len() - start > PATH_MAX - NAME_MAX {
            return Ok(false);
        }
        let mut room = Room::<DENTRY_WORDS>::new();
        let start_of = dentry.start(&mut room)?;
        draft.kernel_str::<NAME_MAX>(Address(start_of.read(Offset::DentryName)?))?;
        let parent = start_of.follow(Offset::DentryParent)?;
        if parent == dentry {
            draft.nul()?;
            return Ok(true);
        }
        dentry = parent;
    }
    Ok(false)
}

/// Appends the names from a dentry up through its mount, leaf first, and tells whether it got as far
/// as the root. A file that is mounted nowhere (pipe, socket, memfd) has one name, followed by an
/// empty one, so that it is not taken for a file of that name in `/`.
#[inline(always)]
pub fn walk<T>(draft: &mut Draft<T>, vfsmount: Address, dentry: Address) -> Read<bool> {
    let start = draft.len();
    walk_from(draft, start, vfsmount, dentry)
}

#[inline(always)]
fn walk_from<T>(
    draft: &mut Draft<T>,
    start: usize,
    vfsmount: Address,
    dentry: Address,
) -> Read<bool> {
    let (mut vfsmount, mut dentry) = (vfsmount, dentry);
    let mut root = vfsmount.follow(Offset::VfsmountRoot)?;
    for _ in 0..COMPONENTS_MAX {
        if dentry == root {
            let mount = vfsmount.container(Offset::MountMnt)?;
            let mut room = Room::<MOUNT_WORDS>::new();
            let start_of = mount.start(&mut room)?;
            let parent = start_of.follow(Offset::MountParent)?;
            if parent == mount {
                return Ok(true);
            }
            dentry = start_of.follow(Offset::MountMountpoint)?;
            vfsmount = parent.member(Offset::MountMnt)?;
            root = vfsmount.follow(Offset::VfsmountRoot)?;
            continue;
        }
        if draft.len() - start > PATH_MAX - NAME_MAX {
            return Ok(false);
        }
        let mut room = Room::<DENTRY_WORDS>::new();
        let start_of = dentry.start(&mut room)?;
        draft.kernel_str::<NAME_MAX>(start_of.follow(Offset::DentryName)?)?;
        let parent = start_of.follow(Offset::DentryParent)?;
        if parent == dentry {
            draft.nul()?;
            return Ok(true);
        }
        dentry = parent;
    }
    Ok(false)
}
