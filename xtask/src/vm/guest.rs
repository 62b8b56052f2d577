//! What is in a machine: its files and its first process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::Archive;
use super::console;
use super::kernel::Kernel;
use crate::command::quote;

/// A static busybox: shell and commands of the guest.
const BUSYBOX: &str = "/bin/busybox";
/// Folder of the guest whose files are copied out through the console.
pub const OUTPUT: &str = "/tmp/out";

/// What the tests take from their environment, handed on to those of a guest.
const HANDED_ON: [&str; 1] = ["SKEP_RACE_RUNS"];

/// One guest.
pub struct Guest<'a> {
    /// What it has beside a userland.
    pub files: &'a [GuestFile],
    /// The kernel it will run.
    pub kernel: &'a Kernel,
    /// What it is there for, in the shell's language. How its last command ends is how the guest
    /// ends.
    pub script: &'a str,
}

/// A file of a guest.
#[derive(Clone, Debug)]
pub struct GuestFile {
    /// Where it is in the guest, without the slash at the front.
    pub path: String,
    /// What is in it.
    pub content: Content,
}

/// What is in a file of a guest.
#[derive(Clone, Debug)]
pub enum Content {
    /// The program in this file of the host.
    Program(PathBuf),
    /// A text.
    Text(String),
}

impl GuestFile {
    /// A program of the host's, in the guest's `/bin`.
    pub fn program(name: &str, file: &Path) -> Self {
        Self {
            path: format!("bin/{name}"),
            content: Content::Program(file.to_owned()),
        }
    }

    /// A text.
    pub fn text(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            content: Content::Text(text.to_owned()),
        }
    }
}

impl Guest<'_> {
    /// The initial file system.
    pub fn file_system(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        let mut folders = BTreeSet::from(
            [
                "bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin",
                "var",
            ]
            .map(str::to_owned),
        );
        for file in self.files {
            let above = Path::new(&file.path).ancestors().skip(1);
            folders.extend(above.map(|folder| folder.to_string_lossy().into_owned()));
        }
        // In order, a folder comes before what is in it. The root itself is there.
        for folder in folders.iter().filter(|folder| !folder.is_empty()) {
            archive.folder(folder);
        }
        archive.console("dev/console");
        archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
        archive.file("etc/group", b"root:x:0:\n");
        archive.file("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n");
        archive.file("etc/hostname", b"skep-vm\n");
        archive.link("usr/bin/env", "/bin/busybox");
        archive.program("bin/busybox", &read(Path::new(BUSYBOX))?);
        for file in self.files {
            match &file.content {
                Content::Program(from) => archive.program(&file.path, &read(from)?),
                Content::Text(text) => archive.file(&file.path, text.as_bytes()),
            }
        }
        archive.program(
            "init",
            self.init(|name| std::env::var(name).ok()).as_bytes(),
        );
        Ok(archive.finish())
    }

    /// The first process: mounts what a system mounts, runs the script, says how it ended, copies
    /// out what it left, powers off.
    fn init(&self, environment: impl Fn(&str) -> Option<String>) -> String {
        let handed_on: String = HANDED_ON
            .iter()
            .filter_map(|name| Some(format!(" {name}={}", quote(&environment(name)?))))
            .collect();
        format!(
            "#!/bin/busybox sh\n\
             /bin/busybox --install -s /bin\n\
             export PATH=/bin:/usr/bin HOME=/root TMPDIR=/tmp RUST_BACKTRACE=1\n\
             mount -t proc proc /proc\n\
             mount -t sysfs sysfs /sys\n\
             mount -t devtmpfs devtmpfs /dev\n\
             mkdir -p /dev/pts /dev/shm\n\
             mount -t devpts devpts /dev/pts\n\
             mount -t tmpfs tmpfs /tmp\n\
             mount -t tmpfs tmpfs /run\n\
             mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
             mount -t securityfs securityfs /sys/kernel/security\n\
             mount -t tracefs tracefs /sys/kernel/tracing\n\
             mount -t bpf bpf /sys/fs/bpf\n\
             ip link set lo up\n\
             hostname skep-vm\n\
             mkdir -p {OUTPUT}\n\
             export SKEP_DEMO_AGENT=/bin/skep-demo-agent \
             SKEP_TEST_PROGRAM=/bin/skep-test-program SKEP_VM_KERNEL={release} \
             SKEP_VM_OUTPUT={OUTPUT} SKEP_EXPECT_BEST=1{handed_on}\n\
             cd /tmp\n\
             echo \"{begins}\"\n\
             (\n{script}\n) 2>&1\n\
             code=$?\n\
             for file in {OUTPUT}/*; do\n\
             [ -f \"$file\" ] || continue\n\
             echo \"{file_begins} ${{file##*/}}\"\n\
             awk 1 \"$file\"\n\
             echo \"{file_ends}\"\n\
             done\n\
             echo \"{exit} $code\"\n\
             poweroff -f\n",
            release = quote(&self.kernel.release),
            script = self.script,
            begins = console::BEGINS,
            exit = console::EXIT,
            file_begins = console::FILE_BEGINS,
            file_ends = console::FILE_ENDS,
        )
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_handed_what_the_tests_take_from_their_environment_and_nothing_else() {
        let kernel = Kernel {
            release: "6.1.0".to_owned(),
            image: PathBuf::new(),
        };
        let guest = Guest {
            files: &[],
            kernel: &kernel,
            script: "true",
        };
        let init = guest.init(|name| (name == "SKEP_RACE_RUNS").then(|| "1 000".to_owned()));
        assert!(init.contains(" SKEP_RACE_RUNS='1 000'\n"), "{init}");
        assert!(!guest.init(|_| None).contains("SKEP_RACE_RUNS"));
    }
}
