//! What the tracker comes to know and forgets, told to whoever keeps it on disk.

use std::sync::Arc;

use super::{Judge, Tracker, process::Member};
use skep_event::{Agent, Phase, Process, SessionId, SessionInfo};

use crate::decode;

/// One change, in the order in which it happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A session began, or more is known about it: [`super::Tracker::kept_session`] tells what.
    Session(SessionId),
    /// Its last process ended.
    Ended(SessionId),
    /// A process has this image from now on.
    Process(Box<KeptProcess>),
    /// A process was forked: it is as its parent is now.
    Child {
        tgid: u32,
        start_ns: u64,
        ppid: Option<u32>,
        parent: u32,
    },
    /// The process ended.
    Gone { tgid: u32 },
}

/// What must be known of a process to find it again.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptProcess {
    pub tgid: u32,
    /// Exact start, boot clock, nanoseconds.
    pub start_ns: u64,
    pub session: SessionId,
    /// It runs the agent itself, not a tool of it.
    pub core: bool,
    pub ppid: Option<u32>,
    /// [`skep_abi::FileKey::image`] of what it runs; 0 when that is not known.
    pub executable: u64,
    pub image: Arc<Process>,
}

/// What must be known of a session to go on with it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptSession {
    pub id: SessionId,
    pub agent: Arc<Agent>,
    /// Its phase means nothing.
    pub info: SessionInfo,
}

/// What an earlier life of the sensor knew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub sessions: Vec<KeptSession>,
    pub processes: Vec<KeptProcess>,
    /// Boot clock: up to here it had seen everything, nanoseconds.
    pub until_ns: u64,
}

impl KeptProcess {
    /// `None` without its exact start: it could not be told from another process later.
    fn of(tgid: u32, start_ns: Option<u64>, member: &Member) -> Option<Self> {
        let Member {
            session,
            core,
            ppid,
            executable,
            image,
            own: _,
        } = member;
        Some(Self {
            tgid,
            start_ns: start_ns?,
            session: *session,
            core: *core,
            ppid: *ppid,
            executable: *executable,
            image: image.clone(),
        })
    }
}

impl<J: Judge> Tracker<J> {
    /// From now on every change is remembered until [`Tracker::take_changes`].
    pub fn remember_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    pub fn take_changes(&mut self) -> Vec<Change> {
        self.changes
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    pub(super) fn changed(&mut self, change: impl FnOnce() -> Option<Change>) {
        if let Some(changes) = &mut self.changes {
            changes.extend(change());
        }
    }

    pub(super) fn changed_process(&mut self, tgid: u32, start_ns: Option<u64>, member: &Member) {
        self.changed(|| {
            let kept = KeptProcess::of(tgid, start_ns, member)?;
            Some(Change::Process(Box::new(kept)))
        });
    }

    /// What there is to keep of a session; `None` when it has ended.
    pub fn kept_session(&self, id: SessionId) -> Option<KeptSession> {
        let session = self.sessions.get(id)?;
        Some(KeptSession {
            id,
            agent: session.agent.clone(),
            info: session.info(Phase::Update),
        })
    }

    pub(super) fn changed_child(&mut self, parent: u32, fork: &decode::Fork) {
        let (tgid, start_ns, ppid) = (fork.child, fork.child_start_ns, fork.child_ppid);
        self.changed(|| {
            Some(Change::Child {
                tgid,
                start_ns: start_ns?,
                ppid,
                parent,
            })
        });
    }

    /// Every process and session, for a journal that is written anew.
    pub fn kept(&self) -> Kept {
        let sessions = self.sessions.live_ids();
        Kept {
            sessions: sessions.filter_map(|id| self.kept_session(id)).collect(),
            processes: self
                .processes
                .iter()
                .filter_map(|(tgid, start_ns, member)| KeptProcess::of(tgid, start_ns, member))
                .collect(),
            until_ns: 0,
        }
    }
}
