//! What a message must look like to be taken.
//!
//! Everything that passes fits the columns of [`crate::schema`]; that module relies on it.

use std::time::{SystemTime, UNIX_EPOCH};

use skep_proto::v1::{
    self, Agent, HookStatus, Lane, Process,
    coverage::Phase as CoveragePhase,
    event::Detail,
    finding::Severity,
    session::{Found, Phase},
};

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
            BatchError::Malformed { .. } => Self::malformed("a batch that is not a skep.v1 Batch"),
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
    sessions: Vec<Result<(), &'static str>>,
    agents: Vec<Result<(), &'static str>>,
    processes: Vec<Result<(), &'static str>>,
}

fn parts_fit(parts: &Parts) -> PartsFit {
    let Parts {
        sessions,
        agents,
        processes,
        hooks: _,
    } = parts;
    let agent = |agent: &Agent| match agent.confidence {
        0..=100 => Ok(()),
        _ => Err("agent.confidence is more than 100"),
    };
    PartsFit {
        sessions: sessions.iter().map(|id| session_id(Some(id))).collect(),
        agents: agents.iter().map(agent).collect(),
        processes: processes.iter().map(process_fits).collect(),
    }
}

fn process_fits(process: &Process) -> Result<(), &'static str> {
    time(process.start_unix_nano.unwrap_or_default())?;
    fits::<i32>(Some(process.pid)).ok_or("process.pid is more than 2^31")?;
    fits::<i32>(process.ppid).ok_or("process.ppid is more than 2^31")
}

/// A family that has a name here, or the number of another (`AF_*`), as short as can be.
fn is_family(text: &str) -> bool {
    ["inet", "inet6", "unix", "vsock"].contains(&text)
        || text
            .parse()
            .is_ok_and(|number: u16| number.to_string() == text)
}

fn event_fits(event: &Event, parts: &PartsFit) -> Result<(), &'static str> {
    let part = |fits: &[Result<(), &'static str>], index: Option<u32>| match index {
        Some(index) => fits[index as usize],
        None => Ok(()),
    };
    time(event.time_unix_nano)?;
    part(&parts.sessions, event.session)?;
    part(&parts.agents, event.agent)?;
    part(&parts.processes, event.process)?;
    match event.detail.as_ref().ok_or("it has no detail")? {
        Detail::Exec(_) => Ok(()),
        Detail::Exit(exit) => {
            fits::<u8>(exit.code).ok_or("exit.code is more than 255")?;
            fits::<u8>(exit.signal).ok_or("exit.signal is more than 255")
        }
        Detail::Open(file) => {
            counted(file.count)?;
            fits::<i32>(file.mode).ok_or("file.mode is more than 2^31")?;
            time(file.last_unix_nano.unwrap_or_default())
        }
        Detail::Connect(net) => {
            if !is_family(&net.family) {
                return Err("net.family is not inet, inet6, unix, vsock or a number");
            }
            fits::<u16>(net.port).ok_or("net.port is more than 65535")?;
            counted(net.count)?;
            time(net.last_unix_nano.unwrap_or_default())
        }
        Detail::SessionInfo(session) => {
            let known = Phase::try_from(session.phase).is_ok_and(|p| p != Phase::Unspecified);
            known
                .then_some(())
                .ok_or("session.phase is not start, end or update")?;
            Found::try_from(session.found)
                .map_err(|_| "session.found is not observed, resumed or running")?;
            number(session.gaps.unwrap_or_default())?;
            session_id(session.parent.as_deref())
        }
        Detail::Lost(lost) => {
            counted(lost.count)?;
            time(lost.first_unix_nano)?;
            time(lost.last_unix_nano)
        }
        Detail::Finding(finding) => {
            let known = Severity::try_from(finding.severity)
                .is_ok_and(|severity| severity != Severity::Unspecified);
            known
                .then_some(())
                .ok_or("finding.severity is not informational, low, medium, high or critical")?;
            (!finding.rule.is_empty())
                .then_some(())
                .ok_or("finding.rule is empty")
        }
        Detail::Coverage(coverage) => {
            let known = CoveragePhase::try_from(coverage.phase)
                .is_ok_and(|p| p != CoveragePhase::Unspecified);
            known
                .then_some(())
                .ok_or("coverage.phase is not begin, end or point")?;
            number(coverage.count)?;
            time(coverage.first_unix_nano)?;
            time(coverage.last_unix_nano)
        }
    }
}

fn fits<T: TryFrom<u32>>(number: Option<u32>) -> Option<()> {
    number
        .is_none_or(|number| T::try_from(number).is_ok())
        .then_some(())
}

fn time(unix_nanos: u64) -> Result<(), &'static str> {
    i64::try_from(unix_nanos)
        .map(drop)
        .map_err(|_| "a time after the year 2262")
}

fn counted(count: u64) -> Result<(), &'static str> {
    (count > 0).then_some(()).ok_or("a count of 0")?;
    number(count)
}

fn number(number: u64) -> Result<(), &'static str> {
    i64::try_from(number)
        .map(drop)
        .map_err(|_| "a number of more than 63 bits")
}

fn session_id(id: Option<&str>) -> Result<(), &'static str> {
    let known = id.is_none_or(is_id);
    known
        .then_some(())
        .ok_or("a session id is not 32 lower-case hexadecimal digits")
}

fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn fact(name: &str, text: String) -> Result<Option<String>, Refusal> {
    if text.len() > MAX_FACT_BYTES {
        let reason = format!("hello: {name} is longer than {MAX_FACT_BYTES} bytes");
        return Err(Refusal::malformed(reason));
    }
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_known_name_or_a_number() {
        for family in ["inet", "inet6", "unix", "vsock", "31", "0"] {
            assert!(is_family(family), "{family}");
        }
        for family in ["", "Inet", "ipx", "031", "+31", "65536", "-1"] {
            assert!(!is_family(family), "{family}");
        }
    }
}
