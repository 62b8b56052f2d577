//! What the daemon says about itself: the figures, the socket they are asked on, and how they are
//! shown.
//!
//! The daemon answers every connection to its unix socket with one JSON object ([`Status`]) and
//! closes. Invariants:
//! - only root can ask: the socket's mode is 0600, in a directory created 0700;
//! - one daemon a socket: a lock file beside it is held for the daemon's life, so that a second one
//!   is refused and a socket left by a killed one is replaced;
//! - a client that does not read holds up other clients for [`PATIENCE`] at most, the daemon never.

pub mod hooks;
pub mod page;
pub mod socket;

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use skep_event::UnixNanos;
use skep_spool::{Lane, Stats};

use crate::{clock::BootClock, stop::Waker};

/// How long one side of the socket waits for the other.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Everything `skep-sensor status` shows. What is not known is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub uptime_seconds: u64,
    /// How old the pipeline's figures are, when it did not give those of now in time.
    #[serde(default)]
    pub stale_seconds: Option<f64>,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    pub hooks: Vec<Hook>,
    pub canary: Canary,
    /// By record type (exec, fork, exit, open, connect): what the kernel side sent and lost.
    pub kernel: BTreeMap<String, KernelCounters>,
    /// By record type: what was read from the ring.
    pub read: BTreeMap<String, u64>,
    /// Records read that do not follow the ABI.
    #[serde(default)]
    pub malformed: u64,
    /// What became of the opens the kernel side folded and has handed out.
    #[serde(default)]
    pub folds: Folds,
    pub tracker: Tracker,
    /// Who looks at foreign processes and files.
    #[serde(default)]
    pub inspector: Inspector,
    /// Why the journal of sessions cannot be written, while that is so.
    #[serde(default)]
    pub journal_error: Option<String>,
    /// Events that left the pipeline, by class.
    pub events: BTreeMap<String, u64>,
    pub spool: Spools,
    pub uplink: Uplink,
    /// Settings of which something is shown here, by key: those that can change, and a few others.
    #[serde(default)]
    pub settings: BTreeMap<String, ShownSetting>,
    /// What each step of the chain has counted, in their order.
    #[serde(default)]
    pub steps: Vec<StepCounters>,
}

/// A value and who set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownSetting {
    pub value: String,
    pub by: String,
}

/// Counters of one step, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCounters {
    pub step: String,
    pub counters: BTreeMap<String, u64>,
}

/// One fact and the hook that serves it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    pub fact: String,
    pub hook: Option<String>,
    pub status: HookStatus,
    /// Why not the best, or why it is lost; empty when it is live.
    pub reason: String,
    /// Each kernel hook of it, and when it last reported a canary.
    pub canaries: Vec<HookCanary>,
}

/// A kernel hook and its canary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HookCanary {
    pub hook: String,
    /// Age of its last canary record; `null` when none has reached it.
    pub seconds_ago: Option<f64>,
    /// It does not report any more.
    pub lost: bool,
}

/// The self-test: how old the newest one is that has come to each hop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// 0: there are none.
    pub interval_seconds: u64,
    /// Read from the ring and judged.
    pub ring_seconds_ago: Option<f64>,
    pub spooled_seconds_ago: Option<f64>,
    /// Stored by the collector.
    pub acknowledged_seconds_ago: Option<f64>,
    /// Why the last one did not count, if it did not.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookStatus {
    Live,
    Fallback,
    /// It was, but does not report any more; attaching it again is being tried.
    Lost,
    #[default]
    Off,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCounters {
    pub sent: u64,
    /// Counted as a repeat of a record that was sent. Attempts are `sent + folded + Σ lost`.
    #[serde(default)]
    pub folded: u64,
    /// By cause.
    pub lost: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folds {
    /// Added to the count of an event.
    pub added: u64,
    /// There was no event to add them to.
    pub lost: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracker {
    pub processes: u64,
    pub sessions: u64,
    /// Records of processes that turned out to be no agents: read, judged, dropped.
    pub ignored: u64,
    /// Records that give no event of their own: forks, walks, self-tests.
    #[serde(default)]
    pub consumed: u64,
    /// Records that gave no event because a table was full.
    #[serde(default)]
    pub refused: u64,
    /// Programs that could not be judged.
    #[serde(default)]
    pub unjudged: u64,
    /// Entries that tables at their bound let go of.
    #[serde(default)]
    pub evicted: u64,
}

/// The inspector and what it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspector {
    pub pid: Option<u32>,
    /// Resident memory of it and its workers; what they share is counted for each.
    pub rss_bytes: Option<u64>,
    /// Questions somebody looks into now, or that the kernel could not end.
    pub workers: u64,
    pub asked: u64,
    pub late: u64,
    pub over_budget: u64,
    pub unreadable: u64,
    /// Questions that failed for another reason.
    pub failed: u64,
    /// Inspectors that had to be started after the first.
    pub replaced: u64,
}

/// One spool a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spools {
    pub bulk: Stats,
    pub findings: Stats,
}

