//! Ties records into processes and sessions.
//!
//! The kernel decides who is *watched*; this decides who they *are*. Invariants:
//! - records are handled in ring order, so an exec is judged before anything the new program does;
//! - every verdict is written to the kernel under the claim it answers, never under a pid;
//! - lineage is fork lineage: a process belongs to the session of the process that forked it, unless
//!   it executes an agent of its own;
//! - a record of a process that turns out not to be an agent is dropped here and kept nowhere;
//! - what was not observed stays unknown: a process whose fork was lost has no parent, not a guess;
//! - bounded in number and memory ([`Bounds`]); what is refused or forgotten for that is counted.
//!
//! Every record gives one event that tells of it (`session` events may come with it), or is counted:
//! as ignored (no agent's), as consumed (forks, which make a process known, the walk and the canaries)
//! or as refused. Malformed records are counted by the caller.

mod acts;
pub mod adopt;
mod agents;
mod bounds;
mod changes;
mod counts;
mod expected;
mod gaps;
mod held;
mod images;
mod io_uring;
mod judge;
pub mod kept;
mod lifecycle;
mod names;
mod process;
mod rings;
mod session;
mod step;
mod storms;
#[cfg(test)]
mod tests;
mod unjudged;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use skep_abi::{CANARY_SESSION, Claim, ClaimVerdict, FileKey, STATE_AGENT, STATE_IGNORED};

pub use self::judge::Judge;
use self::{
    bounds::Refused,
    expected::Expected,
    held::Held,
    kept::Change,
    process::{Inserted, Member, Processes},
    session::{Session, Sessions},
    storms::Storms,
    unjudged::NotJudgeds,
};
use skep_event::{Agent, Detail, Event, Found, Phase, Process, SessionId, UnixNanos};

use crate::{
    clock::BootClock,
    decode::{self, Body, Common, Record},
    enrich::Enrich,
    identify::{Candidate, Judgement},
    place::Place,
    step::Sink,
    verdicts::Verdicts,
};

pub use self::{
    bounds::{Bounds, Evicted},
    counts::TrackCounts,
    unjudged::NotJudged,
};

/// A process by pid and exact start (boot clock, nanoseconds), where that is known.
pub type Who = (u32, Option<u64>);

/// The state of this step.
pub struct Tracker<J> {
    boot_id: String,
    clock: BootClock,
    judge: J,
    enrich: Enrich,
    processes: Processes,
    sessions: Sessions,
    /// Claims answered "agent", so that a process whose fork was lost finds its session.
    claims: HashMap<Claim, SessionId>,
    ignored: u64,
    refused: Refused,
    consumed: u64,
    /// Execs that were not judged.
    unjudged: NotJudgeds,
    /// Execs that are judged by what they open.
    held: Held,
    unaccounted: u64,
    /// Processes that did something and are not followed; walked ones nobody asked for.
    evicted: Evicted,
    bounds: Bounds,
    walked: Vec<(Common, decode::Task)>,
    canaries: Vec<Common>,
    /// For a journal, if there is one.
    changes: Option<Vec<Change>>,
    /// Processes whose image or existence comes from elsewhere than a hook, during an adoption.
    expected: HashMap<u32, Expected>,
    /// Boot clock: until then processes are, or were, being found that run already, nanoseconds.
    adopting_until_ns: u64,
    /// Sessions of an earlier life of the sensor that are still to be told of.
    resumed: Vec<SessionId>,
    /// Sessions whose last process turned out to be gone.
    emptied: Vec<SessionId>,
    /// Sessions with io_urings that are not told of yet.
    untold_rings: BTreeSet<SessionId>,
    /// Changes of the second, by folder.
    storms: Storms,
}

impl<J: Judge> Tracker<J> {
    pub fn new(boot_id: String, clock: BootClock, judge: J, enrich: Enrich) -> Self {
        Self::with_bounds(boot_id, clock, judge, enrich, Bounds::default())
    }

