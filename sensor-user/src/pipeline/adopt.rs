//! Finds the processes that run already, and has the kernel side watch them.
//!
//! Walks over the task list until one finds nobody new. Between a walk and the entry into the kernel's
//! table a process can fork (the next walk finds the child), execute something (the next walk tells
//! another executable) or end. So it is looked for once more after its entry, and taken out again if it
//! is gone *or has begun to end*: its exit hook may have been called before the entry, and then nobody
//! reports its end. (From that hook to the zombie, memory and files are let go: that takes long enough
//! to be met often.)

use skep_abi::{Claim, ProcessState, STATE_AGENT};

use super::front::Front;
use skep_event::{Coverage, CoverageKind, Event};

use crate::{
    clock::BootClock,
    decode::{Common, Task},
    probes::walk::{Disturbances, WalkError, WalkStep},
    proc::Proc,
    step::Sink,
    track::{
        Judge,
        adopt::{Adopted, Running},
        kept::Kept,
    },
};

/// Walks after which nobody new is waited for any more: an agent that forks faster than this is
/// followed from the processes that were found on.
const WALKS_MAX: u32 = 32;

impl<J: Judge + Running + Clone> Front<J> {
    /// To be called once, before the first round, with what an earlier life of the sensor kept. Gives
    /// the events of what was found.
    pub fn adopt(&mut self, kept: Option<Kept>) -> Vec<Event> {
        let since_ns = kept.as_ref().map(|kept| kept.until_ns);
        let mut verdicts = self.probes.verdicts();
        let kept = kept.unwrap_or_default();
        self.head.track.resume(kept, &mut verdicts);
        let mut found = Vec::new();
        let from_ns = since_ns.unwrap_or_else(BootClock::boot_now);
        self.find_running(from_ns, &mut found);
        let blind = since_ns.map(|since_ns| self.blind(since_ns));
        blind.into_iter().chain(found).collect()
    }

    /// Compares what is followed with what runs: for the time in which a hook was missing that says
    /// who is there.
    pub(super) fn find_again(&mut self, since_ns: u64, sink: &mut impl Sink) {
        self.head.track.expect_all();
        self.find_running(since_ns, sink);
    }

    fn find_running(&mut self, since_ns: u64, sink: &mut impl Sink) {
        let mut walks = 0;
        let mut gone = Vec::new();
        self.head.track.adopting_until(None);
        loop {
            walks += 1;
            let tasks = match self.walk(sink) {
                Ok(tasks) => tasks,
                Err(error) => {
                    tracing::warn!(%error, "processes that run already are not all found");
                    let now = self.clock.now();
                    let reason = format!("{error}: processes that run already are not all found");
                    let blind = Coverage::point(CoverageKind::Blind, (now, now), 0, reason);
                    sink.event(blind.of_machine());
                    break;
                }
            };
            // Who runs is judged, which takes its time: the ring is emptied meanwhile.
            let mut verdicts = self.probes.verdicts_beside(&mut self.backlog);
            let track = &mut self.head.track;
            let mut running = track.judge().clone();
            let adopted = track.adopt(tasks, &mut running, &mut verdicts, sink);
            let members = adopted.len();
            let settled = adopted
                .into_iter()
                .filter(|process| self.watch(*process, &mut gone))
                .count();
            tracing::debug!(walks, members, settled, "processes that run already");
            if settled == members || walks == WALKS_MAX {
                break;
            }
        }
        let mut running = self.head.track.judge().clone();
        let settled = self.head.track.settle_expected(&mut running);
        for process in settled.running {
            self.watch(process, &mut gone);
        }
        for (tgid, start_ns) in settled.gone {
            self.probes.processes.forget(tgid, Some(start_ns));
            gone.push((tgid, start_ns));
        }
        // Some may have been watched when they ended: then that is still to be read, and their session
        // ends by it.
        while self.read(sink) {}
        for (tgid, start_ns) in gone {
            self.head.track.vanished(tgid, start_ns);
        }
        self.head.track.adopting_until(Some(BootClock::boot_now()));
        let since = self.clock.unix(since_ns);
        self.head.track.tell_resumed(since, self.clock.now(), sink);
    }

    /// One whole walk; what else comes out of the ring meanwhile is handled as always.
    fn walk(&mut self, sink: &mut impl Sink) -> Result<Vec<(Common, Task)>, WalkError> {
        let mut disturbances = Disturbances::default();
        let mut tasks = Vec::new();
        loop {
            // What waits may have filled the ring.
            while self.read(sink) {}
            let step = self.probes.walk(&mut disturbances)?;
            while self.read(sink) {}
            tasks.append(&mut self.head.track.take_walked());
            if step == WalkStep::Done {
                return Ok(tasks);
            }
        }
    }

    /// Has the kernel side watch a process; true when it did so already. One that has ended is added to
    /// `gone`.
    fn watch(&mut self, process: Adopted, gone: &mut Vec<(u32, u64)>) -> bool {
        let Adopted {
            tgid,
            start_ns,
            session,
            executable,
            walked,
        } = process;
        let state = ProcessState {
            start_ns,
            session: session.kernel(),
            image: executable,
            claim: Claim::NONE,
            state: STATE_AGENT,
            pad: 0,
        };
        if let Some(known) = self.probes.processes.get(tgid) {
            let as_known = ProcessState {
                claim: state.claim,
                ..known
            };
            if as_known == state {
                return true;
            }
            // It executes something just now: to write what it ran before would be wrong for good.
            let is_in = known.start_ns == start_ns && known.session == state.session;
            if is_in && walked != executable {
                return false;
            }
        }
        if let Err(error) = self.probes.processes.watch(tgid, state) {
            tracing::warn!(pid = tgid, %error, "a process of an agent cannot be watched");
            self.head.track.not_watched(session);
            return true;
        }
        // Ended before this entry, or about to: nobody else may take the entry out, and if it was not
        // watched before, nobody has seen that. Ended after it: its exit took the entry out, and is on
        // its way.
        if !Proc.end_is_to_come(tgid, start_ns) && self.probes.processes.unwatch(tgid) {
            let is_zombie = !Proc.alive(tgid, Some(start_ns));
            tracing::debug!(pid = tgid, is_zombie, "ended before it was watched");
            gone.push((tgid, start_ns));
        }
        false
    }

    /// Until now: only now the processes that ran already are watched.
    fn blind(&self, since_ns: u64) -> Event {
        let reason = "the sensor was not running: what agents did meanwhile is not known";
        let range = (self.clock.unix(since_ns), self.clock.now());
        Coverage::point(CoverageKind::Blind, range, 0, reason).of_machine()
    }
}
