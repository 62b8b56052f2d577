//! `cargo xtask vm`: the kernel tests on Debian's kernels, each in a virtual machine.
//!
//! A machine is a kernel, an initial file system with a static userland, the test program and the
//! demo agent, and a serial console. Nothing is read from or written to the host's disks by the
//! guest. The outcome is a line the guest prints; a machine that ends without it has failed.
//! Works without hardware virtualisation; a machine needs 1 GiB of memory and a few seconds.

mod archive;
pub mod console;
pub mod guest;
pub mod kernel;
pub mod test_program;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::quote;
use crate::{setup, workspace};

use console::Outcome;
use guest::{Guest, GuestFile};

/// Seconds a machine has: ample, because a busy host slows an emulated one several times.
const TIMEOUT: u64 = 900;

/// Arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub struct Options {
    /// Kernel versions, as the start of a Debian version: 6.1, 6.12
    #[arg(required = true)]
    kernels: Vec<String>,
    /// Seconds after which a machine is stopped and counted as failed
    #[arg(long, default_value_t = TIMEOUT)]
    timeout: u64,
    /// Run this static program instead of the kernel tests
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Arguments of the test program, such as a filter
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Options {
    /// The kernel tests on these kernels: all, or those whose names hold one of the words.
    pub fn tests_on(kernels: &[String], filter: &[String]) -> Self {
        Self {
            kernels: kernels.to_vec(),
            timeout: TIMEOUT,
            program: None,
            arguments: filter.to_vec(),
        }
    }

    /// The same with so many times as long.
    pub fn with_patience(mut self, factor: u64) -> Self {
        self.timeout *= factor;
        self
    }
}

/// Runs the tests on every kernel asked for and fails if they failed on any.
pub fn run(options: &Options) -> Result<()> {
    setup::toolchain()?;
    setup::machines()?;
    let kernels = options
        .kernels
        .iter()
        .map(|version| kernel::fetch(version))
        .collect::<Result<Vec<_>>>()?;
    let programs = test_program::build(options.program.as_deref())?;
    let files = [
        GuestFile::program("skep-demo-agent", &programs.demo_agent),
        GuestFile::program("kernel-test", &programs.test),
    ];
    let mut command = vec!["/bin/kernel-test".to_owned()];
    if programs.is_libtest {
        command.push("--test-threads=1".to_owned());
    }
    command.extend(options.arguments.iter().map(|word| quote(word)));

    let mut verdicts = Vec::new();
    for kernel in &kernels {
        let begun = Instant::now();
        println!("--- {}", kernel.release);
        let run = Machine {
            name: &kernel.release,
            guest: Guest {
                files: &files,
                kernel,
                script: &command.join(" "),
            },
            clock: Clock::Time,
            limit: Duration::from_secs(options.timeout),
            label: "",
        };
        verdicts.push((kernel.release.as_str(), run.run()?.0, begun.elapsed()));
    }
    for (release, outcome, elapsed) in &verdicts {
        println!(
            "{} {release} {:.1} s{}",
            outcome.word(),
            elapsed.as_secs_f64(),
            outcome.reason()
        );
    }
    let failed = verdicts
        .iter()
        .filter(|(_, outcome, _)| *outcome != Outcome::Passed)
        .count();
    if failed > 0 {
        bail!(
            "the kernel tests failed on {failed} of {} kernels",
            verdicts.len()
        );
    }
    Ok(())
}

/// Where the last run of the kernel tests on a kernel left the files of the guest.
pub fn files_of(version: &str) -> Result<PathBuf> {
    Ok(scratch()?.join(kernel::fetch(version)?.release))
}

fn scratch() -> Result<PathBuf> {
    Ok(workspace::target()?.join("vm"))
}

/// What a machine's clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's time.
    Time,
    /// The instructions of its one processor, a nanosecond each; a processor that has nothing to do
    /// skips to the next timer. Everything that happens in the guest then costs the same every
    /// time, whatever the host does meanwhile.
    Instructions,
}

/// One machine from start to end.
pub struct Machine<'a> {
    /// Names its files on the host; no two that run at the same time have the same.
    pub name: &'a str,
    pub guest: Guest<'a>,
    pub clock: Clock,
    /// After which it is stopped.
    pub limit: Duration,
    /// Stands before each line of its console.
    pub label: &'a str,
}

impl Machine<'_> {
    /// Runs it. Returns how it ended, and the folder with the files it left, and no others.
    pub fn run(&self) -> Result<(Outcome, PathBuf)> {
        let scratch = scratch()?;
        std::fs::create_dir_all(&scratch)
            .with_context(|| format!("cannot create {}", scratch.display()))?;
        let image = scratch.join(format!("initramfs-{}.cpio", self.name));
        std::fs::write(&image, self.guest.file_system()?)
            .with_context(|| format!("cannot write {}", image.display()))?;
        let files = scratch.join(self.name);
        if files.exists() {
            // What another run left is not this one's.
            std::fs::remove_dir_all(&files)
                .with_context(|| format!("cannot remove {}", files.display()))?;
        }
        let outcome = console::follow(&mut self.command(&image), self.limit, &files, self.label)?;
        std::fs::remove_file(&image)
            .with_context(|| format!("cannot remove {}", image.display()))?;
        Ok((outcome, files))
    }

    fn command(&self, image: &Path) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        // Emulation everywhere: hardware virtualisation is often absent or broken where tests run,
        // and a machine is up in seconds without it.
        match self.clock {
            Clock::Time => qemu.args(["-accel", "tcg,thread=multi", "-smp", "2"]),
            Clock::Instructions => qemu.args([
                "-accel",
                "tcg,thread=single",
                "-smp",
                "1",
                "-icount",
                "shift=0,sleep=off",
            ]),
        };
        let mut append = "console=ttyS0 quiet loglevel=1 panic=-1 rdinit=/init".to_owned();
        if self.clock == Clock::Instructions {
            // The same addresses every time.
            append.push_str(" nokaslr norandmaps");
        }
        qemu.args(["-cpu", "max", "-m", "1024"])
            .args(["-nographic", "-no-reboot", "-nic", "none"])
            .arg("-kernel")
            .arg(&self.guest.kernel.image)
            .arg("-initrd")
            .arg(image)
            .args(["-append", &append])
            .stdin(Stdio::null());
        qemu
    }
}
