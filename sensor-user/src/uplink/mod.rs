//! Sends the spool to the collector and learns what it has stored.
//!
//! One stream (`skep.v1.Ingest.Stream`): `Hello` up, `Welcome` down, then batches up and
//! acknowledgements down. It runs on a thread of its own with a single-threaded runtime.
//!
//! Invariants:
//! - it never gives up: after any failure it tries again, with a back-off of 0.5 to 30 s and jitter;
//! - it never sends what the spool has not fixed on disk, and lets the spool go only of what the
//!   collector has acknowledged;
//! - an event the collector refuses again and again is replaced by a `lost` event (`refused`), so that
//!   it cannot hold up what follows;
//! - what was sent is told in `skep-sensor status` and, once a minute, in the log.
//!
//! Bounds: a batch has at most [`BATCH_BYTES`] and [`BATCH_EVENTS`]; at most [`WINDOW_BYTES`] are sent
//! and not acknowledged.

mod stream;

use std::{
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use skep_proto::v1;
use tokio::sync::watch;

use self::stream::{End, Position};
use crate::{spool::Spool, status::StatusBoard};

pub const BATCH_BYTES: usize = 1 << 20;
pub const BATCH_EVENTS: usize = 5_000;
pub const WINDOW_BYTES: usize = 4 << 20;

/// How often the spool is synced and the figures are renewed.
const TICK: Duration = Duration::from_secs(1);

/// How often the same failure is logged, and what was sent.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Who this sensor is and where it sends.
#[derive(Clone, Debug)]
pub struct Settings {
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
    /// Starts sending. Fails only when no thread or runtime can be had.
    pub fn start(settings: Settings, spool: Spool, board: StatusBoard) -> io::Result<Self> {
        Self::with_timing(settings, spool, board, Timing::DEFAULT)
    }

    fn with_timing(
        settings: Settings,
        spool: Spool,
        board: StatusBoard,
        timing: Timing,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(None);
        board.update(|status| status.uplink.address.clone_from(&settings.address));
        let worker = Worker {
            settings: Arc::new(settings),
            spool,
            board,
            timing,
            position: Position::default(),
            failures: Failures::default(),
        };
        let thread = std::thread::Builder::new()
            .name("skep-uplink".into())
            .stack_size(1 << 20)
            .spawn(move || runtime.block_on(worker.run(stopped)))?;
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

/// State of the uplink's thread.
struct Worker {
    settings: Arc<Settings>,
    spool: Spool,
    board: StatusBoard,
    timing: Timing,
    position: Position,
    failures: Failures,
}

/// What went wrong lately.
#[derive(Default)]
struct Failures {
    in_a_row: u32,
    logged: Option<(String, Instant)>,
}

// === impl Worker ===

impl Worker {
    async fn run(mut self, mut stop: watch::Receiver<Option<Instant>>) {
        let housekeeping = housekeeping(self.spool.clone(), self.board.clone());
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
            () = self.send_forever(&mut stop) => {}
            () = housekeeping => {}
            () = end => {}
        }
        self.spool.sync();
        self.board.update(|status| {
            status.spool = self.spool.stats();
            status.uplink.connected = false;
        });
    }

    /// Returns when it was told to stop and nothing is left to send, or nobody to send it to.
    async fn send_forever(&mut self, stop: &mut watch::Receiver<Option<Instant>>) {
        loop {
            let ended = self.stream(stop).await;
            self.board.update(|status| status.uplink.connected = false);
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
        if end.numbers_differ() {
            self.position = Position::default();
            match self.spool.new_epoch() {
                Ok(epoch) => tracing::warn!(epoch, "a new epoch begins"),
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
            let address = &self.settings.address;
            tracing::warn!(%address, %reason, "collector not reached, trying again");
            self.failures.logged = Some((reason.clone(), now));
        }
        self.board
            .update(|status| status.uplink.last_error = Some(reason));
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

/// Syncs the spool and renews the figures, for ever.
async fn housekeeping(spool: Spool, board: StatusBoard) {
    let mut tick = tokio::time::interval(TICK);
    let mut told = (Instant::now(), 0, 0);
    loop {
        tick.tick().await;
        spool.sync();
        let stats = spool.stats();
        board.update(|status| status.spool = stats);
        if told.0.elapsed() >= LOG_INTERVAL {
            let uplink = board.snapshot().uplink;
            if uplink.sent_events > told.1 {
                tracing::info!(
                    events = uplink.sent_events - told.1,
                    bytes = uplink.sent_bytes - told.2,
                    acknowledged = uplink.acked_events,
                    address = %uplink.address,
                    "sent"
                );
            }
            told = (Instant::now(), uplink.sent_events, uplink.sent_bytes);
        }
    }
}

#[cfg(test)]
mod tests;
