//! The sensor itself: what it takes while no agent runs.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::setup;

use super::boots;
use super::daemon::{Daemon, Records};
use super::page::verdict;

/// Time between the start and the first look: what attaching took is given back by then.
const SETTLE: Duration = Duration::from_secs(10);
/// How long it is watched doing nothing.
const IDLE: Duration = Duration::from_secs(60);
const GOAL_RESIDENT: f64 = 20.0;
/// Less than this is 0.0 % to one digit.
const GOAL_CPU: f64 = 0.05;
const STRING: &str = "writing to a string does not fail";

/// Measures, and returns the tables as Markdown.
pub fn measure() -> Result<String> {
    setup::require_root("measuring the sensor")?;
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
    Ok(text)
}
