//! The hot path: ring → decode → track → fold → redact, and the accounts of what was read and lost.
//!
//! One thread, no locks, and no allocation for a record that repeats an earlier one. Redaction comes
//! last, so that it is done once for all that was folded into one event; nothing leaves without it. The
//! ring is emptied in rounds of [`ROUND`] records so that a storm does not keep the caller from its other
//! duties. For every kind of record `sent by the kernel = read here + still in the ring`, and what the
//! kernel could not send or this step could not decode becomes a `lost` event with its time range.

mod adopt;
mod census;
mod keep;
mod liveness;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use aya::maps::{HashMap as BpfHashMap, MapData, RingBuf};
use skep_abi::{Claim, ClaimVerdict, FileKey, Header, Kind, SessionState};
use skep_event::{Coverage, CoverageKind, Event, UnixNanos};
use skep_redact::Redactor;

use crate::{
    accounts::{Accounts, OwnLosses},
    act::{Act, Sink},
    backlog::Backlog,
    clock::BootClock,
    decode::{self, Body, Record},
    epochs::{Epochs, FoldCounts},
    fold::{Fold, FoldSink},
    journal::Journal,
    probes::{HookReport, KernelCounts, NOEXIST, Probes},
    track::{Judge, TrackCounts, Tracker, Verdicts},
};

pub use self::liveness::{Canaries, LivenessReport};
use self::{census::Census, liveness::Watchdog};

/// Records handled before the caller gets its turn.
const ROUND: usize = 4096;
/// How long a round may wait for the next: with an agent at work, and without.
const AT_WORK: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_secs(1);
/// How often the kernel's loss counters are looked at.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(1);

/// Everything from the ring to redacted events.
pub struct Pipeline<J> {
    probes: Probes,
    tracker: Tracker<J>,
    redactor: Arc<Redactor>,
    read: [u64; Kind::ALL.len()],
    malformed: u64,
    epochs: Epochs,
    accounts: Accounts,
    looked_at: Instant,
    /// So many records had been sent when the last rounds began.
    until: u64,
    clock: BootClock,
    /// What has been told of tables at their bound and of execs that could not be judged, and when.
    told: (UnixNanos, TrackCounts),
    /// Where the decoder puts paths together.
    room: Vec<u8>,
    /// For the next life of the sensor.
    journal: Option<Journal>,
    /// Since when it cannot be written, if that was told.
    unkept_since: Option<UnixNanos>,
    watchdog: Option<Watchdog>,
    census: Census,
    backlog: Backlog,
}

/// Figures for `status`.
#[derive(Clone, Debug)]
pub struct PipelineCounts {
    pub kernel: Vec<KernelCounts>,
    pub read: Vec<(Kind, u64)>,
    pub malformed: u64,
    /// What the kernel side folded, as far as it was handed out.
    pub folded: FoldCounts,
    pub track: TrackCounts,
}

/// Every act as an event of its own.
struct Each<F>(F);

impl<F: FnMut(Event)> Sink for Each<F> {
    fn event(&mut self, event: Event) {
        (self.0)(event);
    }

    fn act(&mut self, act: &Act<'_>) {
        (self.0)(act.to_event());
    }
}

/// Verdicts into the kernel's maps.
struct Maps<'a> {
    claims: &'a mut BpfHashMap<MapData, Claim, ClaimVerdict>,
    verdicts: &'a mut BpfHashMap<MapData, FileKey, u32>,
    sessions: &'a mut BpfHashMap<MapData, u64, SessionState>,
    lost_waiting: &'a mut BpfHashMap<MapData, Claim, u64>,
    /// Where records go while a judgement takes its time, if the ring is free for that.
    beside: Option<(&'a mut RingBuf<MapData>, &'a mut Backlog)>,
}

impl<'a> Maps<'a> {
    fn beside_ring(probes: &'a mut Probes) -> (&'a mut RingBuf<MapData>, Self) {
        let Probes {
            ring,
            claims,
            verdicts,
            sessions,
            lost_waiting,
            ..
        } = probes;
        let maps = Self {
            claims,
            verdicts,
            sessions,
            lost_waiting,
            beside: None,
        };
        (ring, maps)
    }

    fn of(probes: &'a mut Probes) -> Self {
        Self::beside_ring(probes).1
    }
}

