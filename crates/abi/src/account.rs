//! What the kernel side counts: per kind of record, what reached the ring, what was folded, and what
//! was lost to which cause. What was attempted is the sum; nothing is in two of them.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::kind::Kind;

/// Why the kernel side could not report or follow something. Counted per [`Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Cause {
    /// `bpf_ringbuf_output` refused: the reader is behind by a whole ring.
    RingFull = 0,
    /// All scratch slots of the CPU were in use.
    ScratchBusy = 1,
    /// A map the record depends on had no room (process state, system call in flight).
    MapFull = 2,
    /// A kernel structure could not be read, so the record could not be built at all.
    Unreadable = 3,
    /// The session had its share of the ring while the ring was filling up.
    Throttled = 4,
}

impl Cause {
    pub const ALL: [Cause; 5] = [
        Cause::RingFull,
        Cause::ScratchBusy,
        Cause::MapFull,
        Cause::Unreadable,
        Cause::Throttled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Cause::RingFull => "ring_full",
            Cause::ScratchBusy => "scratch_busy",
            Cause::MapFull => "map_full",
            Cause::Unreadable => "unreadable",
            Cause::Throttled => "throttled",
        }
    }
}

/// Value of `COUNTS` (one element), of one CPU: for each kind `sent`, `folded`, then one per cause. What
/// was attempted is their sum. All in one element, so that the daemon reads them in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counters(pub [u64; COUNTERS as usize]);

/// Counters of a kind.
pub const COUNTERS_PER_KIND: u32 = 2 + Cause::ALL.len() as u32;
/// Counters in all.
pub const COUNTERS: u32 = COUNTERS_PER_KIND * (Kind::ALL.len() as u32 + 1);

/// Index of the counter of records of `kind` that reached the ring.
pub const fn sent_index(kind: Kind) -> u32 {
    kind as u32 * COUNTERS_PER_KIND
}

/// Index of the counter of what was added to a [`FoldCount`](crate::FoldCount) in place of a record of `kind`.
pub const fn folded_index(kind: Kind) -> u32 {
    kind as u32 * COUNTERS_PER_KIND + 1
}

/// Index of the counter of records of `kind` lost to `cause`.
pub const fn lost_index(kind: Kind, cause: Cause) -> u32 {
    kind as u32 * COUNTERS_PER_KIND + 2 + cause as u32
}

const _: () = assert!(size_of::<Counters>() == COUNTERS as usize * 8);
