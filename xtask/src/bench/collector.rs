//! `cargo xtask bench collector`: the collector under simulated sensors, on this machine.
//!
//! Generator and collector share the processors. Every figure that depends on the disk or on other
//! engines is beside one of these, measured in the same run: appending the same bytes with fsync; DuckDB
//! and chdb over the same files.

mod engines;
mod ingest;
mod process;
mod queries;
mod storage;

use anyhow::{Context, Result};

use super::page::{self, Place, Size};
use crate::build::{self, Profile};
use crate::setup;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Taking events in: rates, times, memory, connections, bytes an event
    Ingest,
    /// Queries over history
    Queries,
}

/// Arguments of `cargo xtask bench collector`.
#[derive(clap::Args)]
pub struct Options {
    /// Only this part
    #[arg(long)]
    only: Option<Part>,
    /// Events of each run of the first part
    #[arg(long, default_value = "10M")]
    ingest_events: Size,
    /// Events that the queries go over, one run for each number
    #[arg(long, default_values = ["20M", "100M"], num_args = 1..)]
    events: Vec<Size>,
    /// Runs of each query; the fastest counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// A hundredth of everything, to see that it works
    #[arg(long)]
    quick: bool,
    /// Write the figures to docs/performance.md
    #[arg(long, conflicts_with = "quick")]
    write: bool,
}

/// Runs the parts.
pub fn run(options: &Options) -> Result<()> {
    let python = setup::readers()?;
    let programs = build::programs(Profile::Release)?;
    allow_files()?;
    let share = if options.quick { 100 } else { 1 };
    let wants = |part| options.only.is_none_or(|only| only == part);
    if wants(Part::Ingest) {
        let events = Size(options.ingest_events.0 / share);
        let sensors = if options.quick { 100 } else { 5_000 };
        let place = Place {
            bench: "collector",
            part: "ingest",
            size: None,
        };
        let arguments = format!(" --ingest-events {events}");
        let figures = ingest::measure(&programs, events.0, sensors)?;
        tell(options, place, &arguments, &figures)?;
    }
    if wants(Part::Queries) {
        for size in &options.events {
            let events = Size(size.0 / share);
            let place = Place {
                bench: "collector",
                part: "queries",
                size: Some(events),
            };
            let arguments = format!(" --events {events} --runs {}", options.runs);
            let figures = queries::measure(&programs, &python, events.0, options.runs)?;
            tell(options, place, &arguments, &figures)?;
        }
    }
    Ok(())
}

fn tell(options: &Options, place: Place, arguments: &str, figures: &str) -> Result<()> {
    let origin = page::origin(place, arguments, options.write)?;
    let text = format!("{origin}\n{figures}");
    println!("\n{text}");
    match options.write {
        true => page::write(place, &text),
        false => Ok(()),
    }
}

/// As many open files as this user may have, for the programs that are started as well: each
/// connection is one.
fn allow_files() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, wanted).context("cannot raise the number of open files")
}
