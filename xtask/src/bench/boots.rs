//! The part in virtual machines: a boot for every kernel, subject and run, two at a time; they count
//! instructions, so neither disturbs the other's figures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::build::Profile;
use crate::vm::console::Outcome;
use crate::vm::guest::{Guest, GuestFile};
use crate::vm::kernel::Kernel;
use crate::vm::{self, Clock, Machine, test_program};

use super::calls::Round;
use super::guests::{self, Subject};
use super::peers::{self, Peers};

/// Silence after which a machine is stopped. Its measurement is one, and takes longer on a busy host.
const PATIENCE: Duration = Duration::from_secs(1200);
/// Machines at the same time; each keeps one processor of the host busy.
const AT_ONCE: usize = 2;

/// One boot.
struct Boot<'a> {
    kernel: &'a Kernel,
    subject: Subject,
    run: u32,
}

/// Boots a machine for every kernel, subject and run, and returns what they measured.
pub fn measure(kernels: &[Kernel], subjects: &[Subject], repeat: u32) -> Result<Vec<Round>> {
    let programs: Vec<_> = programs()?
        .into_iter()
        .map(|(name, file)| GuestFile::program(name, &file))
        .collect();
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
                    let outcome = boot
                        .measure(&programs, &peers)
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

/// The programs of the guests, and of the other parts: all optimised, and linked statically.
pub fn programs() -> Result<Vec<(&'static str, PathBuf)>> {
    let programs = [
        ("skep-sensor", "skep-sensor"),
        ("skep-demo-agent", "skep-demo-agent"),
        ("skep-calls", "skep-calls"),
        ("skep-calls", "skep-nothing"),
    ];
    programs
        .into_iter()
        .map(|(package, program)| {
            let file = test_program::program_of(package, program, Profile::Release)?;
            Ok((program, file))
        })
        .collect()
}

/// One of [`programs`].
pub fn program<'a>(programs: &'a [(&str, PathBuf)], name: &str) -> Result<&'a Path> {
    let found = programs.iter().find(|(program, _)| *program == name);
    Ok(&found.with_context(|| format!("{name} was not built"))?.1)
}

impl Boot<'_> {
    fn measure(&self, programs: &[GuestFile], peers: &Peers) -> Result<Round> {
        let Self {
            kernel,
            subject,
            run,
        } = self;
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
            patience: PATIENCE,
            label: &format!("{} {}: ", kernel.release, subject.name()),
        };
        let (outcome, _) = machine.run()?;
        if outcome != Outcome::Passed {
            bail!("the machine failed{}", outcome.reason());
        }
        let file = vm::files_of(&name)?.join(guests::FIGURES);
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("the guest left no {}", file.display()))?;
        Round::read(&kernel.release, *subject, &text)
    }
}