/// One connection, and on it one stream a lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Uplink {
    pub address: String,
    pub bulk: Stream,
    pub findings: Stream,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    pub connected: bool,
    /// Events sent and acknowledged since the daemon started.
    pub sent_events: u64,
    pub acked_events: u64,
    pub sent_bytes: u64,
    pub last_ack_seconds_ago: Option<f64>,
    pub last_error: Option<String>,
}

/// Where the parts of the daemon leave their figures. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct StatusBoard {
    inner: Arc<Mutex<Board>>,
    renewed: Arc<Condvar>,
    started: Instant,
}

/// Times of the newest self-tests of the pipeline.
#[derive(Clone, Copy, Debug, Default)]
pub struct Canaries {
    /// Read from the ring and judged.
    pub judged: Option<UnixNanos>,
    pub spooled: Option<UnixNanos>,
}

#[derive(Clone, Copy, Debug, Default)]
struct AllCanaries {
    /// As of when the pipeline's figures are.
    pipeline: Canaries,
    acknowledged: Option<UnixNanos>,
}

#[derive(Debug)]
struct Board {
    status: Status,
    /// Of the bulk, of the findings.
    last_ack: [Option<Instant>; 2],
    /// Events tell time by it.
    clock: Option<BootClock>,
    /// Wakes the pipeline, which has the figures.
    waker: Option<Waker>,
    canaries: AllCanaries,
    /// How often somebody has asked for the figures of the pipeline, and the last time they were
    /// counted for.
    asked: u64,
    answered: u64,
    renewed: Instant,
}

// === impl Spools ===

impl Spools {
    pub fn lane_mut(&mut self, lane: Lane) -> &mut Stats {
        match lane {
            Lane::Bulk => &mut self.bulk,
            Lane::Findings => &mut self.findings,
        }
    }
}

// === impl Uplink ===

impl Uplink {
    pub fn lane(&self, lane: Lane) -> &Stream {
        match lane {
            Lane::Bulk => &self.bulk,
            Lane::Findings => &self.findings,
        }
    }

    pub fn lane_mut(&mut self, lane: Lane) -> &mut Stream {
        match lane {
            Lane::Bulk => &mut self.bulk,
            Lane::Findings => &mut self.findings,
        }
    }
}

// === impl StatusBoard ===

impl StatusBoard {
    pub fn new(version: &str) -> Self {
        let status = Status {
            version: version.to_owned(),
            pid: std::process::id(),
            ..Status::default()
        };
        let started = Instant::now();
        Self {
            inner: Arc::new(Mutex::new(Board {
                status,
                last_ack: [None; 2],
                clock: None,
                waker: None,
                canaries: AllCanaries::default(),
                asked: 0,
                answered: 0,
                renewed: started,
            })),
            renewed: Arc::default(),
            started,
        }
    }

