//! Changes of names and attributes, by tier:
//!
//! 1. fentry `security_path_*` (5.5, `CONFIG_SECURITY_PATH`), `security_file_truncate` (6.2) and
//!    `security_inode_{set,remove}xattr`: whatever asks for the change, io_uring and 32-bit system calls
//!    included, with the names that were looked up. Runs before the outcome.
//! 2. Tracepoints of the system calls: `change_syscall`.
//!
//! A change that fails in the look-up (no such file) does not reach 1. An open with `O_TRUNC` passes
//! `security_path_truncate` (before 6.2) or `security_file_truncate`, and is a truncate too.
//!
//! The two hooks of extended attributes are given a dentry and no mount: the path is that through the
//! mount of the root or of the working directory of the process, whichever is of that file system, and
//! is said not to be resolved; with another mount it lacks its beginning.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_task},
    macros::fentry,
    programs::FEntryContext,
};
use skep_abi::{
    CHANGE_GUESSED, Change, ChangeOp, FileKey, Hook, Kind, LogLine, MISSING_FILENAME,
    MISSING_INODE, MISSING_PATH, MISSING_PATH_HEAD, MISSING_RESULT, MISSING_SIZE, MISSING_TO,
    MISSING_TO_HEAD, NAME_MAX, Offset, PATH_MAX, ProcessState,
};

use crate::{
    interest::watched,
    kernel::{self, Address, Members, Read},
    log, path,
    record::{self, Draft},
    ring::Urgency,
};

/// A file by a name of it.
#[derive(Clone, Copy)]
struct Named {
    mount: Address,
    dentry: Address,
}

/// What a change is to lead to.
#[derive(Clone, Copy)]
struct Asked {
    mode: u32,
    uid: u32,
    gid: u32,
}

/// A second text, or none.
#[derive(Clone, Copy)]
enum Second {
    None,
    /// The name the file gets.
    Name(Named),
    /// What a symbolic link points to: a kernel string.
    Text(Address),
    /// Name of an attribute: a kernel string.
    Attribute(Address),
}

/// `-1` of a user or group id: it stays.
pub const UNCHANGED: u32 = u32::MAX;
/// `RENAME_EXCHANGE` (linux/fs.h).
pub const RENAME_EXCHANGE: u64 = 2;

const NOTHING: Asked = Asked {
    mode: 0,
    uid: UNCHANGED,
    gid: UNCHANGED,
};

/// `(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir, struct dentry
/// *new_dentry, unsigned int flags)`
#[fentry(function = "security_path_rename")]
pub fn fentry_path_rename(ctx: FEntryContext) -> i32 {
    let op = match ctx.arg::<u32>(4) as u64 & RENAME_EXCHANGE {
        0 => ChangeOp::Rename,
        _ => ChangeOp::Exchange,
    };
    with_watched(Hook::FentryPathRename, op, NOTHING, || {
        Ok((in_folder(&ctx, 0)?, Second::Name(in_folder(&ctx, 2)?)))
    });
    0
}

/// `(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)`: both on one mount
/// (fs/namei.c, `do_linkat`).
#[fentry(function = "security_path_link")]
pub fn fentry_path_link(ctx: FEntryContext) -> i32 {
    with_watched(Hook::FentryPathLink, ChangeOp::Link, NOTHING, || {
        let new = in_folder(&ctx, 1)?;
        let old = Named {
            dentry: Address::of(ctx.arg::<*const u8>(0)),
            ..new
        };
        Ok((old, Second::Name(new)))
    });
    0
}

/// `(const struct path *dir, struct dentry *dentry, const char *old_name)`
#[fentry(function = "security_path_symlink")]
pub fn fentry_path_symlink(ctx: FEntryContext) -> i32 {
    with_watched(Hook::FentryPathSymlink, ChangeOp::Symlink, NOTHING, || {
        let text = Address::of(ctx.arg::<*const u8>(2));
        Ok((in_folder(&ctx, 0)?, Second::Text(text)))
    });
    0
}

/// `(const struct path *dir, struct dentry *dentry)`
#[fentry(function = "security_path_unlink")]
pub fn fentry_path_unlink(ctx: FEntryContext) -> i32 {
    with_watched(Hook::FentryPathUnlink, ChangeOp::Unlink, NOTHING, || {
        Ok((in_folder(&ctx, 0)?, Second::None))
    });
    0
}

