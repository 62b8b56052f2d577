//! `skep-load`: simulated sensors, and a collector that stores nothing.
//!
//! Exit codes: 0 everything was acknowledged, 1 failed, or the collector did what it must not.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::Serialize;
use skep_load::ask::Asker;
use skep_load::raw::append;
use skep_load::simulate::{Machine, Span};
use skep_load::tally::Tally;
use skep_load::world::World;
use skep_load::{Account, Options, Report, null, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Parser)]
#[command(name = "skep-load", version, about = "Simulated sensors")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send events to a collector, and say how it took them
    ///
    /// Prints `ready` on standard error once all sensors are welcomed. SIGTERM ends it: what was sent is
    /// still waited for.
    Run(Run),
    /// Acknowledge everything and store nothing
    ///
    /// Prints `ready ADDRESS` on standard error.
    Null,
    /// Append the same batches to a file with fsync, and print how fast that is, as JSON
    Raw {
        /// The file, which must not be there yet
        file: PathBuf,
        #[arg(long, default_value_t = 1)]
        sensors: u32,
        #[arg(long)]
        events: u64,
        #[arg(long, default_value_t = 5_000)]
        batch: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Batches between two fsyncs
        #[arg(long, default_value_t = 1)]
        group: usize,
    },
    /// Ask a collector: one JSON text with SQL a line, answered by one line of JSON with the time it took
    Ask {
        #[arg(long, default_value = "http://127.0.0.1:7317")]
        server: String,
    },
    /// Print the mix of classes and the size of events
    Describe {
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[derive(clap::Args)]
struct Run {
    /// Address of the collector
    #[arg(long, default_value = "http://127.0.0.1:7317")]
    server: String,
    /// How many sensors, each with a connection of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    sensors: u32,
    /// Events of all sensors together
    #[arg(long)]
    events: Option<u64>,
    /// For how long
    #[arg(long)]
    seconds: Option<f64>,
    /// Events a second of all sensors together; else as fast as they are acknowledged
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Events in a batch, at most
    #[arg(long, default_value_t = 5_000)]
    batch: usize,
    /// Connect and send nothing
    #[arg(long)]
    idle: bool,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Days over which the times of events are spread; 0: as agents work, one day at most
    #[arg(long, default_value_t = 0)]
    days: u64,
    /// Time of the last event, Unix seconds; now unless given
    #[arg(long)]
    until: Option<u64>,
    /// One stream a sensor, instead of one for the bulk and one for findings
    #[arg(long)]
    one_lane: bool,
    /// Make all batches before the first is sent
    #[arg(long)]
    prepare: bool,
    /// Write what was acknowledged, by sensor, as JSON
    #[arg(long, value_name = "FILE")]
    account: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome =
        runtime
            .context("no runtime")
            .and_then(|runtime| match Arguments::parse().command {
                Command::Run(arguments) => runtime.block_on(load(arguments)),
                Command::Null => runtime.block_on(nothing()),
                Command::Raw {
                    file,
                    sensors,
                    events,
                    batch,
                    seed,
                    group,
                } => {
                    let options = Options {
                        sensors,
                        events: Some(events),
                        batch,
                        seed,
                        ..Options::default()
                    };
                    raw(&options, &file, group)
                }
                Command::Ask { server } => runtime.block_on(questions(&server)),
                Command::Describe { seed } => {
                    describe(seed);
                    Ok(true)
                }
            });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("skep-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything went as it must.
async fn load(arguments: Run) -> Result<bool> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let Run {
        server,
        sensors,
        events,
        seconds,
        rate,
        batch,
        idle,
        seed,
        days,
        until,
        one_lane,
        prepare,
        account,
        report,
    } = arguments;
    let options = Options {
        server,
        sensors,
        events,
        seconds,
        rate,
        batch: batch.clamp(1, skep_proto::MAX_BATCH_EVENTS),
        idle,
        seed,
        days,
        until: until.unwrap_or(now.as_secs()),
        lanes: !one_lane,
        prepare,
    };
    allow_files(u64::from(sensors) + 100)?;
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody listens: it has ended.
        let _ = stop.send(true);
    });
    let (figures, acknowledged): (Report, Account) =
        run(&options, stopped, || eprintln!("ready")).await?;
    if let Some(file) = &account {
        write(file, &acknowledged)?;
    }
    if let Some(file) = &report {
        write(file, &figures)?;
    }
    tell(&figures);
    let complete = idle || events.is_none_or(|events| events == figures.events);
    if !complete {
        println!("not everything was acknowledged");
    }
    Ok(figures.broken.is_empty() && (complete || seconds.is_some()))
}

