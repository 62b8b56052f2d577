//! Batches as they travel: one gRPC frame each, made once and sent as often as needed.
//!
//! A frame is the flag "compressed", the length, and the zstd form of a `SensorMessage` at the level
//! that the sensor's library takes. Making it costs far more than sending it; that is why it is
//! made apart from sending.

use std::io;

use bytes::Bytes;
use prost::Message;
use skep_proto::v1::{self, sensor_message::Body};

use crate::{
    encode::{Fields, put_varint},
    tally::{Made, Tally},
};

/// As of `sensor-user/src/uplink.rs`.
pub const BATCH_BYTES: usize = 256 << 10;
pub const BATCH_EVENTS: usize = 5_000;

/// Room before the events for what goes in front of them: at most two tags and three numbers.
const HEADROOM: usize = 32;
/// Flag and length before a message of gRPC.
const PREFIX: usize = 5;
/// Numbers of the fields `SensorMessage.batch`, `Batch.first_seq` and `Batch.events`.
const MESSAGE_BATCH: u8 = 2 << 3 | 2;
const BATCH_FIRST_SEQ: u8 = 1 << 3;
const BATCH_EVENT: u32 = 2;

/// Why a frame cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("compression: {0}")]
    Zstd(#[from] io::Error),
    #[error("not a message of the protocol: {0}")]
    Message(#[from] prost::DecodeError),
    #[error("the frame holds no batch")]
    NoBatch,
}

/// A batch, ready to be sent.
#[derive(Clone, Debug)]
pub struct Batch {
    pub first_seq: u64,
    pub last_seq: u64,
    /// Bytes of the events before compression.
    pub raw_bytes: usize,
    pub frame: Bytes,
    pub tally: Tally,
}

/// Gathers events into batches of one source.
pub struct Gather {
    next_seq: u64,
    events: usize,
    /// [`HEADROOM`], then the events.
    bytes: Fields,
    tally: Tally,
    zstd: zstd::bulk::Compressor<'static>,
}

// === impl Gather ===

impl Gather {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            next_seq: 1,
            events: 0,
            bytes: Fields(vec![0; HEADROOM]),
            tally: Tally::default(),
            zstd: zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?,
        })
    }

    pub fn add(&mut self, event: &[u8], made: &Made) {
        self.bytes.message(BATCH_EVENT, event);
        self.events += 1;
        self.tally.count_made(made);
    }

    /// Whether one more event could be too many.
    pub fn is_full(&self, most_events: usize) -> bool {
        self.events >= most_events || self.bytes.0.len() > BATCH_BYTES - (16 << 10)
    }

    /// What was gathered; nothing when that is nothing.
    pub fn cut(&mut self) -> io::Result<Option<Batch>> {
        if self.events == 0 {
            return Ok(None);
        }
        let first_seq = self.next_seq;
        self.next_seq += self.events as u64;
        let mut batch_head = vec![BATCH_FIRST_SEQ];
        put_varint(&mut batch_head, first_seq);
        let raw_bytes = self.bytes.0.len() - HEADROOM;
        let mut head = vec![MESSAGE_BATCH];
        put_varint(&mut head, (batch_head.len() + raw_bytes) as u64);
        head.extend_from_slice(&batch_head);
        let begin = HEADROOM - head.len();
        self.bytes.0[begin..HEADROOM].copy_from_slice(&head);
        let frame = frame(&mut self.zstd, &self.bytes.0[begin..])?;
        self.bytes.0.truncate(HEADROOM);
        self.events = 0;
        Ok(Some(Batch {
            first_seq,
            last_seq: self.next_seq - 1,
            raw_bytes,
            frame,
            tally: std::mem::take(&mut self.tally),
        }))
    }
}

// === impl Batch ===

impl Batch {
    /// The same batch without the events up to `seq`, which must be one of them but the last; and what
    /// was taken off.
    pub fn after(&self, seq: u64) -> Result<(Self, Tally), FrameError> {
        let mut batch = self.decoded()?;
        let taken = usize::try_from(seq + 1 - self.first_seq).unwrap_or(usize::MAX);
        let mut off = Tally::default();
        for event in batch.events.drain(..taken.min(batch.events.len())) {
            off.count_event(&event);
        }
        let mut tally = Tally::default();
        for event in &batch.events {
            tally.count_event(event);
        }
        batch.first_seq = seq + 1;
        let bytes = batch.encode_to_vec();
        let rest = Self {
            first_seq: seq + 1,
            last_seq: self.last_seq,
            raw_bytes: bytes.len(),
            frame: message(&v1::SensorMessage {
                body: Some(Body::Batch(bytes.into())),
            })?,
            tally,
        };
        Ok((rest, off))
    }

    /// CRC-32 of one of its events.
    pub fn checksum(&self, seq: u64) -> Result<Option<u32>, FrameError> {
        let batch = self.decoded()?;
        let place = seq
            .checked_sub(self.first_seq)
            .and_then(|place| usize::try_from(place).ok());
        let event = place.and_then(|place| batch.events.get(place));
        Ok(event.map(|event| crc32fast::hash(&event.encode_to_vec())))
    }

    pub fn decoded(&self) -> Result<v1::Batch, FrameError> {
        let bytes = zstd::decode_all(&self.frame[PREFIX..])?;
        match v1::SensorMessage::decode(&*bytes)?.body {
            Some(Body::Batch(batch)) => Ok(v1::Batch::decode(batch)?),
            Some(Body::Hello(_) | Body::Outcome(_)) | None => Err(FrameError::NoBatch),
        }
    }
}

/// The frame of any message.
pub fn message(message: &v1::SensorMessage) -> Result<Bytes, FrameError> {
    let mut zstd = zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
    Ok(frame(&mut zstd, &message.encode_to_vec())?)
}

fn frame(zstd: &mut zstd::bulk::Compressor<'_>, message: &[u8]) -> io::Result<Bytes> {
    let compressed = zstd.compress(message)?;
    let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(PREFIX + compressed.len());
    frame.push(1);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&compressed);
    Ok(frame.into())
}
