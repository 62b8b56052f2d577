//! Changes of what the tracker knows, remembered for a journal.

use super::{
    Judge, Tracker,
    kept::{Change, Kept, KeptProcess, KeptSession},
    process::Member,
};
use skep_event::{Phase, SessionId};

use crate::decode;

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
