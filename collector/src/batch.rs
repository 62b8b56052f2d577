//! One batch of a stream, as it came and as its events.
//!
//! Most of an event's bytes are its agent, its process, its session and its hook, and events that
//! follow each other have most of these in common, byte for byte. So each is decoded once a batch,
//! whatever the number of events that have it: that is most of the work, and of the memory.
//!
//! Bound: [`MAX_BATCH_EVENTS`], and no more of each part than events; decoding ends where there are
//! more, so that a message of nothing but empty events costs no more than its own bytes.

use std::{borrow::Cow, collections::HashMap};

use bytes::{Buf, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{
        DecodeContext, WireType, check_wire_type, decode_key, decode_varint, fixed64, sint32,
        skip_field,
    },
};
use skep_event::Class;
use skep_proto::{
    MAX_BATCH_EVENTS,
    v1::{Agent, Process, event::Detail},
};

const NOT_UTF8: &str = "a text that is not UTF-8";

/// `skep.v1.Batch`: its bytes go into the log, its events into the tables.
#[derive(Clone, Debug)]
pub struct Batch {
    pub encoded: Bytes,
    /// Sequence of the first event.
    pub first_seq: u64,
    pub events: Vec<Event>,
    pub parts: Parts,
    /// CRC-32 (IEEE) of the last event as it was encoded; 0 without events.
    pub last_crc32: u32,
}

/// `skep.v1.Event`, with what it shares with others as an index into the [`Parts`].
#[derive(Clone, Debug, Default)]
pub struct Event {
    pub time_unix_nano: u64,
    pub session: Option<u32>,
    pub agent: Option<u32>,
    pub process: Option<u32>,
    pub hook: Option<u32>,
    pub result: Option<i32>,
    pub detail: Option<Detail>,
}

/// What the events of a batch have in common, each once. Every one is some event's.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub sessions: Vec<String>,
    pub agents: Vec<Agent>,
    pub processes: Vec<Process>,
    pub hooks: Vec<String>,
}

/// The bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("bytes that are not a skep.v1 Batch: {reason}")]
    Malformed { reason: String },
    #[error("a batch of more than {MAX_BATCH_EVENTS} events")]
    TooMany,
}

impl From<DecodeError> for BatchError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed {
            reason: error.to_string(),
        }
    }
}

// === impl Batch ===

impl Batch {
    /// Decodes by hand what is around the events, so that their bytes can be summed.
    pub fn decode(encoded: Bytes) -> Result<Self, BatchError> {
        let mut rest = &encoded[..];
        let mut first_seq = 0;
        let mut events = Vec::new();
        let mut decoder = Decoder::default();
        let mut last: &[u8] = &[];
        while rest.has_remaining() {
            match decode_key(&mut rest)? {
                (1, WireType::Varint) => first_seq = decode_varint(&mut rest)?,
                (2, WireType::LengthDelimited) => {
                    if events.len() == MAX_BATCH_EVENTS {
                        return Err(BatchError::TooMany);
                    }
                    last = delimited(&mut rest)?;
                    events.push(decoder.event(last)?);
                }
                (1 | 2, _) => return Err(malformed("a field has another type")),
                (tag, wire) => skip_field(wire, tag, &mut rest, DecodeContext::default())?,
            }
        }
        Ok(Self {
            last_crc32: match events.is_empty() {
                true => 0,
                false => crc32fast::hash(last),
            },
            first_seq,
            events,
            parts: decoder.parts,
            encoded,
        })
    }

    /// About the bytes it takes decoded.
    pub fn memory(&self) -> usize {
        let Parts {
            agents, processes, ..
        } = &self.parts;
        // Two bytes are enough for an empty text of a list.
        let evidence: usize = agents.iter().map(|agent| agent.evidence.len()).sum();
        let arguments: usize = processes.iter().map(|process| process.argv.len()).sum();
        // A part has some ten texts; an event two.
        self.encoded.len() * 2
            + self.events.len() * (size_of::<Event>() + 64)
            + (agents.len() + processes.len()) * 512
            + (evidence + arguments) * size_of::<String>()
    }
}

/// The next bytes of a field that says how many they are.
fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], BatchError> {
    let length = prost::decode_length_delimiter(&mut *rest)?;
    let (bytes, after) = rest
        .split_at_checked(length)
        .ok_or_else(|| malformed("an event is cut off"))?;
    *rest = after;
    Ok(bytes)
}

/// A message that comes twice is merged, which is what its bytes one after the other mean.
fn extend<'a>(message: &mut Option<Cow<'a, [u8]>>, bytes: &'a [u8]) {
    match message {
        None => *message = Some(Cow::Borrowed(bytes)),
        Some(known) => known.to_mut().extend_from_slice(bytes),
    }
}

