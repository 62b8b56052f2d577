//! `cargo xtask vm`: the kernel tests on Debian's kernels, each in a virtual machine.
//!
//! A machine is a kernel, an initial file system with a static userland, the test program and the
//! demo agent, and a serial console. Nothing is read from or written to the host's disks by the
//! guest. The outcome is a line the guest prints; a machine that ends without it has failed.
//! Works without hardware virtualisation; a machine needs 1 GiB of memory and a few seconds.

mod archive;
mod console;
mod guest;
mod kernel;
mod test_program;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{setup, workspace};

use console::Outcome;
use guest::Guest;
use kernel::Kernel;

/// Seconds a machine has.
const TIMEOUT: u64 = 300;

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
    let scratch = scratch()?;
    std::fs::create_dir_all(&scratch)
        .with_context(|| format!("cannot create {}", scratch.display()))?;

    let mut verdicts = Vec::new();
    for kernel in &kernels {
        let guest = Guest {
            programs: &programs,
            arguments: &options.arguments,
            kernel,
        };
        let image = scratch.join(format!("initramfs-{}.cpio", kernel.release));
        std::fs::write(&image, guest.file_system()?)
            .with_context(|| format!("cannot write {}", image.display()))?;
        let files = scratch.join(&kernel.release);
        if files.exists() {
            std::fs::remove_dir_all(&files)
                .with_context(|| format!("cannot remove {}", files.display()))?;
        }
        println!("--- {}", kernel.release);
        let begun = Instant::now();
        let outcome = console::follow(
            &mut machine(kernel, &image),
            Duration::from_secs(options.timeout),
            &files,
        )?;
        std::fs::remove_file(&image)
            .with_context(|| format!("cannot remove {}", image.display()))?;
        verdicts.push((kernel.release.as_str(), outcome, begun.elapsed()));
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

/// Where the last run on a kernel left the files of the guest.
pub fn files_of(version: &str) -> Result<PathBuf> {
    Ok(scratch()?.join(kernel::fetch(version)?.release))
}

fn scratch() -> Result<PathBuf> {
    Ok(workspace::target()?.join("vm"))
}

fn machine(kernel: &Kernel, image: &std::path::Path) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    // Emulation everywhere: hardware virtualisation is often absent or broken where tests run, and
    // a machine is up in seconds without it.
    qemu.args([
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-m",
        "1024",
        "-smp",
        "2",
    ])
    .args(["-nographic", "-no-reboot", "-nic", "none"])
    .arg("-kernel")
    .arg(&kernel.image)
    .arg("-initrd")
    .arg(image)
    .args([
        "-append",
        "console=ttyS0 quiet loglevel=1 panic=-1 rdinit=/init",
    ])
    .stdin(Stdio::null());
    qemu
}
