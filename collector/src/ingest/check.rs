//! What a message must look like to be taken.
//!
//! Everything that passes fits the columns of [`crate::schema`]; that module relies on it.

use std::time::{SystemTime, UNIX_EPOCH};

use skep_event::{Agent, Class, Facts, Process, SessionId, Unfit, column::fits};
use skep_proto::v1::{self, HookStatus, Lane};

use crate::{
    batch::{Batch, BatchError, Event, Parts},
    counters::{Counter, Counters},
    store::{COLLECTOR, Hook, SensorFacts},
};

/// Bytes of one text in `Hello` or `Outcome`.
const MAX_FACT_BYTES: usize = 1024;
const MAX_HOOKS: usize = 64;

/// `code` of the wire's `Refusal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCode {
    Malformed,
    SequenceGap,
    WrongEpoch,
    TooLarge,
    Internal,
    Superseded,
}

/// Why a stream is ended by the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: RefusalCode,
    /// Says what was wrong, without text of the peer's.
    pub reason: String,
}

// === impl RefusalCode ===

impl RefusalCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::SequenceGap => "sequence_gap",
            Self::WrongEpoch => "wrong_epoch",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
            Self::Superseded => "superseded",
        }
    }

    pub(super) fn counter(self, counters: &Counters) -> &Counter {
        match self {
            Self::Malformed => &counters.refused_malformed,
            Self::SequenceGap => &counters.refused_sequence_gap,
            Self::WrongEpoch => &counters.refused_wrong_epoch,
            Self::TooLarge => &counters.refused_too_large,
            Self::Internal => &counters.refused_internal,
            Self::Superseded => &counters.refused_superseded,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        Self {
            code: RefusalCode::Malformed,
            reason: reason.into(),
        }
    }
}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Self {
        match error {
            // Why it is none may have text of the peer's.
            BatchError::Malformed { place, reason: _ } => {
                Self::malformed(format!("a batch that is not a skep.v1 Batch: {place}"))
            }
            BatchError::TooMany => Self {
                code: RefusalCode::TooLarge,
                reason: error.to_string(),
            },
        }
    }
}

/// The facts of a `Hello`, with the texts that were left empty as unknown.
pub(super) fn hello(hello: v1::Hello) -> Result<SensorFacts, Refusal> {
    if !is_id(&hello.sensor_id) {
        return Err(Refusal::malformed(
            "hello: sensor_id is not 32 lower-case hexadecimal digits",
        ));
    }
    if hello.sensor_id == COLLECTOR {
        return Err(Refusal::malformed(format!(
            "hello: sensor_id {COLLECTOR} is reserved for the collector's own events"
        )));
    }
    if hello.epoch == 0 || i64::try_from(hello.epoch).is_err() {
        return Err(Refusal {
            code: RefusalCode::WrongEpoch,
            reason: "hello: epoch is not a time in unix nanoseconds".to_owned(),
        });
    }
    if hello.hooks.len() > MAX_HOOKS {
        return Err(Refusal::malformed(format!(
            "hello: more than {MAX_HOOKS} hooks"
        )));
    }
    let host = hello.host.unwrap_or_default();
    let hooks = hello.hooks.into_iter().map(|hook| {
        let status = match hook.status() {
            HookStatus::Unspecified => None,
            HookStatus::Live => Some("live".to_owned()),
            HookStatus::Fallback => Some("fallback".to_owned()),
            HookStatus::Off => Some("off".to_owned()),
        };
        Ok(Hook {
            fact: fact("hook.fact", hook.fact)?.unwrap_or_default(),
            hook: fact("hook.hook", hook.hook.unwrap_or_default())?,
            status,
            reason: fact("hook.reason", hook.reason)?,
        })
    });
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let findings = hello.lane == i32::from(Lane::Findings);
    Ok(SensorFacts {
        epoch: if findings { 0 } else { hello.epoch },
        findings_epoch: findings.then_some(hello.epoch),
        sensor_version: fact("sensor_version", hello.sensor_version)?,
        hostname: fact("host.hostname", host.hostname)?,
        os: fact("host.os", host.os)?,
        kernel: fact("host.kernel", host.kernel)?,
        arch: fact("host.arch", host.arch)?,
        boot_id: fact("host.boot_id", host.boot_id)?,
        hooks: hooks.collect::<Result<Vec<_>, Refusal>>()?.into(),
        sensor_id: hello.sensor_id,
        first_hello: now,
        last_hello: now,
    })
}

/// The answer to an order.
pub(super) fn outcome(outcome: v1::Outcome) -> Result<v1::Outcome, Refusal> {
    if outcome.kind() == v1::outcome::Kind::Unspecified {
        return Err(Refusal::malformed("outcome: neither applied nor refused"));
    }
    if outcome.reason.len() > MAX_FACT_BYTES {
        return Err(Refusal::malformed(format!(
            "outcome: reason is longer than {MAX_FACT_BYTES} bytes"
        )));
    }
    Ok(outcome)
}

pub(super) fn batch(batch: &Batch) -> Result<(), Refusal> {
    let count = batch.events.len();
    if count == 0 {
        return Err(Refusal::malformed("a batch without events"));
    }
    let end = batch.first_seq.checked_add(count as u64);
    if batch.first_seq == 0 || end.is_none_or(|end| i64::try_from(end).is_err()) {
        return Err(Refusal::malformed(
            "a batch whose sequence does not start between 1 and 2^63",
        ));
    }
    let parts = parts_fit(&batch.parts);
    for (index, event) in batch.events.iter().enumerate() {
        event_fits(event, &parts).map_err(|what| {
            let seq = batch.first_seq + index as u64;
            Refusal::malformed(format!("event {seq}: {what}"))
        })?;
    }
    Ok(())
}

/// What is wrong with each of the parts.
struct PartsFit {
    sessions: Vec<Result<(), Unfit>>,
    agents: Vec<Result<(), Unfit>>,
    processes: Vec<Result<(), Unfit>>,
}

fn parts_fit(parts: &Parts) -> PartsFit {
    let Parts {
        sessions,
        agents,
        processes,
        hooks: _,
        boots: _,
    } = parts;
    PartsFit {
        sessions: sessions.iter().map(|id| fits::session_id(id)).collect(),
        agents: agents.iter().map(Agent::fits).collect(),
        processes: processes.iter().map(Process::fits).collect(),
    }
}

fn event_fits(event: &Event, parts: &PartsFit) -> Result<(), Unfit> {
    let part = |fits: &[Result<(), Unfit>], index: Option<u32>| match index {
        Some(index) => fits[index as usize].clone(),
        None => Ok(()),
    };
    fits::unix_nanos(event.time_unix_nano)?;
    fits::unix_nanos(event.boot_time_nano.unwrap_or_default())?;
    part(&parts.sessions, event.session)?;
    part(&parts.agents, event.agent)?;
    part(&parts.processes, event.process)?;
    let detail = event.detail.as_ref();
    Class::fits(detail.ok_or(Unfit::plain("it has no detail"))?)
}

fn is_id(id: &str) -> bool {
    SessionId::parse(id).is_some()
}

fn fact(name: &str, text: String) -> Result<Option<String>, Refusal> {
    if text.len() > MAX_FACT_BYTES {
        let reason = format!("hello: {name} is longer than {MAX_FACT_BYTES} bytes");
        return Err(Refusal::malformed(reason));
    }
    Ok((!text.is_empty()).then_some(text))
}