    pub fn with_bounds(
        boot_id: String,
        clock: BootClock,
        judge: J,
        enrich: Enrich,
        bounds: Bounds,
    ) -> Self {
        Self {
            boot_id,
            clock,
            judge,
            enrich,
            processes: Processes::new(bounds),
            sessions: Sessions::new(bounds),
            claims: HashMap::new(),
            ignored: 0,
            refused: Refused::default(),
            consumed: 0,
            unjudged: NotJudgeds::default(),
            held: Held::within(bounds.held_bytes),
            unaccounted: 0,
            evicted: Evicted::default(),
            bounds,
            walked: Vec::new(),
            canaries: Vec::new(),
            changes: None,
            expected: HashMap::new(),
            adopting_until_ns: 0,
            resumed: Vec::new(),
            emptied: Vec::new(),
            untold_rings: BTreeSet::new(),
            storms: Storms::default(),
        }
    }

    /// The processes a walk over the task list has found, since the last time.
    pub fn take_walked(&mut self) -> Vec<(Common, decode::Task)> {
        std::mem::take(&mut self.walked)
    }

    /// The records of the sensor's own canaries, since the last time.
    pub fn take_canaries(&mut self) -> Vec<Common> {
        std::mem::take(&mut self.canaries)
    }

    /// The kernel's id of this boot, as it was given.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Who judges.
    pub fn judge(&self) -> &J {
        &self.judge
    }

    /// Whether no process is followed.
    pub fn is_idle(&self) -> bool {
        self.processes.len() == 0
    }

    /// Every process of a session, as far as is known.
    pub fn followed(&self) -> impl Iterator<Item = Who> {
        self.processes
            .iter()
            .map(|(tgid, start_ns, _)| (tgid, start_ns))
    }

    /// Handles one record; what it makes known goes to `out`, in order.
    pub fn handle(
        &mut self,
        record: Record<'_>,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let Record { common, body } = record;
        if common.session == Some(CANARY_SESSION) {
            self.consumed += 1;
            if self.canaries.len() < self.bounds.walked {
                self.canaries.push(common);
            } else {
                self.evicted.walked += 1;
            }
            return;
        }
        match body {
            Body::Exec(exec) => self.exec(&common, *exec, verdicts, out),
            Body::Fork(fork) => self.fork(&common, fork, out),
            Body::Exit(exit) => self.exit(&common, exit, out),
            Body::Open(open) => self.open(&common, open, verdicts, out),
            Body::Connect(connect) => self.connect(&common, connect, verdicts, out),
            Body::Uring => self.io_uring(&common, verdicts, out),
            Body::Socket(kind) => self.rare_socket(&common, kind, verdicts, out),
            Body::Change(change) => self.change(&common, change, verdicts, out),
            Body::FailedExec(failed) => self.failed_exec(&common, *failed, verdicts, out),
            Body::Task(task) => {
                self.consumed += 1;
                if self.walked.len() < self.bounds.walked {
                    self.walked.push((common, task));
                } else {
                    self.evicted.walked += 1;
                }
            }
        }
    }

    // === exec ===

    fn exec(
        &mut self,
        common: &Common,
        exec: decode::Exec,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let member = self
            .member(common, exec.previous_claim, out)
            .or_else(|| self.forked_unseen(common, &exec));
        self.nothing_more(common);
        let judgement = self.judge.judge(
            &candidate(common, &exec, Some(self.clock.unix(common.time_ns))),
            &mut || verdicts.meanwhile(),
        );
        if judgement.never
            && let Some(file) = exec.file
        {
            verdicts.never(file.key);
        }
        let is_kept = match (&member, &judgement.agent) {
            (None, None) => self.hold(common, &exec, &judgement),
            (Some(_), None) if judgement.waits => self.hold_member(common, &exec, &judgement),
            _ => false,
        };
        if !is_kept {
            self.unjudged.note(common.time_ns, &exec, &judgement);
        }
        match (member, judgement.agent.is_some()) {
            (None, false) if is_kept => {}
            (member, is_agent) => {
                if is_agent && member.is_none() {
                    self.release_group_of(exec.previous_claim.or(common.claim), verdicts);
                }
                self.exec_judged(common, exec, (judgement, member), verdicts, out);
            }
        }
    }

