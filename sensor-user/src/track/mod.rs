//! Ties records into processes and sessions.
//!
//! The kernel decides who is *watched*; this decides who they *are*. Invariants:
//! - records are handled in ring order, so an exec is judged before anything the new program does;
//! - every verdict is written to the kernel under the claim it answers, never under a pid;
//! - lineage is fork lineage: a process belongs to the session of the process that forked it, unless
//!   it executes an agent of its own;
//! - a record of a process that turns out not to be an agent is dropped here and kept nowhere;
//! - what was not observed stays unknown: a process whose fork was lost has no parent, not a guess;
//! - bounded: at most [`PROCESSES_MAX`] processes and [`SESSIONS_MAX`] sessions, each refusal counted.
//!
//! Every exec, exit, open and connect record gives an event or is counted as ignored; a fork makes a
//! process known and gives no event of its own. Malformed records are counted by the caller.

pub mod adopt;
pub mod changes;
mod gaps;
mod process;
mod session;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use skep_abi::{CANARY_SESSION, Claim, ClaimVerdict, FileKey, STATE_AGENT, STATE_IGNORED};

use self::{
    adopt::Expected,
    changes::Change,
    process::{Inserted, Member, Processes},
    session::{Session, Sessions},
};
use crate::{
    act::{self, Act, Folding, RecordId, Sink, Target},
    clock::BootClock,
    decode::{self, Body, Common, Record},
    enrich::Enrich,
    event::{self, Agent, CoverageKind, CoveragePhase, Detail, Event, Phase, Process, SessionId},
    identify::{Candidate, Identifier, Judgement},
};

/// Processes in sessions at once.
pub const PROCESSES_MAX: usize = 32 * 1024;
/// Sessions that live, or ended lately.
pub const SESSIONS_MAX: usize = 4 * 1024;

/// Judges an exec. The real one is [`Identifier`].
pub trait Judge {
    fn judge(&mut self, candidate: &Candidate<'_>) -> Judgement;
}

impl Judge for Identifier {
    fn judge(&mut self, candidate: &Candidate<'_>) -> Judgement {
        Identifier::judge(self, candidate)
    }
}

/// Where verdicts go. The real one is the kernel's maps.
pub trait Verdicts {
    /// Answers a claim.
    fn settle(&mut self, claim: Claim, verdict: ClaimVerdict);
    /// Executing this file never makes an agent.
    fn never(&mut self, file: FileKey);
    /// From now on losses are accounted to this session (its kernel id).
    fn begin_session(&mut self, kernel: u64);
    /// This session is forgotten.
    fn end_session(&mut self, kernel: u64);
}

/// Figures for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackCounts {
    pub processes: u64,
    pub sessions: u64,
    /// Records of processes that are no agents: their verdict came after the record.
    pub ignored: u64,
    /// Processes and sessions not followed because a bound was reached.
    pub refused: u64,
}

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
    refused: u64,
    walked: Vec<(Common, decode::Task)>,
    canaries: Vec<Common>,
    /// For a journal, if there is one.
    changes: Option<Vec<Change>>,
    /// Processes whose image or existence comes from elsewhere than a hook, during an adoption.
    expected: HashMap<u32, Expected>,
    /// Sessions of an earlier life of the sensor that are still to be told of.
    resumed: Vec<SessionId>,
    /// Sessions whose last process turned out to be gone.
    emptied: Vec<SessionId>,
}

