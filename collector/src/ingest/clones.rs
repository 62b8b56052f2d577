//! Machines that share a sensor's state: who comes back after another took over its stream.
//!
//! A stream that is superseded proves nothing: a sensor whose connection broke says hello again, and
//! ends its own dead stream that way. So does one whose machine was started again or moved. But when a
//! party that was superseded by *another* says hello for the same sensor and epoch once more, there are
//! two. That is the finding [`RULE`] ([decision 0010](../../../docs/decisions/0010-the-newest-stream-of-a-source-wins.md)
//! says what becomes of them: one of the two begins new epochs).
//!
//! Invariants: a first time is emitted at once; what follows for the same sensor within [`FOLD`] is
//! counted, and emitted as one finding with count, first and last time when that is over, or when the
//! collector stops. A finding names both parties by the address and host name that they came with, and
//! nothing else.
//!
//! Bounds: [`MOST`] sources that were superseded within [`REMEMBERED`], and as many sensors that were
//! found; beyond it, no more are found until others are forgotten.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use skep_proto::v1::{Finding, finding::Severity};
use tokio::sync::{Notify, watch};

use crate::store::{Own, Party, Source, Store};

const RULE: &str = "collector.stream_superseded";
/// For how long the same of one sensor is only counted.
const FOLD: Duration = Duration::from_secs(3600);
/// For how long a party that was superseded may come back.
const REMEMBERED: Duration = Duration::from_secs(3600);
const MOST: usize = 4096;
/// Between two looks for what was folded for long enough.
const TICK: Duration = Duration::from_secs(10);
/// Characters of a host name in a finding.
const NAME_CHARS: usize = 64;

/// What is known of streams that were superseded.
#[derive(Debug, Default)]
pub(super) struct Clones {
    state: Mutex<State>,
    /// Woken when there is something to emit.
    found: Notify,
}

#[derive(Debug, Default)]
struct State {
    superseded: HashMap<Source, Superseded>,
    /// By sensor.
    told: HashMap<String, Told>,
    /// Not emitted yet; at most one for each that is told.
    findings: Vec<Finding>,
}

/// A stream that another party took over.
#[derive(Debug)]
struct Superseded {
    who: Party,
    by: Party,
    at: Instant,
}

/// What was emitted of a sensor, and what came since.
#[derive(Debug)]
struct Told {
    at: Instant,
    severity: Severity,
    text: String,
    more: u64,
    first: Timestamp,
    last: Timestamp,
}

// === impl Clones ===

impl Clones {
    /// A party has said hello, and superseded another or nobody.
    pub fn hello(&self, source: &Source, who: &Party, superseded: Option<&Party>) {
        let found = self.state().hello(source, who, superseded, Instant::now());
        if found {
            self.found.notify_one();
        }
    }

