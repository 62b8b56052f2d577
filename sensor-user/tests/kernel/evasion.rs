//! The evasion suite: what a program can do not to be seen, done for real, and what the sensor made
//! of it. Each technique is one entry of a table; its verdict comes from the events reported.
//!
//! It runs with the hooks this kernel gives and with none but tracepoints, which is what locked-down
//! kernels leave. In the best tier nothing may go unseen; elsewhere exactly what [`expected`] lists,
//! neither more nor less. The verdicts are written as JSON lines (see [`report`]), from which
//! `cargo xtask evasion` makes `docs/evasion.md`.

mod attempt;
mod changes;
mod checks;
mod expected;
mod files;
mod interpreters;
mod load;
mod places;
mod process;
mod processes;
mod programs;
mod report;
mod restart;
mod sockets;
mod stage;
mod verdict;

use std::{collections::BTreeSet, time::Instant};

use skep_sensor::probes::HookStatus;

use crate::sensor::{Sensor, sensor};

use report::Report;
use stage::Stage;
use verdict::Verdict;

/// Hooks left out to get the tier of a locked-down kernel.
const NONE_BUT_TRACEPOINTS: &[&str] = &["lsm/", "fentry/", "fexit/", "cgroup/"];

/// One way not to be seen.
pub struct Technique {
    /// Stable, and what results are joined by.
    pub id: &'static str,
    pub title: &'static str,
    /// What it does and what an observer would get wrong, in one sentence.
    pub tries: &'static str,
    /// Does it and says what was seen.
    pub attempt: fn(&Stage) -> Verdict,
}

/// Techniques of one kind, in the order of the document.
pub struct Group {
    pub title: &'static str,
    pub techniques: &'static [Technique],
}

const ALL: [&Group; 8] = [
    &programs::GROUP,
    &interpreters::GROUP,
    &processes::GROUP,
    &places::GROUP,
    &files::GROUP,
    &changes::GROUP,
    &sockets::GROUP,
    &load::GROUP,
];

/// Tries everything, writes down the verdicts, and compares what went unseen with what is known to.
fn every_technique(sensor: &Sensor, tier: &str, avoid: &'static [&'static str]) {
    let mut report = Report::begin(tier, &sensor.hooks);
    let mut known = expected::unseen(&sensor.hooks);
    let mut unseen = BTreeSet::new();
    for group in ALL {
        for technique in group.techniques {
            let stage = Stage::new(sensor, tier, technique.id, avoid);
            let begun = Instant::now();
            let mut verdict = (technique.attempt)(&stage);
            let elapsed = begun.elapsed().as_millis();
            println!("{:24} {elapsed:5} ms {verdict:?}", technique.id);
            if let Verdict::NotSeen { why } = &mut verdict {
                unseen.insert(technique.id);
                if let Some(reason) = known.get(technique.id) {
                    *why = (*reason).to_owned();
                }
            }
            if let Verdict::NotPossible { .. } = &verdict {
                known.remove(technique.id);
            }
            report.add(group, technique, &verdict);
        }
    }
    report.finish();
    let known: BTreeSet<_> = known.into_keys().collect();
    assert_eq!(
        unseen, known,
        "left: not seen; right: known not to be seen by these hooks"
    );
}

#[test]
fn the_hooks_this_kernel_gives_see_every_technique_but_the_known_ones() {
    let sensor = sensor();
    let is_best = sensor
        .hooks
        .iter()
        .all(|hook| hook.status == HookStatus::Live);
    every_technique(sensor, if is_best { "best" } else { "fallback" }, &[]);
}

#[test]
fn tracepoints_alone_see_every_technique_but_the_known_ones() {
    let sensor = Sensor::start(NONE_BUT_TRACEPOINTS);
    every_technique(&sensor, "tracepoints", NONE_BUT_TRACEPOINTS);
}