impl<J: Judge> Tracker<J> {
    pub fn new(boot_id: String, clock: BootClock, judge: J, enrich: Enrich) -> Self {
        Self {
            boot_id,
            clock,
            judge,
            enrich,
            processes: Processes::default(),
            sessions: Sessions::default(),
            claims: HashMap::new(),
            ignored: 0,
            refused: 0,
            walked: Vec::new(),
            canaries: Vec::new(),
            changes: None,
            expected: HashMap::new(),
            resumed: Vec::new(),
            emptied: Vec::new(),
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

    pub fn counts(&self) -> TrackCounts {
        TrackCounts {
            processes: self.processes.len() as u64,
            sessions: self.sessions.live() as u64,
            ignored: self.ignored,
            refused: self.refused,
        }
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
            self.canaries.push(common);
            return;
        }
        match body {
            Body::Exec(exec) => self.exec(&common, *exec, verdicts, out),
            Body::Fork(fork) => self.fork(&common, fork, out),
            Body::Exit(exit) => self.exit(&common, exit, out),
            Body::Open(open) => self.open(&common, open, verdicts, out),
            Body::Connect(connect) => self.connect(&common, connect, verdicts, out),
            Body::Uring => self.io_uring(&common, verdicts, out),
            Body::Task(task) => self.walked.push((common, task)),
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
        let member = self.member(common, exec.previous_claim, out);
        let judgement = self.judge.judge(&candidate(common, &exec));
        if judgement.never
            && let Some(file) = exec.file
        {
            verdicts.never(file.key);
        }
        let image = Arc::new(Process {
            pid: common.tgid,
            start: common.start_ns.map(|ns| self.clock.unix(ns)),
            // Measured at the fork where that was seen, else now, in the kernel.
            ppid: member.as_ref().and_then(|member| member.ppid).or(exec.ppid),
            exe: exec.exe.clone(),
            argv: exec.argv.clone(),
            argv_truncated: exec.argv_truncated,
            cwd: exec.cwd.clone(),
            uid: exec.uid,
            inferred: false,
        });
        let (session, core) = match (member, judgement.agent) {
            (None, None) => {
                self.ignored += 1;
                if let Some(claim) = common.claim {
                    verdicts.settle(claim, IGNORED);
                }
                return;
            }
            (Some(member), None) => (member.session, false),
            (Some(member), Some(_)) if judgement.multicall => (member.session, false),
            (Some(member), Some(agent)) if self.is_same_agent(&member, &agent) => {
                self.learn(member.session, agent, common, &image, out);
                (member.session, true)
            }
            (member, Some(agent)) => {
                let parent = member.map(|member| member.session);
                match self.begin(common, &exec, &image, agent, parent, out) {
                    Some(session) => {
                        self.account(session, verdicts);
                        (session, true)
                    }
                    None => return,
                }
            }
        };
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
            self.sessions.add_claim(session, claim);
            self.claims.insert(claim, session);
        }
        let member = Member {
            session,
            core,
            ppid: image.ppid,
            runs: exec.file.map(|file| file.key.image()),
            image: image.clone(),
            own: Some(image.clone()),
        };
        self.changed_process(common.tgid, common.start_ns, &member);
        self.put(common, common.tgid, common.start_ns, member, out);
        let filename = exec.filename;
        self.emit(
            common,
            session,
            Some(image),
            None,
            Detail::Exec(event::Exec { filename }),
            out,
        );
    }

    /// A part of an agent starting another part of it (a launcher, a relaunch, a daemon), as opposed
    /// to a tool of the agent starting an agent: that is a session of its own.
    fn is_same_agent(&self, member: &Member, agent: &Agent) -> bool {
        member.core
            && self
                .sessions
                .get(member.session)
                .is_some_and(|s| s.agent.family == agent.family)
    }

    /// Takes over a better identification of a session's agent.
    fn learn(
        &mut self,
        id: SessionId,
        agent: Arc<Agent>,
        common: &Common,
        image: &Arc<Process>,
        out: &mut impl Sink,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let better = (agent.version.is_some(), agent.confidence)
            > (session.agent.version.is_some(), session.agent.confidence);
        if better {
            session.agent = agent;
            let info = session.info(Phase::Update);
            self.changed(|| Some(Change::Session(id)));
            self.emit(
                common,
                id,
                Some(image.clone()),
                None,
                Detail::Session(info),
                out,
            );
        }
    }

    fn begin(
        &mut self,
        common: &Common,
        exec: &decode::Exec,
        image: &Arc<Process>,
        agent: Arc<Agent>,
        parent: Option<SessionId>,
        out: &mut impl Sink,
    ) -> Option<SessionId> {
        // A start that could not be read is replaced by the exec, which names the process as well.
        let start = common.start_ns.unwrap_or(common.time_ns);
        let id = SessionId::derive(&self.boot_id, common.tgid, start, &agent.family);
        let facts = self.enrich.session(common.tgid, exec);
        let session = Session::new(agent, parent, facts);
        let info = session.info(Phase::Start);
        if !self.sessions.begin(id, session, &mut self.claims) {
            self.refused += 1;
            return None;
        }
        self.changed(|| Some(Change::Session(id)));
        self.emit(
            common,
            id,
            Some(image.clone()),
            None,
            Detail::Session(info),
            out,
        );
        Some(id)
    }

    /// From now on the kernel accounts losses to this session, and to those forgotten for it no more.
    fn account(&mut self, session: SessionId, verdicts: &mut impl Verdicts) {
        for kernel in self.sessions.take_forgotten() {
            verdicts.end_session(kernel);
        }
        verdicts.begin_session(session.kernel());
    }

    // === fork and exit ===

    fn fork(&mut self, common: &Common, fork: decode::Fork, out: &mut impl Sink) {
        let Some(parent) = self.member(common, common.claim, out) else {
            self.ignored += 1;
            return;
        };
        let parent = self.current(common, parent, out);
        let child = Member {
            ppid: fork.child_ppid,
            own: None,
            ..parent
        };
        let (tgid, start_ns, ppid) = (fork.child, fork.child_start_ns, fork.child_ppid);
        self.changed(|| {
            Some(Change::Child {
                tgid,
                start_ns: start_ns?,
                ppid,
                parent: common.tgid,
            })
        });
        self.put(common, fork.child, fork.child_start_ns, child, out);
    }

    fn exit(&mut self, common: &Common, exit: decode::Exit, out: &mut impl Sink) {
        let Some(member) = self.member(common, common.claim, out) else {
            self.ignored += 1;
            return;
        };
        let member = self.current(common, member, out);
        let id = member.session;
        let process = self.process(common, &member);
        let decode::Exit { code, signal } = exit;
        self.emit(
            common,
            id,
            Some(process),
            None,
            Detail::Exit(event::Exit { code, signal }),
            out,
        );
        let last = self.processes.remove(common.tgid, &mut self.sessions);
        self.changed(|| Some(Change::Gone { tgid: common.tgid }));
        if last {
            self.end(common, id, out);
        }
    }

    fn end(&mut self, common: &Common, id: SessionId, out: &mut impl Sink) {
        if let Some(session) = self.sessions.get(id) {
            let info = session.info(Phase::End);
            self.emit(common, id, None, None, Detail::Session(info), out);
            self.sessions.end(id);
            self.changed(|| Some(Change::Ended(id)));
        }
    }

    // === open and connect ===

    fn open(
        &mut self,
        common: &Common,
        open: decode::Open<'_>,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let decode::Open {
            path,
            resolved,
            flags,
            mode,
            file,
            links,
            epoch,
            result,
        } = open;
        let record = RecordId {
            time_ns: common.time_ns,
            tid: common.tid,
        };
        let target = Target::Open(act::Open {
            path,
            resolved,
            flags,
            mode,
            inode: file.map(|file| file.ino),
            device: file.map(|file| event::Device::from_kernel(file.dev)),
            links,
            folding: epoch.map(|epoch| Folding { epoch, record }),
        });
        self.act(common, result, target, verdicts, out);
    }