    /// An exec of which it is known what it is, by a process that was this.
    fn exec_judged(
        &mut self,
        common: &Common,
        mut exec: decode::Exec,
        (judgement, member): (Judgement, Option<Member>),
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let mut image = Arc::new(Process {
            pid: common.tgid,
            start: common.start_ns.map(|ns| self.clock.unix(ns)),
            // Measured at the fork where that was seen, else now, in the kernel.
            ppid: member.as_ref().and_then(|member| member.ppid).or(exec.ppid),
            exe: exec.exe.clone(),
            argv: exec.take_command_line(),
            argv_truncated: exec.argv_truncated,
            cwd: exec.cwd.clone(),
            uid: exec.uid,
            euid: exec.euid,
            inferred: false,
            cgroup: None,
            container_id: None,
            pid_namespace: None,
            user_namespace: None,
            mount_namespace: None,
        });
        let place = match (&member, &judgement.agent) {
            // No agent's: nobody asks where it runs.
            (None, None) => Place::default(),
            _ => self.enrich.place(common.tgid, &exec),
        };
        let (session, core) = match (member, judgement.agent) {
            (None, None) => {
                self.ignored += 1;
                if let Some(claim) = common.claim {
                    verdicts.settle(claim, IGNORED);
                }
                return;
            }
            (Some(member), None) => (member.session, false),
            (Some(member), Some(agent))
                if judgement.multicall && self.is_within_family(&member, &agent) =>
            {
                (member.session, false)
            }
            (Some(member), Some(agent)) if self.is_same_agent(&member, &agent) => {
                self.learn(member.session, agent, common, &image, out);
                (member.session, true)
            }
            (member, Some(agent)) => {
                let session = self.session_id(common, &agent);
                let beginning = Beginning {
                    agent,
                    exec: &exec,
                    image: &image,
                    place: &place,
                    parent: member.map(|member| member.session),
                    found: Found::Observed,
                };
                if !self.begin(common, session, beginning, verdicts, out) {
                    // Nobody follows it: the kernel need not either.
                    if let Some(claim) = common.claim {
                        verdicts.settle(claim, IGNORED);
                    }
                    return;
                }
                (session, true)
            }
        };
        self.tell_place(session, &place, &mut image);
        if let Some(claim) = common.claim {
            let kernel = session.kernel();
            verdicts.settle(
                claim,
                ClaimVerdict {
                    session: kernel,
                    state: STATE_AGENT,
                    pad: 0,
                },
            );
            if let Some(forgotten) = self.sessions.add_claim(session, claim) {
                self.claims.remove(&forgotten);
            }
            self.claims.insert(claim, session);
        }
        let member = Member {
            session,
            core,
            ppid: image.ppid,
            executable: exec.file.map_or(0, |file| file.key.image()),
            image: image.clone(),
            own: Some(image.clone()),
        };
        self.changed_process(common.tgid, common.start_ns, &member);
        if !self.put(common, common.tgid, common.start_ns, member, out) {
            self.evicted.processes += 1;
        }
        let filename = exec.filename;
        self.emit(
            common,
            session,
            Some(image),
            None,
            Detail::Exec(skep_event::Exec::done(filename)),
            out,
        );
        self.waited(common, session, verdicts, out);
    }

    /// Of the session this agent's process is the root of.
    fn session_id(&self, common: &Common, agent: &Agent) -> SessionId {
        // A start that could not be read is replaced by the exec, which names the process as well.
        let start = common.start_ns.unwrap_or(common.time_ns);
        // Two agents of no family, one after the other in one process, are two sessions.
        let agent = match &agent.name {
            Some(name) => format!("{}/{name}", agent.family),
            None => agent.family.clone(),
        };
        SessionId::derive(&self.boot_id, common.tgid, start, &agent)
    }

    /// Begins a session and says so; false when there is no room for it.
    fn begin(
        &mut self,
        common: &Common,
        id: SessionId,
        beginning: Beginning<'_>,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) -> bool {
        let Beginning {
            agent,
            exec,
            image,
            place,
            parent,
            found,
        } = beginning;
        let repository = self
            .judge
            .repository(&candidate(common, exec, None), &mut || verdicts.meanwhile());
        let facts = self.enrich.session(exec, repository, place.clone());
        let mut session = Session::new(agent, parent, facts);
        session.found = found;
        let info = session.info(Phase::Start);
        if !self.sessions.begin(id, session, &mut self.claims) {
            self.refused.add(parent);
            return false;
        }
        self.account(id, verdicts);
        self.changed(|| Some(Change::Session(id)));
        let detail = Detail::Session(info);
        self.emit(common, id, Some(image.clone()), None, detail, out);
        true
    }

