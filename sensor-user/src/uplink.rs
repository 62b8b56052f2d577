//! Sends the spool to the collector and learns what it has stored.
//!
//! One connection, and on it one stream a lane (`skep.v1.Ingest.Stream`): `Hello` up, `Welcome` down,
//! then batches up and acknowledgements down. It runs on a thread of its own with a single-threaded
//! runtime.
//!
//! Invariants:
//! - it never gives up: after any failure of a stream that lane tries again, with a back-off of 0.5 to
//!   30 s of which up to a half is taken off at random, so that many sensors do not come back at once;
//! - findings do not wait for the bulk: the bulk that is under way fits the window of the connection
//!   ([`WINDOW_BYTES`]), also when the collector does not read it;
//! - what the collector has stored as the last event must be what was sent: else the spool is a copy
//!   of another, or the other way round, and a new epoch begins;
//! - it never sends what the spool has not fixed on disk, and lets the spool go only of what the
//!   collector has acknowledged;
//! - an event the collector refuses again and again is replaced by a `lost` event (`refused`), so that
//!   it cannot hold up what follows;
//! - orders come down the stream of the findings, which says in its hello that it takes them; each is
//!   answered ahead of the events that wait ([`orders`]);
//! - what was sent is told in `skep-sensor status` and, once a minute, in the log.
//!
//! Bounds: a batch has at most [`BATCH_BYTES`] and [`BATCH_EVENTS`]; at most [`WINDOW_BYTES`] of a lane
//! are sent and not acknowledged, or one batch where an event alone is larger.

mod batch;
mod end;
mod orders;
mod stream;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use skep_proto::v1;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use self::end::{End, Position};
use skep_spool::{Lane, Lanes, Spool};

use crate::{
    causes::with_causes,
    settings::Handle,
    status::{StatusBoard, Stream},
};

pub const BATCH_BYTES: usize = 256 << 10;
pub const BATCH_EVENTS: usize = 5_000;
/// Less than the window of a whole connection that servers grant by default (1 MiB in hyper), since
/// what a server does not read of one stream counts against the other too.
pub const WINDOW_BYTES: usize = 768 << 10;

/// How often the spool is synced and the figures are renewed.
const TICK: Duration = Duration::from_secs(1);

/// How often the same failure is logged, and what was sent.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Who this sensor is and where it sends.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `http://HOST:PORT`
    pub address: String,
    /// 32 hexadecimal digits ([`crate::install_id`]).
    pub sensor_id: String,
    pub sensor_version: String,
    pub host: v1::Host,
    pub hooks: Vec<v1::HookState>,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
struct Timing {
    first_backoff: Duration,
    last_backoff: Duration,
    /// To connect, and for `Welcome`.
    answer: Duration,
    /// How long a batch gathers events.
    gather: Duration,
    /// Without an acknowledgement for what was sent, the stream is given up.
    stall: Duration,
}

/// The running uplink.
#[derive(Debug)]
pub struct Uplink {
    stop: watch::Sender<Option<Instant>>,
    thread: Option<JoinHandle<()>>,
}

// === impl Uplink ===

impl Timing {
    const DEFAULT: Self = Self {
        first_backoff: Duration::from_millis(500),
        last_backoff: Duration::from_secs(30),
        answer: Duration::from_secs(10),
        gather: Duration::from_millis(200),
        stall: Duration::from_secs(60),
    };
}

impl Uplink {
    /// Starts sending. Orders of the collector change `orders`; `None`: the sensor takes none. Fails only
    /// when no thread or runtime can be had.
    pub fn start(
        identity: Identity,
        orders: Option<Handle>,
        lanes: Lanes,
        board: StatusBoard,
    ) -> io::Result<Self> {
        Self::with_timing(identity, orders, lanes, board, Timing::DEFAULT)
    }

