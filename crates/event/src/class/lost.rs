//! Records did not arrive.

use crate::{
    Column, UnixNanos, column,
    field::why,
    sample::{LATER, TIME},
};

class! {
    /// Records that did not arrive. The event has a session when the loss is known to be that session's
    /// alone.
    Lost = Lost at "lost", "lost" of Lost;

    /// `kernel`, `decode`, `track`, `fold`, `spool`
    hop: &'static str {
        wire: hop,
        column: text(Column::at(47, "lost_hop", "where records were lost")),
        secrets: none,
        meaning: "where events were lost",
        example: "kernel",
        why: why::COMPLETENESS,
        sample: "kernel",
    }
    /// Record type, or `any`.
    record: &'static str {
        wire: record,
        column: text(Column::at(48, "lost_record", "type of the lost records, or any")),
        secrets: none,
        meaning: "which kind",
        example: "open",
        why: why::COMPLETENESS,
        sample: "open",
    }
    cause: &'static str {
        wire: cause,
        column: text(Column::at(49, "lost_cause", "why they were lost")),
        secrets: none,
        meaning: "why",
        example: "ring_full",
        why: why::COMPLETENESS,
        sample: "ring_full",
    }
    count: u64 {
        wire: count,
        column: long(column::COUNT),
        secrets: none,
        meaning: "how many",
        example: "7",
        why: why::COMPLETENESS,
        sample: 7,
        only: at_least_one,
    }
    first: UnixNanos {
        wire: first_unix_nano,
        column: time(Column::at(50, "lost_first", "time of the first loss")),
        secrets: none,
        meaning: "from when",
        example: "2026-07-01T08:15:02.100000000Z",
        why: why::COMPLETENESS,
        sample: TIME,
    }
    last: UnixNanos {
        wire: last_unix_nano,
        column: time(Column::at(51, "lost_last", "time of the last loss")),
        secrets: none,
        meaning: "until when",
        example: "2026-07-01T08:15:02.900000000Z",
        why: why::COMPLETENESS,
        sample: LATER,
    }
}

#[cfg(test)]
impl Lost {
    /// Part of the JSON form of its sample.
    pub(crate) const SAMPLE_JSON: &'static str = r#""session":null,"agent":null,"process":null,"exec":null,"exit":null,"file":null,"net":null,"result":null,"hook":null,"session_info":null,"lost":{"hop":"kernel","record":"open","cause":"ring_full","count":7,"first":"2023-11-14T22:13:20.000000001Z","last":"2023-11-14T22:13:20.500000000Z"}"#;
}