impl Verdicts for Maps<'_> {
    fn settle(&mut self, claim: Claim, verdict: ClaimVerdict) {
        // Both maps evict the oldest, so only a kernel out of memory refuses; the process then stays
        // pending, which costs records that are dropped here, and loses nothing.
        if let Err(error) = self.claims.insert(claim, verdict, 0) {
            tracing::debug!(%error, "the kernel took no verdict on a claim");
        }
    }

    fn meanwhile(&mut self) {
        if let Some((ring, backlog)) = &mut self.beside {
            backlog.fill(ring);
        }
    }

    fn lost_waiting(&mut self, claim: Claim) -> bool {
        // No entry: nothing was lost.
        let lost = self.lost_waiting.get(&claim, 0).is_ok();
        if lost && let Err(error) = self.lost_waiting.remove(&claim) {
            tracing::debug!(%error, "what was lost before a verdict was forgotten already");
        }
        lost
    }

    fn begin_session(&mut self, kernel: u64) -> bool {
        // One that is there is left as it is: its counts go on.
        let fresh = SessionState::default();
        let entered = self.sessions.insert(kernel, fresh, NOEXIST);
        entered.is_ok() || self.sessions.get(&kernel, 0).is_ok()
    }

    fn end_session(&mut self, kernel: u64) {
        if let Err(error) = self.sessions.remove(&kernel) {
            tracing::debug!(%error, kernel, "the kernel had no account of a session");
        }
    }

    fn never(&mut self, file: FileKey) {
        if let Err(error) = self.verdicts.insert(file, skep_abi::VERDICT_NOT_AGENT, 0) {
            tracing::debug!(%error, "the kernel took no verdict on a file");
        }
    }
}

/// What became of a record.
enum Taken {
    Nothing,
    Handled,
    /// Still to be handled.
    Exec(Record<'static>),
}

impl<J: Judge> Pipeline<J> {
    /// `memory_bytes`: what the sensor may take in all.
    pub fn new(
        probes: Probes,
        tracker: Tracker<J>,
        clock: BootClock,
        memory_bytes: usize,
    ) -> io::Result<Self> {
        let read = probes.read_by_trials;
        let accounts = Accounts::new(probes.sessions_fd()?, clock);
        Ok(Self {
            probes,
            tracker,
            redactor: Arc::new(Redactor::new()),
            read,
            malformed: 0,
            epochs: Epochs::new(clock),
            accounts,
            looked_at: Instant::now(),
            until: 0,
            clock,
            told: (clock.now(), TrackCounts::default()),
            room: Vec::new(),
            journal: None,
            unkept_since: None,
            watchdog: None,
            census: Census::new(clock.now()),
            backlog: Backlog::within(memory_bytes),
        })
    }

    pub fn hooks(&self) -> &[HookReport] {
        &self.probes.hooks
    }

    /// How long the caller may wait for the ring before the next round. Records that somebody waits for
    /// wake it sooner (an exec without a verdict, a ring that fills up); the rest is fetched. A canary is
    /// started when it is due, and not long waited for.
    pub fn patience(&self) -> Duration {
        let usual = if self.tracker.is_idle() {
            IDLE
        } else {
            AT_WORK
        };
        let watchdog = self.watchdog.as_ref();
        watchdog.map_or(usual, |watchdog| usual.min(watchdog.patience()))
    }

    /// Readable when records wait.
    pub fn ring(&self) -> BorrowedFd<'_> {
        self.probes.ring.as_fd()
    }

    /// One round of the loop that `watch` and `run` share: what waits in the ring, what was lost, and
    /// what the fold lets go of. True when more waits. With `last`, once what was sent until then is
    /// read, every loss up to now is told and the fold is emptied.
    pub fn round(&mut self, fold: &mut Fold, last: bool, mut sink: impl FnMut(Event)) -> bool {
        let now = Instant::now();
        let began_ns = BootClock::boot_now();
        if last && !self.epochs.is_stopped() {
            self.epochs.stop(&mut self.probes);
            self.until = self.probes.counts().iter().map(|counts| counts.sent).sum();
        }
        let redactor = self.redactor.clone();
        let mut sink = |event| sink(redactor.event(event));
        let more = self.read(&mut FoldSink {
            fold,
            now,
            sink: &mut sink,
        });
        if !last {
            let mut sink = FoldSink {
                fold,
                now,
                sink: &mut sink,
            };
            self.check_hooks(more, &mut sink);
            self.count_heads(more, &mut sink);
        }
        let read = self.read[Kind::Open as usize - 1];
        let ends = last
            && self.read.iter().sum::<u64>() >= self.until
            && self.epochs.finish(&mut self.probes, fold, read);
        if !last {
            self.epochs.run(&mut self.probes, fold, read, now);
        }
        if ends || self.looked_at.elapsed() >= ACCOUNTS_EVERY {
            self.account(ends, |event| fold.push(event, &mut sink));
        }
        fold.tick(now, &mut sink);
        if ends {
            fold.flush(&mut sink);
        }
        self.keep(began_ns, more, ends, fold, &mut sink);
        if last { !ends } else { more }
    }

    /// Handles what waits in the ring, one round at most, and folds nothing; true when there may be
    /// more.
    pub fn drain(&mut self, mut sink: impl FnMut(Event)) -> bool {
        let redactor = self.redactor.clone();
        self.read(&mut Each(|event| sink(redactor.event(event))))
    }

