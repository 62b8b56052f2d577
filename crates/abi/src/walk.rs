//! The walk over the task list: where it stands.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of `WALK` (one element): where the walk over the task list goes on.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Walk {
    /// Address of the task reported last; 0 before the first run.
    pub cursor: u64,
    /// Start of that task, by which it is known again.
    pub cursor_start_ns: u64,
    /// [`WALK_MORE`], [`WALK_DONE`] or [`WALK_LOST`], set by each run.
    pub outcome: u32,
    /// Processes reported by this run; none while the ring is full.
    pub reported: u32,
}

/// The walk has not come round yet: run it again.
pub const WALK_MORE: u32 = 1;
/// Every process was reported.
pub const WALK_DONE: u32 = 2;
/// The task the walk stood at is gone: begin again.
pub const WALK_LOST: u32 = 3;

const _: () = assert!(size_of::<Walk>() == 24);
