//! `cargo xtask fuzz`: the parsers of outside bytes, fed by libFuzzer.
//!
//! cargo-fuzz builds the programs of `fuzz/`, which this starts: each for its time, from the inputs of
//! `fuzz/corpus` and those that earlier runs found, which are kept in the cache. There is no sanitizer, since
//! the parsers are safe Rust; assertions and overflow checks are on. An input that fails lies in
//! `fuzz/artifacts`: added to the corpus, it is a test.

mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::command::{Run, last_lines, lines_of};
use crate::{setup, workspace};

use table::Outcome;

/// The one platform that the project is built for.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// Seconds that one input may take.
const INPUT_WITHIN: u64 = 25;
/// Bytes of an input.
const INPUT_MAX: usize = 8 << 10;
/// What a program may be silent beyond its time: it reads its corpus first, and libFuzzer reports seldom.
const SILENCE: Duration = Duration::from_secs(300);

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Options {
    /// Targets; all without one
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u64,
    /// How many run at the same time
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// Write what ran into the table of docs/testing.md
    #[arg(long)]
    write: bool,
}

/// Builds the targets and runs each for its time.
pub fn run(options: &Options) -> Result<()> {
    let Options {
        targets,
        seconds,
        jobs,
        write,
    } = options;
    ensure!(
        *seconds > 0 && *jobs > 0,
        "nothing runs in no time and no jobs"
    );
    let known = known_targets()?;
    for target in targets {
        if !known.contains(target) {
            bail!("no target `{target}`; there are {}", known.join(", "));
        }
    }
    let targets = if targets.is_empty() { &known } else { targets };
    let programs = build(targets)?;
    println!(
        "{} targets, {seconds} s each, {jobs} at a time",
        targets.len()
    );

    let left = Mutex::new(targets.iter());
    let done: Mutex<Vec<Outcome>> = Mutex::new(Vec::new());
    let failures: Mutex<Vec<String>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..*jobs {
            scope.spawn(|| {
                loop {
                    let Some(target) = left.lock().expect("no thread panics").next() else {
                        return;
                    };
                    match fuzz(&programs, target, *seconds) {
                        Ok(outcome) => {
                            println!("ok     {outcome}");
                            let mut done = done.lock().expect("no thread panics");
                            done.push(outcome);
                            // After each: a run takes hours, and may be ended before its time.
                            if *write && let Err(error) = table::write(&done, &known) {
                                println!("FAILED {target}: {error:#}");
                                let mut failures = failures.lock().expect("no thread panics");
                                failures.push(format!("the row of {target}"));
                            }
                        }
                        Err(error) => {
                            println!("FAILED {target}: {error:#}");
                            failures
                                .lock()
                                .expect("no thread panics")
                                .push(target.clone());
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics");
    if !failures.is_empty() {
        bail!("failed: {}", failures.join(", "));
    }
    Ok(())
}

/// The programs of `fuzz/Cargo.toml`.
fn known_targets() -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Manifest {
        bin: Vec<Program>,
    }
    #[derive(Deserialize)]
    struct Program {
        name: String,
    }
    let file = workspace::fuzz_programs().join("Cargo.toml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let manifest: Manifest =
        toml::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(manifest
        .bin
        .into_iter()
        .map(|program| program.name)
        .collect())
}

/// Builds the programs and returns their folder.
fn build(targets: &[String]) -> Result<PathBuf> {
    // The sensor embeds the kernel object.
    setup::toolchain()?;
    let program = setup::fuzz()?;
    let output = workspace::target()?.join("fuzz");
    let one = if let [target] = targets {
        Some(target)
    } else {
        None
    };
    workspace::outside(&program)
        .arg("build")
        .args(one)
        .arg("--fuzz-dir")
        .arg(workspace::fuzz_programs())
        .args(["--sanitizer", "none", "--target", PLATFORM, "--target-dir"])
        .arg(&output)
        .run()?;
    Ok(output.join(PLATFORM).join("release"))
}

/// Runs one target; fails if an input does.
fn fuzz(programs: &Path, target: &str, seconds: u64) -> Result<Outcome> {
    let found = workspace::cache(&format!("fuzz/{target}"))?;
    let artifacts = workspace::fuzz_programs().join("artifacts").join(target);
    std::fs::create_dir_all(&artifacts)
        .with_context(|| format!("cannot create {}", artifacts.display()))?;
    let mut program = Command::new(programs.join(target));
    program
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_WITHIN}"))
        .arg(format!("-max_len={INPUT_MAX}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1")
        // What is new goes into the first.
        .arg(&found)
        .arg(workspace::fuzz_programs().join("corpus").join(target))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    println!("$ {}", program.line());
    let begun = Instant::now();
    let mut child = program.spawn().context("cannot start it")?;
    let lines = lines_of(child.stderr.take().context("it has no standard error")?);
    let deadline = begun + Duration::from_secs(seconds) + SILENCE;
    let mut said = String::new();
    loop {
        let wait = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(wait) {
            // Its progress is no news.
            Ok(line) if line.starts_with('#') => {}
            Ok(line) => said = last_lines(&(said + &line + "\n"), 60) + "\n",
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                child.kill().context("cannot end it")?;
                child.wait().context("cannot wait for it")?;
                bail!("it did not end by itself");
            }
        }
    }
    let status = child.wait().context("cannot wait for it")?;
    if !status.success() {
        bail!(
            "{status}: the input lies in {}; copy it into fuzz/corpus/{target}, and `cargo test --workspace \
             --test replay` shows the failure:\n{}",
            artifacts.display(),
            last_lines(&said, 40)
        );
    }
    let executions = executions(&said).context("it does not say how often it ran")?;
    Ok(Outcome {
        target: target.to_owned(),
        seconds,
        executions,
    })
}

/// From the statistics that libFuzzer prints at its end.
fn executions(said: &str) -> Option<u64> {
    said.lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .and_then(|number| number.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executions_are_read_out_of_the_final_statistics() {
        let said = "Done 3 runs in 1 second(s)\nstat::number_of_executed_units: 31415\nstat::peak_rss_mb: 7\n";
        assert_eq!(executions(said), Some(31_415));
        assert_eq!(executions("Done"), None);
    }

    #[test]
    fn every_target_is_known_by_its_program() {
        let known = known_targets().unwrap();
        assert!(known.contains(&"btf".to_owned()), "{known:?}");
        let options = Options {
            targets: vec!["no-such".to_owned()],
            seconds: 1,
            jobs: 1,
            write: false,
        };
        let error = run(&options).unwrap_err().to_string();
        assert!(error.contains("no target `no-such`; there are"), "{error}");
    }
}