    /// Handles what waits in the ring, one round at most; true when there may be more.
    fn read(&mut self, sink: &mut impl Sink) -> bool {
        let now = Instant::now();
        for _ in 0..ROUND {
            // What was taken out of the ring before its turn comes first.
            let waiting = self.backlog.pop();
            let exec = match self.take(waiting.as_deref(), now, sink) {
                Taken::Nothing => return false,
                Taken::Handled => continue,
                Taken::Exec(exec) => exec,
            };
            // It is out of the ring, so that while its file is judged others can be taken out too.
            let (ring, mut maps) = Maps::beside_ring(&mut self.probes);
            maps.beside = Some((ring, &mut self.backlog));
            self.tracker.handle(exec, &mut maps, sink);
        }
        true
    }

    /// Decodes one record, the given or the next of the ring, and handles it unless it is an exec.
    fn take(&mut self, waiting: Option<&[u8]>, now: Instant, sink: &mut impl Sink) -> Taken {
        let Self {
            probes,
            tracker,
            read,
            malformed,
            epochs,
            room,
            ..
        } = self;
        let (ring, mut maps) = Maps::beside_ring(probes);
        let from_ring;
        let bytes = match waiting {
            Some(record) => record,
            None => match ring.next() {
                Some(record) => {
                    from_ring = record;
                    &from_ring
                }
                None => return Taken::Nothing,
            },
        };
        if let Some(kind) =
            decode::fixed::<Header>(bytes).and_then(|header| Kind::from_u16(header.kind))
        {
            read[kind as usize - 1] += 1;
        }
        match decode::decode(bytes, room) {
            Ok(Record {
                common,
                body: Body::Exec(exec),
            }) => {
                let body = Body::Exec(exec);
                return Taken::Exec(Record { common, body });
            }
            Ok(record) => {
                if let Body::Open(open) = &record.body
                    && let Some(epoch) = open.epoch
                {
                    epochs.saw(epoch, now);
                }
                tracker.handle(record, &mut maps, sink);
            }
            Err(decode::Malformed(reason)) => {
                if *malformed == 0 {
                    tracing::error!(reason, len = bytes.len(), "a kernel record is malformed");
                }
                *malformed += 1;
            }
        }
        Taken::Handled
    }

    /// Tells what was lost since the last time; with `last`, also what would be told together later.
    pub fn account(&mut self, last: bool, mut sink: impl FnMut(Event)) {
        let own = OwnLosses {
            malformed: self.malformed,
            table_full: self.tracker.counts().refused,
            fold: self.epochs.counts().lost,
        };
        let Self {
            accounts,
            probes,
            tracker,
            epochs,
            ..
        } = self;
        let mut own_of = tracker.take_refused();
        for (session, count) in epochs.take_unmatched() {
            own_of.entry(session).or_default().fold += count;
        }
        let machine = probes.counts();
        if let Err(error) = accounts.look(&machine, own, &own_of, tracker, &mut sink) {
            tracing::error!(%error, "the kernel's accounts cannot be read");
        }
        let now = self.clock.now();
        self.tracker.tell_due_rings(now, last, &mut Each(&mut sink));
        self.looked_at = Instant::now();
        self.tell_evicted(sink);
    }

    /// Says that tables were at their bound, and what they let go of; and how many execs there was
    /// nothing left to judge of.
    fn tell_evicted(&mut self, mut sink: impl FnMut(Event)) {
        let now = self.clock.now();
        let counts = self.tracker.counts();
        let (first, before) = std::mem::replace(&mut self.told, (now, counts));
        let count = counts.evicted.total() - before.evicted.total();
        if count > 0 {
            let reason = counts.evicted.since(&before.evicted);
            tracing::warn!(count, reason, "a table is at its bound");
            let coverage = Coverage::point(CoverageKind::Evicted, (first, now), count, reason);
            sink(coverage.of_machine());
        }
        let count = counts.unjudged - before.unjudged;
        if count > 0 {
            tracing::info!(count, "programs were gone before they could be judged");
            let reason = "a program had ended and its file was gone before it could be looked at, or \
                          looking at it failed; an agent among them was not recognised";
            let coverage = Coverage::point(CoverageKind::Unjudged, (first, now), count, reason);
            sink(coverage.of_machine());
        }
        let count = counts.unaccounted - before.unaccounted;
        if count > 0 {
            tracing::warn!(count, "the kernel took no account of a session");
            let reason = "the kernel has no account of its own for a session: what is lost of it is told \
                          of the whole host, and it is not held back alone";
            let coverage = Coverage::point(CoverageKind::Degraded, (first, now), count, reason);
            sink(coverage.of_machine());
        }
    }

    pub fn counts(&self) -> PipelineCounts {
        PipelineCounts {
            kernel: self.probes.counts(),
            read: Kind::ALL.into_iter().zip(self.read).collect(),
            malformed: self.malformed,
            folded: self.epochs.counts(),
            track: self.tracker.counts(),
        }
    }
}
