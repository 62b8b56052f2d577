//! What the tracker counts.

use super::{Judge, Tracker, bounds::Evicted};

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
    /// Execs that could not be judged: process and file were gone.
    pub unjudged: u64,
    /// Sessions without an account of their own in the kernel.
    pub unaccounted: u64,
    pub evicted: Evicted,
    /// Memory of what the processes run.
    pub image_bytes: u64,
}

impl<J: Judge> Tracker<J> {
    pub fn counts(&self) -> TrackCounts {
        TrackCounts {
            processes: self.processes.len() as u64,
            sessions: self.sessions.live() as u64,
            ignored: self.ignored,
            refused: self.refused.total(),
            consumed: self.consumed,
            unjudged: self.unjudged,
            unaccounted: self.unaccounted,
            evicted: Evicted {
                images: self.processes.cut(),
                facts: self.sessions.evicted().facts,
                claims: self.sessions.evicted().claims,
                ..self.evicted
            },
            image_bytes: self.processes.image_bytes() as u64,
        }
    }
}