/// Of a text that comes twice the last one counts; the one before has to be a text, too.
fn replace<'a>(text: &mut Option<&'a [u8]>, bytes: &'a [u8]) -> Result<(), BatchError> {
    match text.replace(bytes).map(std::str::from_utf8) {
        Some(Err(_)) => Err(malformed(NOT_UTF8)),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// The parts met so far, by their bytes.
#[derive(Default)]
struct Decoder<'a> {
    parts: Parts,
    sessions: Known<'a>,
    agents: Known<'a>,
    processes: Known<'a>,
    hooks: Known<'a>,
}

/// The index of each part of a kind.
#[derive(Default)]
struct Known<'a> {
    last: Option<(&'a [u8], u32)>,
    by_bytes: HashMap<&'a [u8], u32, ahash::RandomState>,
}

// === impl Decoder ===

impl<'a> Decoder<'a> {
    fn event(&mut self, bytes: &'a [u8]) -> Result<Event, BatchError> {
        let mut event = Event::default();
        let mut session: Option<&'a [u8]> = None;
        let mut hook: Option<&'a [u8]> = None;
        let mut agent: Option<Cow<'a, [u8]>> = None;
        let mut process: Option<Cow<'a, [u8]>> = None;
        let mut rest = bytes;
        while rest.has_remaining() {
            let (tag, wire) = decode_key(&mut rest)?;
            let context = DecodeContext::default();
            match tag {
                1 => fixed64::merge(wire, &mut event.time_unix_nano, &mut rest, context)?,
                2..=5 => {
                    check_wire_type(WireType::LengthDelimited, wire)?;
                    let part = delimited(&mut rest)?;
                    match tag {
                        2 => replace(&mut session, part)?,
                        5 => replace(&mut hook, part)?,
                        3 => extend(&mut agent, part),
                        _ => extend(&mut process, part),
                    }
                }
                6 => sint32::merge(
                    wire,
                    event.result.get_or_insert_default(),
                    &mut rest,
                    context,
                )?,
                _ if Class::from_tag(tag).is_some() => {
                    Detail::merge(&mut event.detail, tag, wire, &mut rest, context)?
                }
                _ => skip_field(wire, tag, &mut rest, context)?,
            }
        }
        let Parts {
            sessions,
            agents,
            processes,
            hooks,
        } = &mut self.parts;
        event.session = session
            .map(|bytes| self.sessions.text(bytes, sessions))
            .transpose()?;
        event.hook = hook
            .map(|bytes| self.hooks.text(bytes, hooks))
            .transpose()?;
        event.agent = agent
            .map(|bytes| self.agents.message(bytes, agents))
            .transpose()?;
        event.process = process
            .map(|bytes| self.processes.message(bytes, processes))
            .transpose()?;
        Ok(event)
    }
}

// === impl Known ===

impl<'a> Known<'a> {
    fn text(&mut self, bytes: &'a [u8], texts: &mut Vec<String>) -> Result<u32, BatchError> {
        self.index(bytes, texts, |bytes| {
            let text = std::str::from_utf8(bytes);
            text.map(str::to_owned).map_err(|_| malformed(NOT_UTF8))
        })
    }

    fn message<M: Message + Default>(
        &mut self,
        bytes: Cow<'a, [u8]>,
        messages: &mut Vec<M>,
    ) -> Result<u32, BatchError> {
        match bytes {
            Cow::Borrowed(bytes) => self.index(bytes, messages, |bytes| Ok(M::decode(bytes)?)),
            Cow::Owned(bytes) => push(messages, M::decode(&bytes[..])?),
        }
    }

