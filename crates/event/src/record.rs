//! Notes on encoded events: the spool keeps them, so that the uplink decodes no record again.

use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, skip_field},
};
use skep_proto::v1::{self, event::Detail};

use crate::{Class, CoverageKind, UnixNanos};

/// What is out of the ordinary about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// It reports a self-test, at that time.
    Canary(UnixNanos),
    /// It is not the encoding of an event, as far as its outermost fields tell.
    Malformed,
}

impl Note {
    /// Of an event that is about to be encoded; `None` for nearly every one.
    pub fn of(event: &v1::Event) -> Option<Self> {
        match &event.detail {
            Some(Detail::Coverage(coverage)) if coverage.what == CoverageKind::Canary.name() => {
                Some(Self::Canary(UnixNanos(event.time_unix_nano)))
            }
            _ => None,
        }
    }

    /// Of a record that another life of the sensor may have written.
    pub fn read(record: &[u8]) -> Option<Self> {
        match class(record) {
            None => Some(Self::Malformed),
            Some(Some(Class::Coverage)) => {
                v1::Event::decode(record).ok().as_ref().and_then(Self::of)
            }
            Some(_) => None,
        }
    }
}

/// The class of an encoded event, as far as its outermost fields tell: the last of them that is a
/// class counts. `None` when these are not the fields of an event.
fn class(mut record: &[u8]) -> Option<Option<Class>> {
    let mut class = None;
    while !record.is_empty() {
        let (field, wire_type) = decode_key(&mut record).ok()?;
        let of_class = Class::from_tag(field);
        let expected = match field {
            1 | 7 => Some(WireType::SixtyFourBit),
            6 => Some(WireType::Varint),
            2..=5 | 8 => Some(WireType::LengthDelimited),
            _ => of_class.map(|_| WireType::LengthDelimited),
        };
        if expected.is_some_and(|expected| expected != wire_type) {
            return None;
        }
        skip_field(wire_type, field, &mut record, DecodeContext::default()).ok()?;
        class = of_class.or(class);
    }
    Some(class)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Detail, Event, any_event, sample, wire};

    fn canary(time: u64) -> Event {
        let mut event = sample::coverage();
        event.time = UnixNanos(time);
        if let Detail::Coverage(coverage) = &mut event.detail {
            coverage.what = CoverageKind::Canary;
        }
        event
    }

    #[test]
    fn only_self_tests_are_canaries() {
        for event in sample::all() {
            assert_eq!(Note::of(&wire::event(&event)), None);
        }
        let note = Some(Note::Canary(UnixNanos(7)));
        assert_eq!(Note::of(&wire::event(&canary(7))), note);
    }

    #[test]
    fn a_field_of_another_type_or_cut_off_is_malformed() {
        assert_eq!(Note::read(&[]), None);
        assert_eq!(Note::read(&[0xff; 3]), Some(Note::Malformed));
        // `time_unix_nano` as a varint, `open` as one.
        assert_eq!(Note::read(&[1 << 3, 0]), Some(Note::Malformed));
        assert_eq!(Note::read(&[12 << 3, 0]), Some(Note::Malformed));
        assert_eq!(Note::read(&[12 << 3 | 2, 5, 0]), Some(Note::Malformed));
    }

    proptest! {
        #[test]
        fn what_is_read_of_a_record_is_what_was_known_of_the_event(
            event in prop_oneof![any_event::event(), any::<u64>().prop_map(canary)],
        ) {
            let event = wire::event(&event);
            prop_assert_eq!(Note::read(&event.encode_to_vec()), Note::of(&event));
        }

        #[test]
        fn what_a_decoder_takes_is_not_malformed(
            record in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            // But for groups, which the decoder skips deeper than this does.
            let is_taken = v1::Event::decode(&record[..]).is_ok();
            if is_taken && !record.iter().any(|byte| byte & 7 == 3) {
                prop_assert_ne!(Note::read(&record), Some(Note::Malformed));
            }
        }
    }
}
