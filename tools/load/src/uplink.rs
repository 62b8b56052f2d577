//! One stream of a simulated sensor, as `sensor-user/src/uplink` keeps it: hello, welcome, batches up,
//! acknowledgements down, again after any failure.
//!
//! Requests are put together here and not by the generated client, since frames are made beforehand
//! ([`crate::batch`]); what is on the wire is the same.
//!
//! Invariant: nothing that the collector answers ends this program; what it must never answer ends
//! the lane and is told in the report.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use skep_proto::v1::{self, collector_message::Body as Down, sensor_message::Body as Up};
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    time::{sleep, sleep_until, timeout},
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{
    Status, Streaming,
    client::GrpcService,
    codec::{Codec, CompressionEncoding},
    codegen::http,
    transport::{Channel, Endpoint},
};

use crate::{
    batch::{self, FrameError},
    draw::Draw,
    figures::Figures,
    spool::{BULK, Broken, Lane, Spool},
};

/// Bytes of events that are sent and not acknowledged, as of the sensor's uplink.
const WINDOW_BYTES: usize = 768 << 10;
const ANSWER: Duration = Duration::from_secs(10);
/// Without an acknowledgement for what was sent, the stream is given up.
const STALL: Duration = Duration::from_secs(60);
/// How long the collector has to end a stream that was ended here.
const HANG_UP: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Shorter than a sensor's, so that a test that kills collectors spends its time on that.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);
/// Connections that are being made at the same time.
pub const CONNECTING: usize = 64;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error("{0}")]
    Connect(tonic::transport::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("{}: {}", .0.code(), .0.message())]
    Stream(Status),
    #[error("the collector ended the stream")]
    Closed,
    #[error("refused: {code}: {reason}")]
    Refused { code: String, reason: String },
    #[error("unexpected message from the collector: {0}")]
    Unexpected(&'static str),
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("cannot make a batch: {0}")]
    Make(#[from] std::io::Error),
}

/// What the streams of one load share.
pub struct Shared {
    pub endpoint: Endpoint,
    pub figures: Mutex<Figures>,
    pub connecting: Semaphore,
    /// True: make no more, finish, end.
    pub stop: watch::Receiver<bool>,
    /// True: send. False until then: connect, and wait.
    pub go: watch::Receiver<bool>,
    /// Stay connected though there is nothing to send.
    pub idle: bool,
    /// Between two batches of the bulk of one sensor; zero is as fast as can be.
    pub pace: Duration,
}

/// A sensor: its lanes share one connection.
pub struct Sensor {
    shared: Arc<Shared>,
    spool: Mutex<Spool>,
    /// Something was made for a lane other than the bulk, or nothing more will be.
    made: Notify,
}

/// A batch on its way.
struct Sent {
    last_seq: u64,
    bytes: usize,
    at: Instant,
}

// === impl End ===

impl End {
    /// What it is counted as.
    fn kind(&self) -> String {
        match self {
            Self::Connect(_) => "connect".to_owned(),
            Self::NoAnswer(_) => "no_answer".to_owned(),
            Self::Stream(_) => "stream".to_owned(),
            Self::Closed => "closed".to_owned(),
            Self::Refused { code, .. } => format!("refused_{code}"),
            Self::Unexpected(_) => "unexpected".to_owned(),
            Self::Broken(_) => "broken".to_owned(),
            Self::Make(_) => "make".to_owned(),
        }
    }

    /// Whether trying again would only repeat it: the collector broke its word, or this program is
    /// wrong.
    fn is_final(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Make(_) | Self::Unexpected(_) => true,
            Self::Refused { code, .. } => {
                matches!(
                    code.as_str(),
                    "malformed" | "too_large" | "sequence_gap" | "wrong_epoch"
                )
            }
            Self::Connect(_) | Self::NoAnswer(_) | Self::Stream(_) | Self::Closed => false,
        }
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::Broken(error.into())
    }
}

// === impl Shared ===

