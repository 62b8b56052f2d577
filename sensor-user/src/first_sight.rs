//! First sight: an agent that no family describes and that this host has not seen before is a finding.
//!
//! Invariants:
//! - each name and version is a finding once, over restarts too: what was seen is kept in the state directory,
//!   as hashes, since this comes before redaction;
//! - the finding follows the session's first event, with the same agent, process and session.
//!
//! Bounds: [`KNOWN_MAX`] agents are remembered, the oldest forgotten first; [`AN_HOUR`] findings an hour. An
//! agent beyond that is not remembered, so that it is a finding when it is seen later.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use skep_catalogue::UNKNOWN;
use skep_event::{Agent, Detail, Event, Finding, Phase, SessionInfo, Severity};

use crate::{
    act::Act,
    step::{About, Relay, Sink, Step},
};

/// File in the state directory: a line of hexadecimal digits for each agent.
const FILE: &str = "unknown-agents";
const KNOWN_MAX: usize = 1_024;
const AN_HOUR: u32 = 32;
const HOUR: Duration = Duration::from_secs(3_600);
/// Pieces of evidence in the finding, and the most of one, characters.
const EVIDENCE_MAX: usize = 6;
const EVIDENCE_LENGTH: usize = 240;

/// The first half of a SHA-256 of name and version.
type Print = [u8; 16];

/// The state of this step.
#[derive(Debug, Default)]
pub struct FirstSight {
    known: VecDeque<Print>,
    directory: Option<PathBuf>,
    /// When the hour began, and findings since.
    hour: Option<Instant>,
    in_hour: u32,
    findings: u64,
    held_back: u64,
}

// === impl FirstSight ===

impl FirstSight {
    /// Takes up what was seen in an earlier life, and keeps in this directory what is seen from now on.
    pub fn keep_in(&mut self, directory: &Path) {
        match fs::read(directory.join(FILE)) {
            Ok(text) => {
                let lines = text.split(|byte| *byte == b'\n').filter_map(print_of_line);
                for print in lines.take(KNOWN_MAX) {
                    self.remember(print);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, "the unknown agents that were seen before cannot be read");
            }
        }
        self.directory = Some(directory.to_owned());
    }

    fn remember(&mut self, print: Print) {
        if self.known.len() >= KNOWN_MAX {
            self.known.pop_front();
        }
        self.known.push_back(print);
    }

    /// The finding about this event's agent, if this is its first sight.
    fn sight(&mut self, event: &Event, now: Instant) -> Option<Event> {
        let Detail::Session(info) = &event.detail else {
            return None;
        };
        let agent = event.agent.as_deref()?;
        if info.phase != Phase::Start || agent.family != UNKNOWN {
            return None;
        }
        let print = print_of(agent);
        if self.known.contains(&print) {
            return None;
        }
        let is_over = |began: Instant| now.saturating_duration_since(began) >= HOUR;
        if self.hour.is_none_or(is_over) {
            (self.hour, self.in_hour) = (Some(now), 0);
        }
        if self.in_hour >= AN_HOUR {
            self.held_back += 1;
            return None;
        }
        self.in_hour += 1;
        self.findings += 1;
        self.remember(print);
        if let Some(Err(error)) = self.directory.as_deref().map(|to| write(to, &self.known)) {
            tracing::warn!(%error, "an unknown agent is not remembered beyond this start");
        }
        let finding = Detail::Finding(finding(agent, info, event));
        Some(Event {
            agent: event.agent.clone(),
            process: event.process.clone(),
            ..Event::told(event.session, event.time, finding)
        })
    }
}

impl Step for FirstSight {
    const ABOUT: About = About {
        name: "first sight",
        module: "`first_sight.rs`",
        takes: "events and acts",
        passes_on: "the same, and a finding for an agent of no family that is new to this host",
        bound: || {
            format!(
                "{} agents, {AN_HOUR} findings an hour",
                crate::step::grouped(KNOWN_MAX)
            )
        },
        counters: &["findings", "held back"],
    };

    fn count(&self) -> Vec<u64> {
        vec![self.findings, self.held_back]
    }
}

impl Relay for FirstSight {
    fn event(&mut self, event: Event, now: Instant, next: &mut impl Sink) {
        let finding = self.sight(&event, now);
        next.event(event);
        if let Some(finding) = finding {
            next.event(finding);
        }
    }

    fn act(&mut self, act: &Act<'_>, _now: Instant, next: &mut impl Sink) {
        next.act(act);
    }
}

fn finding(agent: &Agent, info: &SessionInfo, event: &Event) -> Finding {
    let name = agent.name.as_deref().unwrap_or("a program without a name");
    let version = agent.version.as_deref();
    let named = version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"));
    let who = match (&info.user, info.uid) {
        (Some(user), _) => user.clone(),
        (None, Some(uid)) => format!("uid {uid}"),
        (None, None) => "an unknown user".to_owned(),
    };
    let path = agent
        .install_path
        .as_ref()
        .or_else(|| event.process.as_deref()?.exe.as_ref());
    let path = path.map_or_else(|| "an unknown place".to_owned(), |path| path.escaped());
    let evidence = agent.evidence.iter().take(EVIDENCE_MAX);
    let evidence: Vec<String> = evidence
        .map(|piece| piece.chars().take(EVIDENCE_LENGTH).collect())
        .collect();
    Finding {
        rule: "agent.unknown".to_owned(),
        title: format!("an agent that no family describes: {named}"),
        severity: Severity::Medium,
        attack: Vec::new(),
        reason: format!(
            "{named} was started by {who} for the first time on this host, from {path}; it is {}% \
             sure to be an agent: {}",
            agent.confidence,
            evidence.join("; ")
        ),
    }
}

