//! Names of users that were still to come when their sessions began.

use skep_event::{Detail, Event, Phase, SessionId, UnixNanos};

use super::{Judge, Tracker, kept::Change};
use crate::step::Sink;

impl<J: Judge> Tracker<J> {
    /// Tells of each session that goes on, and whose user has a name now or is known to have none.
    pub fn tell_names(&mut self, now: UnixNanos, out: &mut impl Sink) {
        for (uid, named) in self.enrich.names() {
            let of_user: Vec<SessionId> = self
                .sessions
                .live_ids()
                .filter(|id| {
                    let session = self.sessions.get(*id);
                    session.is_some_and(|session| session.waits_for_name_of(uid))
                })
                .collect();
            for id in of_user {
                let Some(session) = self.sessions.get_mut(id) else {
                    continue;
                };
                session.name_user(&named);
                let info = session.info(Phase::Update);
                self.changed(|| Some(Change::Session(id)));
                let event: Event = self.told(id, now, Detail::Session(info));
                out.event(event);
            }
        }
    }
}
