//! `cargo xtask bench collector`: the collector under simulated sensors, on this machine.
//!
//! Generator and collector share the processors. Every figure that depends on the disk or on other
//! engines is beside one of these, measured in the same run: appending the same bytes with fsync; DuckDB
//! and chdb over the same files.

mod engines;
mod ingest;
mod process;
mod queries;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::page::{self, Place};
use crate::build::{self, Profile};
use crate::collector::Collector;
use crate::{setup, workspace};

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
    #[arg(long, default_value = "10M", value_parser = number)]
    ingest_events: u64,
    /// Events that the queries go over, e.g. 20M
    #[arg(long, default_value = "20M", value_parser = number)]
    events: u64,
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
    for part in [Part::Ingest, Part::Queries] {
        if options.only.is_some_and(|only| only != part) {
            continue;
        }
        let (name, arguments, figures) = match part {
            Part::Ingest => {
                let events = options.ingest_events / share;
                let sensors = if options.quick { 100 } else { 5_000 };
                (
                    "ingest",
                    format!(" --ingest-events {events}"),
                    ingest::measure(&programs, events, sensors)?,
                )
            }
            Part::Queries => {
                let events = options.events / share;
                let arguments = format!(" --events {events} --runs {}", options.runs);
                (
                    "queries",
                    arguments,
                    queries::measure(&programs, &python, events, options.runs)?,
                )
            }
        };
        let place = Place {
            bench: "collector",
            part: name,
        };
        let text = format!(
            "{}\n{figures}",
            page::origin(place, &arguments, options.write)?
        );
        println!("\n{text}");
        if options.write {
            page::write(place, &text)?;
        }
    }
    Ok(())
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

/// A folder for data on the disk that cargo's target folder is on; `/tmp` may be memory.
fn scratch() -> Result<tempfile::TempDir> {
    let folder = workspace::target()?.join("bench");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(tempfile::tempdir_in(folder)?)
}

/// Bytes of the files that are in the tables, and how many they are. (Those that were merged into others
/// stay on the disk for a day more.)
fn stored(collector: &Collector) -> Result<(u64, u64)> {
    let rows = collector.query("SELECT sum(bytes) AS bytes, sum(files) AS files FROM storage")?;
    let number = |name: &str| -> Result<u64> {
        let value = rows.first().and_then(|row| row.get(name)?.as_u64());
        value.with_context(|| format!("no {name} in {rows:?}"))
    };
    Ok((number("bytes")?, number("files")?))
}

/// Bytes of all files below a folder with this ending, and how many they are.
fn files(folder: &Path, ending: &str) -> Result<(u64, u64)> {
    let (mut bytes, mut count) = (0, 0);
    let mut folders: Vec<PathBuf> = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(ending) {
                bytes += entry.metadata()?.len();
                count += 1;
            }
        }
    }
    Ok((bytes, count))
}

/// `20M`, `300k`, `5000`.
fn number(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix(['M', 'k']) {
        Some(digits) if text.ends_with('M') => (digits, 1_000_000),
        Some(digits) => (digits, 1_000),
        None => (text, 1),
    };
    let number = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("{text} is not a number such as 20M or 300k"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_in_thousands_and_millions() {
        assert_eq!(number("20M"), Ok(20_000_000));
        assert_eq!(number("300k"), Ok(300_000));
        assert_eq!(number("7"), Ok(7));
        assert!(number("0").is_err() && number("M").is_err() && number("3G").is_err());
    }
}
