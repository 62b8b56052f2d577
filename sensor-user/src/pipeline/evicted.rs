//! Tables at their bound, and execs that could not be judged: told as `coverage` events.

use skep_event::{Coverage, CoverageKind, UnixNanos};

use crate::{step::Sink, track::TrackCounts};

/// What has been told of them, and when.
pub struct EvictedTold {
    at: UnixNanos,
    counts: TrackCounts,
}

impl EvictedTold {
    pub fn since(now: UnixNanos) -> Self {
        Self {
            at: now,
            counts: TrackCounts::default(),
        }
    }

    /// Says that tables were at their bound, and what they let go of; and how many execs there was
    /// nothing left to judge of.
    pub fn tell(&mut self, counts: TrackCounts, now: UnixNanos, sink: &mut impl Sink) {
        let first = std::mem::replace(&mut self.at, now);
        let before = std::mem::replace(&mut self.counts, counts);
        let count = counts.evicted.total() - before.evicted.total();
        if count > 0 {
            let reason = counts.evicted.since(&before.evicted);
            tracing::warn!(count, reason, "a table is at its bound");
            let coverage = Coverage::point(CoverageKind::Evicted, (first, now), count, reason);
            sink.event(coverage.of_machine());
        }
        let count = counts.unjudged - before.unjudged;
        if count > 0 {
            tracing::info!(count, "programs were gone before they could be judged");
            let reason = "a program had ended and its file was gone before it could be looked at, or \
                          looking at it failed; an agent among them was not recognised";
            let coverage = Coverage::point(CoverageKind::Unjudged, (first, now), count, reason);
            sink.event(coverage.of_machine());
        }
        let count = counts.unaccounted - before.unaccounted;
        if count > 0 {
            tracing::warn!(count, "the kernel took no account of a session");
            let reason = "the kernel has no account of its own for a session: what is lost of it is told \
                          of the whole host, and it is not held back alone";
            let coverage = Coverage::point(CoverageKind::Degraded, (first, now), count, reason);
            sink.event(coverage.of_machine());
        }
    }
}
