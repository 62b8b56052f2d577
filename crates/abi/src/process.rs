//! Watched processes: the executable, the claim on a verdict, the verdict, the state.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::PENDING_SHARES;

/// An executable as the kernel names it: survives renames, differs for every rewritten file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileKey {
    pub ino: u64,
    /// `inode::i_ctime`, seconds.
    pub ctime_sec: i64,
    /// `inode::i_ctime`, nanoseconds, without the multigrain flag (bit 31, `I_CTIME_QUERIED`).
    pub ctime_nsec: u32,
    /// `super_block::s_dev`, the kernel's 12:20 encoding.
    pub dev: u32,
}

impl FileKey {
    /// Inode 0: not known which.
    pub const UNKNOWN: FileKey = FileKey {
        ino: 0,
        ctime_sec: 0,
        ctime_nsec: 0,
        dev: 0,
    };

    /// Which executable a process runs, in one word: device and inode mixed. Two files of one device
    /// never give the same word; those of two devices do so by a chance of about 2^-32. Never 0.
    #[inline(always)]
    pub const fn image(&self) -> u64 {
        let word = self.ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.dev as u64);
        if word == 0 { 1 } else { word }
    }
}

/// Names the exec whose verdict a pending process waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Claim {
    /// Boot clock at the exec, nanoseconds.
    pub exec_ns: u64,
    pub tgid: u32,
    pub pad: u32,
}

impl Claim {
    pub const NONE: Claim = Claim {
        exec_ns: 0,
        tgid: 0,
        pad: 0,
    };

    /// Slot of its share of the ring, less than [`PENDING_SHARES`]. Two claims may meet in one.
    pub fn slot(self) -> u32 {
        let word = (self.exec_ns ^ u64::from(self.tgid)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (word >> 32) as u32 % PENDING_SHARES
    }
}

/// State of a process that is not watched, in [`Task`](crate::Task) records only.
pub const PROCESS_UNWATCHED: u32 = 0;
/// State of a watched process: the executable has no verdict yet.
pub const STATE_PENDING: u32 = 1;
/// State of a watched process: it belongs to an agent's session.
pub const STATE_AGENT: u32 = 2;
/// Verdict on a claim: no agent; the process and its descendants are not watched.
pub const STATE_IGNORED: u32 = 3;

/// Value of `PROCESSES` (key: tgid in the initial pid namespace). No entry: not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessState {
    /// `task_struct::start_boottime` of the group leader, nanoseconds.
    pub start_ns: u64,
    /// First eight bytes of the session id; 0 while pending.
    pub session: u64,
    /// See [`FileKey::image`]; 0 when the executable could not be read.
    pub image: u64,
    pub claim: Claim,
    /// [`STATE_PENDING`] or [`STATE_AGENT`].
    pub state: u32,
    pub pad: u32,
}

/// Value of `CLAIMS` (key: [`Claim`]), written by user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClaimVerdict {
    pub session: u64,
    /// [`STATE_AGENT`] or [`STATE_IGNORED`].
    pub state: u32,
    pub pad: u32,
}

/// Value of `VERDICTS` (key: [`FileKey`]): executing this file never makes an agent.
pub const VERDICT_NOT_AGENT: u32 = 1;

const _: () = {
    assert!(size_of::<FileKey>() == 24);
    assert!(size_of::<Claim>() == 16);
    assert!(size_of::<ProcessState>() == 48);
    assert!(size_of::<ClaimVerdict>() == 16);
};
