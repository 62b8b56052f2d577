//! What a process did, on its way from the tracker to the fold: opens and connects, by reference.
//!
//! They are by far the most frequent, and most of them repeat an earlier one. So they become an
//! [`Event`], which owns what it tells, only where one of them is the first of its kind.

use std::sync::Arc;

use skep_event::{ActRef, Agent, Event, Process, SessionId};

use crate::clock::Moment;

/// An open or a connect.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    pub at: Moment,
    pub session: SessionId,
    pub agent: Option<&'a Arc<Agent>>,
    pub process: &'a Arc<Process>,
    /// 0 or a negative errno, where the hook knows it.
    pub result: Option<i32>,
    pub hook: &'static str,
    pub facts: ActRef<'a>,
    /// Present when the kernel side counts repeats of it.
    pub folding: Option<Folding>,
}

/// Where the kernel side counts repeats of an open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folding {
    /// The epoch in which it does.
    pub epoch: u32,
    pub record: RecordId,
}

/// Names a record: time (boot clock, nanoseconds) and thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordId {
    pub time_ns: u64,
    pub tid: u32,
}

// === impl Act ===

impl Act<'_> {
    /// The event that tells of this act alone.
    pub fn to_event(&self) -> Event {
        let Self {
            at,
            session,
            agent,
            process,
            result,
            hook,
            facts,
            folding: _,
        } = *self;
        Event {
            time: at.time,
            boot_time: Some(at.boot_ns),
            boot_id: None,
            session: Some(session),
            agent: agent.cloned(),
            process: Some(process.clone()),
            result,
            hook: Some(hook),
            detail: facts.own(),
        }
    }

    /// Whether an event tells of the same, but for time and count: what then may be counted in it.
    pub fn repeats(&self, event: &Event) -> bool {
        let Self {
            at: _,
            session,
            agent,
            process,
            result,
            hook,
            facts,
            folding: _,
        } = *self;
        facts.repeats(&event.detail)
            && event.session == Some(session)
            && event.result == result
            && event.hook == Some(hook)
            // The agent of a session may become known meanwhile, a process execute something else.
            && same(agent, event.agent.as_ref())
            && same(Some(process), event.process.as_ref())
    }
}

fn same<T: PartialEq>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        _ => false,
    }
}
