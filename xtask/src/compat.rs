//! `cargo xtask test-compat [COMMIT]`: a sensor of an earlier commit with the collector of this one, and
//! the reverse, with a session of the demo agent each.
//!
//! The earlier sources come out of git's history into the cache folder, where they are built once a
//! commit and then removed; the programs stay there. Checked is that every event that the sensor counted
//! is in the collector's tables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::agents::{self, Agent};
use crate::build::{self, PROGRAMS, Profile};
use crate::command::Run;
use crate::demo::stage::Stage;
use crate::session::Session;
use crate::{setup, workspace};

/// The commit that is taken if none is named: the one whose bytes are in `tests/golden`, the last
/// before the crates were taken apart. A later one that is known to run at customers replaces it.
const EARLIER: &str = "89fdf672be64973a759bc16399758210f75251a9";

/// How long the last events may be on their way once the session is over.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// Arguments of `cargo xtask test-compat`.
#[derive(clap::Args)]
pub struct Options {
    /// The earlier commit, as git names it
    #[arg(default_value = EARLIER)]
    commit: String,
}

/// The test as a step of another: with the usual commit.
pub fn test() -> Result<()> {
    run(&Options {
        commit: EARLIER.to_owned(),
    })
}

/// Runs the test.
pub fn run(options: &Options) -> Result<()> {
    setup::require_root("loading kernel programs")?;
    let commit = known_commit(&options.commit)?;
    setup::toolchain()?;
    setup::sessions()?;
    let new = build::programs(Profile::Dev)?;
    let old = programs_of(&commit)?;
    let short = &commit[..12];
    for (title, sensor, collector) in [
        (
            format!("a sensor of {short}, a collector of now"),
            &old,
            &new,
        ),
        (
            format!("a sensor of now, a collector of {short}"),
            &new,
            &old,
        ),
    ] {
        println!("\n== {title}");
        converse(sensor, collector, &new).with_context(|| title)?;
    }
    Ok(())
}

/// The whole name of a commit that is in the history here.
fn known_commit(name: &str) -> Result<String> {
    let found = Command::new("git")
        .arg("-C")
        .arg(workspace::root())
        .args(["rev-parse", "--verify", "--quiet", "--end-of-options"])
        .arg(format!("{name}^{{commit}}"))
        .quiet_output();
    match found {
        Ok(commit) => Ok(commit.trim().to_owned()),
        Err(error) => bail!(
            "the commit {name} is not in git's history here, which this test takes an earlier sensor \
             and collector from: run it in a clone with history (`git fetch --unshallow` completes \
             one): {error:#}"
        ),
    }
}

/// The folder with the programs of a commit, built unless they are in the cache.
fn programs_of(commit: &str) -> Result<PathBuf> {
    let cache = workspace::cache("compat")?;
    let programs = cache.join(commit);
    if PROGRAMS.iter().all(|name| programs.join(name).is_file()) {
        println!("programs of {commit}: {}", programs.display());
        return Ok(programs);
    }
    let sources = tempfile::Builder::new()
        .prefix("sources-")
        .tempdir_in(&cache)?;
    let archive = sources.path().join("sources.tar");
    Command::new("git")
        .arg("-C")
        .arg(workspace::root())
        .args(["archive", "--format=tar", "--output"])
        .arg(&archive)
        .arg(commit)
        .run()?;
    let tree = sources.path().join("tree");
    std::fs::create_dir(&tree)?;
    Command::new("tar")
        .arg("--extract")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(&tree)
        .run()?;
    let target = cache.join("target");
    workspace::cargo()
        .current_dir(&tree)
        .args(["build", "--locked", "--workspace", "--bins", "--target-dir"])
        .arg(&target)
        .run()?;
    std::fs::create_dir_all(&programs)?;
    for name in PROGRAMS {
        // Under another name first, so that what has its name is whole.
        let (built, new) = (target.join("debug").join(name), programs.join("new"));
        std::fs::copy(&built, &new).with_context(|| format!("no {}", built.display()))?;
        std::fs::rename(&new, programs.join(name))?;
    }
    Ok(programs)
}

