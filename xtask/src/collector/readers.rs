//! `cargo xtask test-readers`: others read from the tables what the collector answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Collector, Load, Start, plain, reconcile, script};
use crate::build::{self, Profile};
use crate::command::Run;
use crate::setup;

/// What is sent: the same bytes in each run.
const LOAD: [&str; 10] = [
    "--sensors",
    "5",
    "--events",
    "150000",
    "--seed",
    "42",
    "--days",
    "3",
    "--until",
    "1763640000",
];

/// What each reader found: by class, by reader, by column.
type Answers = BTreeMap<String, BTreeMap<String, Value>>;

/// Runs the test.
pub fn test() -> Result<()> {
    let python = setup::readers()?;
    let programs = build::programs(Profile::Dev)?;
    let scratch = tempfile::tempdir()?;
    let data = scratch.path().join("data");
    let start = Start {
        programs: &programs,
        data: &data,
        port: 0,
        arguments: &["--flush-every", "2"],
        environment: &[],
    };
    let mut collector = Collector::start(&start)?;
    let load = Load::start(&programs, &collector.server, &LOAD)?.finish()?;
    // What was in the log is in the tables when it has ended.
    collector.service.stop()?;
    let collector = Collector::start(&start)?;
    reconcile(&collector, &[load])?;
    let classes = compare(
        &python,
        &data.join("table").display().to_string(),
        &collector,
        &[],
        &[],
    )?;
    ensure!(classes == 8, "{classes} of 8 classes have a table");
    Ok(())
}

/// Fails unless all readers, or those that are named, find what the collector answers; returns how
/// many classes there are.
pub fn compare(
    python: &Path,
    table: &str,
    collector: &Collector,
    readers: &[&str],
    environment: &[(String, String)],
) -> Result<usize> {
    let text = Command::new(python)
        .arg(script("readers.py"))
        .arg(table)
        .args(readers)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .quiet_output()?;
    let answers: Answers =
        serde_json::from_str(&text).context("not what readers.py used to say")?;
    let mut differences = Vec::new();
    for (class, answers) in &answers {
        let statements = answers["sql"].as_array();
        let mut ours = serde_json::Map::new();
        for sql in statements.context("readers.py gave no SQL")? {
            let sql = sql
                .as_str()
                .context("readers.py gave something else than SQL")?;
            let rows = collector.query(sql)?;
            ours.extend(rows.into_iter().next().context("no answer of one row")?);
        }
        let readers = answers
            .iter()
            .filter_map(|(reader, found)| Some((reader, found.as_object()?)));
        for (reader, theirs) in readers {
            ensure!(
                theirs.len() == ours.len(),
                "{class}: {reader} answered in other columns"
            );
            for (column, theirs) in theirs {
                let ours = ours.get(column).map(plain);
                if ours.as_deref() != theirs.as_str() {
                    differences.push(format!(
                        "{class}.{column}: {ours:?} by skep, {theirs} by {reader}"
                    ));
                }
            }
        }
        let names: Vec<_> = answers
            .keys()
            .filter(|key| !["sql", "files"].contains(&key.as_str()))
            .collect();
        println!(
            "{class}: {} rows in {} files, {} columns as read by {names:?}",
            ours["rows"],
            answers["files"],
            ours.len()
        );
    }
    if !differences.is_empty() {
        bail!("readers differ:\n{}", differences.join("\n"));
    }
    Ok(answers.len())
}
