//! Gaps in sessions: what the accounts know of, marked where it belongs.

use super::{Judge, Tracker, changes::Change};
use crate::{
    accounts,
    event::{Detail, Event, Phase, SessionId, UnixNanos},
};

impl<J: Judge> accounts::Sessions for Tracker<J> {
    fn by_kernel(&self, kernel: u64) -> Option<SessionId> {
        self.sessions.by_kernel(kernel)
    }

    fn gap(&mut self, id: SessionId, time: UnixNanos) -> Option<Event> {
        let session = self.sessions.get_mut(id)?;
        session.gaps += 1;
        if let Some(changes) = &mut self.changes {
            changes.push(Change::Session(id));
        }
        Some(Event {
            time,
            session: Some(id),
            agent: Some(session.agent.clone()),
            process: None,
            result: None,
            hook: None,
            detail: Detail::Session(session.info(Phase::Update)),
        })
    }
}
