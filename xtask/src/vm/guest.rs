//! What is in a machine: its files and its first process.

use std::path::Path;

use anyhow::{Context, Result};

use super::archive::Archive;
use super::console;
use super::kernel::Kernel;
use super::test_program::Programs;
use crate::command::quote;

/// A static busybox: shell and commands of the guest.
const BUSYBOX: &str = "/bin/busybox";
/// Folder of the guest whose files are copied out through the console.
const OUTPUT: &str = "/tmp/out";

/// One guest.
pub struct Guest<'a> {
    /// Programs to run.
    pub programs: &'a Programs,
    /// Arguments of the test program.
    pub arguments: &'a [String],
    /// The kernel it will run.
    pub kernel: &'a Kernel,
}

impl Guest<'_> {
    /// The initial file system.
    pub fn file_system(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for folder in [
            "bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin",
            "var",
        ] {
            archive.folder(folder);
        }
        archive.console("dev/console");
        archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
        archive.file("etc/group", b"root:x:0:\n");
        archive.file("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n");
        archive.file("etc/hostname", b"skep-vm\n");
        archive.link("usr/bin/env", "/bin/busybox");
        archive.program("bin/busybox", &read(Path::new(BUSYBOX))?);
        archive.program("bin/skep-demo-agent", &read(&self.programs.demo_agent)?);
        archive.program("bin/kernel-test", &read(&self.programs.test)?);
        archive.program("init", self.init().as_bytes());
        Ok(archive.finish())
    }

    /// The first process: mounts what a system mounts, runs the tests, says how they ended, copies
    /// out what they left, powers off.
    fn init(&self) -> String {
        let arguments: Vec<_> = self.arguments.iter().map(|word| quote(word)).collect();
        let mut flags = String::new();
        if self.programs.is_libtest {
            flags.push_str("--test-threads=1 ");
        }
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
             export SKEP_DEMO_AGENT=/bin/skep-demo-agent SKEP_VM_KERNEL={release} \
             SKEP_VM_OUTPUT={OUTPUT} SKEP_EXPECT_BEST=1\n\
             cd /tmp\n\
             echo \"{begins}\"\n\
             /bin/kernel-test {flags}{arguments} 2>&1\n\
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
            arguments = arguments.join(" "),
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
