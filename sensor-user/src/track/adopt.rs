//! Processes that run already: found again after a restart, or met for the first time.
//!
//! Two sources. What an earlier life of the sensor kept ([`Kept`]) says which processes were in which
//! session; a walk over the kernel's task list says which processes there are, with their exact start
//! times, parents and executables. A process is the same when pid *and* exact start are the same.
//!
//! - Kept and there: *certain*. If it runs another executable now, its image is read from `/proc` and
//!   marked as inferred; its session stays.
//! - Not kept, but its parent is in a session: the child is, *inferred* (it was forked while nobody
//!   watched). One that executes something before a walk finds it is taken in by that exec. A descendant
//!   whose parent has ended meanwhile cannot be told from others.
//! - Neither, but recognisably an agent: a session of its own, found running, *inferred*. Its id is
//!   the one its first exec would have given it.
//! - Kept and gone: it ended while nobody watched. A session without any process left ends now, since
//!   when it did is not known.
//!
//! The caller enters what [`Tracker::adopt`] gives into the kernel's table, then walks again: what was
//! forked before that is found by the next walk, what is forked after it is reported by the hooks.

use std::sync::Arc;

use super::{
    Beginning, Judge, Tracker, candidate,
    expected::Expected,
    kept::{Change, Kept, KeptProcess, KeptSession},
    process::{Inserted, Member},
    session::Session,
};
use skep_event::{
    Coverage, CoverageKind, Detail, Found, Phase, Process, SessionId, SessionInfo, UnixNanos,
};

use crate::{
    container::Container,
    decode::{self, Common},
    enrich::SessionFacts,
    place::{Namespaces, Place},
    step::Sink,
    verdicts::Verdicts,
};

/// Reads processes that run. The real one is [`crate::inspect::Inspector`], by `/proc`.
pub trait Running {
    /// What a process runs, as an exec would have told it; `None` when it is not that process any
    /// more, or another executable than `task` says. `meanwhile` is called while that takes its time.
    fn image(
        &mut self,
        common: &Common,
        task: &decode::Task,
        meanwhile: &mut dyn FnMut(),
    ) -> Option<decode::Exec>;
    /// Whether the process with this pid that started then, if that is known, still runs. One that is
    /// ending does until it is a zombie.
    fn alive(&mut self, tgid: u32, start_ns: Option<u64>) -> bool;
    /// Whether it runs, and has not begun to end: so that its exit is still to be reported.
    fn end_is_to_come(&mut self, tgid: u32, start_ns: u64) -> bool;
}

/// A process that must be in the kernel's table of watched processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    pub tgid: u32,
    pub start_ns: u64,
    pub session: SessionId,
    /// What it runs, as far as is known here.
    pub executable: u64,
    /// What the walk saw it run. Another: an exec is on its way, or was before the walk came by.
    pub walked: u64,
}

/// What became of processes that no walk has found.
#[derive(Debug, Default)]
pub struct Settled {
    pub running: Vec<Adopted>,
    /// Pids and starts: [`Tracker::vanished`], once what they left in the ring was read.
    pub gone: Vec<(u32, u64)>,
}

impl<J: Judge> Tracker<J> {
    // === resumption ===

    /// Takes up what an earlier life of the sensor knew, before any record is handled. Its processes
    /// are believed until [`Tracker::settle_expected`].
    pub fn resume(&mut self, kept: Kept, verdicts: &mut impl Verdicts) {
        let Kept {
            sessions,
            processes,
            until_ns: _,
        } = kept;
        for KeptSession { id, agent, info } in sessions {
            let SessionInfo {
                phase: _,
                parent,
                user,
                uid,
                login_uid,
                terminal,
                cwd,
                repository,
                gaps,
                found: _,
                user_source,
                cgroup,
                container_runtime,
                container_id,
                pid_namespace,
                user_namespace,
                mount_namespace,
            } = info;
            let place = Place {
                cgroup,
                container: container_id.map(|id| Container {
                    runtime: container_runtime,
                    id,
                }),
                namespaces: Namespaces {
                    pid: pid_namespace,
                    user: user_namespace,
                    mount: mount_namespace,
                },
            };
            // From a journal without the source, or written while the name was still to come.
            let (user, user_source) = match user_source {
                Some(_) => (user, user_source),
                None => self.enrich.user(uid, user_namespace),
            };
            let facts = SessionFacts {
                user,
                user_source,
                uid,
                login_uid,
                terminal,
                cwd,
                repository,
                place,
            };
            let mut session = Session::new(agent, parent, facts);
            session.gaps = gaps.saturating_add(1);
            session.found = Found::Resumed;
            if !self.sessions.begin(id, session, &mut self.claims) {
                self.refused.add(None);
                continue;
            }
            self.account(id, verdicts);
            self.resumed.push(id);
            self.changed(|| Some(Change::Session(id)));
        }
        for kept in processes {
            if self.sessions.get(kept.session).is_none() {
                continue;
            }
            let KeptProcess {
                tgid,
                start_ns,
                session,
                core,
                ppid,
                executable,
                image,
            } = kept;
            let member = Member {
                session,
                core,
                ppid,
                executable,
                image,
                own: None,
            };
            self.expect(tgid, start_ns, &member, false);
            self.follow(tgid, start_ns, member);
        }
    }

