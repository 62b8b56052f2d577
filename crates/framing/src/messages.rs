//! The messages of a stream, read off the HTTP body.
//!
//! tonic would decompress a message as soon as it is there, and keep the memory for the stream's next
//! one. With thousands of streams, each of which has sent something once or waits with something now,
//! that is more memory than there is. So the body of a stream is taken out of the request before tonic
//! sees it ([`Apart`]), and read here: what came stays compressed until it is the stream's turn, there
//! are few turns, and the memory for what is decompressed belongs to the turn.
//!
//! Bounds: a message has [`Turns::limit`] bytes, compressed or not. A stream keeps [`FREE_BYTES`] of a
//! message that has not come whole, and one frame. For more it needs room for all of the message, of
//! which there is [`WAITING`] times the limit for all streams; so whoever has begun can finish. A
//! message has [`MESSAGE_WITHIN`] to come whole, and time that it waits for room or a turn is not
//! counted.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use skep_proto::v1::SensorMessage;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tonic::{
    body::Body,
    codegen::{Body as _, Service, http},
    server::NamedService,
};
use zstd::bulk::Decompressor;

/// Flag and length before each message (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;
/// An empty buffer that is larger is given back.
const KEEP_BYTES: usize = 16 << 10;
/// Bytes of a message that a stream reads without room of its own: most messages of a sensor are
/// smaller.
const FREE_BYTES: usize = 16 << 10;
/// Messages of the greatest size that can have room.
const WAITING: usize = 8;
/// From the first byte of a message, or from when it has room, to its last.
const MESSAGE_WITHIN: Duration = Duration::from_secs(30);

/// Why there are no more messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The connection is.
    Gone,
    /// A message was begun and not finished in time.
    Slow,
    TooLarge {
        limit: usize,
    },
    Malformed(&'static str),
}

/// What is read of one stream.
pub struct Messages {
    body: Body,
    came: BytesMut,
    /// `grpc-encoding: zstd`.
    zstd: bool,
    /// When the message that has begun has to be whole.
    due: Option<Instant>,
    /// Room for all of the message that has begun.
    held: Option<OwnedSemaphorePermit>,
    within: Duration,
}

/// Turns of all streams.
#[derive(Clone)]
pub struct Turns {
    /// Bytes of a message.
    limit: usize,
    /// Room for messages that have not come whole, in KiB.
    waiting: Arc<Semaphore>,
    places: Arc<Semaphore>,
    rooms: Arc<Mutex<Vec<Room>>>,
}

/// The next message of a stream.
enum Frame {
    /// Not even its length.
    None,
    /// Not all of so many bytes.
    Part(usize),
    /// Whether it is compressed, and its length.
    Whole(bool, usize),
}

/// Others go on when it is dropped.
pub struct Turn {
    /// There until it is dropped.
    room: Option<Room>,
    rooms: Arc<Mutex<Vec<Room>>>,
    _place: OwnedSemaphorePermit,
}

/// What decompressing one message takes.
struct Room {
    decompressor: Decompressor<'static>,
    /// Memory is taken as far as it was ever written to.
    buffer: Vec<u8>,
}

/// Takes the body of a request out of tonic's sight; [`Messages::of`] finds it.
#[derive(Clone)]
pub struct Apart<S>(pub S);

#[derive(Clone)]
struct Taken(Arc<Mutex<Option<Messages>>>);

// === impl Apart ===

impl<S: NamedService> NamedService for Apart<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Apart<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let encoding = parts.headers.get("grpc-encoding");
        let messages = Messages::new(body, encoding.is_some_and(|encoding| encoding == "zstd"));
        parts
            .extensions
            .insert(Taken(Arc::new(Mutex::new(Some(messages)))));
        self.0.call(http::Request::from_parts(parts, Body::empty()))
    }
}

// === impl Messages ===

impl Messages {
    /// The messages of a body; `zstd`: they may be compressed.
    pub fn new(body: Body, zstd: bool) -> Self {
        Self {
            body,
            came: BytesMut::new(),
            zstd,
            due: None,
            held: None,
            within: MESSAGE_WITHIN,
        }
    }

