//! Opens, connects and the like: what a process does, under the process it is.

use std::sync::Arc;

use super::{IGNORED, Judge, Tracker, process::Member, storms::Storms};
use skep_event::{ActRef, CoverageKind, Detail, Process, SessionId};

use crate::{
    act::{Act, Folding, RecordId},
    decode::{self, Common, SocketKind},
    output::socket_name,
    step::Sink,
    verdicts::Verdicts,
};

/// Whether a record's process is one of a session.
enum Known {
    Not,
    /// It is, and the table has it, under its own pid.
    Followed,
    /// It is, and the table has no room for it.
    NoRoom(Member),
}

impl<J: Judge> Tracker<J> {
    pub(super) fn open(
        &mut self,
        common: &Common,
        open: decode::Open<'_>,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let decode::Open {
            facts,
            epoch,
            result,
        } = open;
        let record = RecordId {
            time_ns: common.time_ns,
            tid: common.tid,
        };
        let folding = epoch.map(|epoch| Folding { epoch, record });
        let facts = ActRef::Open(facts);
        self.act(common, result, facts, folding, verdicts, out);
    }

    pub(super) fn connect(
        &mut self,
        common: &Common,
        connect: decode::Connect<'_>,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let decode::Connect { facts, result } = connect;
        let facts = ActRef::Connect(facts);
        self.act(common, result, facts, None, verdicts, out);
    }

    /// What one process changes in one folder, in the same way and beyond a handful a second, is told as
    /// so many changes of that folder.
    pub(super) fn change(
        &mut self,
        common: &Common,
        change: decode::Change<'_>,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let decode::Change { mut facts, result } = change;
        if self.storms.is_more(common.tgid, common.time_ns, &facts) {
            facts = Storms::of_folder(facts);
        }
        self.act(common, result, ActRef::Change(facts), None, verdicts, out);
    }

    /// The hot path: nothing is copied or allocated for a process that acted before.
    fn act(
        &mut self,
        common: &Common,
        result: Option<i32>,
        facts: ActRef<'_>,
        folding: Option<Folding>,
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
            at: self.clock.at(common.time_ns),
            session,
            agent: self.sessions.get(session).map(|session| &session.agent),
            process,
            result,
            hook: common.hook.name(),
            facts,
            folding,
        });
    }

    /// An exec that failed is one of the process that tried it, with what it tried.
    pub(super) fn failed_exec(
        &mut self,
        common: &Common,
        failed: decode::FailedExec,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let decode::FailedExec {
            filename,
            argv,
            argv_truncated,
            result,
        } = failed;
        let Some((id, process)) = self.doer(common, verdicts, out) else {
            return;
        };
        let exec = skep_event::Exec {
            filename,
            argv,
            argv_truncated,
        };
        let detail = Detail::Exec(exec);
        self.emit(common, id, Some(process), Some(result), detail, out);
    }

    /// A socket whose peers no hook sees: told once for each kind, and a gap of the session.
    pub(super) fn rare_socket(
        &mut self,
        common: &Common,
        kind: SocketKind,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let Some((id, process)) = self.doer(common, verdicts, out) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let is_first = session.made_no_socket();
        if !session.makes(kind) {
            return;
        }
        let now = self.clock.unix(common.time_ns);
        let reason = format!(
            "a socket was made ({}); what is sent through it, and to whom, is not seen",
            socket_name(kind)
        );
        let detail = Detail::Coverage(skep_event::Coverage {
            hook: Some(common.hook.name()),
            ..skep_event::Coverage::point(CoverageKind::Socket, (now, now), 0, reason)
        });
        self.emit(common, id, Some(process), None, detail, out);
        if is_first && let Some(info) = self.note_gap(id) {
            self.emit(common, id, None, None, Detail::Session(info), out);
        }
    }

    /// The session and the process of a record, if it is one of a session.
    pub(super) fn doer(
        &mut self,
        common: &Common,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) -> Option<(SessionId, Arc<Process>)> {
        let member = match self.known(common, verdicts, out) {
            Known::Not => None,
            Known::NoRoom(member) => Some(member),
            Known::Followed => self.processes.get(common.tgid, common.start_ns).cloned(),
        }?;
        Some((member.session, member.own?))
    }

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
            && !member.is_as_another(common.ids)
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
        if let Some(ids) = common.ids.filter(|_| member.is_as_another(common.ids)) {
            member.go_on_as(ids);
        }
        member.own = Some(self.process(common, &member));
        match self.processes.update(common.tgid, common.start_ns, member) {
            None => Known::Followed,
            Some(member) => Known::NoRoom(member),
        }
    }
}
