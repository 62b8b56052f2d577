//! The kernel tests: on this machine's own kernel, and on Debian's in virtual machines.
//!
//! A test that is the same on every kernel lies in a module named `once` and runs on one of the kernels
//! asked for, the last; the others run on each. With `--full`, or `SKEP_VM_TESTS=all` in the environment,
//! every test runs on every kernel. Which is which is said in `sensor-user/tests/kernel/main.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, Profile};
use crate::command::quote;
use crate::times::{self, Times};
use crate::vm::console::Outcome;
use crate::vm::guest::{Guest, GuestFile};
use crate::vm::kernel::{self, Kernel};
use crate::vm::test_program::{self, Programs};
use crate::vm::{self, Clock, Machine};
use crate::{setup, workspace};

/// The test target of the sensor that loads programs into the kernel; it runs by itself.
pub const TARGET: &str = "kernel";
/// Kernels of the virtual machines; the newest is the last.
pub const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// What the names of tests hold that are the same on every kernel.
const SAME_EVERYWHERE: &str = "once::";
/// In the environment: `all` for every test on every kernel.
pub const WHICH: &str = "SKEP_VM_TESTS";

/// Seconds of silence after which a machine is stopped. Its tests wait at most four minutes for what they
/// wait for, and print a line each; a busy host slows an emulated machine several times.
const PATIENCE: u64 = 600;
/// How much longer a silence may be with more races: they are one test.
const PATIENCE_OF_RACES: u64 = 4;

/// Machines at the same time. An emulated machine with two processors keeps little more than one of the
/// host's busy, since its tests wait for each other's processes most of the time.
const AT_ONCE: usize = 2;

/// Arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub struct Options {
    /// Kernel versions, as the start of a Debian version: 6.1, 6.12
    #[arg(required = true)]
    kernels: Vec<String>,
    /// Run every test on every kernel: also those that are the same on each, which else run on the
    /// last one only
    #[arg(long)]
    full: bool,
    /// Seconds of silence of its console after which a machine is stopped and counted as failed
    #[arg(long, value_name = "SECONDS")]
    patience: Option<u64>,
    /// Run this static program instead of the kernel tests
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Arguments of the test program, such as a filter
    #[arg(last = true)]
    arguments: Vec<String>,
}

// === impl Options ===

impl Options {
    /// The kernel tests in [`KERNELS`]: all, or those whose names hold one of the words.
    pub fn of(filter: &[&str]) -> Self {
        Self {
            kernels: KERNELS.map(str::to_owned).to_vec(),
            full: false,
            patience: None,
            program: None,
            arguments: filter.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    fn patience(&self) -> Duration {
        let usual = match std::env::var_os("SKEP_RACE_RUNS") {
            Some(_) => PATIENCE * PATIENCE_OF_RACES,
            None => PATIENCE,
        };
        Duration::from_secs(self.patience.unwrap_or(usual))
    }

    /// Whether every test runs on every kernel.
    fn is_full(&self) -> Result<bool> {
        match std::env::var(WHICH).as_deref() {
            Ok("all") => Ok(true),
            Ok(other) => bail!("{WHICH} is {other:?}: it can be all, or not set"),
            Err(_) => Ok(self.full),
        }
    }
}

/// How the tests ended on one kernel.
struct Verdict {
    /// Of the machine.
    name: String,
    outcome: Outcome,
    elapsed: Duration,
}

/// The kernel tests, on this machine's own kernel: all, or those whose names hold one of the words.
/// What they leave under [`verdicts_here`] is from this run.
pub fn here(filter: &[&str], times: &mut Times) -> Result<()> {
    setup::require_root("loading kernel programs")?;
    // The tests start some of them.
    build::as_the_tests();
    build::programs(Profile::Dev)?;
    let results = verdicts_here()?;
    if results.exists() {
        std::fs::remove_dir_all(&results)
            .with_context(|| format!("cannot remove {}", results.display()))?;
    }
    let mut tests = workspace::cargo();
    tests
        // As everything else is built, so that nothing is built again.
        .args(["test", "--locked", "--workspace", "--test", TARGET]);
    let arguments = [&["--test-threads=1"], filter].concat();
    times::run(&mut tests, &arguments, times)
}

/// Where the kernel tests leave their verdicts on this machine.
pub fn verdicts_here() -> Result<PathBuf> {
    Ok(workspace::target()?.join("evasion"))
}

/// Where the kernel tests on a kernel left their verdicts, the last time they ran there.
pub fn verdicts_of(version: &str) -> Result<PathBuf> {
    vm::files_of(&kernel::fetch(version)?.release)
}

/// Runs the tests on every kernel asked for and fails if they failed on any.
pub fn in_machines(options: &Options, times: &mut Times) -> Result<()> {
    setup::toolchain()?;
    setup::machines()?;
    let full = options.is_full()?;
    let kernels = options
        .kernels
        .iter()
        .map(|version| kernel::fetch(version))
        .collect::<Result<Vec<_>>>()?;
    let programs = test_program::build(options.program.as_deref())?;
    let mut files = vec![GuestFile::program(TEST, &programs.test)];
    let others = programs.others.iter();
    files.extend(others.map(|(name, program)| GuestFile::program(name, program)));

    let mut runs = Vec::new();
    for part in [Part::Own, Part::Same] {
        for (position, (kernel, version)) in kernels.iter().zip(&options.kernels).enumerate() {
            let is_last = position + 1 == kernels.len();
            let has_all = full || is_last;
            let Some(part) = part.of(has_all, programs.is_libtest, &options.arguments) else {
                continue;
            };
            runs.push(Run {
                kernel,
                name: format!("{}{}", kernel.release, part.suffix()),
                files: &files,
                script: script(&programs, part, &options.arguments),
                patience: options.patience(),
                label: format!("{version}{}: ", part.suffix()),
            });
        }
    }
    let mut verdicts = Vec::new();
    for ended in side_by_side(&runs) {
        let (verdict, of_tests) = ended?;
        verdicts.push(verdict);
        times.extend(of_tests);
    }
    for verdict in &verdicts {
        let Verdict {
            name,
            outcome,
            elapsed,
        } = verdict;
        println!(
            "{} {name} {:.1} s{}",
            outcome.word(),
            elapsed.as_secs_f64(),
            outcome.reason()
        );
    }
    let failed = verdicts
        .iter()
        .filter(|verdict| verdict.outcome != Outcome::Passed)
        .count();
    ensure!(
        failed == 0,
        "the kernel tests failed in {failed} of {} machines",
        verdicts.len()
    );
    Ok(())
}

/// The tests that a machine runs. Those that are the same on every kernel have a machine of their own: what
/// two machines do at the same time, they do in half the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    /// Those that may differ from kernel to kernel.
    Own,
    /// Those that are the same on every kernel.
    Same,
}

impl Part {
    /// What this part of a kernel's tests is, for a kernel that runs all of them or its own only. A choice of
    /// tests, or another program, is not divided.
    fn of(self, has_all: bool, is_libtest: bool, arguments: &[String]) -> Option<Self> {
        let is_divided = is_libtest && arguments.is_empty();
        match self {
            Self::Same => (has_all && is_divided).then_some(Self::Same),
            _ if has_all && !is_divided => Some(Self::All),
            _ => Some(Self::Own),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::All | Self::Own => "",
            Self::Same => "-once",
        }
    }

