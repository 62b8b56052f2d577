//! Taking events in: how many a second, how soon acknowledged, at what memory, in how many bytes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::super::page::{verdict, verdict_at_least};
use super::process;
use super::storage::{files, scratch, stored};
use crate::collector::{Collector, Load, Report, Start};
use crate::command::Run;

const GOAL_RATE: f64 = 300_000.0;
const GOAL_LOADED: f64 = 512.0;
const GOAL_IDLE: f64 = 60.0;
const GOAL_CONNECTED: f64 = 40.0;
const GOAL_BYTES: f64 = 20.0;
/// What memory settles to is looked at after this.
const SETTLE: Duration = Duration::from_secs(10);
/// Every event must be in the tables so soon after the load.
const FLUSHED_WITHIN: Duration = Duration::from_secs(900);
/// Batches between two fsyncs of the second raw limit: a group commit of as many streams.
const GROUP: u64 = 16;
/// Time of the last event, Unix seconds: that of `skep-load raw`, so that both have the same bytes.
const UNTIL: &str = "1763640000";
/// Events a second that leave time to spare.
const CALM_RATES: [u64; 2] = [10_000, 100_000];
const CALM_SECONDS: f64 = 20.0;
const STRING: &str = "writing to a string does not fail";

/// `skep-load raw`.
#[derive(Deserialize)]
struct Raw {
    events_per_second: f64,
    batches_per_second: f64,
}

/// One load.
struct Taken {
    sensors: u32,
    report: Report,
    raw: [Raw; 2],
    /// Events a second against a server that stores nothing.
    null: f64,
    /// MiB at most, CPU seconds while the load ran.
    memory: f64,
    cpu: f64,
}

/// Measures, and returns the tables as Markdown.
pub fn measure(programs: &Path, events: u64, most_sensors: u32) -> Result<String> {
    let mut text = String::new();
    let mut runs = Vec::new();
    let mut stored = String::new();
    for sensors in [1, most_sensors / 50, most_sensors] {
        // Full batches, as of sensors that were away; of 5,000 what these gather in a fifth of a second.
        let batch = if sensors == most_sensors { 200 } else { 5_000 };
        let (run, kept) = loaded(programs, events, sensors, batch)?;
        runs.push(run);
        stored = kept;
    }
    writeln!(
        text,
        "| sensors | events/s | goal | batches/s | p50, ms | p99, ms | raw: fsync each batch, events/s | \
         ratio | raw: fsync every {GROUP}, events/s | ratio | memory at most, MiB | goal | CPU, s |\n\
         |--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|"
    )
    .expect(STRING);
    for Taken {
        sensors,
        report,
        raw: [each, grouped],
        null: _,
        memory,
        cpu,
    } in &runs
    {
        let rate = report.events_per_second;
        writeln!(
            text,
            "| {sensors} | {rate:.0} | {} | {:.0} | {:.1} | {:.1} | {:.0} | {:.2} | {:.0} | {:.2} | {memory:.0} | {} | {cpu:.1} |",
            verdict_at_least(rate, GOAL_RATE),
            report.batches_per_second,
            report.ack_p50_micros as f64 / 1e3,
            report.ack_p99_micros as f64 / 1e3,
            each.events_per_second,
            rate / each.events_per_second,
            grouped.events_per_second,
            rate / grouped.events_per_second,
            verdict(*memory, GOAL_LOADED),
        )
        .expect(STRING);
    }
    writeln!(
        text,
        "\n{events} events a row; raw limits in batches/s: {}. Against a server that stores nothing the \
         generator reaches {} events/s. Memory is the highest until all is in the tables.\n",
        runs.iter()
            .map(|run| format!("{:.0} and {:.0}", run.raw[0].batches_per_second, run.raw[1].batches_per_second))
            .collect::<Vec<_>>()
            .join("; "),
        runs.iter().map(|run| format!("{:.0}", run.null)).collect::<Vec<_>>().join(", ")
    )
    .expect(STRING);
    text.push_str(&calm(programs, most_sensors / 50)?);
    text.push_str(&stored);
    text.push_str(&idle(programs, most_sensors)?);
    Ok(text)
}

/// How soon events are acknowledged by a collector that has time to spare.
fn calm(programs: &Path, sensors: u32) -> Result<String> {
    let folder = scratch()?;
    let mut collector = start(programs, &folder.path().join("data"), &[])?;
    let pid = collector.service.pid();
    let mut text = format!(
        "| {sensors} sensors, events/s | acknowledged, p50, ms | p99, ms | CPU, % of one processor |\n\
         |--:|--:|--:|--:|\n"
    );
    for rate in CALM_RATES {
        let [sensors, rate_text] = [sensors.to_string(), rate.to_string()];
        let seconds = CALM_SECONDS.to_string();
        let load = [
            "--sensors",
            &sensors,
            "--rate",
            &rate_text,
            "--seconds",
            &seconds,
        ];
        let before = process::cpu_seconds(pid)?;
        let (report, _) = Load::start(programs, &collector.server, &load)?.finish()?;
        let cpu = process::cpu_seconds(pid)? - before;
        writeln!(
            text,
            "| {rate} | {:.1} | {:.1} | {:.1} |",
            report.ack_p50_micros as f64 / 1e3,
            report.ack_p99_micros as f64 / 1e3,
            cpu / CALM_SECONDS * 100.0
        )
        .expect(STRING);
    }
    collector.service.stop()?;
    text.push('\n');
    Ok(text)
}

