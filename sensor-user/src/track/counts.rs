//! What the tracker counts.

use super::bounds::Evicted;

/// Figures for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackCounts {
    pub processes: u64,
    pub sessions: u64,
    /// Records of processes that are no agents: their verdict came after the record.
    pub ignored: u64,
    /// Records that gave no event because a table was full: forks, and execs that would have begun a
    /// session.
    pub refused: u64,
    /// Records that give no event of their own and did what they are for.
    pub consumed: u64,
    /// Execs that could not be judged, and how many of those are told without a name.
    pub unjudged: u64,
    pub unnamed: u64,
    /// Sessions without an account of their own in the kernel.
    pub unaccounted: u64,
    pub evicted: Evicted,
    /// Memory of what the processes run.
    pub image_bytes: u64,
}
