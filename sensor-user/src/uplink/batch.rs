//! A batch out of records of the spool, which are encoded events: they are put behind each other,
//! neither decoded nor encoded again.
//!
//! Invariants:
//! - the bytes are those of an encoded `v1::Batch` of the same events;
//! - a record that is noted as malformed ([`Note`]), and one that was given up, are replaced by a `lost` event. What replaces a record depends on the record and
//!   the cause alone, so that it can be told later, also after a restart, what may have been sent for
//!   it ([`may_have_been_sent`]).

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};
use skep_event::UnixNanos;
use skep_proto::v1;
use skep_spool::Note;

/// Fields of `v1::Batch`.
const FIRST_SEQ: u32 = 1;
const EVENTS: u32 = 2;

/// Why something else is sent than what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The collector does not take it.
    Refused,
    Malformed,
}

/// An encoded batch, and what is in it.
#[derive(Debug)]
pub(super) struct Assembled {
    pub bytes: Vec<u8>,
    /// Time of the newest self-test in it.
    pub canary: Option<UnixNanos>,
}

// === impl Cause ===

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }
}

/// The batch of these records, with what is noted of them by ascending sequence; `condemned` was given
/// up.
pub(super) fn assemble(
    first_seq: u64,
    records: &[(u64, Vec<u8>)],
    notes: &[(u64, Note)],
    condemned: Option<u64>,
) -> Assembled {
    let size: usize = records.iter().map(|(_, record)| record.len() + 8).sum();
    let mut bytes = Vec::with_capacity(size + 16);
    if first_seq != 0 {
        encode_key(FIRST_SEQ, WireType::Varint, &mut bytes);
        encode_varint(first_seq, &mut bytes);
    }
    let mut canary = None;
    for (seq, record) in records {
        let noted = notes.binary_search_by_key(seq, |(noted, _)| *noted);
        let cause = match noted.ok().map(|at| notes[at].1) {
            _ if condemned == Some(*seq) => Some(Cause::Refused),
            Some(Note::Malformed) => Some(Cause::Malformed),
            Some(Note::Canary(time)) => {
                canary = Some(time);
                None
            }
            None => None,
        };
        match cause {
            Some(cause) => put(&replacement(record, cause), &mut bytes),
            None => put(record, &mut bytes),
        }
    }
    Assembled { bytes, canary }
}

/// Whether an event whose encoding has this checksum may have been sent for the record.
pub(super) fn may_have_been_sent(record: &[u8], crc32: u32) -> bool {
    crc32fast::hash(record) == crc32
        || [Cause::Refused, Cause::Malformed]
            .iter()
            .any(|cause| crc32fast::hash(&replacement(record, *cause)) == crc32)
}

fn put(event: &[u8], bytes: &mut Vec<u8>) {
    debug_assert!(encoded_len_varint(event.len() as u64) <= 5);
    encode_key(EVENTS, WireType::LengthDelimited, bytes);
    encode_varint(event.len() as u64, bytes);
    bytes.extend_from_slice(event);
}

fn replacement(record: &[u8], cause: Cause) -> Vec<u8> {
    let time = v1::Event::decode(record)
        .map(|event| event.time_unix_nano)
        .unwrap_or_default();
    let lost = v1::Lost {
        hop: "uplink".into(),
        record: "any".into(),
        cause: cause.name().into(),
        count: 1,
        first_unix_nano: time,
        last_unix_nano: time,
    };
    let event = v1::Event {
        time_unix_nano: time,
        detail: Some(v1::event::Detail::Lost(lost)),
        ..v1::Event::default()
    };
    event.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{DecodeContext, decode_key, skip_field};

    use super::*;
    use skep_event::{CoverageKind, Detail, sample, wire};

    fn records(events: &[v1::Event], first_seq: u64) -> Vec<(u64, Vec<u8>)> {
        (first_seq..)
            .zip(events.iter().map(v1::Event::encode_to_vec))
            .collect()
    }

    /// As the spool notes them when it is opened.
    fn noted(records: &[(u64, Vec<u8>)]) -> Vec<(u64, Note)> {
        let note = |(seq, record): &(u64, Vec<u8>)| Some((*seq, Note::read(record)?));
        records.iter().filter_map(note).collect()
    }

    fn lost_cause(event: &v1::Event) -> Option<&str> {
        match &event.detail {
            Some(v1::event::Detail::Lost(lost)) => Some(&lost.cause),
            _ => None,
        }
    }

    fn canary(time: u64) -> v1::Event {
        let mut event = sample::coverage();
        event.time = UnixNanos(time);
        if let Detail::Coverage(coverage) = &mut event.detail {
            coverage.what = CoverageKind::Canary;
        }
        wire::event(&event)
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_an_encoded_batch(
            first_seq in 1u64..,
            picks in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..20),
        ) {
            let samples = sample::all();
            let events: Vec<v1::Event> = picks
                .iter()
                .map(|(pick, time)| {
                    let mut event = pick.get(&samples).clone();
                    event.time = UnixNanos(*time);
                    wire::event(&event)
                })
                .collect();
            let first_seq = first_seq.min(u64::MAX - 32);
            let records = records(&events, first_seq);
            let assembled = assemble(first_seq, &records, &noted(&records), None);
            let batch = v1::Batch { first_seq, events };
            prop_assert_eq!(&v1::Batch::decode(&assembled.bytes[..]).unwrap(), &batch);
            prop_assert_eq!(assembled.bytes, batch.encode_to_vec());
        }

        #[test]
        fn whatever_is_recorded_a_batch_has_one_event_for_each(
            garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
        ) {
            let count = garbage.len();
            let records: Vec<_> = (1..).zip(garbage).collect();
            let bytes = assemble(1, &records, &noted(&records), None).bytes;
            let mut rest = &bytes[..];
            let mut events = 0;
            while !rest.is_empty() {
                let (field, wire_type) = decode_key(&mut rest).unwrap();
                events += usize::from(field == EVENTS);
                skip_field(wire_type, field, &mut rest, DecodeContext::default()).unwrap();
            }
            prop_assert_eq!(events, count);
        }
    }

    #[test]
    fn what_is_malformed_or_given_up_is_replaced_and_the_rest_is_not() {
        let events: Vec<v1::Event> = (1..=4).map(canary).collect();
        let mut records = records(&events, 7);
        records[1].1 = vec![0xff; 3];
        let assembled = assemble(7, &records, &noted(&records), Some(9));
        let batch = v1::Batch::decode(&assembled.bytes[..]).unwrap();
        let causes: Vec<_> = batch.events.iter().map(lost_cause).collect();
        assert_eq!(causes, [None, Some("malformed"), Some("refused"), None]);
        assert_eq!(batch.events[2].time_unix_nano, 3);
        assert_eq!(assembled.canary, Some(UnixNanos(4)));
        for (event, (_, record)) in batch.events.iter().zip(&records) {
            let crc32 = crc32fast::hash(&event.encode_to_vec());
            assert!(may_have_been_sent(record, crc32));
            assert!(!may_have_been_sent(&canary(99).encode_to_vec(), crc32));
        }
    }

    #[test]
    fn only_the_newest_self_test_counts_and_other_coverage_is_none() {
        let other = wire::event(&sample::coverage());
        let events = [canary(5), canary(6), other];
        let records = records(&events, 1);
        let assembled = assemble(1, &records, &noted(&records), None);
        assert_eq!(assembled.canary, Some(UnixNanos(6)));
    }
}
