//! What the sensor can vouch for changed.

use crate::{
    Column, Detail, Event, Invalid, UnixNanos, Wire,
    column::{self, text_in_column},
    field::why,
    named::{named_in_column, names, numbered},
    sample::{LATER, TIME},
};

class! {
    /// A change of what the sensor can vouch for.
    Coverage = Coverage at "coverage", "coverage" of Coverage;

    what: CoverageKind {
        wire: what,
        column: text(Column::at(58, "coverage_what", "what the sensor can or cannot vouch for: blind, throttled, hook, io_uring, socket, canary, evicted, unjudged, vanished, untested, degraded, clock")),
        secrets: none,
        meaning: "what the sensor can or cannot vouch for: blind, throttled, hook, io_uring, socket, canary, evicted, unjudged, vanished, untested, degraded or clock",
        example: "blind",
        why: why::COMPLETENESS,
        sample: CoverageKind::Throttled,
    }
    phase: CoveragePhase {
        wire: phase,
        column: text(Column::at(59, "coverage_phase", "begin, end or point")),
        secrets: none,
        meaning: "begin, end or point",
        example: "end",
        why: why::COMPLETENESS,
        sample: CoveragePhase::End,
    }
    /// The hook concerned, e.g. `cgroup/connect4`; `None` when all are, or none.
    hook: Option<&'static str> {
        wire: hook,
        column: text(Column::at(60, "coverage_hook", "hook concerned; null when all are, or none")),
        secrets: none,
        meaning: "which place in the kernel it concerns",
        example: "cgroup/connect4",
        why: why::COMPLETENESS,
        sample: Some("fexit/vfs_open"),
    }
    /// The range it speaks of.
    first: UnixNanos {
        wire: first_unix_nano,
        column: time(Column::at(61, "coverage_first", "begin of the time it speaks of")),
        secrets: none,
        meaning: "from when",
        example: "2026-07-01T08:15:02.100000000Z",
        why: why::COMPLETENESS,
        sample: TIME,
    }
    last: UnixNanos {
        wire: last_unix_nano,
        column: time(Column::at(62, "coverage_last", "end of the time it speaks of")),
        secrets: none,
        meaning: "until when",
        example: "2026-07-01T08:15:02.900000000Z",
        why: why::COMPLETENESS,
        sample: LATER,
    }
    /// Records concerned (throttled: not sent; canary: seen; io_uring: set-ups; evicted: entries), 0
    /// where that is not a number of records.
    count: u64 {
        wire: count,
        column: long(column::COUNT),
        secrets: none,
        meaning: "how many records it concerns",
        example: "1200",
        why: why::COMPLETENESS,
        sample: 1200,
    }
    /// One sentence for people.
    reason: String {
        wire: reason,
        column: text(Column::at(63, "coverage_reason", "why, in one sentence")),
        secrets: text,
        meaning: "why, in a sentence",
        example: "the sensor was not running",
        why: why::COMPLETENESS,
        sample: "the session sent more than its share while the ring was over half full".into(),
    }
    /// Of a step of the wall clock: Unix time minus boot clock before it, nanoseconds.
    clock_offset_before: Option<i64> {
        wire: clock_offset_before,
        column: signed(Column::at(81, "clock_offset_before", "of a step of the wall clock: Unix time minus boot clock before it, nanoseconds")),
        secrets: none,
        meaning: "when the wall clock was set: Unix time minus boot clock before that, in nanoseconds",
        example: "1782894000000000000",
        why: "tells which times are by a clock that was wrong",
        sample: Some(1_699_900_000_000_000_000),
    }
    /// And after it.
    clock_offset_after: Option<i64> {
        wire: clock_offset_after,
        column: signed(Column::at(82, "clock_offset_after", "of a step of the wall clock: Unix time minus boot clock after it, nanoseconds")),
        secrets: none,
        meaning: "when the wall clock was set: Unix time minus boot clock after that, in nanoseconds",
        example: "1782894003200000000",
        why: "corrects times that are by a clock that was wrong",
        sample: Some(1_699_900_003_200_000_000),
    }
}

/// What a [`Coverage`] is about.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum CoverageKind {
    /// Nobody watched: the sensor was stopped, killed or upgraded.
    Blind,
    /// Records of one session, the event's, were held back in the kernel.
    Throttled,
    /// A hook stopped reporting, or was attached again.
    Hook,
    /// The session set up an `io_uring` where the open hook does not see it.
    IoUring,
    /// The session made a socket whose peers no connect hook sees.
    Socket,
    /// The self-test went through every hook.
    Canary,
    /// A table at its bound let something go.
    Evicted,
    /// Programs could not be looked at: gone, unreadable, late, or more than it may cost.
    Unjudged,
    /// Processes of the session, the event's, had ended, and no record said so.
    Vanished,
    /// Hooks could not be tested.
    Untested,
    /// A part of the sensor does not do its work; the reason says which.
    Degraded,
    /// The wall clock was set: times from here on have another difference to the boot clock.
    Clock,
}

numbered! {
    /// Which moment of a gap a [`Coverage`] reports.
    pub enum CoveragePhase {
        Begin = 1,
        End = 2,
        /// A moment, or an interval that has ended by the time the event is emitted.
        Point = 3,
    }
}

names! { CoverageKind }
text_in_column! { CoverageKind }
named_in_column! { CoveragePhase }

// === impl Coverage ===

impl Coverage {
    /// Of no hook in particular, told when it is over.
    pub fn point(
        what: CoverageKind,
        (first, last): (UnixNanos, UnixNanos),
        count: u64,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            what,
            phase: CoveragePhase::Point,
            hook: None,
            first,
            last,
            count,
            reason: reason.into(),
            clock_offset_before: None,
            clock_offset_after: None,
        }
    }

    /// As an event of the machine as a whole, at the end of what it speaks of.
    pub fn of_machine(self) -> Event {
        Event::told(None, self.last, Detail::Coverage(self))
    }
}

// === impl CoverageKind ===

impl Wire<String> for CoverageKind {
    fn to_wire(&self) -> String {
        self.name().to_owned()
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        wire.parse().map_err(|_| Invalid("a kind of coverage"))
    }
}

#[cfg(test)]
impl Coverage {
    /// Part of the JSON form of its sample.
    pub(crate) const SAMPLE_JSON: &'static str = r#""coverage":{"what":"throttled","phase":"end","hook":"fexit/vfs_open","first":"2023-11-14T22:13:20.000000001Z","last":"2023-11-14T22:13:20.500000000Z","count":1200,"reason":"the session sent more than its share while the ring was over half full","clock_offset_before":1699900000000000000,"clock_offset_after":1699900003200000000}"#;
}