fn tell(report: &Report) {
    println!(
        "{} events of {} sensors acknowledged in {:.2} s: {:.0} events/s, {:.0} batches/s",
        report.events,
        report.sensors,
        report.seconds,
        report.events_per_second,
        report.batches_per_second
    );
    println!(
        "acknowledged after {:.1} ms (p50), {:.1} ms (p99), {:.1} ms at most",
        report.ack_p50_micros as f64 / 1e3,
        report.ack_p99_micros as f64 / 1e3,
        report.ack_max_micros as f64 / 1e3
    );
    println!(
        "{:.1} bytes an event encoded, {:.1} on the wire; made beforehand in {:.1} s",
        report.raw_bytes as f64 / report.events.max(1) as f64,
        report.frame_bytes as f64 / report.events.max(1) as f64,
        report.prepare_seconds
    );
    for (kind, times) in &report.ends {
        println!("streams ended by {kind}: {times}");
    }
    for what in &report.broken {
        println!("BROKEN: {what}");
    }
}

async fn nothing() -> Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = null::serve(|address| eprintln!("ready {address}")) => served?,
        _ = terminate.recv() => {}
    }
    Ok(true)
}

fn raw(options: &Options, file: &Path, group: usize) -> Result<bool> {
    let appended = append(options, file, group)
        .with_context(|| format!("cannot append to {}", file.display()))?;
    println!("{}", serde_json::to_string(&appended)?);
    Ok(true)
}

async fn questions(server: &str) -> Result<bool> {
    let mut asker = Asker::new(server).with_context(|| format!("{server} is not an address"))?;
    for line in std::io::stdin().lines() {
        let sql: String = serde_json::from_str(&line?).context("not a JSON text")?;
        println!("{}", serde_json::to_string(&asker.ask(&sql).await)?);
    }
    Ok(true)
}

fn describe(seed: u64) {
    const EVENTS: u64 = 500_000;
    const MACHINES: u64 = 10;
    let world = Arc::new(World::new(seed));
    let end = 1_763_640_000_000_000_000;
    let span = Span {
        begin: end - 86_400_000_000_000,
        end,
        events: EVENTS / MACHINES,
    };
    let mut tally = Tally::default();
    let mut bytes = std::collections::BTreeMap::new();
    let begun = Instant::now();
    for number in 0..MACHINES {
        let mut machine = Machine::new(&world, seed, number, span);
        for _ in 0..EVENTS / MACHINES {
            let made = machine.make();
            tally.count_made(&made);
            *bytes.entry(made.class).or_insert(0) += machine.bytes().len();
        }
    }
    let took = begun.elapsed();
    println!("class      share of events   bytes an event");
    for (class, sums) in &tally.0 {
        let share = sums.rows as f64 / EVENTS as f64 * 100.0;
        let mean = bytes[class] as f64 / sums.rows as f64;
        println!(
            "{:<10} {share:>13.3} % {mean:>16.1}",
            format!("{class:?}").to_lowercase()
        );
    }
    let mean = bytes.values().sum::<usize>() as f64 / EVENTS as f64;
    println!(
        "{EVENTS} events, {mean:.1} bytes each, {:.0} ns to make one",
        took.as_nanos() as f64 / EVENTS as f64
    );
}

fn write(file: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value)?;
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Each connection is an open file.
fn allow_files(wanted: u64) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = Some(maximum.map_or(wanted, |maximum| maximum.max(wanted)));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum,
        },
    )
    .with_context(|| format!("{wanted} open files are not allowed; raise `ulimit -n`"))
}
