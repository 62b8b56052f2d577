//! The hot path: the chain of steps on the kernel's ring, and the duties of the sensor besides it.
//!
//! One thread, no locks, and no allocation for a record that repeats an earlier one. The ring is emptied
//! in rounds of a bounded number of records so that a storm does not keep the caller from its other
//! duties. For every kind of record `sent by the kernel = read here + still in the ring`, and what the
//! kernel could not send or a step could not decode becomes a `lost` event with its time range.

mod adopt;
pub mod census;
mod evicted;
mod front;
mod keep;
mod wall_clock;
pub mod watchdog;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use skep_abi::Kind;
use skep_event::Event;

use self::{
    front::Front,
    watchdog::{Canaries, LivenessReport},
};
use crate::{
    accounts::Accounts,
    chain::{Head, Tail},
    clock::BootClock,
    decode::step::Decode,
    fold_epochs::FoldCounts,
    journal::Journal,
    probes::{HookReport, KernelCounts, Probes, ProgramId, ProgramReport, ProgramSpec},
    stamp::Stamp,
    step::{Sink, StepCounts},
    track::{Judge, TrackCounts, Tracker, adopt::Running, kept::Kept},
};

/// How long a round may wait for the next: with an agent at work, and without.
const AT_WORK: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_secs(1);
/// How often the kernel's loss counters are looked at.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(1);

/// Everything from the ring to redacted events.
pub struct Pipeline<J> {
    front: Front<J>,
    tail: Tail,
    /// So many records had been sent when the last rounds began.
    until: u64,
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
    /// What each step of the chain has counted, in their order.
    pub steps: Vec<StepCounts>,
}

impl<J: Judge + Running + Clone> Pipeline<J> {
    /// `memory_bytes`: what the sensor may take in all.
    pub fn new(
        probes: Probes,
        track: Tracker<J>,
        clock: BootClock,
        memory_bytes: usize,
    ) -> io::Result<Self> {
        let accounts = Accounts::new(probes.sessions_fd()?, clock.clone());
        let decode = Decode::after(probes.read_by_trials);
        let head = Head { decode, track };
        let mut tail = Tail::within(memory_bytes);
        tail.stamp = Stamp::new(clock.clone(), head.track.boot_id());
        Ok(Self {
            front: Front::new(probes, head, accounts, clock, memory_bytes),
            tail,
            until: 0,
        })
    }

    pub fn hooks(&self) -> &[HookReport] {
        &self.front.probes.hooks
    }

    /// Who looks at foreign processes and files.
    pub fn judge(&self) -> &J {
        self.front.head.track.judge()
    }

    /// How long the caller may wait for the ring before the next round. Records that somebody waits for
    /// wake it sooner (an exec without a verdict, a ring that fills up); the rest is fetched. A canary is
    /// started when it is due, and not long waited for.
    pub fn patience(&self) -> Duration {
        let track = &self.front.head.track;
        let usual = if track.is_idle() && !track.holds_any() {
            IDLE
        } else {
            AT_WORK
        };
        let watchdog = self.front.watchdog.as_ref();
        watchdog.map_or(usual, |watchdog| usual.min(watchdog.patience()))
    }

