//! Sessions: one agent run and everything it started.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use foldhash::fast::RandomState;
use skep_abi::Claim;

use super::{
    bounds::{Bounds, Evicted},
    rings::Rings,
};
use skep_event::{Agent, Found, Phase, SessionId, SessionInfo};

use crate::{
    container::Container,
    decode::SocketKind,
    enrich::SessionFacts,
    place::{Namespaces, Place},
    users::Named,
};

/// Kinds of sockets of one session that are told at most.
const SOCKETS_TOLD: usize = 16;
/// Ended sessions that are still known, for records that arrive late (their fork was lost).
const ENDED_KEPT: usize = 256;

pub struct Session {
    pub agent: Arc<Agent>,
    pub parent: Option<SessionId>,
    facts: SessionFacts,
    pub found: Found,
    /// Known gaps in what was observed of it.
    pub gaps: u64,
    /// The io_urings it set up where they are not seen.
    pub rings: Rings,
    /// Processes of it that live.
    processes: usize,
    /// Claims answered with it, to be forgotten with it.
    claims: VecDeque<Claim>,
    /// Kinds of sockets it was told to have made, at most [`SOCKETS_TOLD`].
    sockets: Vec<SocketKind>,
}

/// Live sessions, and the last [`ENDED_KEPT`] that ended. Bounded in number ([`Bounds::sessions`]) and
/// in memory of their facts ([`Bounds::session_bytes`]).
pub struct Sessions {
    by_id: HashMap<SessionId, Session, RandomState>,
    by_kernel: HashMap<u64, SessionId, RandomState>,
    ended: VecDeque<SessionId>,
    bounds: Bounds,
    /// Memory of the facts.
    bytes: usize,
    evicted: Evicted,
    /// Kernel ids of sessions forgotten since the last time they were asked for.
    forgotten: Vec<u64>,
}

// === impl Session ===

impl Session {
    pub fn new(agent: Arc<Agent>, parent: Option<SessionId>, facts: SessionFacts) -> Self {
        Self {
            agent,
            parent,
            facts,
            found: Found::Observed,
            gaps: 0,
            rings: Rings::default(),
            processes: 0,
            claims: VecDeque::new(),
            sockets: Vec::new(),
        }
    }

    /// Whether it has not made a socket of this kind before. Only the first is told, and no more than
    /// [`SOCKETS_TOLD`] of them: they do not fill the lane of findings.
    pub fn makes(&mut self, kind: SocketKind) -> bool {
        let is_new = self.sockets.len() < SOCKETS_TOLD && !self.sockets.contains(&kind);
        if is_new {
            self.sockets.push(kind);
        }
        is_new
    }