    fn connect(
        &mut self,
        common: &Common,
        connect: decode::Connect<'_>,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let decode::Connect {
            family,
            addr,
            port,
            proto,
            path,
            result,
        } = connect;
        let target = Target::Connect(act::Connect {
            family,
            addr,
            port,
            proto,
            path,
        });
        self.act(common, result, target, verdicts, out);
    }

    /// The hot path: nothing is copied or allocated for a process that acted before.
    fn act(
        &mut self,
        common: &Common,
        result: Option<i32>,
        target: Target<'_>,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let stranger = match self.known(common, verdicts, out) {
            Known::Not => return,
            Known::Followed => None,
            Known::NoRoom(member) => Some(member),
        };
        let followed = self.processes.get(common.tgid, common.start_ns);
        let Some((session, process)) = stranger
            .as_ref()
            .or(followed)
            .and_then(|member| Some((member.session, member.own.as_ref()?)))
        else {
            return;
        };
        out.act(&Act {
            time: self.clock.unix(common.time_ns),
            session,
            agent: self.sessions.get(session).map(|session| &session.agent),
            process,
            result,
            hook: common.hook.name(),
            target,
        });
    }

    /// The open hook does not see what is asked through an io_uring: the session says so.
    fn io_uring(&mut self, common: &Common, verdicts: &mut impl Verdicts, out: &mut impl Sink) {
        let member = match self.known(common, verdicts, out) {
            Known::Not => return,
            Known::NoRoom(member) => Some(member),
            Known::Followed => self.processes.get(common.tgid, common.start_ns).cloned(),
        };
        let Some((id, process)) = member.and_then(|member| Some((member.session, member.own?)))
        else {
            return;
        };
        let now = self.clock.unix(common.time_ns);
        let coverage = event::Coverage {
            what: CoverageKind::IoUring,
            phase: CoveragePhase::Point,
            hook: Some(common.hook.name()),
            first: now,
            last: now,
            count: 0,
            reason: "an io_uring was set up; what is opened through it is not seen by this host's open hook"
                .to_owned(),
        };
        let detail = Detail::Coverage(coverage);
        self.emit(common, id, Some(process), None, detail, out);
    }

    // === shared ===

    /// Makes the process of a record known, under its own pid and as what it runs.
    fn known(
        &mut self,
        common: &Common,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) -> Known {
        if let Some(member) = self.processes.get(common.tgid, common.start_ns)
            && member.own.is_some()
            && !member.runs_another(common.image)
        {
            return Known::Followed;
        }
        let Some(member) = self.member(common, common.claim, out) else {
            self.ignored += 1;
            // The kernel may have evicted the verdict: answer again, so that it stops asking.
            if let (Some(claim), None) = (common.claim, common.session) {
                verdicts.settle(claim, IGNORED);
            }
            return Known::Not;
        };
        let mut member = self.current(common, member, out);
        member.own = Some(self.process(common, &member));
        match self.processes.update(common.tgid, member) {
            None => Known::Followed,
            Some(member) => Known::NoRoom(member),
        }
    }

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
            runs: common.image,
            image: self.unknown(common, None),
            own: None,
        };
        self.changed_process(common.tgid, common.start_ns, &member);
        self.put(common, common.tgid, common.start_ns, member.clone(), out);
        Some(member)
    }

    /// A process that runs something else than its last exec says has executed it unseen: what it
    /// runs is not known from here on, and its session has a gap.
    fn current(&mut self, common: &Common, member: Member, out: &mut impl Sink) -> Member {
        if !member.runs_another(common.image) {
            return member;
        }
        let image = self.unknown(common, Some(&member));
        let member = Member {
            core: false,
            runs: common.image,
            own: Some(image.clone()),
            image,
            ..member
        };
        let process = member.image.clone();
        self.changed_process(common.tgid, common.start_ns, &member);
        self.processes.update(common.tgid, member.clone());
        self.gap(common, member.session, Some(process), out);
        member
    }

    /// A process of which nothing is known but what its fork said.
    fn unknown(&self, common: &Common, member: Option<&Member>) -> Arc<Process> {
        Arc::new(Process {
            pid: common.tgid,
            start: common.start_ns.map(|ns| self.clock.unix(ns)),
            ppid: member.and_then(|member| member.ppid),
            exe: None,
            argv: Vec::new(),
            argv_truncated: false,
            cwd: None,
            uid: member.and_then(|member| member.image.uid),
            inferred: false,
        })
    }

    /// Something of a session was not seen: its story has a gap, and says so.
    fn gap(
        &mut self,
        common: &Common,
        id: SessionId,
        process: Option<Arc<Process>>,
        out: &mut impl Sink,
    ) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.gaps += 1;
            let info = session.info(Phase::Update);
            self.changed(|| Some(Change::Session(id)));
            self.emit(common, id, process, None, Detail::Session(info), out);
        }
    }

    /// Follows a process; what that ends or what there is no room for is said.
    fn put(
        &mut self,
        common: &Common,
        tgid: u32,
        start_ns: Option<u64>,
        member: Member,
        out: &mut impl Sink,
    ) {
        match self
            .processes
            .insert(tgid, start_ns, member, &mut self.sessions)
        {
            Inserted::Done => {}
            Inserted::Emptied(session) => self.end(common, session, out),
            Inserted::NoRoom => self.refused += 1,
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

/// Whether a record's process is one of a session.
enum Known {
    Not,
    /// It is, and the table has it, under its own pid.
    Followed,
    /// It is, and the table has no room for it.
    NoRoom(Member),
}

const IGNORED: ClaimVerdict = ClaimVerdict {
    session: 0,
    state: STATE_IGNORED,
    pad: 0,
};

fn candidate<'a>(common: &Common, exec: &'a decode::Exec) -> Candidate<'a> {
    Candidate {
        pid: common.tgid,
        // Inode 0 is "not known" to the identifier.
        file: exec.file.map_or(
            FileKey {
                ino: 0,
                ctime_sec: 0,
                ctime_nsec: 0,
                dev: 0,
            },
            |file| file.key,
        ),
        file_size: exec.file.map_or(0, |file| file.size),
        exe: exec.exe.as_ref(),
        filename: exec.filename.as_ref(),
        argv: &exec.argv,
        cwd: exec.cwd.as_ref(),
    }
}
