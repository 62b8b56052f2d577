//! History of one boot: which difference of the two clocks held from when on.
//!
//! Invariants:
//! - there is always one segment, the first holds from the boot on, and each begins after the one before;
//! - a boot time before the begin of the newest segment keeps its Unix time for good, unless its segment
//!   is forgotten.
//!
//! Bound: [`SEGMENTS_MAX`]. At the bound the oldest but one is forgotten: the one before it holds until the
//! next begins, so that only times within the forgotten one change.

use skep_event::UnixNanos;

/// Steps of the wall clock that are remembered.
const SEGMENTS_MAX: usize = 256;

/// A difference, and since when it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Nanoseconds since boot.
    pub from_ns: u64,
    /// `CLOCK_REALTIME` − `CLOCK_BOOTTIME`, nanoseconds.
    pub offset: i64,
}

/// The differences of one boot, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    segments: Vec<Segment>,
}

// === impl Segment ===

impl Segment {
    /// Unix time of a moment `boot_nanos` after boot. Times before 1970 come out as 1970.
    pub fn unix(&self, boot_nanos: u64) -> UnixNanos {
        UnixNanos(boot_nanos.saturating_add_signed(self.offset))
    }

    /// The boot time of a Unix time; 0 for what was before boot.
    pub fn boot(&self, time: UnixNanos) -> u64 {
        time.0.saturating_add_signed(self.offset.saturating_neg())
    }
}

// === impl History ===

impl History {
    /// One difference, since the boot.
    pub fn new(offset: i64) -> Self {
        Self {
            segments: vec![Segment { from_ns: 0, offset }],
        }
    }

    pub fn newest(&self) -> Segment {
        *self.segments.last().expect("there is always one")
    }

    /// The difference that held at a boot time.
    pub fn at(&self, boot_nanos: u64) -> Segment {
        let after = self
            .segments
            .partition_point(|segment| segment.from_ns <= boot_nanos);
        self.segments[after.saturating_sub(1)]
    }

    /// The boot time of a Unix time. Where the wall clock was set back, a time came twice: then the later.
    pub fn boot(&self, time: UnixNanos) -> u64 {
        let within = |segment: &&Segment| segment.boot(time) >= segment.from_ns;
        let segment = self.segments.iter().rev().find(within);
        segment.unwrap_or(&self.segments[0]).boot(time)
    }

    /// Another difference holds from here on.
    pub fn step(&mut self, from_ns: u64, offset: i64) {
        // A boot time twice, or one that went back, is no clock's.
        let from_ns = from_ns.max(self.newest().from_ns.saturating_add(1));
        self.segments.push(Segment { from_ns, offset });
        if self.segments.len() > SEGMENTS_MAX {
            self.segments.remove(1);
        }
    }

    // === in a file ===

    /// The first line says the boot and its first difference, each other one a boot time and the
    /// difference since then.
    pub fn write(&self, boot_id: &str) -> String {
        let lines = self.segments.iter().map(|Segment { from_ns, offset }| {
            if *from_ns == 0 {
                format!("{boot_id} {offset}\n")
            } else {
                format!("{from_ns} {offset}\n")
            }
        });
        lines.collect()
    }