    fn index<T>(
        &mut self,
        bytes: &'a [u8],
        parts: &mut Vec<T>,
        decode: impl Fn(&'a [u8]) -> Result<T, BatchError>,
    ) -> Result<u32, BatchError> {
        if let Some((last, index)) = self.last
            && last == bytes
        {
            return Ok(index);
        }
        let index = match self.by_bytes.get(bytes) {
            Some(index) => *index,
            None => {
                let index = push(parts, decode(bytes)?)?;
                self.by_bytes.insert(bytes, index);
                index
            }
        };
        self.last = Some((bytes, index));
        Ok(index)
    }
}

fn push<T>(parts: &mut Vec<T>, part: T) -> Result<u32, BatchError> {
    let index = u32::try_from(parts.len());
    parts.push(part);
    index.map_err(|_| malformed("more parts than can be counted"))
}

fn malformed(reason: &str) -> BatchError {
    BatchError::Malformed {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use skep_proto::v1;

    use super::*;

    fn opens(count: usize) -> Vec<v1::Event> {
        let open = |number: usize| v1::Event {
            time_unix_nano: number as u64,
            session: (number > 1).then(|| "s".repeat(32)),
            agent: (number > 0).then(|| Agent {
                family: "claude-code".to_owned(),
                ..Agent::default()
            }),
            process: Some(Process {
                pid: (number / 2) as u32,
                argv: vec!["a".to_owned(), "b".to_owned()],
                ..Process::default()
            }),
            hook: Some("lsm/file_open".to_owned()),
            result: Some(-2),
            detail: Some(Detail::Open(v1::Open {
                path: Some(format!("/{number}")),
                count: 1,
                ..v1::Open::default()
            })),
        };
        (0..count).map(open).collect()
    }

    /// Its events as the generated code has them.
    fn whole(batch: &Batch) -> Vec<v1::Event> {
        fn part<T: Clone>(parts: &[T], index: Option<u32>) -> Option<T> {
            index.map(|index| parts[index as usize].clone())
        }
        let parts = &batch.parts;
        let events = batch.events.iter().map(|event| v1::Event {
            time_unix_nano: event.time_unix_nano,
            session: part(&parts.sessions, event.session),
            agent: part(&parts.agents, event.agent),
            process: part(&parts.processes, event.process),
            hook: part(&parts.hooks, event.hook),
            result: event.result,
            detail: event.detail.clone(),
        });
        events.collect()
    }

    #[test]
    fn it_is_what_the_message_is_and_sums_the_last_event() {
        let events = opens(3);
        let message = v1::Batch {
            first_seq: 7,
            events: events.clone(),
        };
        let batch = Batch::decode(message.encode_to_vec().into()).unwrap();
        assert_eq!((batch.first_seq, whole(&batch)), (7, events.clone()));
        let Parts {
            sessions,
            agents,
            processes,
            hooks,
        } = &batch.parts;
        let parts = [sessions.len(), agents.len(), processes.len(), hooks.len()];
        assert_eq!(parts, [1, 1, 2, 1], "each once");
        assert_eq!(
            batch.last_crc32,
            crc32fast::hash(&events[2].encode_to_vec())
        );
    }

    #[test]
    fn a_message_that_comes_twice_is_merged() {
        let event = opens(2).remove(1);
        let mut bytes = event.encode_to_vec();
        let again = v1::Event {
            agent: Some(Agent {
                version: Some("2".to_owned()),
                ..Agent::default()
            }),
            ..v1::Event::default()
        };
        bytes.extend(again.encode_to_vec());
        let expected = v1::Event::decode(&bytes[..]).unwrap();
        let agent = expected.agent.clone().unwrap();
        assert_eq!(
            (agent.family.as_str(), agent.version.as_deref()),
            ("claude-code", Some("2"))
        );
        let mut batch = Vec::new();
        prost::encoding::bytes::encode(2, &bytes, &mut batch);
        assert_eq!(whole(&Batch::decode(batch.into()).unwrap()), [expected]);
    }

    #[test]
    fn of_a_text_that_comes_twice_the_last_counts_and_the_first_is_not_kept() {
        let texts = |first: &[u8]| {
            let mut event = Vec::new();
            for text in [first, b"second"] {
                prost::encoding::bytes::encode(2, &text.to_vec(), &mut event);
                prost::encoding::bytes::encode(5, &text.to_vec(), &mut event);
            }
            let mut batch = Vec::new();
            prost::encoding::bytes::encode(2, &event, &mut batch);
            Batch::decode(batch.into())
        };
        let batch = texts(b"first").unwrap();
        assert_eq!(batch.parts.sessions, ["second"]);
        assert_eq!(batch.parts.hooks, ["second"]);
        assert!(texts(&[0xff]).is_err(), "as the generated code has it");
    }

    #[test]
    fn decoding_ends_where_there_are_too_many_events() {
        let empty = |count: usize| [0x12, 0].repeat(count);
        let most = Batch::decode(empty(MAX_BATCH_EVENTS).into()).unwrap();
        assert_eq!(most.events.len(), MAX_BATCH_EVENTS);
        // What follows is not even looked at.
        let mut bomb = empty(MAX_BATCH_EVENTS + 1);
        bomb.push(0xff);
        assert_eq!(Batch::decode(bomb.into()).unwrap_err(), BatchError::TooMany);
    }

    #[test]
    fn empty_texts_count_as_the_memory_they_take() {
        let argv = vec![String::new(); 100_000];
        let process = Process {
            argv,
            ..Process::default()
        };
        let event = v1::Event {
            process: Some(process),
            ..v1::Event::default()
        };
        let message = v1::Batch {
            first_seq: 1,
            events: vec![event],
        };
        let batch = Batch::decode(message.encode_to_vec().into()).unwrap();
        assert!(batch.memory() >= 100_000 * size_of::<String>());
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
                    prop_assert_eq!(expected.events, whole(&found));
                }
                (Err(_), Err(_)) => {}
                (expected, found) => prop_assert!(false, "{expected:?} but {found:?}"),
            }
        }
    }
}