impl Shared {
    pub fn figures<T>(&self, update: impl FnOnce(&mut Figures) -> T) -> T {
        update(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a collector is reached; the settings are those of a sensor.
pub fn endpoint(server: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(server.to_owned())?
        .connect_timeout(ANSWER)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

// === impl Sensor ===

impl Sensor {
    pub fn new(shared: Arc<Shared>, spool: Spool) -> Self {
        Self {
            shared,
            spool: Mutex::new(spool),
            made: Notify::new(),
        }
    }

    pub fn with_spool<T>(&self, look: impl FnOnce(&mut Spool) -> T) -> T {
        look(&mut self.spool.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_lane<T>(&self, lane: usize, look: impl FnOnce(&mut Lane) -> T) -> T {
        self.with_spool(|spool| look(spool.lane(lane)))
    }

    /// Sends until everything is acknowledged, or the collector did what it must not.
    pub async fn run(self: Arc<Self>) {
        let lanes = self.with_spool(|spool| spool.lanes().len());
        let channel = self.shared.endpoint.connect_lazy();
        let streams = (1..lanes).map(|lane| {
            let (sensor, channel) = (Arc::clone(&self), channel.clone());
            tokio::spawn(async move { sensor.keep_lane(lane, channel).await })
        });
        let others: Vec<_> = streams.collect();
        self.keep_lane(BULK, channel.clone()).await;
        self.made.notify_one();
        for other in others {
            // It panics on a bug only, which the panic has told.
            let _ = other.await;
        }
    }

    async fn keep_lane(&self, lane: usize, channel: Channel) {
        let seed = self.with_lane(lane, |lane| lane.epoch);
        let mut jitter = Draw::new(seed, u64::from(std::process::id()));
        let mut failures = 0_u32;
        let mut stop = self.shared.stop.clone();
        loop {
            let mut progress = false;
            let ended = self
                .stream(lane, channel.clone(), &mut stop, &mut progress)
                .await;
            let Err(end) = ended else { return };
            let is_final = end.is_final();
            self.shared.figures(|figures| {
                figures.ended(end.kind(), &end, is_final);
            });
            let stopped = *stop.borrow() && self.with_lane(lane, |lane| lane.is_empty());
            if is_final || stopped || (*stop.borrow() && failures > 3) {
                // What the bulk does not make, no other lane will get.
                if lane == BULK {
                    self.with_spool(Spool::end);
                    self.made.notify_one();
                }
                return;
            }
            failures = if progress {
                0
            } else {
                failures.saturating_add(1)
            };
            let full = FIRST_BACKOFF
                .saturating_mul(1 << failures.min(10))
                .min(LAST_BACKOFF);
            let percent = 50 + u32::try_from(jitter.below(50)).unwrap_or_default();
            sleep(full * percent / 100).await;
        }
    }

    /// One stream, from connecting to its end.
    async fn stream(
        &self,
        lane: usize,
        mut channel: Channel,
        stop: &mut watch::Receiver<bool>,
        progress: &mut bool,
    ) -> Result<(), End> {
        let permit = self.shared.connecting.acquire().await;
        let (up, frames) = mpsc::channel::<Bytes>(1);
        let hello = self.with_spool(|spool| {
            let Lane { epoch, lane, .. } = spool.lane(lane);
            let (epoch, lane) = (*epoch, *lane);
            spool.identity.hello(epoch, lane)
        });
        let hello = batch::message(&v1::SensorMessage {
            body: Some(Up::Hello(hello)),
        })?;
        up.send(hello).await.map_err(|_| End::Closed)?;
        let opened = timeout(ANSWER, open(&mut channel, frames)).await;
        let mut down = opened.map_err(|_| End::NoAnswer(ANSWER))??;
        let first = timeout(ANSWER, down.message())
            .await
            .map_err(|_| End::NoAnswer(ANSWER))?;
        let welcome = match body(first)? {
            Down::Welcome(welcome) => welcome,
            Down::Refusal(v1::Refusal { code, reason }) => {
                return Err(End::Refused { code, reason });
            }
            Down::Ack(_) => return Err(End::Unexpected("ack before welcome")),
            Down::Order(_) => return Err(End::Unexpected("an order, which nobody takes")),
        };
        drop(permit);
        let v1::Welcome {
            acked_seq,
            acked_crc32,
        } = welcome;
        self.with_lane(lane, |lane| lane.resume(acked_seq, acked_crc32))?;
        let _connected = Connected::new(&self.shared);
        self.exchange(lane, up, down, stop, progress).await
    }

    async fn exchange(
        &self,
        lane: usize,
        up: mpsc::Sender<Bytes>,
        mut down: Streaming<v1::CollectorMessage>,
        stop: &mut watch::Receiver<bool>,
        progress: &mut bool,
    ) -> Result<(), End> {
        let mut sent = VecDeque::<Sent>::new();
        let mut in_flight = 0;
        let mut last_progress = Instant::now();
        let mut due = Instant::now();
        let mut go = self.shared.go.clone();
        loop {
            let stopping = *stop.borrow();
            let going = *go.borrow();
            let (has_next, finished) = self.with_spool(|spool| {
                if stopping {
                    spool.end();
                }
                let made = spool.is_made();
                let lane = spool.lane(lane);
                (lane.has_next(), made && lane.is_empty())
            });
            if finished && (stopping || !self.shared.idle) {
                self.made.notify_one();
                drop(up);
                let _ = timeout(HANG_UP, down.message()).await;
                return Ok(());
            }
            let open = going && in_flight < WINDOW_BYTES;
            let can_make = lane == BULK && !has_next && !self.with_spool(|spool| spool.is_made());
            tokio::select! {
                biased;
                message = down.message() => match body(message)? {
                    Down::Ack(v1::Ack { seq }) => {
                        self.with_lane(lane, |lane| lane.acknowledged(seq))?;
                        last_progress = Instant::now();
                        *progress = true;
                        while let Some(batch) = sent.front() && batch.last_seq <= seq {
                            let Sent { bytes, at, .. } = *batch;
                            in_flight -= bytes;
                            self.shared.figures(|figures| figures.acked(last_progress - at));
                            sent.pop_front();
                        }
                    }
                    Down::Refusal(v1::Refusal { code, reason }) => {
                        return Err(End::Refused { code, reason });
                    }
                    Down::Welcome(_) => return Err(End::Unexpected("welcome twice")),
                    Down::Order(_) => return Err(End::Unexpected("an order, which nobody takes")),
                },
                changed = stop.changed(), if !stopping => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                changed = go.changed(), if !going && !stopping => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                permit = up.reserve(), if has_next && open => {
                    let permit = permit.map_err(|_| End::Closed)?;
                    let Some(batch) = self.with_lane(lane, |lane| lane.next()) else { continue };
                    let at = Instant::now();
                    if sent.is_empty() {
                        last_progress = at;
                    }
                    in_flight += batch.raw_bytes;
                    sent.push_back(Sent { last_seq: batch.last_seq, bytes: batch.raw_bytes, at });
                    self.shared.figures(|figures| figures.sent(&batch));
                    permit.send(batch.frame);
                }
                () = sleep_until(due.into()), if can_make && open => {
                    self.with_spool(|spool| spool.make())?;
                    self.made.notify_one();
                    due = due.max(Instant::now() - self.shared.pace) + self.shared.pace;
                }
                () = self.made.notified(), if lane != BULK && !has_next => {}
                () = sleep_until((last_progress + STALL).into()), if !sent.is_empty() => {
                    return Err(End::NoAnswer(STALL));
                }
            }
        }
    }
}

/// Counted as connected while it lives.
struct Connected<'a>(&'a Shared);

impl<'a> Connected<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.figures(|figures| figures.connected(1));
        Self(shared)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.figures(|figures| figures.connected(-1));
    }
}

/// Sends the request; returns the messages of the answer.
async fn open(
    channel: &mut Channel,
    frames: mpsc::Receiver<Bytes>,
) -> Result<Streaming<v1::CollectorMessage>, End> {
    let frames = ReceiverStream::new(frames).map(|bytes| Ok::<_, Status>(Frame::data(bytes)));
    let request = http::Request::post("/skep.v1.Ingest/Stream")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "zstd")
        .header("grpc-accept-encoding", "zstd")
        .body(tonic::body::Body::new(StreamBody::new(frames)))
        .expect("the parts of the request are constants");
    poll_fn(|context| channel.poll_ready(context))
        .await
        .map_err(End::Connect)?;
    let response = channel.call(request).await.map_err(End::Connect)?;
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != tonic::Code::Ok
    {
        return Err(End::Stream(status));
    }
    let zstd = response
        .headers()
        .get("grpc-encoding")
        .is_some_and(|name| name == "zstd");
    let encoding = zstd.then_some(CompressionEncoding::Zstd);
    let decoder =
        tonic_prost::ProstCodec::<v1::SensorMessage, v1::CollectorMessage>::default().decoder();
    let status = response.status();
    Ok(Streaming::new_response(
        decoder,
        response.into_body(),
        status,
        encoding,
        None,
    ))
}

fn body(message: Result<Option<v1::CollectorMessage>, Status>) -> Result<Down, End> {
    match message {
        Ok(Some(v1::CollectorMessage { body: Some(body) })) => Ok(body),
        Ok(Some(v1::CollectorMessage { body: None })) => Err(End::Unexpected("an empty message")),
        Ok(None) => Err(End::Closed),
        Err(status) => Err(End::Stream(status)),
    }
}