    /// Emits what is found until the collector stops.
    pub async fn run(&self, store: Store, mut stopping: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(TICK);
        let mut stops = false;
        while !stops {
            tokio::select! {
                () = super::told(&mut stopping) => stops = true,
                () = self.found.notified() => {}
                _ = ticks.tick() => {}
            }
            let findings = {
                let mut state = self.state();
                state.fold(Instant::now(), stops);
                std::mem::take(&mut state.findings)
            };
            if findings.is_empty() {
                continue;
            }
            for finding in &findings {
                tracing::warn!(
                    rule = finding.rule,
                    "two machines share the state of a sensor"
                );
            }
            let own = findings.into_iter().map(Own::Finding).collect();
            if let Err(error) = store.emit(own).await {
                tracing::error!(%error, "findings of the collector are lost");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the state panics")
    }
}

// === impl State ===

impl State {
    /// Whether there is something to emit.
    fn hello(
        &mut self,
        source: &Source,
        who: &Party,
        superseded: Option<&Party>,
        now: Instant,
    ) -> bool {
        let known = self.superseded.get(source);
        let known = known.filter(|known| now.duration_since(known.at) < REMEMBERED);
        let by = known
            .filter(|known| is_same(&known.who, who) && !is_same(&known.by, who))
            .map(|known| known.by.clone());
        if let Some(before) = superseded.filter(|before| !is_same(before, who)) {
            if self.superseded.len() >= MOST {
                self.superseded
                    .retain(|_, known| now.duration_since(known.at) < REMEMBERED);
            }
            if self.superseded.len() < MOST || self.superseded.contains_key(source) {
                let taken_over = Superseded {
                    who: before.clone(),
                    by: who.clone(),
                    at: now,
                };
                self.superseded.insert(source.clone(), taken_over);
            }
        } else if by.is_some() {
            // Told; the other one has to supersede it again.
            self.superseded.remove(source);
        }
        by.is_some_and(|by| self.found(source, who, &by, now))
    }

    /// Both are there. Whether it is emitted now.
    fn found(&mut self, source: &Source, who: &Party, by: &Party, now: Instant) -> bool {
        let time = Timestamp::now();
        if let Some(told) = self.told.get_mut(&source.sensor_id) {
            if told.more == 0 {
                told.first = time;
            }
            told.more += 1;
            told.last = time;
            return false;
        }
        if self.told.len() >= MOST {
            return false;
        }
        // A machine that moves from one network to the other and back is rare, and possible.
        let moved = who.hostname == by.hostname && who.boot_id == by.boot_id;
        let severity = match moved {
            true => Severity::Low,
            false => Severity::Medium,
        };
        let text = format!(
            "sensor {} sends from two places: {} said hello again after {} had taken over its stream \
             (epoch {})",
            source.sensor_id,
            named(who),
            named(by),
            source.epoch
        );
        let hint = match moved {
            true => {
                "; one has a copy of the other's state, or one machine changes between two networks"
            }
            false => "; one has a copy of the other's state",
        };
        self.findings
            .push(finding(severity, format!("{text}{hint}")));
        let told = Told {
            at: now,
            severity,
            text,
            more: 0,
            first: time,
            last: time,
        };
        self.told.insert(source.sensor_id.clone(), told);
        true
    }

    /// Ends what was folded for long enough, or all of it.
    fn fold(&mut self, now: Instant, all: bool) {
        let findings = &mut self.findings;
        self.told.retain(|_, told| {
            if !all && now.duration_since(told.at) < FOLD {
                return true;
            }
            if told.more == 0 {
                return false;
            }
            let Told {
                severity,
                text,
                more,
                first,
                last,
                ..
            } = &*told;
            let text = format!("{text}; {more} times more from {first:.0} to {last:.0}");
            findings.push(finding(*severity, text));
            told.at = now;
            told.more = 0;
            !all
        });
    }
}

fn finding(severity: Severity, reason: String) -> Finding {
    Finding {
        rule: RULE.to_owned(),
        title: "Two machines share the state of a sensor".to_owned(),
        severity: severity.into(),
        attack: Vec::new(),
        reason,
    }
}

/// Whether nothing tells two parties apart but what a new connection changes.
fn is_same(one: &Party, other: &Party) -> bool {
    let address = |party: &Party| party.peer.map(|peer| peer.ip());
    address(one) == address(other) && one.hostname == other.hostname && one.boot_id == other.boot_id
}

/// How a finding names a party; a host name is any text.
fn named(party: &Party) -> String {
    let mut name = String::new();
    let host = party.hostname.as_deref().unwrap_or("a host without a name");
    for character in host.chars().take(NAME_CHARS) {
        match character {
            // The form that all text of events has.
            '\\' => name.push_str("\\\\"),
            other => name.push(other),
        }
    }
    match party.peer {
        // Writing to a text does not fail.
        Some(peer) => drop(write!(name, " ({})", peer.ip())),
        None => name.push_str(" (address unknown)"),
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(host: &str, address: &str) -> Party {
        Party {
            peer: Some(address.parse().unwrap()),
            hostname: Some(host.to_owned()),
            boot_id: None,
        }
    }

    fn source(epoch: u64) -> Source {
        Source {
            sensor_id: "0".repeat(32),
            epoch,
        }
    }

    #[test]
    fn one_machine_that_connects_again_starts_again_or_moves_once_is_no_finding() {
        let mut state = State::default();
        let now = Instant::now();
        let (here, port) = (party("ws-1", "10.0.0.1:1"), party("ws-1", "10.0.0.1:2"));
        let mut moved = party("ws-1", "10.0.0.2:1");
        for _ in 0..3 {
            assert!(!state.hello(&source(1), &here, Some(&port), now));
        }
        assert!(!state.hello(&source(1), &moved, Some(&here), now));
        moved.boot_id = Some("another".to_owned());
        assert!(!state.hello(&source(1), &moved, None, now));
        assert!(!state.hello(&source(2), &here, None, now), "another epoch");
        let later = now + REMEMBERED;
        assert!(!state.hello(&source(1), &here, None, later), "long ago");
        assert!(state.findings.is_empty() && state.told.is_empty());
    }

    #[test]
    fn who_comes_back_is_found_once_and_then_counted() {
        let mut state = State::default();
        let now = Instant::now();
        let (one, two) = (party("ws-1", "10.0.0.1:1"), party("ws\\2", "10.0.0.2:1"));
        assert!(!state.hello(&source(1), &two, Some(&one), now));
        // The other has begun a new epoch by then: nobody is superseded.
        assert!(state.hello(&source(1), &one, None, now));
        for _ in 0..50 {
            assert!(!state.hello(&source(1), &two, Some(&one), now));
            assert!(!state.hello(&source(1), &one, Some(&two), now));
        }
        let [found] = &std::mem::take(&mut state.findings)[..] else {
            panic!("not one")
        };
        assert_eq!(
            (found.rule.as_str(), found.severity()),
            (RULE, Severity::Medium)
        );
        for part in ["0000", "ws-1 (10.0.0.1)", "ws\\\\2 (10.0.0.2)", "epoch 1"] {
            assert!(found.reason.contains(part), "{part}: {}", found.reason);
        }
        state.fold(now + FOLD / 2, false);
        assert!(state.findings.is_empty());
        state.fold(now + FOLD, false);
        let [folded] = &std::mem::take(&mut state.findings)[..] else {
            panic!("not one")
        };
        assert!(
            folded.reason.contains("; 99 times more from 20"),
            "{}",
            folded.reason
        );
        // Nothing came since: it is forgotten, and found anew.
        state.fold(now + FOLD * 2, true);
        assert!(state.findings.is_empty() && state.told.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut state = State::default();
        let now = Instant::now();
        let (one, two) = (party("ws-1", "10.0.0.1:1"), party("ws-2", "10.0.0.2:1"));
        for epoch in 0..2 * MOST as u64 {
            state.hello(&source(epoch), &two, Some(&one), now);
        }
        assert_eq!(state.superseded.len(), MOST);
        state.hello(&source(u64::MAX), &two, Some(&one), now + REMEMBERED);
        assert_eq!(state.superseded.len(), 1);
    }
}