/// One session, seen by a sensor of one build and kept by a collector of another; `demo` is where the
/// demo agent is.
fn converse(sensor: &Path, collector: &Path, demo: &Path) -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("skep-compat-").tempdir()?;
    // The kernel reports paths without symbolic links.
    let folder = scratch.path().canonicalize()?;
    let programs = folder.join("programs");
    std::fs::create_dir(&programs)?;
    for (from, name) in [
        (sensor, "skep-sensor"),
        (collector, "skep-collector"),
        (collector, "skep"),
        (demo, agents::DEMO),
    ] {
        let link = programs.join(name);
        std::os::unix::fs::symlink(from.join(name), &link)
            .with_context(|| format!("cannot link {}", link.display()))?;
    }
    let session = Session::prepare(Agent::named(agents::DEMO)?, demo, &folder)?;
    let mut stage = Stage::start(&programs, &folder)?;
    let outcome = watch(&stage, &session);
    if outcome.is_err() {
        println!("the sensor's last words:\n{}", stage.sensor_log());
    }
    let stopped = stage.stop();
    outcome?;
    stopped
}

fn watch(stage: &Stage, session: &Session) -> Result<()> {
    let mut command = session.command()?;
    println!("$ {}", command.line());
    session.finish(command.spawn().context("cannot start the session")?)?;
    let id = stage.wait_for_session(&session.project())?;
    let arrived = everything_arrives(stage)?;
    let of_session = count(
        stage,
        &format!("SELECT count(*) AS n FROM events WHERE session = '{id}'"),
    )?;
    let hooks = count(stage, "SELECT count(*) AS n FROM hooks")?;
    ensure!(hooks > 0, "the collector knows of no hook of the sensor");
    for class in ["session", "exec", "exit", "open", "connect"] {
        ensure!(
            arrived.contains_key(class),
            "no event of class {class}: {arrived:?}"
        );
    }
    println!("ok      {of_session} events of session {id}; by class {arrived:?}; {hooks} hooks");
    Ok(())
}

/// Waits until the collector has as many events of each class as the sensor has put into its spool;
/// nothing may be lost, and sequences have no gap.
fn everything_arrives(stage: &Stage) -> Result<BTreeMap<String, u64>> {
    let deadline = Instant::now() + ARRIVES_WITHIN;
    loop {
        let sent = stage.events_of_sensor()?;
        let rows = stage.query("SELECT class, count(*) AS n FROM events GROUP BY class")?;
        let stored: BTreeMap<String, u64> = rows
            .iter()
            .filter_map(|row| Some((row["class"].as_str()?.to_owned(), row["n"].as_u64()?)))
            .collect();
        if sent == stored {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "the sensor counted {sent:?}, but the collector has {stored:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let lost = stage.query("SELECT hop, record, cause, count FROM lost")?;
    ensure!(lost.is_empty(), "events were lost: {lost:?}");
    let gaps = stage.query(
        "SELECT epoch, count(*) AS events, max(seq) AS last FROM events GROUP BY epoch \
         HAVING count(*) <> max(seq) OR count(DISTINCT seq) <> max(seq)",
    )?;
    ensure!(gaps.is_empty(), "sequences with gaps or repeats: {gaps:?}");
    stage.events_of_sensor()
}

fn count(stage: &Stage, sql: &str) -> Result<u64> {
    let rows = stage.query(sql)?;
    let row = rows.first().context("a count without a row")?;
    row["n"]
        .as_u64()
        .with_context(|| format!("no number: {row}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_is_not_there_is_an_error_that_says_what_is_needed() {
        let error = known_commit("0000000000000000000000000000000000000001").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("in a clone with history"), "{text}");
    }
}
