//! Takes the streams of sensors: `skep.v1.Ingest`.
//!
//! A stream goes `Hello` → `Welcome`, then batches up and acknowledgements down; orders go down, and
//! their outcomes up, on a stream whose hello says that it takes them ([`crate::orders`]). Invariants:
//! - an acknowledgement is sent only for what [`Store`] calls durable, and never for more than the
//!   stream itself was told or sent;
//! - only the newest stream of a source (sensor and epoch) is listened to: the one before is refused
//!   (`superseded`), so that a machine and its clone cannot write into each other's sequence, and a
//!   machine that comes back after its clone is a finding ([`clones`]);
//! - a stream that breaks the protocol is refused alone: it gets a `Refusal` with code and reason,
//!   is counted by code and logged with its peer address; nothing of the message that broke the
//!   protocol is stored, and no other stream notices;
//! - nothing that a peer sent is put into a log line as text, only lengths and numbers;
//! - a peer that does not read its answers holds up nobody else: it waits without a turn, and for
//!   [`ANSWER_WITHIN`] at most.
//!
//! Bounds: [`MAX_STREAMS`] streams on [`MAX_CONNECTIONS`] connections; of all streams together
//! [`TURNS`] messages of [`skep_proto::MAX_MESSAGE_BYTES`] decoded and not yet in the store, and
//! compressed what [`skep_framing::messages`] says; a stream, [`REPLIES`] messages down; a connection, what HTTP/2
//! flow control lets it send before it is read. What waits in the store is bounded there, and a full
//! store makes the streams wait, which flow control hands on to the sensors.

mod check;
mod clones;
mod connection;

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use skep_framing::messages::{Broken, Messages, Turns};
use skep_proto::v1::{
    Ack, CollectorMessage, Refusal as RefusalMessage, SensorMessage, Welcome,
    collector_message::Body as Down, ingest_server::Ingest, sensor_message::Body as Up,
};
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, error::SendTimeoutError},
        watch,
    },
    time::timeout,
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    batch::Batch,
    counters::Counters,
    orders::{Connected, Orders},
    store::{self, Party, Source, Store},
};

pub use check::{Refusal, RefusalCode};
use clones::Clones;
pub use connection::{Connection, MAX_CONNECTIONS, connections};

/// Streams at one time.
pub const MAX_STREAMS: usize = 20_000;
/// Messages that are decoded and not yet in the store.
const TURNS: usize = 4;
/// First messages that are decoded at the same time.
const GREETINGS: usize = 2;
/// The first message, decoded: more than the facts of a hello that is taken.
const MAX_HELLO_BYTES: usize = 256 << 10;
/// Messages on their way down a stream.
const REPLIES: usize = 16;
/// A connection that opens a stream must say who it is within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A peer that takes no answer for this long, with [`REPLIES`] of them waiting, is ended.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

type Reply = Result<CollectorMessage, Status>;

/// The gRPC service.
#[derive(Clone)]
pub struct IngestService {
    store: Store,
    counters: Arc<Counters>,
    streams: Arc<Semaphore>,
    turns: Turns,
    /// Of streams that have not said who they are: these never wait for the store.
    greetings: Turns,
    clones: Arc<Clones>,
    orders: Arc<Orders>,
    /// Turns true when the collector stops.
    stopping: watch::Receiver<bool>,
}

/// Why a stream ended other than by the sensor's wish.
enum End {
    Refused(Refusal),
    /// The connection broke, or nobody listens any more.
    Gone,
    /// The peer keeps the collector waiting.
    Slow(&'static str),
    Stopping,
}

/// What goes down a stream.
pub struct Replies {
    receiver: mpsc::Receiver<Reply>,
    /// The stream has its place until its answers are taken or given up, too.
    _place: Arc<OwnedSemaphorePermit>,
}

/// One sensor's stream after its `Hello`.
struct Session<'a> {
    service: &'a IngestService,
    replies: &'a mpsc::Sender<Reply>,
    stream: store::Stream,
    line: Connected,
    /// Highest sequence the sensor was told, or sent here.
    highest: u64,
    acked: u64,
}

// === impl IngestService ===

