//! The sensor itself: what it takes while no agent runs, and how many records it can take in.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command::Run;
use crate::setup;
use crate::vm::test_program;

use super::boots;
use super::daemon::{Daemon, Records};
use super::page::{verdict, verdict_at_least};

/// Time between the start and the first look: what attaching took is given back by then.
const SETTLE: Duration = Duration::from_secs(10);
/// How long it is watched doing nothing.
const IDLE: Duration = Duration::from_secs(60);
const GOAL_RESIDENT: f64 = 20.0;
/// Less than this is 0.0 % to one digit.
const GOAL_CPU: f64 = 0.05;
const GOAL_RATE: f64 = 500_000.0;
/// Feeds the sensor's steps with records made beforehand, and counts.
const EXAMPLE: &str = "records_per_second";
const STRING: &str = "writing to a string does not fail";

/// Measures, and returns the tables as Markdown.
pub fn measure() -> Result<String> {
    setup::require_root("measuring the sensor")?;
    // Everything is built before the machine is left alone.
    let example = test_program::example_of("skep-sensor", EXAMPLE)?;
    let programs = boots::programs()?;
    let sensor = boots::program(&programs, "skep-sensor")?;
    let daemon = Daemon::start(sensor)?;
    println!("the sensor runs, and {} s pass", (SETTLE + IDLE).as_secs());
    std::thread::sleep(SETTLE);
    let records = Records::of(&daemon.status()?)?;
    let (begun, before) = (Instant::now(), daemon.cpu_seconds()?);
    std::thread::sleep(IDLE);
    let cpu = (daemon.cpu_seconds()? - before) / begun.elapsed().as_secs_f64() * 100.0;
    let resident = daemon.resident()? as f64 / f64::from(1 << 20);
    let records = Records::of(&daemon.status()?)
        .context("after the pause")?
        .since(records);

    let mut text = String::from("| idle | limit | measured | |\n|---|--:|--:|---|\n");
    writeln!(
        text,
        "| resident memory, MiB | {GOAL_RESIDENT:.0} | {resident:.1} | {} |",
        verdict(resident, GOAL_RESIDENT)
    )
    .expect(STRING);
    writeln!(
        text,
        "| CPU, % of one processor | 0.0 | {cpu:.3} | {} |",
        verdict(cpu, GOAL_CPU)
    )
    .expect(STRING);
    writeln!(
        text,
        "\nOver {} s without an agent; the rest of the machine started {} programs meanwhile, each of \
         which the sensor had to look at ({} records).\n",
        IDLE.as_secs(),
        records.execs,
        records.sent
    )
    .expect(STRING);
    drop(daemon);
    throughput(&mut text, &example)?;
    Ok(text)
}

/// The line of the example `records_per_second`; what else it says is not shown.
#[derive(Deserialize)]
struct Throughput {
    records_per_second: f64,
    records_per_second_slowest_run: f64,
    records_per_second_with_redaction: f64,
    allocations_per_record: f64,
    allocations_by_act: BTreeMap<String, f64>,
    mix: BTreeMap<String, u64>,
    records: u64,
}

/// Records decoded, identified and folded on one processor.
fn throughput(text: &mut String, example: &Path) -> Result<()> {
    println!("$ {}", example.display());
    let line = Command::new(example).quiet_output()?;
    let took: Throughput = serde_json::from_str(&line)
        .with_context(|| format!("not what {EXAMPLE} used to say: {line}"))?;
    let rate = took.records_per_second;
    let verdict = verdict_at_least(rate, GOAL_RATE);
    writeln!(
        text,
        "| one processor | at least | measured | |\n|---|--:|--:|---|\n\
         | records a second, decoded, identified and folded | {GOAL_RATE:.0} | {rate:.0} | {verdict} |\n\
         | the slowest run | | {:.0} | |\n\
         | with redaction of what leaves | | {:.0} | |\n\
         | allocations a record | | {:.4} | |\n\n\
         `cargo run --release -p skep-sensor --example {EXAMPLE}`, {} records.\n\n\
         | a record of | share of the mix, % | allocations |\n|---|--:|--:|",
        took.records_per_second_slowest_run,
        took.records_per_second_with_redaction,
        took.allocations_per_record,
        took.records
    )
    .expect(STRING);
    let all: u64 = took.mix.values().sum();
    for (act, allocations) in &took.allocations_by_act {
        let of_mix = took.mix.get(act).copied().unwrap_or(0);
        let share = of_mix as f64 / all as f64 * 100.0;
        let act = act.replace('_', ", ");
        writeln!(text, "| {act} | {share:.1} | {allocations:.3} |").expect(STRING);
    }
    text.push('\n');
    Ok(())
}
