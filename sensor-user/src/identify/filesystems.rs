//! On what kind of file system a file lies, and who serves it.
//!
//! Files of the kernel's own file systems are no files that a program could be in: reading one runs code of
//! the kernel, and may wait for another process. A FUSE file system is served by a process of its owner.

use std::{fs::File, io::Read, os::fd::AsFd};

use rustix::{
    fs::{AtFlags, StatxFlags, fstatfs, statx},
    io::Result,
};

/// A table of mounts is read up to here.
const MOUNTS_MAX: u64 = 4 << 20;

/// `FUSE_SUPER_MAGIC` (fs/fuse/inode.c).
const FUSE: u64 = 0x6573_5546;
/// Of proc, sysfs, tracefs, debugfs, securityfs, bpf, cgroup, cgroup2, configfs, efivarfs, pstore, selinuxfs,
/// smackfs, binfmt_misc and mqueue (linux/magic.h).
const KERNEL: [u64; 15] = [
    0x9fa0,
    0x6265_6572,
    0x7472_6163,
    0x6462_6720,
    0x7363_6673,
    0xcafe_4a11,
    0x0027_e0eb,
    0x6367_7270,
    0x6265_6570,
    0xde5e_81e4,
    0x6165_676c,
    0xf97c_ff8c,
    0x4341_5d53,
    0x4249_4e4d,
    0x1980_0202,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filesystem {
    Files,
    Kernel,
    Fuse,
}

pub(super) fn kind(fd: impl AsFd) -> Result<Filesystem> {
    // The type of the field differs between architectures; magic numbers have 32 bits.
    let magic = fstatfs(fd)?.f_type as u64 & 0xffff_ffff;
    Ok(match magic {
        FUSE => Filesystem::Fuse,
        magic if KERNEL.contains(&magic) => Filesystem::Kernel,
        _ => Filesystem::Files,
    })
}

/// The user who serves the FUSE mount that the file lies on, by the mounts of a process
/// (`/proc/PID/mountinfo`); `None` when that does not say.
pub(super) fn owner(fd: impl AsFd, mut mounts: &File) -> Option<u32> {
    // `STATX_MNT_ID`, Linux 5.8.
    let found = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let mut text = Vec::new();
    mounts.take(MOUNTS_MAX).read_to_end(&mut text).ok()?;
    std::io::Seek::rewind(&mut mounts).ok()?;
    owner_in(&text, found.stx_mnt_id)
}

/// The option `user_id` of the mount with this id (proc_pid_mountinfo(5)).
fn owner_in(mounts: &[u8], id: u64) -> Option<u32> {
    let mut lines = mounts.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let (first, rest) = line.split_once(' ')?;
        (first.parse() == Ok(id)).then_some(rest)
    })?;
    // Behind the lone hyphen: type, source, options of the file system.
    let (_, of_filesystem) = line.split_once(" - ")?;
    let options = of_filesystem.split(' ').nth(2)?;
    let mut options = options.split(',');
    options.find_map(|option| option.strip_prefix("user_id=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_told_from_files() {
        let kind_of = |path: &str| kind(File::open(path).unwrap()).unwrap();
        assert_eq!(kind_of("/proc/self/status"), Filesystem::Kernel);
        assert_eq!(kind_of("/sys/kernel"), Filesystem::Kernel);
        assert_eq!(kind_of("/bin/sh"), Filesystem::Files);
    }

    #[test]
    fn a_mount_names_who_serves_it() {
        let mounts = b"22 1 0:20 / / rw - ext4 /dev/x rw\n\
            31 22 0:44 / /home/u/mnt rw,nosuid shared:7 - fuse.sshfs h: rw,user_id=1000,group_id=100\n\
            32 22 0:45 / /\xff rw - fuse.x user_id=7 rw,user_id=8\n\
            33 22 0:46 / /mnt rw - fuse";
        assert_eq!(owner_in(mounts, 31), Some(1000));
        for id in [22, 32, 33, 34] {
            assert_eq!(owner_in(mounts, id), None, "{id}");
        }
        assert_eq!(
            owner(
                File::open("/bin/sh").unwrap(),
                &File::open("/dev/null").unwrap()
            ),
            None
        );
    }
}
