//! Forks and exits: who is in a session, and when it ends.

use skep_event::{Detail, Phase, SessionId};

use super::{Change, Judge, Member, Tracker};
use crate::{
    decode::{self, Common},
    step::Sink,
};

impl<J: Judge> Tracker<J> {
    pub(super) fn fork(&mut self, common: &Common, fork: decode::Fork, out: &mut impl Sink) {
        let Some(parent) = self.member(common, common.claim, out) else {
            self.ignored += 1;
            return;
        };
        let parent = self.current(common, parent, out);
        let session = parent.session;
        let child = Member {
            ppid: fork.child_ppid,
            own: None,
            ..parent
        };
        self.changed_child(common.tgid, &fork);
        if self.put(common, fork.child, fork.child_start_ns, child, out) {
            self.consumed += 1;
        } else {
            self.refused.add(Some(session));
        }
    }

    pub(super) fn exit(&mut self, common: &Common, exit: decode::Exit, out: &mut impl Sink) {
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
            Detail::Exit(skep_event::Exit { code, signal }),
            out,
        );
        let last = self.processes.remove(common.tgid, &mut self.sessions);
        self.changed(|| Some(Change::Gone { tgid: common.tgid }));
        if last {
            self.end(common, id, out);
        }
    }

    pub(super) fn end(&mut self, common: &Common, id: SessionId, out: &mut impl Sink) {
        self.tell_rings(id, self.clock.unix(common.time_ns), out);
        if let Some(session) = self.sessions.get(id) {
            let info = session.info(Phase::End);
            self.emit(common, id, None, None, Detail::Session(info), out);
            self.sessions.end(id);
            self.changed(|| Some(Change::Ended(id)));
        }
    }
}
