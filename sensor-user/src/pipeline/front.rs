//! The pipeline as far as the tracker: what reads the ring, and every duty that looks at processes.

use std::time::Instant;

use super::{
    census::Census,
    evicted::EvictedTold,
    wall_clock::WallClock,
    watchdog::{Canaries, Parts, Watchdog},
};
use crate::{
    accounts::{Accounts, OwnLosses},
    backlog::Backlog,
    chain::Head,
    clock::BootClock,
    decode::Record,
    fold_epochs::FoldEpochs,
    journal::Journal,
    probes::Probes,
    step::Sink,
    track::{Judge, adopt::Running},
};
use skep_event::UnixNanos;

/// Records handled before the caller gets its turn.
const ROUND: usize = 4096;

/// Everything from the ring to the tracker.
pub struct Front<J> {
    pub probes: Probes,
    pub head: Head<J>,
    pub epochs: FoldEpochs,
    accounts: Accounts,
    pub accounted: Instant,
    pub clock: BootClock,
    pub wall_clock: WallClock,
    evicted: EvictedTold,
    /// For the next life of the sensor.
    pub journal: Option<Journal>,
    /// Since when it cannot be written, if that was told.
    pub unkept_since: Option<UnixNanos>,
    pub watchdog: Option<Watchdog>,
    census: Census,
    pub backlog: Backlog,
}

/// What became of a record that was to be fetched.
enum Fetched {
    Nothing,
    Handled,
    /// Still to be handled.
    Exec(Box<Record<'static>>),
}

impl<J: Judge + Running + Clone> Front<J> {
    pub fn new(
        probes: Probes,
        head: Head<J>,
        accounts: Accounts,
        clock: BootClock,
        memory_bytes: usize,
    ) -> Self {
        Self {
            probes,
            head,
            epochs: FoldEpochs::new(clock.clone()),
            accounts,
            accounted: Instant::now(),
            wall_clock: WallClock::new(),
            evicted: EvictedTold::since(clock.now()),
            journal: None,
            unkept_since: None,
            watchdog: None,
            census: Census::new(clock.now()),
            backlog: Backlog::within(memory_bytes),
            clock,
        }
    }

    /// Handles what waits in the ring, one round at most; true when there may be more.
    pub fn read(&mut self, sink: &mut impl Sink) -> bool {
        let now = Instant::now();
        let more = self.read_records(sink);
        self.settle_held(BootClock::boot_now(), sink);
        if let Some(epoch) = self.head.decode.take_newest_epoch() {
            self.epochs.saw(epoch, now);
        }
        more
    }

    fn read_records(&mut self, sink: &mut impl Sink) -> bool {
        for _ in 0..ROUND {
            // What was taken out of the ring before its turn comes first.
            let waiting = self.backlog.pop();
            let exec = match self.fetch(waiting.as_deref(), sink) {
                Fetched::Nothing => return false,
                Fetched::Handled => {
                    if self.head.track.has_questions() {
                        self.settle_held(0, sink);
                    }
                    continue;
                }
                Fetched::Exec(exec) => *exec,
            };
            // It is out of the ring, so that while its file is judged others can be taken out too.
            let mut verdicts = self.probes.verdicts_beside(&mut self.backlog);
            self.head.exec(exec, &mut verdicts, sink);
        }
        true
    }

    /// Answers those that wait for what they open, as of now (boot clock, nanoseconds; 0: whatever the time).
    fn settle_held(&mut self, now_ns: u64, sink: &mut impl Sink) {
        if self.head.track.holds_any() {
            let mut verdicts = self.probes.verdicts_beside(&mut self.backlog);
            self.head.track.settle_held(now_ns, &mut verdicts, sink);
        }
    }

    /// Has the chain take one record, the given or the next of the ring.
    fn fetch(&mut self, waiting: Option<&[u8]>, sink: &mut impl Sink) -> Fetched {
        let (ring, mut verdicts) = self.probes.ring_and_verdicts();
        let from_ring;
        let bytes = match waiting {
            Some(record) => record,
            None => match ring.next() {
                Some(record) => {
                    from_ring = record;
                    &from_ring
                }
                None => return Fetched::Nothing,
            },
        };
        match self.head.record(bytes, &mut verdicts, sink) {
            Some(exec) => Fetched::Exec(Box::new(exec)),
            None => Fetched::Handled,
        }
    }

    /// Tells what was lost since the last time; with `last`, also what would be told together later.
    pub fn account(&mut self, last: bool, sink: &mut impl Sink) {
        if last {
            // Nobody waits any longer.
            self.settle_held(u64::MAX, sink);
        }
        let own = OwnLosses {
            malformed: self.head.decode.malformed(),
            table_full: self.head.track.counts().refused,
            fold: self.epochs.counts().lost,
        };
        let Self {
            accounts,
            probes,
            head,
            epochs,
            ..
        } = self;
        let mut own_of = head.track.take_refused();
        for (session, count) in epochs.take_unmatched() {
            own_of.entry(session).or_default().fold += count;
        }
        let machine = probes.counts();
        let looked = accounts.look(&machine, own, &own_of, &mut head.track, |event| {
            sink.event(event);
        });
        if let Err(error) = looked {
            tracing::error!(%error, "the kernel's accounts cannot be read");
        }
        let now = self.clock.now();
        self.head.track.tell_due_rings(now, last, sink);
        self.head.track.tell_names(now, sink);
        self.accounted = Instant::now();
        let not_judged = self.head.track.take_unjudged();
        self.evicted
            .tell(self.head.track.counts(), not_judged, &self.clock, sink);
    }

    // === duties ===

    pub fn send_canaries(&mut self, canaries: Canaries) {
        let attached = self.probes.attached_hooks();
        self.watchdog = Some(Watchdog::new(canaries, &attached, self.clock.now()));
    }

    /// Programs were attached or detached on purpose: canaries have other hooks to go through.
    pub fn hooks_changed(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.hooks_changed(&self.probes.attached_hooks());
        }
    }

    /// After the ring was read; `more` when something may be left in it.
    pub fn check_hooks(&mut self, more: bool, sink: &mut impl Sink) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        let parts = Parts {
            clock: self.clock.clone(),
            records_read: self.head.decode.read_in_all(),
            probes: &mut self.probes,
            track: &mut self.head.track,
        };
        // Who was forked, executed something or ended meanwhile, no record has told.
        if let Some(since_ns) = watchdog.check(more, parts, sink) {
            self.find_again(since_ns, sink);
        }
    }

    /// After the ring was read; `more` when something may be left in it.
    pub fn count_heads(&mut self, more: bool, sink: &mut impl Sink) {
        let Self {
            census,
            head,
            probes,
            clock,
            ..
        } = self;
        if !more {
            census.count_heads(&mut head.track, &mut probes.processes, clock, sink);
        }
    }
}
