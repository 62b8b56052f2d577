//! Follows the wall clock: measures it, and tells each step as a `coverage` event with both differences.
//!
//! Once a second ([`EVERY`]), and at once when the kernel says that the clock was set. What was read from
//! the ring before that has its time by the clock as it was, and so has what is still in the ring and is
//! older.
//!
//! Bound: a clock that is set all the time is measured every [`AT_ONCE_EVERY`], so that it does not fill the
//! lane of findings.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use skep_event::{Coverage, CoverageKind, Detail, Event};

use crate::{
    clock::{Alarm, BootClock, Step},
    step::Sink,
};

const EVERY: Duration = Duration::from_secs(1);
const AT_ONCE_EVERY: Duration = Duration::from_millis(100);

/// The state of this duty.
pub struct WallClock {
    /// `None`: the kernel gives none, and steps are found once a second.
    alarm: Option<Alarm>,
    /// When it was measured last; `None` before the first time.
    measured: Option<Instant>,
    /// It was set since.
    was_set: bool,
}

// === impl WallClock ===

impl WallClock {
    pub fn new() -> Self {
        let alarm = Alarm::new().inspect_err(|error| {
            tracing::warn!(%error, "the wall clock is looked at once a second only");
        });
        Self {
            alarm: alarm.ok(),
            measured: None,
            was_set: false,
        }
    }

    /// Readable when the clock was set.
    pub fn alarm(&self) -> Option<BorrowedFd<'_>> {
        self.alarm.as_ref().map(AsFd::as_fd)
    }

    /// Measures if it is time to; tells the step if there was one.
    pub fn follow(&mut self, clock: &BootClock, sink: &mut impl Sink) {
        self.was_set |= self.alarm.as_ref().is_some_and(Alarm::rang);
        let patience = if self.was_set { AT_ONCE_EVERY } else { EVERY };
        if self.measured.is_some_and(|at| at.elapsed() < patience) {
            return;
        }
        self.measured = Some(Instant::now());
        self.was_set = false;
        if let Some(step) = clock.measure_again() {
            sink.event(told(clock, step));
        }
    }
}

/// The event that tells of a step, at the moment at which it was noticed, by the clock as it is now.
fn told(clock: &BootClock, step: Step) -> Event {
    let Step {
        at_ns,
        before,
        after,
        unwatched: _,
    } = step;
    let reason = step.reason();
    tracing::warn!(before, after, reason, "the wall clock was set");
    let at = clock.at(at_ns);
    let coverage = Coverage {
        clock_offset_before: Some(before),
        clock_offset_after: Some(after),
        ..Coverage::point(CoverageKind::Clock, (at.time, at.time), 0, reason)
    };
    Event {
        boot_time: Some(at.boot_ns),
        ..Event::told(None, at.time, Detail::Coverage(coverage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Measured;

    const S: i64 = 1_000_000_000;

    #[test]
    fn a_clock_that_was_set_is_told_once_with_both_differences() {
        let real = Measured::now();
        // Two measurements differ a little: not where that changes a millisecond.
        let before = real.offset - 3600 * S - S / 2000;
        let clock = BootClock::with_offset(before);
        let mut duty = WallClock::new();
        let mut told = Vec::new();
        duty.follow(&clock, &mut told);
        duty.measured = None;
        duty.follow(&clock, &mut told);
        let [event] = &told[..] else {
            panic!("one step, {told:?}");
        };
        let Detail::Coverage(coverage) = &event.detail else {
            panic!("{event:?}");
        };
        assert_eq!(coverage.what, CoverageKind::Clock);
        assert_eq!(coverage.clock_offset_before, Some(before));
        let after = coverage.clock_offset_after.unwrap();
        assert!((after - real.offset).abs() < S, "{after}");
        // Its time is by the clock as it is now, its boot time is when it was noticed.
        let boot_ns = event.boot_time.unwrap();
        assert!(boot_ns >= real.boot_ns && boot_ns <= BootClock::boot_now());
        assert_eq!(event.time.0, boot_ns.saturating_add_signed(after));
        let forward = "the wall clock was set forward by 3600.000 s";
        assert!(
            coverage.reason.starts_with(&forward[..39]),
            "{}",
            coverage.reason
        );
    }

    #[test]
    fn it_is_measured_once_a_second_while_nobody_sets_it() {
        let clock = BootClock::measure();
        let mut duty = WallClock::new();
        let mut told = Vec::new();
        duty.follow(&clock, &mut told);
        let first = duty.measured;
        duty.follow(&clock, &mut told);
        assert_eq!(duty.measured, first);
        duty.was_set = true;
        duty.measured = first.and_then(|at| at.checked_sub(AT_ONCE_EVERY));
        duty.follow(&clock, &mut told);
        assert!(duty.measured > first, "at once when it was set");
        assert!(told.is_empty(), "{told:?}");
    }
}