    /// Walks follow, until this is called again with the time of their end.
    pub fn adopting_until(&mut self, end_ns: Option<u64>) {
        self.adopting_until_ns = end_ns.unwrap_or(u64::MAX);
    }

    /// A process that executes something before a walk has found it, whose parent is in a session: it was
    /// forked while nobody watched, and is taken in now, so that what it does from here on is not that of a
    /// stranger.
    pub(super) fn forked_unseen(&self, common: &Common, exec: &decode::Exec) -> Option<Member> {
        if common.time_ns > self.adopting_until_ns {
            return None;
        }
        let parent = self
            .processes
            .get(exec.ppid?, Some(exec.parent_start_ns?))?;
        Some(Member {
            ppid: exec.ppid,
            own: None,
            ..parent.clone()
        })
    }

    /// Takes in the processes a walk has found; gives those that are in sessions.
    pub fn adopt(
        &mut self,
        mut tasks: Vec<(Common, decode::Task)>,
        running: &mut impl Running,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) -> Vec<Adopted> {
        // Parents come first: nobody is older than who forked it.
        tasks.sort_by_key(|(common, _)| common.start_ns);
        // A walk that was upset reports some twice.
        tasks.dedup_by_key(|(common, _)| (common.start_ns, common.tgid));
        let me = std::process::id();
        let mut adopted = Vec::new();
        for (common, task) in tasks {
            // Watching itself the sensor would report its own reports.
            if common.tgid == me {
                continue;
            }
            adopted.extend(self.adopt_one(&common, &task, running, verdicts, out));
        }
        adopted
    }

    fn adopt_one(
        &mut self,
        common: &Common,
        task: &decode::Task,
        running: &mut impl Running,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) -> Option<Adopted> {
        let (tgid, start_ns) = (common.tgid, common.start_ns?);
        let session = match self.processes.get(tgid, Some(start_ns)).cloned() {
            Some(member) => {
                let mut another_image = false;
                if let Some(expected) = self.expected.get_mut(&tgid) {
                    expected.seen = true;
                    // An exec that was seen is newer than any walk.
                    another_image = Arc::ptr_eq(&expected.image, &member.image)
                        && member.executable != common.image.unwrap_or(0);
                }
                if another_image {
                    self.met(common, task, Some(member), running, verdicts, out)?
                } else {
                    member.session
                }
            }
            None => {
                let parent = self.processes.get(task.ppid, Some(task.parent_start_ns));
                let parent = parent.cloned();
                self.met(common, task, parent, running, verdicts, out)?
            }
        };
        Some(Adopted {
            tgid,
            start_ns,
            session,
            executable: self
                .processes
                .get(tgid, Some(start_ns))
                .map_or(0, |member| member.executable),
            walked: common.image.unwrap_or(0),
        })
    }

    /// A process whose image nobody saw: itself, as it was kept, or the child of `member`. Gives its
    /// session, if it is in one.
    fn met(
        &mut self,
        common: &Common,
        task: &decode::Task,
        member: Option<Member>,
        running: &mut impl Running,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) -> Option<SessionId> {
        let exec = running.image(common, task, &mut || verdicts.meanwhile());
        // It may have executed that later, and never earlier.
        let since = common.start_ns.map(|ns| self.clock.unix(ns));
        let judgement = match &exec {
            Some(exec) => self.judge.judge(&candidate(common, exec, since), &mut || {
                verdicts.meanwhile()
            }),
            // Gone, or it executes something at this moment: the next walk tells.
            None => member.as_ref().map(|_| Default::default())?,
        };
        if let Some(exec) = &exec {
            self.unjudged.note(common.time_ns, exec, &judgement);
        }
        if judgement.never && exec.is_some() {
            verdicts.never(task.file);
        }
        let mut exec = exec.unwrap_or_else(|| unknown(task));
        let mut image = Arc::new(Process {
            pid: common.tgid,
            start: common.start_ns.map(|ns| self.clock.unix(ns)),
            ppid: Some(task.ppid),
            exe: exec.exe.clone(),
            argv: exec.take_command_line(),
            argv_truncated: exec.argv_truncated,
            cwd: exec.cwd.clone(),
            uid: exec.uid,
            euid: exec.euid,
            inferred: true,
            cgroup: None,
            container_id: None,
            pid_namespace: None,
            user_namespace: None,
            mount_namespace: None,
        });
        let place = self.enrich.place(common.tgid, &exec);
        let (session, core) = match (member, judgement.agent) {
            (None, None) => return None,
            (Some(member), None) => (member.session, false),
            (Some(member), Some(agent))
                if judgement.multicall && self.is_within_family(&member, &agent) =>
            {
                (member.session, false)
            }
            (Some(member), Some(agent)) if self.is_same_agent(&member, &agent) => {
                (member.session, true)
            }
            (member, Some(agent)) => {
                let id = self.session_id(common, &agent);
                let beginning = Beginning {
                    agent,
                    exec: &exec,
                    image: &image,
                    place: &place,
                    parent: member.map(|member| member.session),
                    found: Found::Running,
                };
                if self.sessions.get(id).is_none()
                    && !self.begin(common, id, beginning, verdicts, out)
                {
                    return None;
                }
                (id, true)
            }
        };
        self.tell_place(session, &place, &mut image);
        let member = Member {
            session,
            core,
            ppid: Some(task.ppid),
            executable: common.image.unwrap_or(0),
            image,
            own: None,
        };
        let start_ns = common.start_ns?;
        self.expect(common.tgid, start_ns, &member, true);
        self.follow(common.tgid, start_ns, member);
        Some(session)
    }