    /// What [`History::write`] wrote of this boot.
    pub fn read(text: &str, boot_id: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (saved_boot, offset) = lines.next()?.split_once(' ')?;
        if saved_boot != boot_id {
            return None;
        }
        let mut history = Self::new(offset.parse().ok()?);
        for line in lines {
            let (from_ns, offset) = line.split_once(' ')?;
            let (from_ns, offset) = (from_ns.parse().ok()?, offset.parse().ok()?);
            if from_ns <= history.newest().from_ns || history.segments.len() == SEGMENTS_MAX {
                return None;
            }
            history.segments.push(Segment { from_ns, offset });
        }
        Some(history)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const BOOT: &str = "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001";
    const S: u64 = 1_000_000_000;

    #[test]
    fn a_time_before_a_step_stays_what_it_was() {
        let mut history = History::new(100);
        history.step(10 * S, 500);
        history.step(20 * S, -7);
        let unix = |boot: u64| history.at(boot).unix(boot).0;
        assert_eq!([unix(0), unix(10 * S - 1)], [100, 10 * S + 99]);
        assert_eq!(
            [unix(10 * S), unix(20 * S - 1)],
            [10 * S + 500, 20 * S + 499]
        );
        assert_eq!([unix(20 * S), unix(90 * S)], [20 * S - 7, 90 * S - 7]);
    }

    #[test]
    fn times_beyond_what_a_number_holds_are_its_limits() {
        let (low, high) = (History::new(i64::MIN), History::new(i64::MAX));
        assert_eq!(low.at(9).unix(9), UnixNanos(0));
        assert_eq!(high.at(u64::MAX).unix(u64::MAX), UnixNanos(u64::MAX));
        assert_eq!(low.boot(UnixNanos(7)), u64::try_from(i64::MAX).unwrap() + 7);
    }

    #[test]
    fn garbage_in_the_file_is_no_history() {
        let own = History::new(5).write(BOOT);
        let cases = ["", "x", "x y", "\0\0"].map(str::to_owned);
        let more = ["7", "7 x", "x 7", "0 7", "9 1\n9 1", "9 1\n8 1", ""]
            .map(|rest| format!("{own}{rest}\n"));
        let long = (1..=SEGMENTS_MAX).map(|n| format!("{n} 1\n"));
        let long = format!("{own}{}", long.collect::<String>());
        for text in cases.iter().chain(&more).chain([&long]) {
            assert_eq!(History::read(text, BOOT), None, "{text:?}");
        }
        // As earlier sensors wrote it.
        assert_eq!(
            History::read(&format!("{BOOT} 5\n"), BOOT),
            Some(History::new(5))
        );
        assert_eq!(History::read(&own, "another"), None);
    }

    proptest! {
        #[test]
        fn whatever_steps_come_it_is_bounded_ordered_and_read_back(
            steps in vec((any::<u64>(), any::<i64>()), 0..600),
        ) {
            let mut history = History::new(1);
            for (from_ns, offset) in steps {
                history.step(from_ns, offset);
                prop_assert_eq!(history.newest().offset, offset);
            }
            prop_assert!(history.segments.len() <= SEGMENTS_MAX);
            prop_assert_eq!(history.segments[0], Segment { from_ns: 0, offset: 1 });
            // Boot times end with the numbers; so many years after the boot that no two are apart.
            if history.newest().from_ns < u64::MAX {
                prop_assert!(history.segments.is_sorted_by_key(|segment| segment.from_ns));
                prop_assert_eq!(History::read(&history.write(BOOT), BOOT), Some(history));
            }
        }

        #[test]
        fn a_later_step_changes_no_earlier_time(
            steps in vec((1..S, -1000 * S as i64..1000 * S as i64), 1..40),
            at in 0..40 * S,
        ) {
            let mut history = History::new(1_700_000_000 * S as i64);
            let mut from = 0;
            for (after, by) in steps {
                from += after;
                let before = history.at(at).unix(at);
                let offset = history.newest().offset + by;
                history.step(from, offset);
                if at < from {
                    prop_assert_eq!(history.at(at).unix(at), before);
                }
            }
        }

        #[test]
        fn a_boot_time_comes_back_from_its_unix_time_where_the_clock_was_not_set_back(
            steps in vec((1..S, 0..1000 * S as i64), 0..40),
            at in 0..40 * S,
        ) {
            let mut history = History::new(1_700_000_000 * S as i64);
            let mut from = 0;
            for (after, by) in steps {
                from += after;
                let offset = history.newest().offset + by;
                history.step(from, offset);
            }
            prop_assert_eq!(history.boot(history.at(at).unix(at)), at);
        }
    }
}
