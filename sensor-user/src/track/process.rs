//! The processes of sessions, by tgid.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

use super::{PROCESSES_MAX, session::Sessions};
use crate::event::{Process, SessionId};

/// A process of a session.
#[derive(Clone, Debug)]
pub struct Member {
    pub session: SessionId,
    /// It runs the agent itself, not a tool of it.
    pub core: bool,
    /// `real_parent` at its fork, where that was seen.
    pub ppid: Option<u32>,
    /// Which executable that is, as the kernel side names it ([`skep_abi::FileKey::image`]).
    pub runs: Option<u64>,
    /// As of the last exec, its own or an ancestor's.
    pub image: Arc<Process>,
    /// `image` under its own pid, made when first needed.
    pub own: Option<Arc<Process>>,
}

/// Outcome of [`Processes::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    Done,
    /// The process was the last of this other session, which is thereby over.
    Emptied(SessionId),
    /// At the bound: the process is not followed.
    NoRoom,
}

// === impl Member ===

impl Member {
    /// Whether the kernel side saw it run something else than what its last exec was of.
    pub fn runs_another(&self, image: Option<u64>) -> bool {
        matches!((self.runs, image), (Some(known), Some(seen)) if known != seen)
    }
}

struct Entry {
    start_ns: Option<u64>,
    member: Member,
}

/// At most [`PROCESSES_MAX`] of them. Keeps the sessions' process counts right.
#[derive(Default)]
pub struct Processes {
    by_tgid: HashMap<u32, Entry, RandomState>,
}

impl Processes {
    pub fn len(&self) -> usize {
        self.by_tgid.len()
    }

    /// The process with this pid, unless it started at another time (the pid was reused).
    pub fn get(&self, tgid: u32, start_ns: Option<u64>) -> Option<&Member> {
        let entry = self.by_tgid.get(&tgid)?;
        let same = match (entry.start_ns, start_ns) {
            (Some(known), Some(asked)) => known == asked,
            _ => true,
        };
        same.then_some(&entry.member)
    }

    /// Takes a process in, in place of what had its pid.
    pub fn insert(
        &mut self,
        tgid: u32,
        start_ns: Option<u64>,
        member: Member,
        sessions: &mut Sessions,
    ) -> Inserted {
        if self.by_tgid.len() >= PROCESSES_MAX && !self.by_tgid.contains_key(&tgid) {
            return Inserted::NoRoom;
        }
        sessions.add_process(member.session);
        match self.by_tgid.insert(tgid, Entry { start_ns, member }) {
            // An exec of the same process, or a process whose exit was lost.
            Some(old) if sessions.remove_process(old.member.session) == 0 => {
                Inserted::Emptied(old.member.session)
            }
            _ => Inserted::Done,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<u64>, &Member)> {
        self.by_tgid
            .iter()
            .map(|(tgid, entry)| (*tgid, entry.start_ns, &entry.member))
    }

    /// Changes what is known of a process; gives it back when the process is not followed.
    pub fn update(&mut self, tgid: u32, member: Member) -> Option<Member> {
        match self.by_tgid.get_mut(&tgid) {
            Some(entry) if entry.member.session == member.session => {
                entry.member = member;
                None
            }
            _ => Some(member),
        }
    }

    /// True when it was the last of its session.
    pub fn remove(&mut self, tgid: u32, sessions: &mut Sessions) -> bool {
        match self.by_tgid.remove(&tgid) {
            Some(entry) => sessions.remove_process(entry.member.session) == 0,
            None => false,
        }
    }
}