    pub fn made_no_socket(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Whether a process of it lives.
    pub fn is_live(&self) -> bool {
        self.processes > 0
    }

    pub fn info(&self, phase: Phase) -> SessionInfo {
        let SessionFacts {
            user,
            user_source,
            uid,
            login_uid,
            terminal,
            cwd,
            repository,
            place,
        } = self.facts.clone();
        let Place {
            cgroup,
            container,
            namespaces:
                Namespaces {
                    pid,
                    user: of_user,
                    mount,
                },
        } = place;
        let (container_runtime, container_id) = match container {
            Some(Container { runtime, id }) => (runtime, Some(id)),
            None => (None, None),
        };
        SessionInfo {
            phase,
            parent: self.parent,
            user,
            uid,
            login_uid,
            terminal,
            cwd,
            repository,
            gaps: self.gaps,
            found: self.found,
            user_source,
            cgroup,
            container_runtime,
            container_id,
            pid_namespace: pid,
            user_namespace: of_user,
            mount_namespace: mount,
        }
    }

    /// Where it began.
    pub fn place(&self) -> &Place {
        &self.facts.place
    }

    /// Whether the name of this user, who is its own, was still to come.
    pub fn waits_for_name_of(&self, uid: u32) -> bool {
        self.facts.uid == Some(uid) && self.facts.user_source.is_none()
    }

    /// At most as long as a line of passwd(5): counted with the facts only where there is room, see
    /// [`Sessions::begin`].
    pub fn name_user(&mut self, named: &Named) {
        self.facts.user.clone_from(&named.name);
        self.facts.user_source = Some(named.source);
    }
}

// === impl Sessions ===

impl Sessions {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            by_id: HashMap::default(),
            by_kernel: HashMap::default(),
            ended: VecDeque::new(),
            bounds,
            bytes: 0,
            evicted: Evicted::default(),
            forgotten: Vec::new(),
        }
    }

    /// What a bound of the sessions made it forget.
    pub fn evicted(&self) -> Evicted {
        self.evicted
    }

    pub fn live(&self) -> usize {
        self.by_id
            .values()
            .filter(|session| session.is_live())
            .count()
    }

    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    pub fn live_ids(&self) -> impl Iterator<Item = SessionId> {
        self.by_id
            .iter()
            .filter(|(_, session)| session.is_live())
            .map(|(id, _)| *id)
    }

    pub fn by_kernel(&self, kernel: u64) -> Option<SessionId> {
        self.by_kernel.get(&kernel).copied()
    }

    /// False when there is no room even after forgetting ended ones.
    pub fn begin(
        &mut self,
        id: SessionId,
        mut session: Session,
        claims: &mut HashMap<Claim, SessionId>,
    ) -> bool {
        let has_room =
            |sessions: &Self, bytes: usize| sessions.bytes + bytes <= sessions.bounds.session_bytes;
        let mut bytes = session.facts.bytes();
        while self.ended.len() > ENDED_KEPT
            || self.by_id.len() >= self.bounds.sessions
            || (!has_room(self, bytes) && !self.ended.is_empty())
        {
            let Some(oldest) = self.ended.pop_front() else {
                return false;
            };
            self.forget(oldest, claims);
        }
        if !has_room(self, bytes) {
            (session.facts.cwd, session.facts.repository) = (None, None);
            self.evicted.facts += 1;
            bytes = session.facts.bytes();
        }
        self.bytes += bytes;
        self.by_kernel.insert(id.kernel(), id);
        self.by_id.insert(id, session);
        true
    }

    /// Whether its end was told.
    pub fn has_ended(&self, id: SessionId) -> bool {
        self.ended.contains(&id)
    }

    pub fn end(&mut self, id: SessionId) {
        self.ended.push_back(id);
    }

    fn forget(&mut self, id: SessionId, claims: &mut HashMap<Claim, SessionId>) {
        // A late record may have brought it back to life.
        if self
            .by_id
            .get(&id)
            .is_none_or(|session| session.processes > 0)
        {
            return;
        }
        if let Some(session) = self.by_id.remove(&id) {
            self.bytes -= session.facts.bytes();
            self.by_kernel.remove(&id.kernel());
            self.forgotten.push(id.kernel());
            for claim in session.claims {
                claims.remove(&claim);
            }
        }
    }

    pub fn take_forgotten(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.forgotten)
    }

    /// Notes a claim answered with a session; gives the one to be forgotten for it.
    pub fn add_claim(&mut self, id: SessionId, claim: Claim) -> Option<Claim> {
        let session = self.by_id.get_mut(&id)?;
        if session.claims.back() == Some(&claim) {
            return None;
        }
        session.claims.push_back(claim);
        if session.claims.len() <= self.bounds.claims {
            return None;
        }
        self.evicted.claims += 1;
        session.claims.pop_front()
    }

    pub fn add_process(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.processes += 1;
        }
    }

    /// How many are left.
    pub fn remove_process(&mut self, id: SessionId) -> usize {
        let Some(session) = self.by_id.get_mut(&id) else {
            return 0;
        };
        session.processes = session.processes.saturating_sub(1);
        session.processes
    }
}