fn print_of(agent: &Agent) -> Print {
    let mut digest = Sha256::new();
    for part in [&agent.name, &agent.version] {
        let text = part.as_deref().unwrap_or_default();
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    }
    let mut print = Print::default();
    print.copy_from_slice(&digest.finalize()[..16]);
    print
}

fn print_of_line(line: &[u8]) -> Option<Print> {
    let text = std::str::from_utf8(line)
        .ok()
        .filter(|line| line.len() == 32)?;
    Some(u128::from_str_radix(text, 16).ok()?.to_be_bytes())
}

fn write(directory: &Path, known: &VecDeque<Print>) -> io::Result<()> {
    let file = directory.join(FILE);
    let new = file.with_extension("new");
    let mut text = String::with_capacity(known.len() * 33);
    for print in known {
        text.push_str(&format!("{:032x}\n", u128::from_be_bytes(*print)));
    }
    let mut out = fs::File::create(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skep_event::{Found, Text, UnixNanos};

    use super::*;

    fn session(name: &str, version: Option<&str>, family: &str, phase: Phase) -> Event {
        let agent = Agent {
            family: family.to_owned(),
            version: version.map(str::to_owned),
            confidence: 71,
            evidence: vec![
                "npm package some-agent".to_owned(),
                "an MCP client: x".to_owned(),
            ],
            install_path: Some(Text::from("/opt/some-agent")),
            name: (family == UNKNOWN).then(|| name.to_owned()),
        };
        let info = SessionInfo {
            phase,
            parent: None,
            user: Some("ann".to_owned()),
            uid: Some(1000),
            login_uid: None,
            terminal: None,
            cwd: None,
            repository: None,
            gaps: 0,
            found: Found::Observed,
            user_source: None,
            cgroup: None,
            container_runtime: None,
            container_id: None,
            pid_namespace: None,
            user_namespace: None,
            mount_namespace: None,
        };
        Event {
            agent: Some(Arc::new(agent)),
            ..Event::told(None, UnixNanos(7), Detail::Session(info))
        }
    }

    fn findings(step: &mut FirstSight, event: Event, now: Instant) -> Vec<Finding> {
        let mut out: Vec<Event> = Vec::new();
        step.event(event, now, &mut out);
        let passed = out.remove(0);
        assert!(
            matches!(passed.detail, Detail::Session(_)),
            "the event itself comes first"
        );
        let finding = |event: Event| match event.detail {
            Detail::Finding(finding) => finding,
            other => panic!("{other:?}"),
        };
        out.into_iter().map(finding).collect()
    }

    #[test]
    fn an_unknown_agent_is_a_finding_once_and_over_restarts() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let now = Instant::now();
        let event = || session("some-agent", Some("1.2.3"), UNKNOWN, Phase::Start);
        let mut step = FirstSight::default();
        step.keep_in(directory.path());
        let found = findings(&mut step, event(), now);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].rule, "agent.unknown");
        for word in [
            "some-agent 1.2.3",
            "ann",
            "/opt/some-agent",
            "71%",
            "an MCP client",
        ] {
            assert!(
                found[0].reason.contains(word),
                "{word}: {}",
                found[0].reason
            );
        }
        assert_eq!(findings(&mut step, event(), now), []);
        let mut next = FirstSight::default();
        next.keep_in(directory.path());
        assert_eq!(findings(&mut next, event(), now), []);
        let other = session("some-agent", Some("1.2.4"), UNKNOWN, Phase::Start);
        assert_eq!(findings(&mut next, other, now).len(), 1);
    }

    #[test]
    fn agents_of_a_family_and_later_events_of_a_session_are_none() {
        let mut step = FirstSight::default();
        let now = Instant::now();
        let known = session("", None, "codex", Phase::Start);
        assert_eq!(findings(&mut step, known, now), []);
        let update = session("x", None, UNKNOWN, Phase::Update);
        assert_eq!(findings(&mut step, update, now), []);
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_what_was_held_back_comes_later() {
        let mut step = FirstSight::default();
        let now = Instant::now();
        let event = |number: usize| session(&format!("a{number}"), None, UNKNOWN, Phase::Start);
        let found: usize = (0..500)
            .map(|n| findings(&mut step, event(n), now).len())
            .sum();
        assert_eq!(found, AN_HOUR as usize);
        let later = now + HOUR;
        assert_eq!(findings(&mut step, event(499), later).len(), 1);
        assert_eq!(step.count(), [33, 468]);
        for hours in 2..60 {
            for n in 0..AN_HOUR as usize {
                findings(
                    &mut step,
                    event(1_000 * hours + n),
                    now + HOUR * hours as u32,
                );
            }
        }
        assert_eq!(step.known.len(), KNOWN_MAX);
    }

    #[test]
    fn a_damaged_file_is_read_as_far_as_it_goes() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let text = b"xx\n00000000000000000000000000000001\n\xff\xfe\n";
        fs::write(directory.path().join(FILE), text).expect("writes");
        let mut step = FirstSight::default();
        step.keep_in(directory.path());
        assert_eq!(step.known, [1u128.to_be_bytes()]);
    }
}
