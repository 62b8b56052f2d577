//! One batch of a stream, as it came and as its events.

use bytes::{Buf, Bytes};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use skep_proto::v1::Event;

/// `skep.v1.Batch`: its bytes go into the log, its events into the tables.
#[derive(Clone, Debug)]
pub struct Batch {
    pub encoded: Bytes,
    /// Sequence of the first event.
    pub first_seq: u64,
    pub events: Vec<Event>,
    /// CRC-32 (IEEE) of the last event as it was encoded; 0 without events.
    pub last_crc32: u32,
}

/// The bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes that are not a skep.v1 Batch: {reason}")]
pub struct Malformed {
    reason: String,
}

impl From<prost::DecodeError> for Malformed {
    fn from(error: prost::DecodeError) -> Self {
        Self {
            reason: error.to_string(),
        }
    }
}

// === impl Batch ===

impl Batch {
    /// Decodes by hand what is around the events, so that their bytes can be summed.
    pub fn decode(encoded: Bytes) -> Result<Self, Malformed> {
        let mut rest = encoded.clone();
        let mut first_seq = 0;
        let mut events = Vec::new();
        let mut last = Bytes::new();
        while rest.has_remaining() {
            match decode_key(&mut rest)? {
                (1, WireType::Varint) => first_seq = decode_varint(&mut rest)?,
                (2, WireType::LengthDelimited) => {
                    let length = prost::decode_length_delimiter(&mut rest)?;
                    if length > rest.remaining() {
                        return Err(malformed("an event is cut off"));
                    }
                    last = rest.copy_to_bytes(length);
                    events.push(Event::decode(last.clone())?);
                }
                (1 | 2, _) => return Err(malformed("a field has another type")),
                (tag, wire) => skip_field(wire, tag, &mut rest, DecodeContext::default())?,
            }
        }
        Ok(Self {
            last_crc32: match events.is_empty() {
                true => 0,
                false => crc32fast::hash(&last),
            },
            encoded,
            first_seq,
            events,
        })
    }

    /// About the bytes it takes decoded; a field is a string of its own then.
    pub fn memory(&self) -> usize {
        self.encoded.len() * 2 + self.events.len() * size_of::<Event>()
    }
}

fn malformed(reason: &str) -> Malformed {
    Malformed {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use skep_proto::v1;

    use super::*;

    fn opens(count: usize) -> Vec<Event> {
        let open = |number: usize| Event {
            time_unix_nano: number as u64,
            detail: Some(v1::event::Detail::Open(v1::File {
                path: Some(format!("/{number}")),
                count: 1,
                ..v1::File::default()
            })),
            ..Event::default()
        };
        (0..count).map(open).collect()
    }

    #[test]
    fn it_is_what_the_message_is_and_sums_the_last_event() {
        let events = opens(3);
        let message = v1::Batch {
            first_seq: 7,
            events: events.clone(),
        };
        let batch = Batch::decode(message.encode_to_vec().into()).unwrap();
        assert_eq!((batch.first_seq, &batch.events), (7, &events));
        assert_eq!(
            batch.last_crc32,
            crc32fast::hash(&events[2].encode_to_vec())
        );
    }

    proptest! {
        #[test]
        fn it_takes_what_the_generated_code_takes(
            seq in any::<u64>(), count in 0..4usize, at in any::<prop::sample::Index>(),
            noise in vec(any::<u8>(), 0..6),
        ) {
            let message = v1::Batch { first_seq: seq, events: opens(count) };
            let mut bytes = message.encode_to_vec();
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, noise);
            let expected = v1::Batch::decode(&bytes[..]);
            let found = Batch::decode(bytes.into());
            match (expected, found) {
                (Ok(expected), Ok(found)) => {
                    prop_assert_eq!(expected.first_seq, found.first_seq);
                    prop_assert_eq!(expected.events, found.events);
                }
                (Err(_), Err(_)) => {}
                (expected, found) => prop_assert!(false, "{expected:?} but {found:?}"),
            }
        }
    }
}
