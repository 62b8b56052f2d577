//! One batch of a stream, as it came and as its events.
//!
//! Most of an event's bytes are its agent, its process, its session, its hook and its boot id, and events that
//! follow each other have most of these in common, byte for byte. So each is decoded once a batch,
//! whatever the number of events that have it: that is most of the work, and of the memory.
//!
//! Bound: [`MAX_BATCH_EVENTS`], and no more of each part than events; decoding ends where there are
//! more, so that a message of nothing but empty events costs no more than its own bytes.

use std::{collections::HashMap, fmt};

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
    pub boot_time_nano: Option<u64>,
    pub boot: Option<u32>,
    pub detail: Option<Detail>,
}

/// What the events of a batch have in common, each once. Every one is some event's.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub sessions: Vec<String>,
    pub agents: Vec<Agent>,
    pub processes: Vec<Process>,
    pub hooks: Vec<String>,
    /// Ids of boots.
    pub boots: Vec<String>,
}

/// The bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("bytes that are not a skep.v1 Batch: {place}: {reason}")]
    Malformed {
        place: Place,
        /// May have text of the peer's.
        reason: String,
    },
    #[error("a batch of more than {MAX_BATCH_EVENTS} events")]
    TooMany,
}

/// The part of a batch that is malformed; its words are the collector's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1; `None`: what is around the events.
    pub event: Option<usize>,
    /// A field of the event; `None`: what is around the fields.
    pub part: Option<&'static str>,
}

// === impl BatchError ===

impl BatchError {
    fn in_event(self, number: usize) -> Self {
        self.at(|place| place.event = Some(number))
    }

    fn in_part(self, name: &'static str) -> Self {
        self.at(|place| place.part = Some(name))
    }

    fn at(mut self, change: impl FnOnce(&mut Place)) -> Self {
        if let Self::Malformed { place, .. } = &mut self {
            change(place);
        }
        self
    }
}

impl From<DecodeError> for BatchError {
    fn from(error: DecodeError) -> Self {
        malformed(&error.to_string())
    }
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.event, self.part) {
            (None, _) => write!(f, "what is around its events"),
            (Some(event), None) => write!(f, "event {event} of it"),
            (Some(event), Some(part)) => write!(f, "event {event} of it, field {part}"),
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
                    let number = events.len() + 1;
                    let event = decoder.event(last);
                    events.push(event.map_err(|error| error.in_event(number))?);
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

/// The bytes of a message in one event. One that comes again is merged into the one before; each has to
/// be a message by itself, so the bytes are never joined.
#[derive(Default)]
struct Pieces<'a> {
    first: Option<&'a [u8]>,
    again: Vec<&'a [u8]>,
}

// === impl Pieces ===

impl<'a> Pieces<'a> {
    fn add(&mut self, bytes: &'a [u8]) {
        match self.first {
            None => self.first = Some(bytes),
            Some(_) => self.again.push(bytes),
        }
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
    boots: Known<'a>,
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
        let mut boot: Option<&'a [u8]> = None;
        let mut agent = Pieces::default();
        let mut process = Pieces::default();
        let mut rest = bytes;
        while rest.has_remaining() {
            let (tag, wire) = decode_key(&mut rest)?;
            let context = DecodeContext::default();
            match tag {
                1 => fixed64::merge(wire, &mut event.time_unix_nano, &mut rest, context)?,
                2..=5 | 8 => {
                    check_wire_type(WireType::LengthDelimited, wire)?;
                    let part = delimited(&mut rest)?;
                    match tag {
                        2 => replace(&mut session, part).map_err(|e| e.in_part("session"))?,
                        5 => replace(&mut hook, part).map_err(|e| e.in_part("hook"))?,
                        8 => replace(&mut boot, part).map_err(|e| e.in_part("boot_id"))?,
                        3 => agent.add(part),
                        _ => process.add(part),
                    }
                }
                6 => sint32::merge(
                    wire,
                    event.result.get_or_insert_default(),
                    &mut rest,
                    context,
                )?,
                7 => fixed64::merge(
                    wire,
                    event.boot_time_nano.get_or_insert_default(),
                    &mut rest,
                    context,
                )?,
                _ => match Class::from_tag(tag) {
                    Some(class) => {
                        let merged =
                            Detail::merge(&mut event.detail, tag, wire, &mut rest, context);
                        merged.map_err(|error| BatchError::from(error).in_part(class.name()))?;
                    }
                    None => skip_field(wire, tag, &mut rest, context)?,
                },
            }
        }
        let Parts {
            sessions,
            agents,
            processes,
            hooks,
            boots,
        } = &mut self.parts;
        event.session = session
            .map(|bytes| self.sessions.text(bytes, sessions))
            .transpose()
            .map_err(|error| error.in_part("session"))?;
        event.hook = hook
            .map(|bytes| self.hooks.text(bytes, hooks))
            .transpose()
            .map_err(|error| error.in_part("hook"))?;
        event.boot = boot
            .map(|bytes| self.boots.text(bytes, boots))
            .transpose()
            .map_err(|error| error.in_part("boot_id"))?;
        event.agent = self
            .agents
            .message(agent, agents)
            .map_err(|error| error.in_part("agent"))?;
        event.process = self
            .processes
            .message(process, processes)
            .map_err(|error| error.in_part("process"))?;
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
        pieces: Pieces<'a>,
        messages: &mut Vec<M>,
    ) -> Result<Option<u32>, BatchError> {
        let Some(first) = pieces.first else {
            return Ok(None);
        };
        if pieces.again.is_empty() {
            return self
                .index(first, messages, |bytes| Ok(M::decode(bytes)?))
                .map(Some);
        }
        let mut message = M::decode(first)?;
        for piece in pieces.again {
            message.merge(piece)?;
        }
        push(messages, message).map(Some)
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
        place: Place::default(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