/// The same.
#[fentry(function = "security_path_rmdir")]
pub fn fentry_path_rmdir(ctx: FEntryContext) -> i32 {
    with_watched(Hook::FentryPathRmdir, ChangeOp::Rmdir, NOTHING, || {
        Ok((in_folder(&ctx, 0)?, Second::None))
    });
    0
}

/// `(const struct path *dir, struct dentry *dentry, umode_t mode)`
#[fentry(function = "security_path_mkdir")]
pub fn fentry_path_mkdir(ctx: FEntryContext) -> i32 {
    let asked = Asked {
        mode: u32::from(ctx.arg::<u16>(2)),
        ..NOTHING
    };
    with_watched(Hook::FentryPathMkdir, ChangeOp::Mkdir, asked, || {
        Ok((in_folder(&ctx, 0)?, Second::None))
    });
    0
}

/// `(const struct path *path)`
#[fentry(function = "security_path_truncate")]
pub fn fentry_path_truncate(ctx: FEntryContext) -> i32 {
    let path = Address::of(ctx.arg::<*const u8>(0));
    with_watched(
        Hook::FentryPathTruncate,
        ChangeOp::Truncate,
        NOTHING,
        || Ok((at(path)?, Second::None)),
    );
    0
}

/// `(struct file *file)`
#[fentry(function = "security_file_truncate")]
pub fn fentry_file_truncate(ctx: FEntryContext) -> i32 {
    let file = Address::of(ctx.arg::<*const u8>(0));
    with_watched(
        Hook::FentryFileTruncate,
        ChangeOp::Truncate,
        NOTHING,
        || Ok((at(file.member(Offset::FilePath)?)?, Second::None)),
    );
    0
}

/// `(const struct path *path, umode_t mode)`
#[fentry(function = "security_path_chmod")]
pub fn fentry_path_chmod(ctx: FEntryContext) -> i32 {
    let path = Address::of(ctx.arg::<*const u8>(0));
    let asked = Asked {
        mode: u32::from(ctx.arg::<u16>(1)),
        ..NOTHING
    };
    with_watched(Hook::FentryPathChmod, ChangeOp::Chmod, asked, || {
        Ok((at(path)?, Second::None))
    });
    0
}

/// `(const struct path *path, kuid_t uid, kgid_t gid)`: structures of one number each.
#[fentry(function = "security_path_chown")]
pub fn fentry_path_chown(ctx: FEntryContext) -> i32 {
    let path = Address::of(ctx.arg::<*const u8>(0));
    let asked = Asked {
        uid: ctx.arg::<u32>(1),
        gid: ctx.arg::<u32>(2),
        ..NOTHING
    };
    with_watched(Hook::FentryPathChown, ChangeOp::Chown, asked, || {
        Ok((at(path)?, Second::None))
    });
    0
}

/// `(struct mnt_idmap *idmap, struct dentry *dentry, const char *name, …)`; the first argument since 5.12.
#[fentry(function = "security_inode_setxattr")]
pub fn fentry_inode_setxattr(ctx: FEntryContext) -> i32 {
    with_watched(
        Hook::FentryInodeSetxattr,
        ChangeOp::Setxattr,
        NOTHING,
        || attribute(&ctx),
    );
    0
}

/// The same.
#[fentry(function = "security_inode_removexattr")]
pub fn fentry_inode_removexattr(ctx: FEntryContext) -> i32 {
    with_watched(
        Hook::FentryInodeRemovexattr,
        ChangeOp::Removexattr,
        NOTHING,
        || attribute(&ctx),
    );
    0
}

// === arguments ===

/// A dentry, argument `n + 1`, in a folder whose `struct path` is argument `n`.
#[inline(always)]
fn in_folder(ctx: &FEntryContext, n: usize) -> Read<Named> {
    let folder = Address::of(ctx.arg::<*const u8>(n));
    Ok(Named {
        mount: folder.follow(Offset::PathMnt)?,
        dentry: Address::of(ctx.arg::<*const u8>(n + 1)),
    })
}

#[inline(always)]
fn at(path: Address) -> Read<Named> {
    Ok(Named {
        mount: path.follow(Offset::PathMnt)?,
        dentry: path.follow(Offset::PathDentry)?,
    })
}

#[inline(always)]
fn attribute(ctx: &FEntryContext) -> Read<(Named, Second)> {
    let dentry = Address::of(ctx.arg::<*const u8>(1));
    let name = Address::of(ctx.arg::<*const u8>(2));
    let named = Named {
        mount: mount_of(dentry)?,
        dentry,
    };
    Ok((named, Second::Attribute(name)))
}

