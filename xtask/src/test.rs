//! `cargo xtask test`: every check and every test of the project, in the order of their cost.
//!
//! Stops at the first step that fails and says how to repeat it alone. At the end it says how long each
//! step took and which tests were the slowest of all. The last line is `N passed, M failed`, counting
//! steps.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::agents::{self, Agent};
use crate::build::{self, Profile};
use crate::command::{Run, quote};
use crate::times::{self, Times};
use crate::{collector, compat, demo, deny, evasion, kernel_tests, setup, workspace};

/// What the tests take from their environment, and what a run in full size gives them.
const FULL_SIZE: [(&str, &str); 5] = [
    ("SKEP_STORM", "full"),
    ("SKEP_RACE_RUNS", "1000"),
    ("SKEP_KILL_ROUNDS", "200"),
    ("SKEP_START_ROUNDS", "1000"),
    (kernel_tests::WHICH, "all"),
];
/// How many of the slowest tests are named at the end.
const SLOWEST: usize = 10;
/// What the names of tests hold that need the published packages of real agents.
const PACKAGES: [&str; 2] = ["real_packages::", "unknown_packages::"];

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Options {
    /// Leave out the virtual machines and the sessions of real agents
    #[arg(long)]
    quick: bool,
    /// Everything on every kernel; storms, races and crash loops in full size: hours
    ///
    /// The same as with SKEP_VM_TESTS=all (every test in every virtual machine, also those that are the
    /// same on every kernel), SKEP_STORM=full (storms of a million opens, 20,000 forks, 20,000 execs),
    /// SKEP_RACE_RUNS=1000 (agents started in each race, also in the virtual machines),
    /// SKEP_KILL_ROUNDS=200 (kills of sensor and collector in each crash loop) and SKEP_START_ROUNDS=1000
    /// (starts of the sensor amid forks and execs, on this machine) in the environment;
    /// one that is set already is kept.
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Sensor and collector of an earlier commit with those of this one, too; needs git's history
    ///
    /// A part of --full.
    #[arg(long)]
    compat: bool,
}

struct Step {
    name: String,
    /// A command that repeats this step alone.
    repeat: String,
    /// Does it, and adds the times of the tests it ran.
    work: Work,
}

type Work = Box<dyn Fn(&mut Times) -> Result<()>>;

/// Runs the steps.
pub fn run(options: &Options) -> Result<()> {
    setup::require_root("loading kernel programs")?;
    if options.full {
        // The steps and what they start inherit it.
        return in_full_size()?.run();
    }
    build::as_the_tests();
    let steps = steps(options);
    let mut done: Vec<(String, Duration)> = Vec::new();
    let mut times = Times::default();
    let mut failure = None;
    for step in &steps {
        println!("\n== {}", step.name);
        let begun = Instant::now();
        let outcome = (step.work)(&mut times);
        done.push((step.name.clone(), begun.elapsed()));
        if let Err(error) = outcome {
            println!("error: {error:#}");
            failure = Some(step);
            break;
        }
    }
    println!("\n== steps");
    for (position, (name, elapsed)) in done.iter().enumerate() {
        let failed = failure.is_some() && position + 1 == done.len();
        let word = if failed { "FAILED" } else { "ok    " };
        println!("{word} {:7.1} s  {name}", elapsed.as_secs_f64());
    }
    println!("\n== the slowest tests");
    for (test, time) in times.slowest(SLOWEST) {
        println!("{:14.1} s  {test}", time.as_secs_f64());
    }
    if let Some(step) = failure {
        let sizes = sizes(|name| std::env::var(name).ok());
        println!("\nrepeat the failed step with: {sizes}{}", step.repeat);
        println!("{} passed, 1 failed", done.len() - 1);
        bail!("{} failed", step.name);
    }
    println!("{} passed, 0 failed", done.len());
    Ok(())
}

/// This run again, in full size.
fn in_full_size() -> Result<Command> {
    let mut again = Command::new(std::env::current_exe().context("cannot find this program")?);
    again.args(["test", "--compat"]);
    let unset = |(name, _): &(&str, &str)| std::env::var_os(name).is_none();
    again.envs(FULL_SIZE.into_iter().filter(unset));
    Ok(again)
}

/// The sizes that are not the usual ones, as one would type them before a command.
fn sizes(environment: impl Fn(&str) -> Option<String>) -> String {
    FULL_SIZE
        .iter()
        .filter_map(|(name, _)| Some(format!("{name}={} ", quote(&environment(name)?))))
        .collect()
}

