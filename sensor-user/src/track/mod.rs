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
    /// What of this session (its kernel id) is not sent shall be counted.
    fn begin_session(&mut self, session: u64);
    /// Nothing of this session can come any more.
    fn end_session(&mut self, session: u64);
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
    pub fn handle(&mut self, record: Record, verdicts: &mut impl Verdicts, out: &mut Vec<Event>) {
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
        out: &mut Vec<Event>,
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
                match self.begin(common, &exec, &image, agent, parent, verdicts, out) {
                    Some(session) => (session, true),
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
            executable: common.image.unwrap_or(0),
            image: image.clone(),
            own: None,
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
        out: &mut Vec<Event>,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let better = (agent.version.is_some(), agent.confidence)
            > (session.agent.version.is_some(), session.agent.confidence);
        if better {
            session.agent = agent;
            self.changed(|| Some(Change::Session(id)));
            let Some(session) = self.sessions.get(id) else {
                return;
            };
            let info = session.info(Phase::Update);
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
        verdicts: &mut impl Verdicts,
        out: &mut Vec<Event>,
    ) -> Option<SessionId> {
        // A start that could not be read is replaced by the exec, which names the process as well.
        let start = common.start_ns.unwrap_or(common.time_ns);
        let id = SessionId::derive(&self.boot_id, common.tgid, start, &agent.family);
        let facts = self.enrich.session(common.tgid, exec);
        let session = Session::new(agent, parent, facts);
        let info = session.info(Phase::Start);
        if !self.enter_session(id, session, verdicts) {
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

    /// False when there is no room.
    fn enter_session(
        &mut self,
        id: SessionId,
        session: Session,
        verdicts: &mut impl Verdicts,
    ) -> bool {
        let entered = self.sessions.begin(id, session, &mut self.claims);
        for forgotten in self.sessions.take_forgotten() {
            verdicts.end_session(forgotten);
        }
        if entered {
            verdicts.begin_session(id.kernel());
        }
        entered
    }

    // === fork and exit ===

    fn fork(&mut self, common: &Common, fork: decode::Fork, out: &mut Vec<Event>) {
        let Some(parent) = self.member(common, common.claim, out) else {
            self.ignored += 1;
            return;
        };
        let child = Member {
            ppid: fork.child_ppid,
            own: None,
            ..parent
        };
        let decode::Fork {
            child: tgid,
            child_start_ns: start_ns,
            child_ppid: ppid,
        } = fork;
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

    fn exit(&mut self, common: &Common, exit: decode::Exit, out: &mut Vec<Event>) {
        let Some(member) = self.member(common, common.claim, out) else {
            self.ignored += 1;
            return;
        };
        let id = member.session;
        let process = self.process(common, member);
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

    fn end(&mut self, common: &Common, id: SessionId, out: &mut Vec<Event>) {
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
        open: decode::Open,
        verdicts: &mut impl Verdicts,
        out: &mut Vec<Event>,
    ) {
        let Some((id, process)) = self.owner(common, verdicts, out) else {
            return;
        };
        let decode::Open {
            path,
            resolved,
            flags,
            mode,
            file,
            links,
            epoch: _,
            result,
        } = open;
        let file = event::File {
            path,
            resolved,
            flags,
            mode,
            count: 1,
            last: None,
            inode: file.map(|file| file.ino),
            device: file.map(|file| event::Device::from_kernel(file.dev)),
            links,
        };
        self.emit(common, id, Some(process), result, Detail::Open(file), out);
    }

    fn connect(
        &mut self,
        common: &Common,
        connect: decode::Connect,
        verdicts: &mut impl Verdicts,
        out: &mut Vec<Event>,
    ) {
        let Some((id, process)) = self.owner(common, verdicts, out) else {
            return;
        };
        let decode::Connect {
            family,
            addr,
            port,
            proto,
            path,
            result,
        } = connect;
        let net = event::Net {
            family,
            addr,
            port,
            proto,
            path,
            count: 1,
            last: None,
        };
        self.emit(common, id, Some(process), result, Detail::Connect(net), out);
    }

    /// The open hook does not see what is asked through an io_uring: the session says so.
    fn io_uring(&mut self, common: &Common, verdicts: &mut impl Verdicts, out: &mut Vec<Event>) {
        let Some((id, process)) = self.owner(common, verdicts, out) else {
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

    /// Session and process of a record; `None` when it belongs to no agent.
    fn owner(
        &mut self,
        common: &Common,
        verdicts: &mut impl Verdicts,
        out: &mut Vec<Event>,
    ) -> Option<(SessionId, Arc<Process>)> {
        let Some(member) = self.member(common, common.claim, out) else {
            self.ignored += 1;
            // The kernel may have evicted the verdict: answer again, so that it stops asking.
            if let (Some(claim), None) = (common.claim, common.session) {
                verdicts.settle(claim, IGNORED);
            }
            return None;
        };
        let id = member.session;
        Some((id, self.process(common, member)))
    }

    // === shared ===

    /// Which session a record's process is in: by its own entry, else (its fork or exec was lost) by
    /// the claim it waited for, else by the session the kernel has noted.
    fn member(
        &mut self,
        common: &Common,
        claim: Option<Claim>,
        out: &mut Vec<Event>,
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
        let image = Arc::new(Process {
            pid: common.tgid,
            start: common.start_ns.map(|ns| self.clock.unix(ns)),
            ppid: None,
            exe: None,
            argv: Vec::new(),
            argv_truncated: false,
            cwd: None,
            uid: None,
            inferred: false,
        });
        let member = Member {
            session,
            core: false,
            ppid: None,
            executable: common.image.unwrap_or(0),
            image,
            own: None,
        };
        self.changed_process(common.tgid, common.start_ns, &member);
        self.put(common, common.tgid, common.start_ns, member.clone(), out);
        Some(member)
    }

    /// Follows a process; what that ends or what there is no room for is said.
    fn put(
        &mut self,
        common: &Common,
        tgid: u32,
        start_ns: Option<u64>,
        member: Member,
        out: &mut Vec<Event>,
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
    fn process(&mut self, common: &Common, member: Member) -> Arc<Process> {
        if let Some(own) = member.own {
            return own;
        }
        let start = common.start_ns.map(|ns| self.clock.unix(ns));
        let own = if member.image.pid == common.tgid && member.image.start == start {
            member.image
        } else {
            let image = Process::clone(&member.image);
            Arc::new(Process {
                pid: common.tgid,
                start,
                ppid: member.ppid,
                ..image
            })
        };
        self.processes.set_own(common.tgid, own.clone());
        own
    }

    fn emit(
        &self,
        common: &Common,
        session: SessionId,
        process: Option<Arc<Process>>,
        result: Option<i32>,
        detail: Detail,
        out: &mut Vec<Event>,
    ) {
        out.push(Event {
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
