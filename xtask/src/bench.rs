//! `cargo xtask bench kernel`: what the sensor costs those it watches and those it does not.
//!
//! Three parts. In virtual machines whose clock counts instructions: system calls, without and with
//! the sensor, and with its peers. On this machine's own kernel, by the wall clock: real work. And
//! the sensor itself: memory, idle time, records a second. Every number printed or written to
//! `docs/performance.md` comes from the run that prints it.

mod calls;
mod guests;
mod peers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::build::Profile;
use crate::setup;
use crate::vm::console::Outcome;
use crate::vm::guest::{Guest, GuestFile};
use crate::vm::kernel::Kernel;
use crate::vm::{Clock, Machine, kernel, test_program};

use calls::Round;
use guests::Subject;
use peers::Peers;

/// Kernels that are measured unless others are asked for.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// After which a machine is stopped. They count instructions and do not mind a busy host, but take
/// longer on one.
const LIMIT: Duration = Duration::from_secs(1200);
/// Machines at the same time; each keeps one processor of the host busy.
const AT_ONCE: usize = 2;

/// What to measure.
#[derive(clap::Subcommand)]
pub enum Bench {
    /// System calls, real work and the sensor itself
    Kernel(Options),
}

/// Arguments of `cargo xtask bench kernel`.
#[derive(clap::Args)]
pub struct Options {
    /// Kernel versions of the virtual machines
    #[arg(long, num_args = 1.., default_values = KERNELS)]
    kernels: Vec<String>,
    /// Runs of the virtual machines, to show how well they repeat
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Only the sensor in its best tier
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    subjects: Option<u32>,
}

/// Runs a benchmark.
pub fn run(bench: &Bench) -> Result<()> {
    let Bench::Kernel(options) = bench;
    let kernels = options
        .kernels
        .iter()
        .map(|version| kernel::fetch(version))
        .collect::<Result<Vec<_>>>()?;
    setup::toolchain()?;
    setup::machines()?;
    let subjects: &[Subject] = if options.quick {
        &[Subject::Sensor]
    } else {
        &Subject::ALL[options.subjects.unwrap_or(0) as usize..]
    };
    let rounds = in_machines(&kernels, subjects, options.repeat)?;
    print!("{}", calls::table(&rounds)?);
    Ok(())
}

/// One boot.
struct Boot<'a> {
    kernel: &'a Kernel,
    subject: Subject,
    run: u32,
}

/// Boots a machine for every kernel, subject and run, and returns what they measured.
fn in_machines(kernels: &[Kernel], subjects: &[Subject], repeat: u32) -> Result<Vec<Round>> {
    let programs = programs()?;
    let peers = peers::fetch()?;
    let mut waiting = Vec::new();
    for run in (0..repeat).rev() {
        for kernel in kernels.iter().rev() {
            waiting.extend(subjects.iter().rev().map(|&subject| Boot {
                kernel,
                subject,
                run,
            }));
        }
    }
    let waiting = Mutex::new(waiting);
    let measured = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let boot = waiting.lock().expect("no holder panics").pop();
                    let Some(boot) = boot else { break };
                    let key = (boot.kernel.release.as_str(), boot.subject, boot.run);
                    let outcome = measure(&boot, &programs, &peers)
                        .with_context(|| format!("{} on {}", boot.subject.name(), key.0));
                    measured
                        .lock()
                        .expect("no holder panics")
                        .insert(key, outcome);
                }
            });
        }
    });
    let measured = measured
        .into_inner()
        .map_err(|_| anyhow!("a measurement panicked"))?;
    measured.into_values().collect()
}

fn programs() -> Result<Vec<GuestFile>> {
    let static_programs: [(&str, &str, Profile); 4] = [
        ("skep-sensor", "skep-sensor", Profile::Release),
        ("skep-demo-agent", "skep-demo-agent", Profile::Dev),
        ("skep-calls", "skep-calls", Profile::Release),
        ("skep-calls", "skep-nothing", Profile::Release),
    ];
    static_programs
        .into_iter()
        .map(|(package, program, profile)| {
            let file: PathBuf = test_program::program_of(package, program, profile)?;
            Ok(GuestFile::program(program, &file))
        })
        .collect()
}

fn measure(boot: &Boot<'_>, programs: &[GuestFile], peers: &Peers) -> Result<Round> {
    let Boot {
        kernel,
        subject,
        run,
    } = boot;
    let mut files = programs.to_vec();
    files.extend(subject.files());
    if matches!(subject, Subject::Snoop | Subject::Audit) {
        files.extend(peers.files.iter().cloned());
    }
    let name = format!("bench-{}-{}-{run}", kernel.release, subject.name());
    let machine = Machine {
        name: &name,
        guest: Guest {
            files: &files,
            kernel,
            script: &subject.script(),
        },
        clock: Clock::Instructions,
        limit: LIMIT,
        label: &format!("{} {}: ", kernel.release, subject.name()),
    };
    let (outcome, folder) = machine.run()?;
    if outcome != Outcome::Passed {
        bail!("the machine failed{}", outcome.reason());
    }
    let file = folder.join(guests::FIGURES);
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("the guest left no {}", file.display()))?;
    Round::read(&kernel.release, *subject, *run, &text)
}
