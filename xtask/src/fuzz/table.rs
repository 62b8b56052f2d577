//! The table of docs/testing.md: what ran of each target, when, and of which commit.
//!
//! A run replaces the rows of its targets and leaves the others. What a target reads is the first line of its
//! program.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::Run;
use crate::workspace;

const FILE: &str = "docs/testing.md";
const BEGIN: &str = "<!-- fuzz: begin (cargo xtask fuzz --write) -->\n";
const END: &str = "<!-- fuzz: end -->\n";
const HEAD: &str =
    "| target | reads | seconds | executions | day | commit |\n|---|---|---|---|---|---|\n";

/// What ran of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub target: String,
    pub seconds: u64,
    pub executions: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            target,
            seconds,
            executions,
        } = self;
        write!(
            f,
            "{target}: {} executions in {seconds} s",
            grouped(*executions)
        )
    }
}

/// Puts the outcomes into the table.
pub fn write(outcomes: &[Outcome], known: &[String]) -> Result<()> {
    let file = workspace::root().join(FILE);
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {FILE}"))?;
    let day = Command::new("date").args(["-u", "+%F"]).quiet_output()?;
    let run = Ran {
        day: day.trim().to_owned(),
        commit: commit(),
    };
    let reads = known
        .iter()
        .map(|target| Ok((target.clone(), reads(target)?)))
        .collect::<Result<_>>()?;
    let text = with(&text, outcomes, &reads, &run)?;
    std::fs::write(&file, text).with_context(|| format!("cannot write {FILE}"))?;
    println!("wrote {FILE}");
    Ok(())
}

/// When, and of which commit.
struct Ran {
    day: String,
    commit: String,
}

/// The commit that is checked out; `with changes` when the sources differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(workspace::root()).args(arguments);
        git.quiet_output()
    };
    let Ok(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return "not known".to_owned();
    };
    let sources = ["status", "--porcelain", "--", "*.rs", "*.toml", "*.proto"];
    let changed = git(&sources).map_or(true, |changes| !changes.trim().is_empty());
    let changes = if changed { ", with changes" } else { "" };
    format!("{}{changes}", commit.trim())
}

/// The first line of a target's program.
fn reads(target: &str) -> Result<String> {
    let file = format!("fuzz/fuzz_targets/{target}.rs");
    let text = std::fs::read_to_string(workspace::root().join(&file))
        .with_context(|| format!("cannot read {file}"))?;
    let first = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("//! "));
    let first = first.with_context(|| format!("{file} does not begin with what it reads"))?;
    Ok(first.trim_end_matches('.').to_owned())
}

/// The text with new rows for the outcomes, and without rows of targets that are none.
fn with(
    text: &str,
    outcomes: &[Outcome],
    reads: &BTreeMap<String, String>,
    run: &Ran,
) -> Result<String> {
    let missing = || format!("{FILE} has no table between {BEGIN:?} and {END:?}");
    let (before, rest) = text.split_once(BEGIN).with_context(missing)?;
    let (table, after) = rest.split_once(END).with_context(missing)?;
    let mut rows: BTreeMap<&str, String> = BTreeMap::new();
    for row in table.lines().skip(2) {
        let target = row.trim_start_matches("| ").split(" |").next();
        let target = target.unwrap_or_default().trim_matches('`');
        if reads.contains_key(target) {
            rows.insert(target, format!("{row}\n"));
        }
    }
    for outcome in outcomes {
        let Outcome {
            target,
            seconds,
            executions,
        } = outcome;
        let Ran { day, commit } = run;
        let what = reads.get(target).context("a target that is none")?;
        let row = format!(
            "| `{target}` | {what} | {seconds} | {} | {day} | {commit} |\n",
            grouped(*executions)
        );
        rows.insert(target, row);
    }
    let rows: String = rows.into_values().collect();
    Ok(format!("{before}{BEGIN}{HEAD}{rows}{END}{after}"))
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(target: &str, executions: u64) -> Outcome {
        Outcome {
            target: target.to_owned(),
            seconds: 120,
            executions,
        }
    }

    #[test]
    fn a_run_replaces_the_rows_of_its_targets_and_leaves_the_others() {
        let reads = ["a", "b"].map(|name| (name.to_owned(), format!("reads {name}")));
        let reads = BTreeMap::from(reads);
        let run = |commit: &str| Ran {
            day: "2026-01-02".to_owned(),
            commit: commit.to_owned(),
        };
        let empty = format!("before\n{BEGIN}{END}after\n");
        let first = with(
            &empty,
            &[outcome("b", 7), outcome("a", 1_234_567)],
            &reads,
            &run("1"),
        )
        .unwrap();
        let row_a = "| `a` | reads a | 120 | 1,234,567 | 2026-01-02 | 1 |\n";
        let row_b = "| `b` | reads b | 120 | 7 | 2026-01-02 | 1 |\n";
        assert_eq!(
            first,
            format!("before\n{BEGIN}{HEAD}{row_a}{row_b}{END}after\n")
        );
        let second = with(&first, &[outcome("b", 999)], &reads, &run("2")).unwrap();
        let row_b = "| `b` | reads b | 120 | 999 | 2026-01-02 | 2 |\n";
        assert_eq!(
            second,
            format!("before\n{BEGIN}{HEAD}{row_a}{row_b}{END}after\n")
        );
        let reads = BTreeMap::from([("b".to_owned(), "reads b".to_owned())]);
        let third = with(&second, &[], &reads, &run("3")).unwrap();
        assert_eq!(
            third,
            format!("before\n{BEGIN}{HEAD}{row_b}{END}after\n"),
            "a is gone"
        );
    }

    #[test]
    fn a_document_without_the_marks_is_an_error_that_says_so() {
        let run = Ran {
            day: String::new(),
            commit: String::new(),
        };
        let error = with("text", &[], &BTreeMap::new(), &run).unwrap_err();
        assert!(
            error.to_string().contains("has no table between"),
            "{error}"
        );
    }

    #[test]
    fn every_program_says_what_it_reads() {
        for target in super::super::known_targets().unwrap() {
            assert!(reads(&target).is_ok_and(|text| text.len() > 10), "{target}");
        }
    }
}
