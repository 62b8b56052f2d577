//! Processes and sessions as the journal keeps them, and the changes that it writes down.

use std::sync::Arc;

use super::process::Member;
use skep_event::{Agent, Process, SessionId, SessionInfo};

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
    pub(super) fn of(tgid: u32, start_ns: Option<u64>, member: &Member) -> Option<Self> {
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
