//! One event: what all classes have, around what its class alone has.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeStruct};
use skep_proto::v1;

use crate::{
    Agent, BootId, Class, Classes, Detail, Facts, Field, Invalid, OfClass, Process, SessionId,
    UnixNanos, Wire,
    field::{Redaction, why},
    names::result_name,
    part::PROCESSES,
};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub time: UnixNanos,
    /// The same moment on the boot clock, nanoseconds: what `time` was derived from. It stays right
    /// when the wall clock is set.
    pub boot_time: Option<u64>,
    /// The boot that `boot_time` counts from.
    pub boot_id: Option<BootId>,
    pub session: Option<SessionId>,
    pub agent: Option<Arc<Agent>>,
    pub process: Option<Arc<Process>>,
    /// 0 or a negative errno; `None` when the hook runs before the outcome is known.
    pub result: Option<i32>,
    /// Which hook saw it, e.g. `raw_tp/sched_process_exec`.
    pub hook: Option<&'static str>,
    pub detail: Detail,
}

/// Columns of what every event has.
pub mod columns {
    use crate::Column;

    pub const TIME: Column = Column::at(5, "time", "when it happened");
    pub const CLASS: Column = Column::at(
        6,
        "class",
        "exec, exit, open, connect, session, lost, coverage, finding or change",
    );
    pub const SESSION: Column = Column::at(
        7,
        "session",
        "session id; null on host-wide events (lost and coverage that are not one session's alone)",
    );
    pub const RESULT: Column = Column::at(
        32,
        "result",
        "0 or a negative errno; null when the hook runs before the outcome",
    );
    pub const HOOK: Column = Column::at(33, "hook", "which kernel hook saw it");
    pub const BOOT_TIME: Column = Column::at(
        79,
        "boot_time",
        "the same moment on the kernel's boot clock, nanoseconds: setting the wall clock does not change it",
    );
    pub const BOOT_ID: Column = Column::at(
        80,
        "boot_id",
        "boot of the host that boot_time counts from: /proc/sys/kernel/random/boot_id",
    );
}

// === impl Event ===

impl Event {
    /// Of a session, or of the machine, and of no process: nothing a hook has reported.
    pub fn told(session: Option<SessionId>, time: UnixNanos, detail: Detail) -> Self {
        Self {
            time,
            boot_time: None,
            boot_id: None,
            session,
            agent: None,
            process: None,
            result: None,
            hook: None,
            detail,
        }
    }

    pub fn class(&self) -> Class {
        self.detail.class()
    }

    /// The rows of the manifest, in the order of the JSON form.
    pub fn fields() -> Vec<Field> {
        let everywhere = |name, wire, meaning, example, why| Field {
            name: Some(name),
            wire,
            classes: &Class::ALL,
            meaning,
            example,
            why,
            redaction: Redaction::None,
        };
        let mut rows = Rows(vec![
            everywhere(
                "time",
                Some("time_unix_nano"),
                "when it happened",
                "2026-07-01T08:15:02.123456789Z",
                "orders events",
            ),
            everywhere(
                "boot_time",
                Some("boot_time_nano"),
                "when it happened, as nanoseconds since boot",
                "93123456789012",
                "stays right when the wall clock is set",
            ),
            everywhere(
                "boot_id",
                Some("boot_id"),
                "which boot of the host",
                "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001",
                "tells two boots apart where the wall clock was wrong",
            ),
            everywhere(
                "class",
                None,
                "what kind of event it is",
                "exec",
                "says which of the other fields apply",
            ),
            everywhere(
                "session",
                Some("session"),
                "one run of an agent, by a hash of its first process",
                "4d2f0c…",
                "keeps one run's events together",
            ),
        ]);
        Agent::fields(&mut rows.0);
        Process::fields(&mut rows.0);
        Class::each(&mut rows);
        rows.0
    }
}

/// Rows of the manifest, class after class.
struct Rows(Vec<Field>);

impl Classes for Rows {
    fn class<C: OfClass>(&mut self) {
        if C::CLASS == AFTER_OUTCOME {
            self.0.extend(OUTCOME);
        }
        C::fields(&mut self.0);
    }
}

/// In the JSON form, result and hook come before what this class has.
const AFTER_OUTCOME: Class = Class::Session;

const OUTCOME: [Field; 2] = [
    Field {
        name: Some("result"),
        wire: Some("result"),
        classes: &[Class::Exec, Class::Open, Class::Connect, Class::Change],
        meaning: "0, or the error",
        example: "ENOENT",
        why: "tells attempts from successes",
        redaction: Redaction::None,
    },
    Field {
        name: Some("hook"),
        wire: Some("hook"),
        classes: PROCESSES,
        meaning: "which place in the kernel saw it",
        example: "lsm/file_open",
        why: why::COMPLETENESS,
        redaction: Redaction::None,
    },
];

/// `0`, or the name of the errno.
struct Outcome(i32);

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_i32(0),
            errno => serializer.serialize_str(&result_name(errno)),
        }
    }
}

/// One object, every key always there, `null` for what is unknown or does not apply.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            time,
            boot_time,
            boot_id,
            session,
            agent,
            process,
            result,
            hook,
            detail,
        } = self;
        let class = detail.class();
        let mut out = serializer.serialize_struct("Event", 9 + Class::COUNT)?;
        out.serialize_field("time", time)?;
        out.serialize_field("boot_time", boot_time)?;
        out.serialize_field("boot_id", boot_id)?;
        out.serialize_field("class", class.name())?;
        out.serialize_field("session", session)?;
        out.serialize_field("agent", &agent.as_deref())?;
        out.serialize_field("process", &process.as_deref())?;
        for of in Class::ALL {
            if of == AFTER_OUTCOME {
                out.serialize_field("result", &result.map(Outcome))?;
                out.serialize_field("hook", hook)?;
            }
            out.serialize_field(of.key(), &(of == class).then_some(detail))?;
        }
        out.end()
    }
}

impl Wire<v1::Event> for Event {
    fn to_wire(&self) -> v1::Event {
        let Self {
            time,
            boot_time,
            boot_id,
            session,
            agent,
            process,
            result,
            hook,
            detail,
        } = self;
        v1::Event {
            time_unix_nano: time.to_wire(),
            boot_time_nano: *boot_time,
            boot_id: boot_id.to_wire(),
            session: session.to_wire(),
            agent: agent.as_deref().map(Wire::to_wire),
            process: process.as_deref().map(Wire::to_wire),
            hook: hook.to_wire(),
            result: *result,
            detail: Some(detail.to_wire()),
        }
    }

    fn from_wire(wire: v1::Event) -> Result<Self, Invalid> {
        let v1::Event {
            time_unix_nano,
            boot_time_nano,
            boot_id,
            session,
            agent,
            process,
            hook,
            result,
            detail,
        } = wire;
        let detail = detail.ok_or(Invalid("an event, it has no detail"))?;
        Ok(Self {
            time: Wire::from_wire(time_unix_nano)?,
            boot_time: boot_time_nano,
            boot_id: Wire::from_wire(boot_id)?,
            session: Wire::from_wire(session)?,
            agent: agent.map(Agent::from_wire).transpose()?.map(Arc::new),
            process: process.map(Process::from_wire).transpose()?.map(Arc::new),
            result,
            hook: Wire::from_wire(hook)?,
            detail: Wire::from_wire(detail)?,
        })
    }
}