impl IngestService {
    pub fn new(
        store: Store,
        counters: Arc<Counters>,
        orders: Arc<Orders>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            counters,
            clones: Arc::default(),
            orders,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            turns: Turns::new(TURNS, skep_proto::MAX_MESSAGE_BYTES),
            greetings: Turns::new(GREETINGS, MAX_HELLO_BYTES),
            stopping,
        }
    }

    /// Emits what streams show of machines that share the state of a sensor, until the collector stops.
    pub fn findings(&self) -> impl Future<Output = ()> + Send + 'static {
        let (clones, store) = (Arc::clone(&self.clones), self.store.clone());
        let stopping = self.stopping.clone();
        async move { clones.run(store, stopping).await }
    }

    async fn run(
        &self,
        peer: Option<SocketAddr>,
        mut messages: Messages,
        replies: &mpsc::Sender<Reply>,
    ) -> Result<(), End> {
        let mut session = self.hello(peer, &mut messages, replies).await?;
        let mut stopping = self.stopping.clone();
        loop {
            tokio::select! {
                next = messages.next(&self.turns) => match next? {
                    Some((SensorMessage { body: Some(Up::Batch(batch)) }, turn)) => {
                        let batch = Batch::decode(batch).map_err(Refusal::from)?;
                        session.batch(batch).await?;
                        // It is in the store: whoever is next need not wait for this peer to read.
                        drop(turn);
                        session.acknowledge().await?;
                    }
                    Some((SensorMessage { body: Some(Up::Outcome(outcome)) }, _)) => {
                        session.line.answered(check::outcome(outcome)?);
                    }
                    Some((SensorMessage { body: Some(Up::Hello(_)) }, _)) => {
                        return Err(Refusal::malformed("a second hello on one stream").into());
                    }
                    Some((SensorMessage { body: None }, _)) => {
                        return Err(Refusal::malformed("a message that is neither hello nor batch").into());
                    }
                    None => return session.settle().await,
                },
                () = session.stream.changed() => session.acknowledge().await?,
                () = replies.closed() => return Err(End::Gone),
                () = told(&mut stopping) => {
                    session.settle().await?;
                    return Err(End::Stopping);
                }
            }
        }
    }

    /// Waits for the first message, keeps what it tells, and welcomes the sensor.
    async fn hello<'a>(
        &'a self,
        peer: Option<SocketAddr>,
        messages: &mut Messages,
        replies: &'a mpsc::Sender<Reply>,
    ) -> Result<Session<'a>, End> {
        let mut stopping = self.stopping.clone();
        let first = tokio::select! {
            first = timeout(HELLO_WITHIN, messages.next(&self.greetings)) => first,
            () = told(&mut stopping) => return Err(End::Stopping),
        };
        let first = first.map_err(|_| Refusal::malformed("no hello within 10 seconds"))?;
        let hello = match first?.map(|(message, _)| message) {
            Some(SensorMessage {
                body: Some(Up::Hello(hello)),
            }) => hello,
            Some(_) => return Err(Refusal::malformed("the first message must be hello").into()),
            None => return Err(End::Gone),
        };
        let (epoch, takes_orders) = (hello.epoch, hello.takes_orders);
        let facts = check::hello(hello)?;
        let source = Source {
            sensor_id: facts.sensor_id.clone(),
            epoch,
        };
        let who = Party {
            peer,
            hostname: facts.hostname.clone(),
            boot_id: facts.boot_id.clone(),
        };
        // A log that cannot be written lets it wait, and nobody may be left to wait for.
        let begun = tokio::select! {
            begun = self.store.begin(source.clone(), facts, peer) => begun,
            () = replies.closed() => return Err(End::Gone),
            () = told(&mut stopping) => return Err(End::Stopping),
        };
        let store::Opened {
            stream,
            tail,
            superseded,
        } = begun.map_err(internal)?;
        self.clones.hello(&source, &who, superseded.as_ref());
        let welcome = Welcome {
            acked_seq: tail.seq,
            acked_crc32: (tail.crc32 != 0).then_some(tail.crc32),
        };
        send(replies, Down::Welcome(welcome), ANSWER_WITHIN).await?;
        let acked = tail.seq;
        self.counters.streams.add(1);
        tracing::info!(
            peer = peer.map(tracing::field::display),
            sensor = source.sensor_id,
            epoch = source.epoch,
            acked,
            "sensor connected"
        );
        let down = takes_orders.then(|| replies.clone());
        Ok(Session {
            service: self,
            replies,
            stream,
            line: self.orders.connect(&source.sensor_id, down),
            highest: acked,
            acked,
        })
    }

    fn ended(&self, peer: Option<SocketAddr>, end: End) -> Option<Reply> {
        let peer = peer.map(tracing::field::display);
        match end {
            End::Refused(refusal) => {
                refusal.code.counter(&self.counters).add(1);
                tracing::warn!(
                    peer,
                    code = refusal.code.as_str(),
                    reason = refusal.reason,
                    "stream refused"
                );
                let message = RefusalMessage {
                    code: refusal.code.as_str().to_owned(),
                    reason: refusal.reason,
                };
                Some(Ok(down(Down::Refusal(message))))
            }
            End::Gone => {
                tracing::info!(peer, "stream broke off");
                None
            }
            End::Slow(reason) => {
                self.counters.streams_slow.add(1);
                tracing::warn!(peer, reason, "stream ended");
                Some(Err(Status::deadline_exceeded(reason)))
            }
            End::Stopping => Some(Err(Status::unavailable("the collector is stopping"))),
        }
    }
}