fn steps(options: &Options) -> Vec<Step> {
    let Options {
        quick,
        full: _,
        compat,
    } = *options;
    let mut steps = Vec::new();
    let mut add = |name: &str, repeat: &str, work: Work| {
        steps.push(Step {
            name: name.to_owned(),
            repeat: repeat.to_owned(),
            work,
        });
    };
    add(
        "set-up",
        "cargo xtask setup",
        Box::new(|_| setup::everything()),
    );
    add("format", "cargo fmt --all --check", Box::new(|_| format()));
    add(
        "lints",
        "cargo clippy --workspace --all-targets -- -D warnings",
        Box::new(|_| lints()),
    );
    add(
        "dependencies",
        "cargo xtask deny",
        Box::new(|_| deny::check()),
    );
    add(
        "unit and socket tests",
        "cargo xtask test-units",
        Box::new(workspace_tests),
    );
    if !quick {
        add(
            "tests of the published packages of real agents",
            "cargo xtask test-packages",
            Box::new(package_tests),
        );
    }
    add(
        "kernel tests on this machine",
        "cargo xtask test-kernel",
        Box::new(|times| kernel_tests::here(&[], times)),
    );
    add(
        "other readers of the collector's tables",
        "cargo xtask test-readers",
        Box::new(|times| timed("test-readers", times, collector::readers::test)),
    );
    add(
        "two collectors with one table on object storage",
        "cargo xtask test-s3",
        Box::new(|times| timed("test-s3", times, collector::s3::test)),
    );
    if compat {
        add(
            "an earlier sensor and collector with those of now",
            "cargo xtask test-compat",
            Box::new(|_| compat::test()),
        );
    }
    if !quick {
        add(
            "kernel tests in virtual machines",
            &format!("cargo xtask vm {}", kernel_tests::KERNELS.join(" ")),
            Box::new(|times| kernel_tests::in_machines(&kernel_tests::Options::of(&[]), times)),
        );
        add(
            "docs/evasion.md says what these tests saw",
            "cargo xtask evasion --check",
            Box::new(|_| evasion::check_last_run()),
        );
    }
    for agent in Agent::all()
        .iter()
        .filter(|agent| agent.is_demo() || !quick)
    {
        let name = agent.name();
        let repeat = format!("cargo xtask demo --agent {name}");
        let title = format!("end to end: {name}");
        add(
            &title,
            &repeat,
            Box::new(move |times| timed(&name, times, || demo::of(&name, Profile::Dev))),
        );
    }
    steps
}

/// Runs one test that is a program of its own.
fn timed(name: &str, times: &mut Times, test: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    let outcome = test();
    times.add(name.to_owned(), begun.elapsed());
    outcome
}

fn format() -> Result<()> {
    workspace::cargo().args(["fmt", "--all", "--check"]).run()?;
    for folder in [workspace::kernel_crate(), workspace::fuzz_programs()] {
        let mut cargo = workspace::cargo();
        cargo.current_dir(folder).args(["fmt", "--check"]).run()?;
    }
    Ok(())
}

fn lints() -> Result<()> {
    let arguments = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    // The kernel programs compile for BPF only, where there is no clippy.
    workspace::cargo().args(arguments).run()
}

/// Every test but the kernel tests and those of published packages.
pub fn workspace_tests(times: &mut Times) -> Result<()> {
    // Tests at the socket start the programs themselves.
    build::as_the_tests();
    build::programs(Profile::Dev)?;
    let mut tests = workspace::cargo();
    tests.args(["test", "--locked", "--workspace", "--lib", "--bins"]);
    for name in test_targets()? {
        if name != kernel_tests::TARGET {
            tests.args(["--test", &name]);
        }
    }
    times::run(&mut tests, &[], times)?;
    workspace::cargo()
        .args(["test", "--locked", "--workspace", "--doc"])
        .run()
}

/// The tests that are ignored because they need published packages, which are fetched before.
pub fn package_tests(times: &mut Times) -> Result<()> {
    agents::fetch_all()?;
    agents::fetch_unknown()?;
    let mut tests = workspace::cargo();
    // As the other tests are built, so that nothing is built again.
    tests.args(["test", "--locked", "--workspace", "--lib"]);
    let [real, unknown] = PACKAGES;
    times::run(&mut tests, &["--ignored", real, unknown], times)
}

/// Names of the integration tests of the workspace.
fn test_targets() -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let text = workspace::cargo()
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .quiet_output()?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cannot read the answer of cargo metadata")?;
    let targets = metadata
        .packages
        .into_iter()
        .flat_map(|package| package.targets);
    Ok(targets
        .filter(|target| target.kind.iter().any(|kind| kind == "test"))
        .map(|target| target.name)
        .collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn a_run_is_in_full_size_or_a_quick_one() {
        let parsed = |words: &[&str]| Arguments::try_parse_from([&["test"], words].concat());
        assert!(parsed(&["--full"]).is_ok_and(|arguments| arguments.options.full));
        assert!(parsed(&[]).is_ok_and(|arguments| !arguments.options.full));
        assert!(parsed(&["--full", "--quick"]).is_err());
    }

    #[test]
    fn a_run_in_full_size_has_every_step() {
        let names = |words: &[&str]| {
            let arguments = Arguments::try_parse_from([&["test"], words].concat()).unwrap();
            let steps = steps(&arguments.options).into_iter();
            steps.map(|step| step.name).collect::<Vec<_>>()
        };
        let again = in_full_size().unwrap();
        let words: Vec<_> = again
            .get_args()
            .skip(1)
            .map(|word| word.to_str().unwrap())
            .collect();
        let (full, usual) = (names(&words), names(&[]));
        assert!(usual.iter().all(|name| full.contains(name)), "{full:?}");
        let more: Vec<_> = full.iter().filter(|name| !usual.contains(name)).collect();
        assert_eq!(more, ["an earlier sensor and collector with those of now"]);
    }

    #[test]
    fn a_failed_step_is_repeated_in_the_size_it_had() {
        let value = |name: &str| (name == "SKEP_STORM").then(|| "full".to_owned());
        assert_eq!(sizes(value), "SKEP_STORM=full ");
        assert_eq!(sizes(|_| None), "");
    }
}