/// A mount of the file system that a dentry is of: that of the root or of the working directory of the
/// process.
#[inline(always)]
fn mount_of(dentry: Address) -> Read<Address> {
    // SAFETY: no arguments, no side effects.
    let fs = Address(unsafe { bpf_get_current_task() }).follow(Offset::TaskFs)?;
    let of = dentry.follow(Offset::DentrySb)?;
    let root = fs.member(Offset::FsRoot)?.follow(Offset::PathMnt)?;
    if root.follow(Offset::VfsmountSb)? == of {
        return Ok(root);
    }
    fs.member(Offset::FsPwd)?.follow(Offset::PathMnt)
}

// === the record ===

#[inline(always)]
fn with_watched(
    hook: Hook,
    op: ChangeOp,
    asked: Asked,
    names: impl FnOnce() -> Read<(Named, Second)>,
) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    report(hook, op, pid_tgid, &state, asked, names());
}

#[inline(always)]
fn report(
    hook: Hook,
    op: ChangeOp,
    pid_tgid: u64,
    state: &ProcessState,
    asked: Asked,
    names: Read<(Named, Second)>,
) {
    let header = record::header(Kind::Change, hook, kernel::boot_ns(), pid_tgid, state);
    let Some(mut draft) = Draft::<Change>::begin(Kind::Change, &header) else {
        return;
    };
    let change = draft.fixed();
    // SAFETY: the slot is large enough and aligned for the fixed part, here and below; every field is
    // written here or by the steps below.
    unsafe {
        (*change).file = FileKey::UNKNOWN;
        (*change).size = 0;
        (*change).mode = asked.mode;
        (*change).uid = asked.uid;
        (*change).gid = asked.gid;
        (*change).result = 0;
        (*change).op = op as u16;
        (*change).flags = match op {
            ChangeOp::Setxattr | ChangeOp::Removexattr => CHANGE_GUESSED,
            _ => 0,
        };
        (*change).given_len = 0;
        (*change).folder_len = 0;
        (*change).to_given_len = 0;
        (*change).to_folder_len = 0;
        (*change).attribute_len = 0;
        (*change).pad = 0;
    }
    draft.missing(MISSING_RESULT | MISSING_SIZE);
    let (first, second) = match names {
        Ok((first, second)) => (Some(first), second),
        Err(_) => (None, Second::None),
    };
    if let Some(first) = first {
        identity(&mut draft, first.dentry);
        // SAFETY: as above.
        unsafe { (*change).folder_len = name(&mut draft, first, MISSING_PATH, MISSING_PATH_HEAD) };
    } else {
        draft.missing(MISSING_PATH | MISSING_INODE | MISSING_TO | MISSING_FILENAME);
    }
    let start = draft.len();
    match second {
        Second::None => {}
        // SAFETY: as above, here and below.
        Second::Name(second) => unsafe {
            (*change).to_folder_len = name(&mut draft, second, MISSING_TO, MISSING_TO_HEAD);
        },
        Second::Text(text) => {
            if draft.kernel_str::<PATH_MAX>(text).is_err() {
                draft.missing(MISSING_TO);
            }
            unsafe { (*change).to_given_len = (draft.len() - start) as u16 };
        }
        Second::Attribute(text) => {
            if draft.kernel_str::<NAME_MAX>(text).is_err() {
                draft.missing(MISSING_FILENAME);
            }
            unsafe { (*change).attribute_len = (draft.len() - start) as u16 };
        }
    }
    draft.send(Urgency::Whenever);
}

/// Which file it is; a name that is not there yet has none.
#[inline(always)]
fn identity(draft: &mut Draft<Change>, dentry: Address) {
    let inode = dentry.follow(Offset::DentryInode).and_then(kernel::inode);
    match inode {
        // SAFETY: the fixed part of a draft.
        Ok(inode) => unsafe { (*draft.fixed()).file = inode.key },
        Err(_) => draft.missing(MISSING_INODE),
    }
}

/// Appends the components of a name; bytes appended.
#[inline(always)]
fn name(draft: &mut Draft<Change>, named: Named, missing: u32, missing_head: u32) -> u16 {
    let start = draft.len();
    match path::walk(draft, named.mount, named.dentry) {
        Ok(true) => {}
        Ok(false) => {
            log::debug!(
                Hook::FentryPathRename,
                LogLine::PathCut,
                draft.len() - start
            );
            draft.missing(missing_head);
        }
        Err(_) => draft.missing(missing),
    }
    (draft.len() - start) as u16
}
