//! Targets of opens: which file, by which name, through which mount.

use skep_abi::Offset;

use crate::kernel::{Address, Members, Place, Read, Room, Typed};

/// Words of a `struct path`.
const PATH_WORDS: usize = 2;

/// What is opened, by which name.
pub struct Target<P> {
    pub mount: P,
    pub dentry: P,
    pub inode: Read<P>,
}

impl Target<Typed> {
    #[inline(always)]
    pub fn at(mount: Typed, dentry: Typed) -> Read<Self> {
        Ok(Self {
            mount,
            dentry,
            inode: dentry.follow(Offset::DentryInode),
        })
    }

    /// What a `struct file` that is nearly open stands for.
    #[inline(always)]
    pub fn of_typed(file: Typed) -> Read<Self> {
        let path = file.member(Offset::FilePath)?;
        Ok(Self {
            mount: path.follow(Offset::PathMnt)?,
            dentry: path.follow(Offset::PathDentry)?,
            inode: file.follow(Offset::FileInode),
        })
    }
}

impl Target<Address> {
    /// What a `struct file` that is open stands for.
    #[inline(always)]
    pub fn of(file: Address) -> Read<Self> {
        let mut room = Room::<PATH_WORDS>::new();
        let path = file.member(Offset::FilePath)?.start(&mut room)?;
        Ok(Self {
            mount: path.follow(Offset::PathMnt)?,
            dentry: path.follow(Offset::PathDentry)?,
            inode: file.follow(Offset::FileInode),
        })
    }
}