    fn with_timing(
        identity: Identity,
        orders: Option<Handle>,
        lanes: Lanes,
        board: StatusBoard,
        timing: Timing,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(None);
        board.update(|status| status.uplink.address.clone_from(&identity.address));
        let sender = Sender {
            identity: Arc::new(identity),
            orders,
            lanes,
            board,
            timing,
        };
        let thread = std::thread::Builder::new()
            .name("skep-uplink".into())
            .stack_size(1 << 20)
            .spawn(move || runtime.block_on(sender.run(stopped)))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Sends what is left, for at most `patience`, and ends. What is not acknowledged by then stays in
    /// the spool.
    pub fn stop(mut self, patience: Duration) {
        self.end(patience);
    }

    fn end(&mut self, patience: Duration) {
        // No receiver: the thread has ended.
        let _ = self.stop.send(Some(Instant::now() + patience));
        if let Some(thread) = self.thread.take() {
            // It panics only on a bug, which the panic has told.
            let _ = thread.join();
        }
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// What the uplink's thread runs.
struct Sender {
    identity: Arc<Identity>,
    orders: Option<Handle>,
    lanes: Lanes,
    board: StatusBoard,
    timing: Timing,
}

/// State of one lane.
struct Worker {
    lane: Lane,
    identity: Arc<Identity>,
    /// What orders change, on the lane that takes them.
    orders: Option<Handle>,
    /// Both lanes have a handle of it; it connects when it is needed and is not connected.
    channel: Channel,
    spool: Spool,
    board: StatusBoard,
    timing: Timing,
    position: Position,
    failures: Failures,
    copied: Copied,
}

/// Set for a lane when the other one has found that this machine is a copy.
struct Copied {
    this: Arc<AtomicBool>,
    other: Arc<AtomicBool>,
}

/// What went wrong lately.
#[derive(Default)]
struct Failures {
    in_a_row: u32,
    logged: Option<(String, Instant)>,
}

// === impl Sender ===

impl Sender {
    async fn run(self, stop: watch::Receiver<Option<Instant>>) {
        let housekeeping = housekeeping(self.lanes.clone(), self.board.clone());
        let mut ending = stop.clone();
        let end = async move {
            // An error means the handle is gone: end at once.
            let deadline = ending
                .wait_for(Option::is_some)
                .await
                .map(|deadline| *deadline);
            if let Ok(Some(deadline)) = deadline {
                tokio::time::sleep_until(deadline.into()).await;
            }
        };
        tokio::select! {
            () = self.send(stop) => {}
            () = housekeeping => {}
            () = end => {}
        }
        self.lanes.sync();
        renew(&self.lanes, &self.board);
        self.board.update(|status| {
            for lane in Lane::ALL {
                status.uplink.lane_mut(lane).connected = false;
            }
        });
    }

    /// Returns when both lanes have ended.
    async fn send(&self, stop: watch::Receiver<Option<Instant>>) {
        let channel = match self.channel() {
            Ok(channel) => channel,
            Err(end) => {
                // No address to send to: the configuration was checked, so this is not expected.
                let reason = end.to_string();
                tracing::error!(%reason, "nothing can be sent");
                self.board.update(|status| {
                    for lane in Lane::ALL {
                        status.uplink.lane_mut(lane).last_error = Some(reason.clone());
                    }
                });
                return std::future::pending().await;
            }
        };
        let copied = [Arc::<AtomicBool>::default(), Arc::default()];
        let worker = |lane, [this, other]: [&Arc<AtomicBool>; 2]| Worker {
            lane,
            identity: Arc::clone(&self.identity),
            orders: self.orders.clone().filter(|_| lane == Lane::Findings),
            channel: channel.clone(),
            spool: self.lanes.lane(lane).clone(),
            board: self.board.clone(),
            timing: self.timing,
            position: Position::default(),
            failures: Failures::default(),
            copied: Copied {
                this: Arc::clone(this),
                other: Arc::clone(other),
            },
        };
        let [one, two] = &copied;
        let mut findings = worker(Lane::Findings, [one, two]);
        let mut bulk = worker(Lane::Bulk, [two, one]);
        let (mut stop_findings, mut stop_bulk) = (stop.clone(), stop);
        tokio::join!(
            findings.send_forever(&mut stop_findings),
            bulk.send_forever(&mut stop_bulk),
        );
    }

    fn channel(&self) -> Result<Channel, End> {
        let address = &self.identity.address;
        let keep_alive = Duration::from_secs(20);
        let endpoint = Endpoint::from_shared(address.clone()).map_err(|error| End::Address {
            address: address.clone(),
            reason: with_causes(&error),
        })?;
        Ok(endpoint
            .connect_timeout(self.timing.answer)
            .http2_keep_alive_interval(keep_alive)
            .keep_alive_timeout(keep_alive)
            .keep_alive_while_idle(true)
            .connect_lazy())
    }
}

// === impl Worker ===

impl Worker {
    /// Returns when it was told to stop and nothing is left to send, or nobody to send it to.
    async fn send_forever(&mut self, stop: &mut watch::Receiver<Option<Instant>>) {
        loop {
            let ended = self.stream(stop).await;
            self.board
                .update(|status| status.uplink.lane_mut(self.lane).connected = false);
            match ended {
                Ok(()) => return,
                Err(end) => self.failed(&end),
            }
            if stop.borrow().is_some() {
                return;
            }
            let pause = self.backoff();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(Option::is_some) => {}
            }
        }
    }

    fn failed(&mut self, end: &End) {
        self.failures.in_a_row = self.failures.in_a_row.saturating_add(1);
        if end.is_a_copy() {
            self.copied.other.store(true, Ordering::Relaxed);
        }
        if end.numbers_differ() {
            self.position = Position::default();
            match self.spool.new_epoch() {
                Ok(epoch) => {
                    let lane = self.lane.name();
                    tracing::warn!(lane, epoch, reason = %end, "a new epoch begins");
                }
                Err(error) => tracing::warn!(%error, "no new epoch"),
            }
        }
        let reason = end.to_string();
        let now = Instant::now();
        let said = self
            .failures
            .logged
            .as_ref()
            .is_some_and(|(last, at)| *last == reason && now - *at < LOG_INTERVAL);
        if !said {
            let address = &self.identity.address;
            let lane = self.lane.name();
            tracing::warn!(%address, lane, %reason, "collector not reached, trying again");
            self.failures.logged = Some((reason.clone(), now));
        }
        self.board
            .update(|status| status.uplink.lane_mut(self.lane).last_error = Some(reason));
    }

    fn backoff(&self) -> Duration {
        let Timing {
            first_backoff,
            last_backoff,
            ..
        } = self.timing;
        let doublings = self.failures.in_a_row.saturating_sub(1).min(16);
        let full = first_backoff
            .saturating_mul(1 << doublings)
            .min(last_backoff);
        let mut random = [0];
        // Without random bytes there is no jitter.
        let _ = getrandom::fill(&mut random);
        full.mul_f64(1.0 - f64::from(random[0]) / 512.0)
    }
}

/// The figures of both spools.
fn renew(lanes: &Lanes, board: &StatusBoard) {
    let stats = Lane::ALL.map(|lane| (lane, lanes.lane(lane).stats()));
    board.update(|status| {
        for (lane, stats) in stats {
            *status.spool.lane_mut(lane) = stats;
        }
    });
}

/// Syncs the spools and renews the figures, for ever.
async fn housekeeping(lanes: Lanes, board: StatusBoard) {
    let mut tick = tokio::time::interval(TICK);
    let mut told = (Instant::now(), 0, 0);
    loop {
        tick.tick().await;
        lanes.sync();
        renew(&lanes, &board);
        if told.0.elapsed() >= LOG_INTERVAL {
            let uplink = board.snapshot().uplink;
            let sum = |of: fn(&Stream) -> u64| of(&uplink.bulk) + of(&uplink.findings);
            let (events, bytes) = (sum(|lane| lane.sent_events), sum(|lane| lane.sent_bytes));
            if events > told.1 {
                tracing::info!(
                    events = events - told.1,
                    bytes = bytes - told.2,
                    acknowledged = sum(|lane| lane.acked_events),
                    address = %uplink.address,
                    "sent"
                );
            }
            told = (Instant::now(), events, bytes);
        }
    }
}

#[cfg(test)]
mod tests;