    fn words(self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Own => Some(format!("--skip={SAME_EVERYWHERE}")),
            Self::Same => Some(SAME_EVERYWHERE.to_owned()),
        }
    }
}

/// Name of the test program in a guest.
const TEST: &str = "kernel-test";

/// What a guest runs: these tests, with these arguments.
fn script(programs: &Programs, part: Part, arguments: &[String]) -> String {
    let mut words = Vec::new();
    if programs.is_libtest {
        words.push(times::ENVIRONMENT.to_owned());
    }
    words.push(format!("/bin/{TEST}"));
    if programs.is_libtest {
        words.push("--test-threads=1".to_owned());
        words.extend(times::ARGUMENTS.map(str::to_owned));
        words.extend(part.words());
    }
    words.extend(arguments.iter().map(|word| quote(word)));
    words.join(" ")
}

/// The tests on one kernel.
struct Run<'a> {
    kernel: &'a Kernel,
    /// Of the machine.
    name: String,
    files: &'a [GuestFile],
    script: String,
    patience: Duration,
    /// Stands before each line.
    label: String,
}

// === impl Run ===

impl Run<'_> {
    fn run(&self) -> Result<(Verdict, Times)> {
        let begun = Instant::now();
        let Self {
            kernel,
            name,
            files,
            script,
            patience,
            label,
        } = self;
        println!("{label}{}: {script}", kernel.release);
        let machine = Machine {
            name,
            guest: Guest {
                files,
                kernel,
                script,
            },
            clock: Clock::Time,
            patience: *patience,
            label,
        };
        let (outcome, times) = machine.run()?;
        let verdict = Verdict {
            name: name.clone(),
            outcome,
            elapsed: begun.elapsed(),
        };
        Ok((verdict, times))
    }
}

/// Runs them, [`AT_ONCE`] at a time, and gives what became of each, in their order.
fn side_by_side(runs: &[Run<'_>]) -> Vec<Result<(Verdict, Times)>> {
    let next = AtomicUsize::new(0);
    let ended = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(runs.len()) {
            scope.spawn(|| {
                loop {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    let Some(run) = runs.get(position) else {
                        return;
                    };
                    let outcome = run.run();
                    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    ended.insert(position, outcome);
                }
            });
        }
    });
    let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_runs_all_tests_or_leaves_out_those_that_are_the_same_everywhere() {
        let programs = |is_libtest| Programs {
            test: PathBuf::new(),
            is_libtest,
            others: Vec::new(),
        };
        let words = ["two words".to_owned()];
        let all = script(&programs(true), Part::All, &words);
        assert!(
            all.starts_with("RUSTC_BOOTSTRAP=1 /bin/kernel-test "),
            "{all}"
        );
        assert!(all.ends_with(" --report-time 'two words'"), "{all}");
        assert!(!all.contains("once::"), "{all}");
        let some = script(&programs(true), Part::Own, &[]);
        assert!(some.ends_with(" --skip=once::"), "{some}");
        let rest = script(&programs(true), Part::Same, &[]);
        assert!(rest.ends_with(" --report-time once::"), "{rest}");
        // Another program has arguments of its own.
        assert_eq!(script(&programs(false), Part::Own, &[]), "/bin/kernel-test");
    }

    #[test]
    fn every_test_runs_once_on_a_kernel_that_runs_all_whatever_is_asked_for() {
        let words = ["tiers".to_owned()];
        let parts = |has_all, is_libtest, words: &[String]| {
            let parts = [Part::Own, Part::Same].map(|part| part.of(has_all, is_libtest, words));
            parts.into_iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(parts(true, true, &[]), [Part::Own, Part::Same]);
        assert_eq!(parts(false, true, &[]), [Part::Own]);
        assert_eq!(parts(true, true, &words), [Part::All]);
        assert_eq!(parts(false, true, &words), [Part::Own]);
        assert_eq!(parts(true, false, &[]), [Part::All]);
        assert_eq!(parts(false, false, &[]), [Part::Own]);
    }
}