    /// Changes the figures; keep `change` short, others wait.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock().status);
    }

    /// Notes an acknowledgement of the collector, now.
    pub fn acknowledged(&self, lane: Lane, events: u64) {
        let mut board = self.lock();
        let [bulk, findings] = &mut board.last_ack;
        let last = match lane {
            Lane::Bulk => bulk,
            Lane::Findings => findings,
        };
        *last = Some(Instant::now());
        board.status.uplink.lane_mut(lane).acked_events += events;
    }

    /// From now on whoever asks for figures of now wakes the one who has them.
    pub fn wake_by(&self, waker: Waker) {
        self.lock().waker = Some(waker);
    }

    /// From now on ages are told of times on this clock.
    pub fn tell_time_by(&self, clock: BootClock) {
        self.lock().clock = Some(clock);
    }

    /// The collector has stored the self-test whose event has this time.
    pub fn canary_acknowledged(&self, time: UnixNanos) {
        self.lock().canaries.acknowledged = Some(time);
    }

    /// How often the figures have been asked for: what is counted from now on answers all of it.
    pub fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// Changes the figures, which were counted after they had been asked for `asked` times, and with
    /// them the newest self-tests; tells whoever waits for them.
    pub fn renew(&self, asked: u64, canaries: Canaries, change: impl FnOnce(&mut Status)) {
        let mut board = self.lock();
        change(&mut board.status);
        board.canaries.pipeline = canaries;
        board.answered = asked;
        board.renewed = Instant::now();
        self.renewed.notify_all();
    }

    /// The figures as of now: asks the pipeline for its own, and waits for them, `patience` at most.
    /// Without an answer the last figures are the best there are, and say how old they are.
    pub fn current(&self, patience: Duration) -> Status {
        let mut board = self.lock();
        board.asked += 1;
        let asked = board.asked;
        if let Some(waker) = &board.waker {
            waker.wake();
        }
        let (board, _) = self
            .renewed
            .wait_timeout_while(board, patience, |board| board.answered < asked)
            .unwrap_or_else(PoisonError::into_inner);
        let mut status = self.figures(&board);
        let is_stale = board.answered < asked;
        status.stale_seconds = is_stale.then(|| board.renewed.elapsed().as_secs_f64());
        status
    }

    /// The figures as they stand.
    pub fn snapshot(&self) -> Status {
        self.figures(&self.lock())
    }

    fn figures(&self, board: &Board) -> Status {
        let mut status = board.status.clone();
        status.uptime_seconds = self.started.elapsed().as_secs();
        status.rss_bytes = resident_bytes();
        let ages = board
            .last_ack
            .map(|last| last.map(|at| at.elapsed().as_secs_f64()));
        [
            status.uplink.bulk.last_ack_seconds_ago,
            status.uplink.findings.last_ack_seconds_ago,
        ] = ages;
        let now = board.clock.as_ref().map(BootClock::now);
        let age = |time: Option<UnixNanos>| {
            let nanos = now?.0.saturating_sub(time?.0);
            Some(Duration::from_nanos(nanos).as_secs_f64())
        };
        let AllCanaries {
            pipeline: Canaries { judged, spooled },
            acknowledged,
        } = board.canaries;
        status.canary.ring_seconds_ago = age(judged);
        status.canary.spooled_seconds_ago = age(spooled);
        // A lane is acknowledged in its order, so that with a newer one all of these are.
        status.canary.acknowledged_seconds_ago = age(acknowledged.min(spooled));
        status
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // A panic in `update` leaves figures that are at worst incomplete.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resident memory of this process, from `/proc/self/statm`.
pub fn resident_bytes() -> Option<u64> {
    resident_bytes_of("self")
}

/// Resident memory of the process with this name in `/proc`.
pub fn resident_bytes_of(process: &str) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn figures_that_were_counted_before_they_were_asked_for_are_no_answer() {
        let board = StatusBoard::new("0");
        let sessions = |count| move |status: &mut Status| status.tracker.sessions = count;
        let before = board.asked();
        let asking = board.clone();
        let answer = std::thread::spawn(move || asking.current(LONG));
        while board.asked() == before {
            std::thread::yield_now();
        }
        board.renew(before, Canaries::default(), sessions(1));
        // Time for the one who asks to take them for an answer.
        std::thread::sleep(Duration::from_millis(50));
        board.renew(board.asked(), Canaries::default(), sessions(2));
        let status = answer.join().unwrap();
        assert_eq!((status.tracker.sessions, status.stale_seconds), (2, None));
    }

    #[test]
    fn figures_that_nobody_renews_say_how_old_they_are() {
        let board = StatusBoard::new("0");
        assert!(board.current(Duration::ZERO).stale_seconds.is_some());
        assert_eq!(board.snapshot().stale_seconds, None, "nobody asked");
    }

    #[test]
    fn no_hop_shows_a_newer_self_test_than_the_hop_before_it() {
        let board = StatusBoard::new("0");
        let clock = BootClock::measure();
        board.tell_time_by(clock.clone());
        let then = clock.now();
        // The collector is faster than the next figures.
        board.canary_acknowledged(then);
        let canary = board.snapshot().canary;
        assert_eq!(canary, Canary::default());
        let canaries = Canaries {
            judged: Some(then),
            spooled: Some(then),
        };
        board.renew(0, canaries, |_| {});
        let canary = board.snapshot().canary;
        assert!(canary.ring_seconds_ago.is_some());
        assert_eq!(canary.spooled_seconds_ago, canary.ring_seconds_ago);
        assert_eq!(canary.acknowledged_seconds_ago, canary.ring_seconds_ago);
    }
}
