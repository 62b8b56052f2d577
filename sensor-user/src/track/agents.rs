//! Agents within sessions: parts of the same agent, its tools, agents that a tool starts.

use std::sync::Arc;

use skep_event::{Agent, Detail, Found, Phase, Process, SessionId};

use super::{Beginning, Change, Judge, Member, Tracker, session::Session};
use crate::{
    decode::{self, Common},
    identify::Judgement,
    step::Sink,
    verdicts::Verdicts,
};

/// Sessions within sessions that are looked through.
const LEVELS_MAX: usize = 16;

impl<J: Judge> Tracker<J> {
    /// A part of an agent starting another part of it (a launcher, a relaunch, a daemon), as opposed
    /// to a tool of the agent starting an agent: that is a session of its own.
    pub(super) fn is_same_agent(&self, member: &Member, agent: &Agent) -> bool {
        member.core && self.is_of_family(member, agent)
    }

    pub(super) fn is_of_family(&self, member: &Member, agent: &Agent) -> bool {
        let session = self.sessions.get(member.session);
        session.is_some_and(|session| is_same(&session.agent, agent))
    }

    /// Whether its session, or one that this was started in, is of the agent's family.
    pub(super) fn is_within_family(&self, member: &Member, agent: &Agent) -> bool {
        let session = |id| self.sessions.get(id);
        let above = |session: &&Session| self.sessions.get(session.parent?);
        std::iter::successors(session(member.session), above)
            .take(LEVELS_MAX)
            .any(|session| is_same(&session.agent, agent))
    }

    /// A process of a session turns out to be an agent of its own: what it does from here on is in a session of
    /// that, or in its own if it is a part of the same agent.
    pub(super) fn become_agent(
        &mut self,
        common: &Common,
        exec: decode::Exec,
        judgement: Judgement,
        verdicts: &mut impl Verdicts,
        out: &mut impl Sink,
    ) {
        let Some(member) = self.processes.get(common.tgid, common.start_ns).cloned() else {
            return;
        };
        let Some(agent) = judgement.agent else {
            return;
        };
        let mut image = member.image.clone();
        let place = self.enrich.place(common.tgid, &exec);
        let session = if self.is_same_agent(&member, &agent) {
            self.learn(member.session, agent, common, &image, out);
            member.session
        } else {
            let id = self.session_id(common, &agent);
            let beginning = Beginning {
                agent,
                exec: &exec,
                image: &image,
                place: &place,
                parent: Some(member.session),
                found: Found::Observed,
            };
            if !self.begin(common, id, beginning, verdicts, out) {
                return;
            }
            id
        };
        self.tell_place(session, &place, &mut image);
        let member = Member {
            session,
            core: true,
            image,
            ..member
        };
        self.changed_process(common.tgid, common.start_ns, &member);
        if !self.put(common, common.tgid, common.start_ns, member, out) {
            self.evicted.processes += 1;
        }
    }

    /// Takes over a better identification of a session's agent.
    pub(super) fn learn(
        &mut self,
        id: SessionId,
        agent: Arc<Agent>,
        common: &Common,
        image: &Arc<Process>,
        out: &mut impl Sink,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let better = (agent.version.is_some(), agent.confidence)
            > (session.agent.version.is_some(), session.agent.confidence);
        if better {
            session.agent = agent;
            let info = session.info(Phase::Update);
            self.changed(|| Some(Change::Session(id)));
            self.emit(
                common,
                id,
                Some(image.clone()),
                None,
                Detail::Session(info),
                out,
            );
        }
    }
}

/// Whether two are of one family; where none describes them, of one name.
fn is_same(one: &Agent, other: &Agent) -> bool {
    one.family == other.family && one.name == other.name
}