    /// What was believed to be there and no walk has found, and may run all the same: a process whose
    /// first thread has ended is in no walk.
    pub fn settle_expected(&mut self, running: &mut impl Running) -> Settled {
        let mut settled = Settled::default();
        for (tgid, expected) in std::mem::take(&mut self.expected) {
            let start_ns = expected.start_ns;
            let Some(member) = self.processes.get(tgid, Some(start_ns)) else {
                continue;
            };
            if expected.seen {
                continue;
            }
            if running.alive(tgid, Some(start_ns)) {
                settled.running.push(Adopted {
                    tgid,
                    start_ns,
                    session: member.session,
                    executable: member.executable,
                    walked: member.executable,
                });
            } else {
                settled.gone.push((tgid, start_ns));
            }
        }
        settled
    }

    /// The process ended, and no hook was there to see it.
    pub fn vanished(&mut self, tgid: u32, start_ns: u64) {
        if let Some(member) = self.processes.get(tgid, Some(start_ns)) {
            let session = member.session;
            if self.processes.remove(tgid, &mut self.sessions) && !self.resumed.contains(&session) {
                self.emptied.push(session);
            }
            self.changed(|| Some(Change::Gone { tgid }));
        }
    }

    /// The kernel's table was full: what a process of a session does is not seen.
    pub fn not_watched(&mut self, session: SessionId) {
        self.refused.add(Some(session));
    }

    /// Every process that is followed must be found by the next walks, or is gone.
    pub fn expect_all(&mut self) {
        let expected = self
            .processes
            .iter()
            .filter_map(|(tgid, start_ns, member)| {
                let expected = Expected {
                    start_ns: start_ns?,
                    image: member.image.clone(),
                    seen: false,
                };
                Some((tgid, expected))
            });
        self.expected = expected.collect();
    }

    fn expect(&mut self, tgid: u32, start_ns: u64, member: &Member, seen: bool) {
        let expected = Expected {
            start_ns,
            image: member.image.clone(),
            seen,
        };
        self.expected.insert(tgid, expected);
    }

    /// Tells of the sessions that were taken up: those that go on, and those that ended between
    /// `since` and `now` while nobody watched.
    pub fn tell_resumed(&mut self, since: UnixNanos, now: UnixNanos, out: &mut impl Sink) {
        let resumed = std::mem::take(&mut self.resumed);
        let emptied = std::mem::take(&mut self.emptied);
        let resumed = resumed.into_iter().map(|id| (id, true));
        for (id, tell_update) in resumed.chain(emptied.into_iter().map(|id| (id, false))) {
            let Some(session) = self.sessions.get(id) else {
                continue;
            };
            let over = !session.is_live();
            // Its end was seen meanwhile; or somebody of it was found after all.
            if self.sessions.has_ended(id) || !over && !tell_update {
                continue;
            }
            let info = session.info(if over { Phase::End } else { Phase::Update });
            let mut tell = |detail| out.event(self.told(id, now, detail));
            if over {
                let reason = "the session ended while nobody watched; when and how is not known";
                let blind = Coverage::point(CoverageKind::Blind, (since, now), 0, reason);
                tell(Detail::Coverage(blind));
            }
            tell(Detail::Session(info));
            if over {
                self.sessions.end(id);
                self.changed(|| Some(Change::Ended(id)));
            }
        }
    }

    fn follow(&mut self, tgid: u32, start_ns: u64, member: Member) {
        self.changed_process(tgid, Some(start_ns), &member);
        let session = member.session;
        match self
            .processes
            .insert(tgid, Some(start_ns), member, &mut self.sessions)
        {
            Inserted::Done => {}
            Inserted::Emptied(session) => self.emptied.push(session),
            Inserted::NoRoom => self.refused.add(Some(session)),
        }
    }
}

/// What is known of a process that could not be read.
fn unknown(task: &decode::Task) -> decode::Exec {
    decode::Exec {
        ppid: Some(task.ppid),
        parent_start_ns: Some(task.parent_start_ns),
        uid: Some(task.uid),
        euid: Some(task.euid),
        ..decode::Exec::unknown()
    }
}

#[cfg(test)]
mod tests;
