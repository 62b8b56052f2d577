//! `cargo xtask evasion`: every way not to be seen, tried on every kernel, as a document.
//!
//! The kernel tests try the techniques and leave their verdicts as JSON lines; this task runs them on
//! this machine and in the virtual machines, keeps the verdicts in `docs/evasion.json` and makes
//! `docs/evasion.md` from that file alone. Nothing in either is written by hand.
//!
//! A check compares what was just seen with what the documents say: the kernels of the virtual machines
//! verdict by verdict, this machine only if it is of the series and tier the document speaks of,
//! because the document tells of one machine and tests run on many.

mod page;
mod results;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::kernel_tests::{self, KERNELS};
use crate::times::Times;
use crate::workspace;

use results::{Book, Place};

/// Word in the names of the tests that leave verdicts.
const TESTS: [&str; 1] = ["evasion"];

/// Arguments of `cargo xtask evasion`.
#[derive(clap::Args)]
pub struct Options {
    /// Compare with the documents instead of writing them
    #[arg(long)]
    check: bool,
    /// Take the verdicts of the last kernel tests instead of running them
    #[arg(long)]
    reuse: bool,
}

/// Runs the suite and writes or checks the documents.
pub fn run(options: &Options) -> Result<()> {
    if !options.reuse {
        let mut times = Times::default();
        kernel_tests::here(&TESTS, &mut times)?;
        kernel_tests::in_machines(&kernel_tests::Options::of(&TESTS), &mut times)?;
    }
    if options.check {
        check_last_run()
    } else {
        write(&last_run()?)
    }
}

/// Compares the verdicts of the last kernel tests, here and in the virtual machines, with the
/// documents.
pub fn check_last_run() -> Result<()> {
    let fresh = last_run()?;
    let (book, page) = documents()?;
    let text = std::fs::read_to_string(&book)
        .with_context(|| format!("cannot read {}", book.display()))?;
    let written: Book = serde_json::from_str(&text)
        .with_context(|| format!("cannot understand {}", book.display()))?;
    let mut differences = Vec::new();
    for column in &fresh.columns {
        match written.column(column) {
            Some(of_then) => differences.extend(written.differences(of_then, &fresh, column)),
            None if column.place == Place::Machine => println!(
                "not compared: {}; the document tells of another machine",
                column.label()
            ),
            None => differences.push(format!("{} is not in the document", column.label())),
        }
    }
    let shown = std::fs::read_to_string(&page).unwrap_or_default();
    if shown != page::write(&written) {
        differences.push(format!("{} is not what its data say", page.display()));
    }
    if differences.is_empty() {
        println!("docs/evasion.md is current");
        return Ok(());
    }
    for difference in &differences {
        println!("{difference}");
    }
    bail!(
        "docs/evasion.md is not current in {} places: look at them, then run cargo xtask evasion",
        differences.len()
    )
}

fn write(book: &Book) -> Result<()> {
    let (data, page) = documents()?;
    for (path, text) in [(&data, book.text()?), (&page, page::write(book))] {
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The files of data and text.
fn documents() -> Result<(PathBuf, PathBuf)> {
    let docs = workspace::root().join("docs");
    Ok((docs.join("evasion.json"), docs.join("evasion.md")))
}

/// Verdicts of the last kernel tests, in the order of the document's columns: the best tier first.
fn last_run() -> Result<Book> {
    let mut book = Book::default();
    let mut of_guests = Vec::new();
    for version in KERNELS {
        let folder = kernel_tests::verdicts_of(version)?;
        let results = results::read(&folder, Place::Guest)
            .with_context(|| format!("no verdicts of {version}: run cargo xtask evasion"))?;
        of_guests.push(results);
    }
    for tier in ["best", "tracepoints"] {
        for (version, results) in KERNELS.iter().zip(&of_guests) {
            let of_tier = results.iter().find(|result| result.column.tier == tier);
            let of_tier = of_tier.with_context(|| {
                format!("no verdicts of {version} in tier {tier}: run cargo xtask evasion")
            })?;
            book.add(of_tier)?;
        }
    }
    let folder = kernel_tests::verdicts_here()?;
    let of_machine = results::read(&folder, Place::Machine)
        .context("no verdicts of this machine: run cargo xtask evasion")?;
    // With the hooks this kernel gives by itself, not those it is left with on purpose.
    let own = of_machine
        .iter()
        .find(|result| result.column.tier != "tracepoints")
        .context("no verdicts of this machine's own tier: run cargo xtask evasion")?;
    book.add(own)?;
    Ok(book)
}
