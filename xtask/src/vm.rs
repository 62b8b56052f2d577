//! Virtual machines: a Debian kernel with a userland and programs of ours, from start to end.
//!
//! A machine is a kernel, an initial file system with a static userland and the programs given, and a
//! serial console. Nothing is read from or written to the host's disks by the guest. The outcome is a
//! line the guest prints; a machine that ends without it has failed. Works without hardware
//! virtualisation; a machine needs 1 GiB of memory and a few seconds.

mod archive;
pub mod console;
pub mod guest;
pub mod kernel;
pub mod test_program;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::times::Times;
use crate::workspace;

use console::{Follow, Outcome};
use guest::Guest;

/// Folder of the files that the machine of this name left, the last time it ran.
pub fn files_of(name: &str) -> Result<PathBuf> {
    Ok(scratch()?.join(name))
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
    /// Silence of its console after which it is stopped.
    pub patience: Duration,
    /// Stands before each line of its console.
    pub label: &'a str,
}

impl Machine<'_> {
    /// Runs it. Returns how it ended, and the times of the tests it ran. The files it left, and no
    /// others, are in [`files_of`] its name.
    pub fn run(&self) -> Result<(Outcome, Times)> {
        let scratch = scratch()?;
        std::fs::create_dir_all(&scratch)
            .with_context(|| format!("cannot create {}", scratch.display()))?;
        let image = scratch.join(format!("initramfs-{}.cpio", self.name));
        std::fs::write(&image, self.guest.file_system()?)
            .with_context(|| format!("cannot write {}", image.display()))?;
        let files = files_of(self.name)?;
        if files.exists() {
            // What another run left is not this one's.
            std::fs::remove_dir_all(&files)
                .with_context(|| format!("cannot remove {}", files.display()))?;
        }
        let follow = Follow {
            patience: self.patience,
            files: &files,
            label: self.label,
        };
        let ended = follow.run(&mut self.command(&image))?;
        std::fs::remove_file(&image)
            .with_context(|| format!("cannot remove {}", image.display()))?;
        Ok(ended)
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
