//! Real work on this machine's own kernel, by the wall clock.
//!
//! Each round does each work three times: without a sensor, with one and not watched, with one and
//! watched as the child of an agent; in turn forwards and backwards, so that what the machine does
//! beside it falls on each alike. What is reported are medians over the rounds of the ratio to the
//! round's own run without a sensor.

mod jobs;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command::Run;
use crate::setup;

use super::boots;
use super::daemon::{Daemon, Records};
use super::page::verdict;

use jobs::Job;

const GOAL_WATCHED: f64 = 1.01;
/// Milliseconds an agent waits before its command, until it is known as one, and after it, until
/// the sensor has read everything.
const AGENT_PAUSE: &str = "1000";
const STRING: &str = "writing to a string does not fail";

/// What one run of a job took, seconds; the line of `skep-calls run`.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Took {
    wall: f64,
    cpu: f64,
}

/// One job in one round.
struct Round {
    bare: Took,
    unwatched: Took,
    watched: Took,
    /// Of the watched run.
    records: Records,
    /// CPU time of the sensor during the watched run, seconds.
    sensor: f64,
}

struct Programs {
    sensor: std::path::PathBuf,
    agent: std::path::PathBuf,
    calls: std::path::PathBuf,
}

/// Measures, and returns the tables as Markdown.
pub fn measure(rounds: u32) -> Result<String> {
    setup::require_root("measuring with the sensor")?;
    let found = boots::programs()?;
    let program = |name| boots::program(&found, name).map(Path::to_path_buf);
    let programs = Programs {
        sensor: program("skep-sensor")?,
        agent: program("skep-demo-agent")?,
        calls: program("skep-calls")?,
    };
    let folder = tempfile::tempdir()?;
    let jobs = jobs::prepare(folder.path())?;
    let mut text = String::from(
        "| work | bare s | unwatched | its CPU | watched | its CPU | limit | | records | folded | \
         lost | sensor CPU s |\n|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|\n",
    );
    for job in &jobs {
        // What is read from the disk is in memory from then on.
        run(job, &[programs.calls.as_path()], &[])?;
        let rounds = (0..rounds)
            .map(|number| round(job, &programs, number))
            .collect::<Result<Vec<_>>>()?;
        row(&mut text, job, &rounds);
    }
    text.push('\n');
    passes(&mut text, &jobs, &programs)?;
    Ok(text)
}

fn round(job: &Job, programs: &Programs, number: u32) -> Result<Round> {
    let plain = || run(job, &[&programs.calls], &[]);
    let forwards = number.is_multiple_of(2);
    let mut bare = None;
    if forwards {
        bare = Some(plain()?);
    }
    let daemon = Daemon::start(&programs.sensor)?;
    let mut unwatched = None;
    if forwards {
        unwatched = Some(plain()?);
    }
    let (records, sensor) = (Records::of(&daemon.status()?)?, daemon.cpu_seconds()?);
    let watched = run(
        job,
        &[
            &programs.agent,
            Path::new("do"),
            Path::new("sleep"),
            Path::new(AGENT_PAUSE),
            Path::new("exec"),
            &programs.calls,
        ],
        &["--", "sleep", AGENT_PAUSE],
    )?;
    let sensor = daemon.cpu_seconds()? - sensor;
    let records = Records::of(&daemon.status()?)?.since(records);
    let unwatched = unwatched.map_or_else(plain, Ok)?;
    drop(daemon);
    let round = Round {
        bare: bare.map_or_else(plain, Ok)?,
        unwatched,
        watched,
        records,
        sensor,
    };
    println!(
        "{} round {}: bare {:.3} s, unwatched {:.3} s, watched {:.3} s",
        job.name,
        number + 1,
        round.bare.wall,
        round.unwatched.wall,
        round.watched.wall
    );
    Ok(round)
}

/// Runs a job through `skep-calls run`, with words before and after that command.
fn run(job: &Job, before: &[&Path], after: &[&str]) -> Result<Took> {
    job.clear()?;
    let [program, words @ ..] = before else {
        anyhow::bail!("no program to run the job with");
    };
    let line = Command::new(program)
        .args(words)
        .arg("run")
        .args(&job.command)
        .args(after)
        .quiet_output()?;
    serde_json::from_str(&line).with_context(|| format!("{}: not a figure: {line}", job.name))
}

fn row(text: &mut String, job: &Job, rounds: &[Round]) {
    let of = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let watched = of(&|round| round.watched.wall / round.bare.wall);
    let last = rounds.last().map(|round| round.records).unwrap_or_default();
    writeln!(
        text,
        "| {} | {:.2} | {:.3} | {:.3} | **{watched:.3}** | {:.3} | {GOAL_WATCHED} | {} | {} | {} | {} \
         | {:.3} |",
        job.title,
        of(&|round| round.bare.wall),
        of(&|round| round.unwatched.wall / round.bare.wall),
        of(&|round| round.unwatched.cpu / round.bare.cpu),
        of(&|round| round.watched.cpu / round.bare.cpu),
        verdict(watched, GOAL_WATCHED),
        last.sent,
        last.folded_text(),
        last.lost,
        of(&|round| round.sensor),
    )
    .expect(STRING);
}

/// The search twice by the same agent: what it opened in the first pass it opens again in the
/// second.
fn passes(text: &mut String, jobs: &[Job], programs: &Programs) -> Result<()> {
    let search = jobs
        .iter()
        .find(|job| job.name == jobs::SEARCH)
        .context("there is no search among the jobs")?;
    let daemon = Daemon::start(&programs.sensor)?;
    let folder = tempfile::tempdir()?;
    // Each look is a child of the agent too, and adds its own few records to those of the next
    // pass.
    let look = |name: &str| {
        format!(
            "{} > {1}/{name} && cat /proc/{2}/task/*/schedstat > {1}/{name}.ran",
            daemon.status_command(),
            folder.path().display(),
            daemon.pid()
        )
    };
    let mut agent = Command::new(&programs.agent);
    agent.arg("do");
    for name in ["start", "first", "second"] {
        if name != "start" {
            agent.arg("exec").arg(&programs.calls).arg("run");
            agent.args(&search.command).arg("--");
        }
        agent.args(["sleep", AGENT_PAUSE, "exec", "sh", "-c", &look(name), "--"]);
    }
    let took = agent.quiet_output()?;
    let seen = |name: &str| -> Result<(Records, f64)> {
        let status = std::fs::read_to_string(folder.path().join(name))?;
        let ran = std::fs::read_to_string(folder.path().join(format!("{name}.ran")))?;
        let mut nanoseconds = 0;
        for line in ran.lines() {
            nanoseconds += super::daemon::scheduled(line)?;
        }
        let status = serde_json::from_str(&status).context("cannot read the daemon's status")?;
        Ok((Records::of(&status)?, nanoseconds as f64 / 1e9))
    };
    let mut before = seen("start")?;
    text.push_str(
        "| `grep -r` twice, one agent | seconds | records sent | folded in the kernel | lost | \
         sensor CPU s |\n|---|--:|--:|--:|--:|--:|\n",
    );
    for (name, line) in ["first", "second"].into_iter().zip(took.lines()) {
        let took: Took = serde_json::from_str(line).context("not a figure")?;
        let now = seen(name)?;
        let records = now.0.since(before.0);
        writeln!(
            text,
            "| {name} pass | {:.2} | {} | {} | {} | {:.3} |",
            took.wall,
            records.sent,
            records.folded_text(),
            records.lost,
            now.1 - before.1
        )
        .expect(STRING);
        before = now;
    }
    text.push('\n');
    Ok(())
}

/// The middle one; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
