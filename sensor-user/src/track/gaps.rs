//! Gaps in sessions, marked where they belong: what the accounts know of, and execs and exits that were
//! not seen.

use std::{collections::BTreeMap, sync::Arc};

use super::{Judge, Tracker, Who, kept::Change, process::Member};
use skep_event::{
    Coverage, CoverageKind, Detail, Event, Phase, Process, SessionId, SessionInfo, UnixNanos,
};

use crate::{accounts, decode::Common, step::Sink, verdicts::Verdicts};

impl<J: Judge> accounts::Sessions for Tracker<J> {
    fn by_kernel(&self, kernel: u64) -> Option<SessionId> {
        self.sessions.by_kernel(kernel)
    }

    fn gap(&mut self, id: SessionId, time: UnixNanos) -> Option<Event> {
        let info = self.note_gap(id)?;
        Some(self.told(id, time, Detail::Session(info)))
    }
}

impl<J: Judge> Tracker<J> {
    /// A process that runs something else than its last exec says has executed it unseen: what it
    /// runs is not known from here on, and its session has a gap.
    pub(super) fn current(
        &mut self,
        common: &Common,
        member: Member,
        out: &mut impl Sink,
    ) -> Member {
        // Until an adoption is over, a record may tell what the kernel side was told before it.
        if !member.runs_another(common.image) || common.time_ns <= self.adopting_until_ns {
            return member;
        }
        let image = self.unknown(common, Some(&member));
        let member = Member {
            core: false,
            executable: common.image.unwrap_or(0),
            own: Some(image.clone()),
            image,
            ..member
        };
        let process = member.image.clone();
        self.changed_process(common.tgid, common.start_ns, &member);
        self.processes
            .update(common.tgid, common.start_ns, member.clone());
        let id = member.session;
        if let Some(info) = self.note_gap(id) {
            self.emit(common, id, Some(process), None, Detail::Session(info), out);
        }
        member
    }

    /// A process of which nothing is known but what its fork said.
    pub(super) fn unknown(&self, common: &Common, member: Option<&Member>) -> Arc<Process> {
        Arc::new(Process {
            pid: common.tgid,
            start: common.start_ns.map(|ns| self.clock.unix(ns)),
            ppid: member.and_then(|member| member.ppid),
            exe: None,
            argv: Vec::new(),
            argv_truncated: false,
            cwd: None,
            uid: member.and_then(|member| member.image.uid),
            euid: member.and_then(|member| member.image.euid),
            inferred: false,
            cgroup: None,
            container_id: None,
            pid_namespace: None,
            user_namespace: None,
            mount_namespace: None,
        })
    }

    /// These processes ended between the two times, and no record told of it: their sessions have a
    /// gap, and are over if nobody else of them lives. Those that are not followed any more did tell.
    pub fn ended_unseen(
        &mut self,
        dead: &[Who],
        between: (UnixNanos, UnixNanos),
        out: &mut impl Sink,
    ) {
        let mut counts: BTreeMap<SessionId, u64> = BTreeMap::new();
        for (tgid, start_ns) in dead {
            let Some(member) = self.processes.get(*tgid, *start_ns) else {
                continue;
            };
            *counts.entry(member.session).or_default() += 1;
            self.processes.remove(*tgid, &mut self.sessions);
            self.changed(|| Some(Change::Gone { tgid: *tgid }));
        }
        for (id, count) in counts {
            let Some(mut info) = self.note_gap(id) else {
                continue;
            };
            self.tell_rings(id, between.1, out);
            let over = self
                .sessions
                .get(id)
                .is_some_and(|session| !session.is_live());
            // A late record of the dead brought it back to life after its end.
            let told_before = over && self.sessions.has_ended(id);
            if over {
                info.phase = Phase::End;
            }
            tracing::warn!(session = %id, count, over, "processes ended, and no record said so");
            let reason = "processes of the session had ended, and the records of that did not \
                          arrive; when and how they ended is not known";
            let coverage = Coverage::point(CoverageKind::Vanished, between, count, reason);
            out.event(self.told(id, between.1, Detail::Coverage(coverage)));
            if !told_before {
                out.event(self.told(id, between.1, Detail::Session(info)));
            }
            if over {
                if !told_before {
                    self.sessions.end(id);
                }
                self.changed(|| Some(Change::Ended(id)));
            }
        }
    }

    /// Every live session has one more gap in its story.
    pub fn add_gap(&mut self, now: UnixNanos, out: &mut impl Sink) {
        let live: Vec<SessionId> = self.sessions.live_ids().collect();
        for id in live {
            if let Some(info) = self.note_gap(id) {
                out.event(self.told(id, now, Detail::Session(info)));
            }
        }
    }

    /// After the verdict on an agent: what was lost while it waited for that is a gap of its session.
    pub(super) fn waited(
        &mut self,
        common: &Common,
        id: SessionId,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        // A process of a session does not wait: what it loses is its session's at once.
        if common.session.is_none()
            && common
                .claim
                .is_some_and(|claim| verdicts.lost_waiting(claim))
            && let Some(info) = self.note_gap(id)
        {
            self.emit(common, id, None, None, Detail::Session(info), out);
        }
    }

    /// What tables without room lost of sessions, since the last time.
    pub fn take_refused(&mut self) -> accounts::OfSessions {
        self.refused.take()
    }

    /// One more gap in a session's story; what there is to say of the session then.
    pub(super) fn note_gap(&mut self, id: SessionId) -> Option<SessionInfo> {
        let session = self.sessions.get_mut(id)?;
        session.gaps = session.gaps.saturating_add(1);
        let info = session.info(Phase::Update);
        self.changed(|| Some(Change::Session(id)));
        Some(info)
    }

    /// An event of a session and none of its processes.
    pub(super) fn told(&self, id: SessionId, time: UnixNanos, detail: Detail) -> Event {
        let session = self.sessions.get(id);
        Event {
            agent: session.map(|session| session.agent.clone()),
            ..Event::told(Some(id), time, detail)
        }
    }
}