#[tonic::async_trait]
impl Ingest for IngestService {
    type StreamStream = Replies;

    async fn stream(
        &self,
        request: Request<Streaming<SensorMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let peer = request.remote_addr();
        let messages = Messages::of(&request)
            .ok_or_else(|| Status::internal("a request whose body was not taken apart"))?;
        let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
            tracing::warn!(
                peer = peer.map(tracing::field::display),
                limit = MAX_STREAMS,
                "too many streams"
            );
            return Err(Status::resource_exhausted(
                "the collector serves its limit of streams",
            ));
        };
        let (replies, receiver) = mpsc::channel(REPLIES);
        let service = self.clone();
        let place = Arc::new(place);
        let down = Replies {
            receiver,
            _place: Arc::clone(&place),
        };
        tokio::spawn(async move {
            let _place = place;
            let reply = match service.run(peer, messages, &replies).await {
                Ok(()) => None,
                Err(end) => service.ended(peer, end),
            };
            if let Some(reply) = reply {
                // A peer that is gone, or does not read, needs no answer.
                let _ = replies.send_timeout(reply, ANSWER_WITHIN).await;
            }
        });
        Ok(Response::new(down))
    }
}

// === impl Replies ===

impl Stream for Replies {
    type Item = Reply;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Reply>> {
        self.receiver.poll_recv(context)
    }
}

// === impl Session ===

impl Session<'_> {
    async fn batch(&mut self, batch: Batch) -> Result<(), End> {
        check::batch(&batch)?;
        let last = batch.first_seq + (batch.events.len() as u64 - 1);
        tokio::select! {
            taken = self.service.store.append(&self.stream, batch) => taken?,
            () = self.replies.closed() => return Err(End::Gone),
        }
        self.highest = self.highest.max(last);
        Ok(())
    }

    /// Says what is durable; rows that were already are not announced again.
    async fn acknowledge(&mut self) -> Result<(), End> {
        let seq = self.stream.durable()?.min(self.highest);
        if seq > self.acked {
            send(self.replies, Down::Ack(Ack { seq }), ANSWER_WITHIN).await?;
            self.acked = seq;
        }
        Ok(())
    }

    /// Waits until all that was sent is durable and acknowledged.
    async fn settle(&mut self) -> Result<(), End> {
        loop {
            self.acknowledge().await?;
            if self.acked >= self.highest {
                return Ok(());
            }
            tokio::select! {
                () = self.stream.changed() => {}
                () = self.replies.closed() => return Err(End::Gone),
            }
        }
    }
}

// === impl End ===

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<store::End> for End {
    fn from(end: store::End) -> Self {
        let code = match end {
            store::End::Gap { .. } => RefusalCode::SequenceGap,
            store::End::Superseded => RefusalCode::Superseded,
            store::End::Failed => RefusalCode::Internal,
        };
        Self::Refused(Refusal {
            code,
            reason: end.to_string(),
        })
    }
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Gone => Self::Gone,
            Broken::Slow => Self::Slow("a message was begun and not finished in time"),
            Broken::TooLarge { limit } => Self::Refused(Refusal {
                code: RefusalCode::TooLarge,
                reason: format!("a message of more than {limit} bytes"),
            }),
            Broken::Malformed(reason) => Self::Refused(Refusal::malformed(reason)),
        }
    }
}

fn internal(error: impl std::fmt::Display) -> End {
    tracing::error!(%error, "cannot take events");
    End::Refused(Refusal {
        code: RefusalCode::Internal,
        reason: "the collector cannot store events now; its log says why".to_owned(),
    })
}

/// Returns when the collector stops.
async fn told(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone is a server that was dropped: stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn send(replies: &mpsc::Sender<Reply>, body: Down, within: Duration) -> Result<(), End> {
    let sent = replies.send_timeout(Ok(down(body)), within).await;
    sent.map_err(|error| match error {
        SendTimeoutError::Timeout(_) => End::Slow("the peer does not read its answers"),
        SendTimeoutError::Closed(_) => End::Gone,
    })
}

fn down(body: Down) -> CollectorMessage {
    CollectorMessage { body: Some(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up_and_one_that_is_gone_is_told_apart() {
        let within = Duration::from_millis(1);
        let ack = || Down::Ack(Ack { seq: 1 });
        let (replies, receiver) = mpsc::channel(1);
        assert!(send(&replies, ack(), within).await.is_ok());
        assert!(matches!(
            send(&replies, ack(), within).await,
            Err(End::Slow(_))
        ));
        drop(receiver);
        assert!(matches!(
            send(&replies, ack(), within).await,
            Err(End::Gone)
        ));
    }
}