fn loaded(programs: &Path, events: u64, sensors: u32, batch: u32) -> Result<(Taken, String)> {
    let folder = scratch()?;
    let data = folder.path().join("data");
    let [sensors_text, events_text, batch_text] =
        [sensors.to_string(), events.to_string(), batch.to_string()];
    let same = [
        "--sensors",
        &sensors_text,
        "--events",
        &events_text,
        "--batch",
        &batch_text,
    ];
    let raw = [1, GROUP].map(|group| raw(programs, folder.path(), &same, group));
    let [each, grouped] = raw;
    let prepared = [&same[..], &["--prepare", "--until", UNTIL]].concat();
    let null = null_rate(programs, &prepared)?;
    let mut collector = start(programs, &data, &["--flush-every", "10"])?;
    let pid = collector.service.pid();
    let before = process::cpu_seconds(pid)?;
    let (report, _) = Load::start(programs, &collector.server, &prepared)?.finish()?;
    let cpu = process::cpu_seconds(pid)? - before;
    let logged = std::fs::metadata(data.join("log.redb")).map_or(0, |file| file.len());
    let counters = settled(&collector, &data, events)?;
    let memory = process::memory(pid, "VmHWM")?;
    let (bytes, count) = stored(&collector)?;
    collector.service.stop()?;
    let per_event = bytes as f64 / events as f64;
    let sum = |name: &str| counters.get(name).copied().unwrap_or_default() as f64;
    let kept = format!(
        "| stored, after the last load | goal | measured | |\n|---|--:|--:|---|\n\
         | bytes an event in the tables, {count} files | {GOAL_BYTES:.0} | {per_event:.1} | {} |\n\
         | bytes an event on the wire, zstd | | {:.1} | |\n\
         | bytes an event encoded | | {:.1} | |\n\
         | log at the end of the load, MiB | | {:.0} | |\n\
         | flushing, µs an event | | {:.2} | |\n\
         | merging, µs an event merged | | {:.2} | |\n\
         | bytes written for a byte kept | | {:.2} | |\n\n",
        verdict(per_event, GOAL_BYTES),
        report.frame_bytes as f64 / events as f64,
        report.raw_bytes as f64 / events as f64,
        logged as f64 / f64::from(1 << 20),
        sum("flush_micros") / sum("rows_flushed").max(1.0),
        sum("merge_micros") / sum("rows_merged").max(1.0),
        sum("bytes_written") / (bytes as f64).max(1.0),
    );
    Ok((
        Taken {
            sensors,
            report,
            raw: [each?, grouped?],
            null,
            memory,
            cpu,
        },
        kept,
    ))
}

fn start(programs: &Path, data: &Path, arguments: &[&str]) -> Result<Collector> {
    Collector::start(&Start {
        programs,
        data,
        port: 0,
        arguments,
        environment: &[],
    })
}

/// Waits until every event is in the tables and these no longer change; returns the counters then.
fn settled(collector: &Collector, data: &Path, events: u64) -> Result<BTreeMap<String, u64>> {
    let deadline = Instant::now() + FLUSHED_WITHIN;
    let mut last = (0, 0);
    loop {
        std::thread::sleep(SETTLE);
        let counters = collector.counters()?;
        let flushed = counters.get("rows_flushed").copied().unwrap_or_default();
        let now = files(&data.join("table"), ".parquet")?;
        if flushed >= events && now == last {
            return Ok(counters);
        }
        ensure!(
            Instant::now() < deadline,
            "{flushed} of {events} events are in the tables after {FLUSHED_WITHIN:?}"
        );
        last = now;
    }
}

/// The same batches appended to a file on the same disk.
fn raw(programs: &Path, folder: &Path, load: &[&str], group: u64) -> Result<Raw> {
    let file = folder.join(format!("raw-{group}"));
    let mut command = Command::new(programs.join("skep-load"));
    command
        .arg("raw")
        .arg(&file)
        .args(load)
        .args(["--group", &group.to_string()]);
    println!("$ {}", command.line());
    let text = command.quiet_output()?;
    std::fs::remove_file(&file)?;
    serde_json::from_str(&text).with_context(|| format!("not what skep-load used to say: {text}"))
}

/// What the generator reaches when nothing is stored.
fn null_rate(programs: &Path, load: &[&str]) -> Result<f64> {
    let mut command = Command::new(programs.join("skep-load"));
    let (mut service, address) = crate::demo::service::Service::start(command.arg("null"))?;
    let server = format!("http://{address}");
    let (report, _) = Load::start(programs, &server, load)?.finish()?;
    service.stop()?;
    Ok(report.events_per_second)
}

/// Memory while nothing is sent, without and with connections.
fn idle(programs: &Path, sensors: u32) -> Result<String> {
    let folder = scratch()?;
    let mut collector = start(programs, &folder.path().join("data"), &[])?;
    let pid = collector.service.pid();
    std::thread::sleep(SETTLE);
    let alone = process::memory(pid, "VmRSS")?;
    let mut command = Command::new(programs.join("skep-load"));
    command
        .args([
            "run",
            "--idle",
            "--seconds",
            "3600",
            "--server",
            &collector.server,
        ])
        .args(["--sensors", &sensors.to_string()])
        .stdout(Stdio::null());
    let (mut connected, _) = crate::demo::service::Service::start(&mut command)?;
    std::thread::sleep(SETTLE);
    let together = process::memory(pid, "VmRSS")?;
    connected.stop()?;
    collector.service.stop()?;
    let each = (together - alone) * 1024.0 / f64::from(sensors);
    Ok(format!(
        "| idle | goal | measured | |\n|---|--:|--:|---|\n\
         | resident memory without sensors, MiB | {GOAL_IDLE:.0} | {alone:.1} | {} |\n\
         | resident memory with {sensors} sensors, two streams each, MiB | | {together:.1} | |\n\
         | KiB a connected sensor | {GOAL_CONNECTED:.0} | {each:.1} | {} |\n",
        verdict(alone, GOAL_IDLE),
        verdict(each, GOAL_CONNECTED),
    ))
}