    /// From now on the kernel accounts losses to this session, and to those forgotten for it no more.
    fn account(&mut self, session: SessionId, verdicts: &mut impl Verdicts) {
        for kernel in self.sessions.take_forgotten() {
            verdicts.end_session(kernel);
        }
        if !verdicts.begin_session(session.kernel()) {
            self.unaccounted += 1;
        }
    }

    /// Has a process say where it runs, where that is not where its session does.
    fn tell_place(&self, session: SessionId, place: &Place, image: &mut Arc<Process>) {
        if let Some(session) = self.sessions.get(session)
            && place.is_other(session.place())
        {
            place.tell(session.place(), Arc::make_mut(image));
        }
    }

    // === shared ===

    /// Which session a record's process is in: by its own entry, else (its fork or exec was lost) by
    /// the claim it waited for, else by the session the kernel has noted.
    fn member(
        &mut self,
        common: &Common,
        claim: Option<Claim>,
        out: &mut impl Sink,
    ) -> Option<Member> {
        if let Some(member) = self.processes.get(common.tgid, common.start_ns) {
            return Some(member.clone());
        }
        let session = claim
            .and_then(|claim| self.claims.get(&claim).copied())
            .or_else(|| {
                common
                    .session
                    .and_then(|kernel| self.sessions.by_kernel(kernel))
            })?;
        let member = Member {
            session,
            core: false,
            ppid: None,
            executable: common.image.unwrap_or(0),
            image: self.unknown(common, None),
            own: None,
        };
        self.changed_process(common.tgid, common.start_ns, &member);
        if !self.put(common, common.tgid, common.start_ns, member.clone(), out) {
            self.evicted.processes += 1;
        }
        Some(member)
    }

    /// Follows a process, and says what that ends; false when there is no room for it.
    fn put(
        &mut self,
        common: &Common,
        tgid: u32,
        start_ns: Option<u64>,
        member: Member,
        out: &mut impl Sink,
    ) -> bool {
        match self
            .processes
            .insert(tgid, start_ns, member, &mut self.sessions)
        {
            Inserted::Done => true,
            Inserted::Emptied(session) => {
                self.end(common, session, out);
                true
            }
            Inserted::NoRoom => false,
        }
    }

    /// The process as events show it: the image it inherited, under its own pid.
    fn process(&self, common: &Common, member: &Member) -> Arc<Process> {
        if let Some(own) = &member.own {
            return own.clone();
        }
        let start = common.start_ns.map(|ns| self.clock.unix(ns));
        if member.image.pid == common.tgid && member.image.start == start {
            return member.image.clone();
        }
        Arc::new(Process {
            pid: common.tgid,
            start,
            ppid: member.ppid,
            ..Process::clone(&member.image)
        })
    }

    fn emit(
        &self,
        common: &Common,
        session: SessionId,
        process: Option<Arc<Process>>,
        result: Option<i32>,
        detail: Detail,
        out: &mut impl Sink,
    ) {
        out.event(Event {
            time: self.clock.unix(common.time_ns),
            boot_time: Some(common.time_ns),
            boot_id: None,
            session: Some(session),
            agent: self
                .sessions
                .get(session)
                .map(|session| session.agent.clone()),
            process,
            result,
            hook: Some(common.hook.name()),
            detail,
        });
    }
}

/// How a session begins.
struct Beginning<'a> {
    agent: Arc<Agent>,
    exec: &'a decode::Exec,
    image: &'a Arc<Process>,
    place: &'a Place,
    parent: Option<SessionId>,
    found: Found,
}

const IGNORED: ClaimVerdict = ClaimVerdict {
    session: 0,
    state: STATE_IGNORED,
    pad: 0,
};

fn candidate<'a>(
    common: &Common,
    exec: &'a decode::Exec,
    since: Option<UnixNanos>,
) -> Candidate<'a> {
    Candidate {
        pid: common.tgid,
        file: exec.file.map_or(FileKey::UNKNOWN, |file| file.key),
        file_size: exec.file.map_or(0, |file| file.size),
        exe: exec.exe.as_ref(),
        filename: exec.filename.as_ref(),
        argv: &exec.argv,
        argv_truncated: exec.argv_truncated,
        cwd: exec.cwd.as_ref(),
        uid: exec.uid,
        switches: exec.switches,
        since,
    }
}
