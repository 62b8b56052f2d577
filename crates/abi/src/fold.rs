//! Folded opens: the epoch, the key, the count, the share of a session.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::FOLD_SHARES;

/// Value of `CONTROL` (one element), written by the daemon.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Control {
    /// Current folding epoch; never 0, which switches folding off.
    pub epoch: u32,
    pub pad: u32,
}

/// Key of `FOLDS`: opens alike in all of this and within one epoch are counted, not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FoldKey {
    pub session: u64,
    /// Which executable opened ([`ProcessState::image`](crate::ProcessState::image)).
    pub image: u64,
    pub ino: u64,
    /// Under which name: address of the directory entry above (with [`FoldKey::name`]). Another hard
    /// link, or the same file after a rename, is another name.
    pub parent: u64,
    /// Through which mount: its address.
    pub mount: u64,
    /// The name's hash, as the kernel has it (`qstr::hash`).
    pub name: u32,
    pub dev: u32,
    pub flags: u32,
    pub epoch: u32,
    /// As whom ([`Header::uid`](crate::Header::uid)).
    pub uid: u32,
    pub euid: u32,
}

/// Value of `FOLDS`. The record that stands for it is the one of the same time and thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FoldCount {
    /// Opens after the one that was sent.
    pub count: u64,
    /// Boot clock of the last of them, nanoseconds.
    pub last_ns: u64,
    /// `Header::time_ns` of the record that was sent.
    pub first_ns: u64,
    /// `Header::tid` of the record that was sent.
    pub first_tid: u32,
    pub pad: u32,
}

/// Value of `FOLD_SHARES`: kinds of open a session has entered in an epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FoldShare {
    pub kinds: u64,
    pub epoch: u32,
    pub pad: u32,
}

impl FoldShare {
    /// Slot of a session, less than [`FOLD_SHARES`]. Two sessions may meet in one, and share its entries.
    pub fn slot(session: u64) -> u32 {
        (session.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % FOLD_SHARES
    }
}

const _: () = {
    assert!(size_of::<Control>() == 8);
    assert!(size_of::<FoldKey>() == 64);
    assert!(size_of::<FoldCount>() == 32);
    assert!(size_of::<FoldShare>() == 16);
};
