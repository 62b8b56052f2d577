//! Changes of names and attributes: what was changed, and the record.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    limits::{NAME_MAX, PATH_MAX, SCRATCH_BYTES},
    process::FileKey,
    record::Header,
};

/// What was changed, after the system call that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ChangeOp {
    Rename = 1,
    /// `RENAME_EXCHANGE`: two names changed places.
    Exchange = 2,
    Link = 3,
    Symlink = 4,
    Unlink = 5,
    Rmdir = 6,
    Mkdir = 7,
    Truncate = 8,
    Chmod = 9,
    Chown = 10,
    Setxattr = 11,
    Removexattr = 12,
}

impl ChangeOp {
    pub const ALL: [ChangeOp; 12] = [
        ChangeOp::Rename,
        ChangeOp::Exchange,
        ChangeOp::Link,
        ChangeOp::Symlink,
        ChangeOp::Unlink,
        ChangeOp::Rmdir,
        ChangeOp::Mkdir,
        ChangeOp::Truncate,
        ChangeOp::Chmod,
        ChangeOp::Chown,
        ChangeOp::Setxattr,
        ChangeOp::Removexattr,
    ];

    pub fn from_u16(value: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|op| *op as u16 == value)
    }
}

/// In [`Change::flags`]: a symbolic link at the end of the given name was followed.
pub const CHANGE_FOLLOWS: u16 = 1;
/// In [`Change::flags`]: through which mount the file was reached is not known at this hook.
pub const CHANGE_GUESSED: u16 = 2;

/// A change. Tail: the name as given, the components of what it is relative to (of the file itself when
/// no name was given); the second name as given, the components of what that is relative to; the name of
/// the attribute. A given name that begins with `/` is relative to nothing, and so is what a symbolic link
/// points to, which is a second name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Change {
    pub header: Header,
    /// The file that was changed.
    pub file: FileKey,
    /// Of truncate, bytes.
    pub size: u64,
    /// Of chmod and mkdir: what was asked for.
    pub mode: u32,
    /// Of chown; `u32::MAX`: it stays.
    pub uid: u32,
    pub gid: u32,
    /// 0 or a negative errno.
    pub result: i32,
    /// [`ChangeOp`].
    pub op: u16,
    pub flags: u16,
    pub given_len: u16,
    pub folder_len: u16,
    pub to_given_len: u16,
    pub to_folder_len: u16,
    pub attribute_len: u16,
    pub pad: u16,
}

const _: () = {
    assert!(size_of::<Change>() == 144);
    assert!(size_of::<Change>() + 4 * PATH_MAX + 3 * NAME_MAX <= SCRATCH_BYTES);
};
