//! Tables at their bound, and execs that could not be judged: told as `coverage` events.

use skep_event::{Coverage, CoverageKind, Detail, Event, UnixNanos};

use crate::{
    clock::BootClock,
    step::Sink,
    track::{NotJudged, TrackCounts},
};

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

    /// Says that tables were at their bound, and what they let go of; which execs were not judged, and how
    /// many more.
    pub fn tell(
        &mut self,
        counts: TrackCounts,
        not_judged: Vec<NotJudged>,
        clock: &BootClock,
        sink: &mut impl Sink,
    ) {
        let now = clock.now();
        for NotJudged {
            count,
            first_ns,
            last_ns,
            reason,
            ..
        } in not_judged
        {
            tracing::info!(count, reason, "a program was not judged");
            let range = (clock.unix(first_ns), clock.unix(last_ns));
            let coverage = Coverage::point(CoverageKind::Unjudged, range, count, reason);
            sink.event(Event::told(None, now, Detail::Coverage(coverage)));
        }
        let first = std::mem::replace(&mut self.at, now);
        let before = std::mem::replace(&mut self.counts, counts);
        let count = counts.evicted.total() - before.evicted.total();
        if count > 0 {
            let reason = counts.evicted.since(&before.evicted);
            tracing::warn!(count, reason, "a table is at its bound");
            let coverage = Coverage::point(CoverageKind::Evicted, (first, now), count, reason);
            sink.event(coverage.of_machine());
        }
        let count = counts.unnamed - before.unnamed;
        if count > 0 {
            tracing::info!(count, "programs were not judged");
            let reason = "programs were not judged that were named within ten minutes before, for the same \
                          reason, or are too many to be named; an agent among them was not recognised";
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