    /// Readable when records wait.
    pub fn ring(&self) -> BorrowedFd<'_> {
        self.front.probes.ring.as_fd()
    }

    /// Readable when the wall clock was set: the next round tells that.
    pub fn alarm(&self) -> Option<BorrowedFd<'_>> {
        self.front.wall_clock.alarm()
    }

    /// To be called once, before the first round, with what an earlier life of the sensor kept.
    pub fn adopt(&mut self, kept: Option<Kept>, leaves: impl FnMut(Event)) {
        let found = self.front.adopt(kept);
        let mut sink = self.tail.unfolded(leaves);
        found.into_iter().for_each(|event| sink.event(event));
    }

    /// Keeps processes and sessions in `journal` from now on.
    pub fn keep_in(&mut self, journal: Journal) {
        self.front.keep_in(journal);
    }

    /// Keeps in this directory which agents of no family were seen, and takes up what is kept there.
    pub fn keep_sights_in(&mut self, state_directory: &std::path::Path) {
        self.tail.first_sight.keep_in(state_directory);
    }

    /// Why the journal cannot be written, while that is so.
    pub fn journal_error(&self) -> Option<&str> {
        self.front.journal.as_ref().and_then(Journal::error)
    }

    /// From now on canaries go through the hooks.
    pub fn send_canaries(&mut self, canaries: Canaries) {
        self.front.send_canaries(canaries);
    }

    pub fn liveness(&self) -> Option<LivenessReport> {
        self.front.watchdog.as_ref().map(|dog| dog.report())
    }

    /// Attaches a program of the kernel object; canaries go through its hook from now on. Attached
    /// already, it stays as it is.
    pub fn attach_program(&mut self, spec: ProgramSpec) -> ProgramReport {
        let report = self.front.probes.attach_program(spec);
        self.front.hooks_changed();
        report
    }

    /// Detaches a program; its silence accuses nobody from now on. `None` when there is no such program.
    pub fn detach_program(&mut self, id: ProgramId) -> Option<ProgramReport> {
        let report = self.front.probes.detach(id);
        self.front.hooks_changed();
        report
    }

    /// Every program that was attached, or was to be.
    pub fn programs(&self) -> Vec<ProgramReport> {
        self.front.probes.programs()
    }

    /// One round of the loop that `watch` and `run` share: what waits in the ring, what was lost, and
    /// what the fold lets go of. True when more waits. With `last`, once what was sent until then is
    /// read, every loss up to now is told and the fold is emptied.
    pub fn round(&mut self, last: bool, mut leaves: impl FnMut(Event)) -> bool {
        let now = Instant::now();
        let began_ns = BootClock::boot_now();
        let Self { front, tail, until } = self;
        if last && !front.epochs.is_stopped() {
            front.epochs.stop(&mut front.probes);
            *until = front.probes.counts().iter().map(|counts| counts.sent).sum();
        }
        let mut sink = tail.to(now, &mut leaves);
        front.wall_clock.follow(&front.clock, &mut sink);
        let more = front.read(&mut sink);
        if !last {
            front.check_hooks(more, &mut sink);
            front.count_heads(more, &mut sink);
        }
        drop(sink);
        let read = front.head.decode.read(Kind::Open);
        let ends = last
            && front.head.decode.read_in_all() >= *until
            && front.epochs.finish(&mut front.probes, &mut tail.fold, read);
        if !last {
            front
                .epochs
                .run(&mut front.probes, &mut tail.fold, read, now);
        }
        let mut sink = tail.to(now, &mut leaves);
        if ends || front.accounted.elapsed() >= ACCOUNTS_EVERY {
            front.account(ends, &mut sink);
        }
        sink.tick();
        if ends {
            sink.end();
        }
        drop(sink);
        front.probes.forward_log(now, ends);
        // Everything up to then has been handed on, but for what the fold still holds, unless records
        // still wait.
        let waiting_ns = front.head.track.held_since_ns();
        let held_ns = tail.fold.oldest().into_iter().chain(waiting_ns).min();
        let seen_ns = match held_ns {
            _ if more => 0,
            Some(oldest_ns) => began_ns.min(oldest_ns),
            None => began_ns,
        };
        let told = front.keep(seen_ns, ends, tail.redact.redactor());
        if let Some(event) = told {
            tail.unfolded(&mut leaves).event(event);
        }
        if last { !ends } else { more }
    }

    /// Handles what waits in the ring, one round at most, and folds nothing; true when there may be
    /// more.
    pub fn drain(&mut self, leaves: impl FnMut(Event)) -> bool {
        self.front.read(&mut self.tail.unfolded(leaves))
    }

    /// Tells what was lost since the last time; with `last`, also what would be told together later.
    pub fn account(&mut self, last: bool, leaves: impl FnMut(Event)) {
        self.front.account(last, &mut self.tail.unfolded(leaves));
    }

    pub fn counts(&mut self) -> PipelineCounts {
        let Self { front, tail, .. } = self;
        let decode = &front.head.decode;
        let read = Kind::ALL.map(|kind| (kind, decode.read(kind)));
        PipelineCounts {
            kernel: front.probes.counts(),
            read: read.to_vec(),
            malformed: decode.malformed(),
            folded: front.epochs.counts(),
            track: front.head.track.counts(),
            steps: front
                .head
                .counts()
                .into_iter()
                .chain(tail.counts())
                .collect(),
        }
    }
}