    /// Those of a request that came through [`Apart`].
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        let taken: &Taken = request.extensions().get()?;
        taken
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The next message and the turn it was read in; `None` when the peer has said all. Nothing is lost
    /// when this is dropped before it is ready.
    pub async fn next(&mut self, turns: &Turns) -> Result<Option<(SensorMessage, Turn)>, Broken> {
        let (is_compressed, length) = loop {
            match self.frame(turns.limit)? {
                Frame::Whole(is_compressed, length) => break (is_compressed, length),
                Frame::Part(length) => self.make_room(turns, length).await,
                Frame::None => {}
            }
            if !self.read().await? {
                return Ok(None);
            }
        };
        self.due = None;
        let mut turn = turns.next().await;
        self.came.advance(PREFIX);
        let message = match is_compressed {
            true => turn.decompress(&self.came[..length]),
            false => Ok(Bytes::copy_from_slice(&self.came[..length])),
        };
        self.came.advance(length);
        self.held = None;
        if self.came.is_empty() && self.came.capacity() > KEEP_BYTES {
            self.came = BytesMut::new();
        }
        let message = SensorMessage::decode(message?)
            .map_err(|_| Broken::Malformed("a message that is not a skep.v1 SensorMessage"))?;
        Ok(Some((message, turn)))
    }

    /// Waits for room for a message that is larger than what is read without.
    async fn make_room(&mut self, turns: &Turns, length: usize) {
        if self.held.is_none() && self.came.len() > FREE_BYTES {
            let room = kibibytes(length + PREFIX);
            let held = Arc::clone(&turns.waiting).acquire_many_owned(room).await;
            self.held = Some(held.expect("nobody closes it"));
            self.due = None;
        }
    }

    /// Reads on; false when the peer has said all.
    async fn read(&mut self) -> Result<bool, Broken> {
        let due = match self.came.is_empty() {
            true => None,
            false => Some(*self.due.get_or_insert_with(|| Instant::now() + self.within)),
        };
        let body = &mut self.body;
        let more = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let more = match due {
            None => more.await,
            Some(due) => timeout_at(due, more).await.map_err(|_| Broken::Slow)?,
        };
        match more {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.came.extend_from_slice(&data);
                }
                Ok(true)
            }
            None if self.came.is_empty() => Ok(false),
            Some(Err(_)) | None => Err(Broken::Gone),
        }
    }

    /// What there is of the next message, which has at most `limit` bytes.
    fn frame(&self, limit: usize) -> Result<Frame, Broken> {
        let Some((prefix, rest)) = self.came.split_first_chunk::<PREFIX>() else {
            return Ok(Frame::None);
        };
        let [flag, length @ ..] = *prefix;
        let is_compressed = match flag {
            0 => false,
            1 if self.zstd => true,
            _ => {
                return Err(Broken::Malformed(
                    "a message with a flag that gRPC does not have",
                ));
            }
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > limit {
            return Err(Broken::TooLarge { limit });
        }
        Ok(match rest.len() >= length {
            true => Frame::Whole(is_compressed, length),
            false => Frame::Part(length),
        })
    }
}

// === impl Turns ===

impl Turns {
    /// So many turns at the same time, for messages of at most `limit` bytes.
    pub fn new(count: usize, limit: usize) -> Self {
        let room = || Room {
            decompressor: Decompressor::new().expect("zstd without a dictionary"),
            buffer: Vec::with_capacity(limit),
        };
        let waiting = kibibytes(limit + PREFIX) as usize * WAITING;
        Self {
            limit,
            waiting: Arc::new(Semaphore::new(waiting)),
            places: Arc::new(Semaphore::new(count)),
            rooms: Arc::new(Mutex::new((0..count).map(|_| room()).collect())),
        }
    }

    async fn next(&self) -> Turn {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let room = self
            .rooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Turn {
            room,
            rooms: Arc::clone(&self.rooms),
            _place: place.expect("nobody closes it"),
        }
    }
}

// === impl Turn ===

impl Turn {
    fn decompress(&mut self, bytes: &[u8]) -> Result<Bytes, Broken> {
        let Room {
            decompressor,
            buffer,
        } = self.room.as_mut().expect("as many rooms as places");
        buffer.clear();
        match decompressor.decompress_to_buffer(bytes, buffer) {
            Ok(_) => Ok(Bytes::copy_from_slice(buffer)),
            // The one error that is not the bytes' (zstd's `ZSTD_error_dstSize_tooSmall`).
            Err(error) if error.to_string().contains("too small") => Err(Broken::TooLarge {
                limit: buffer.capacity(),
            }),
            Err(_) => Err(Broken::Malformed("a message that is not zstd")),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the place is given back, which happens after this.
        rooms.extend(self.room.take());
    }
}

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
