//! Opening the files of another process as that process sees them.
//!
//! Invariants:
//! - a path of the process is resolved within its root directory (`openat2`, `RESOLVE_IN_ROOT`):
//!   absolute symbolic links never lead into the sensor's own tree, links of `/proc` are not
//!   followed, loops end with an error from the kernel;
//! - a file is first taken hold of without opening it (`O_PATH`), and opened only when it is a
//!   regular file: a FIFO cannot block, a device cannot be touched;
//! - the executed file is trusted as far as it is the file the kernel named ([`Trust`]).

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat,
};
use skep_abi::FileKey;

use super::{candidate::Candidate, source::Source};

const ENVIRONMENT_MAX: u64 = 256 << 10;

/// How sure it is that an opened file is the one the kernel saw executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// The kernel's inode could not be compared.
    Unverified,
    /// Same inode number, size and change time, but `stat` names another device than the kernel
    /// (btrfs and overlayfs do that).
    OtherDevice,
    /// Same device and inode.
    Exact,
}

/// The root directory of a process.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    /// Path of the root as the sensor sees it, without a slash at the end.
    prefix: Vec<u8>,
    /// The process had ended: this is the sensor's own root.
    pub is_own: bool,
}

/// A regular file of a process.
#[derive(Debug)]
pub(super) struct Opened {
    pub source: Source,
    pub key: FileKey,
    /// Path without symbolic links, within the root of the process.
    pub real: Vec<u8>,
}

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Reached {
    File(Opened),
    Directory,
}

/// What can be said about an environment variable that is a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
    /// The environment could not be read.
    Unknown,
}

// === impl Root ===

impl Root {
    /// The root of `pid`, else, when the process has ended, of the sensor.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &str| openat(CWD, path, flags, Mode::empty()).ok();
        let (fd, is_own) = match open(&format!("/proc/{pid}/root")) {
            Some(fd) => (fd, false),
            None => (open("/")?, true),
        };
        let mut prefix = path_of(&fd)?;
        while prefix.last() == Some(&b'/') {
            prefix.pop();
        }
        Some(Self { fd, prefix, is_own })
    }

    /// A regular file or a directory by its path within the root.
    pub(super) fn reach(&self, path: &[u8]) -> Option<Reached> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = openat2(
            &self.fd,
            OsStr::from_bytes(path),
            flags,
            Mode::empty(),
            resolve,
        )
        .ok()?;
        let stat = fstat(&fd).ok()?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Some(Reached::Directory),
            FileType::RegularFile => self.open_held(&fd, &stat).map(Reached::File),
            _ => None,
        }
    }

    pub(super) fn open(&self, path: &[u8]) -> Option<Opened> {
        match self.reach(path)? {
            Reached::File(opened) => Some(opened),
            Reached::Directory => None,
        }
    }

    pub(super) fn is_file(&self, path: &[u8]) -> bool {
        self.open(path).is_some()
    }

    /// At most `max` bytes of a regular file; `None` when it is longer.
    pub(super) fn read_whole(&self, path: &[u8], max: usize) -> Option<Vec<u8>> {
        let opened = self.open(path)?;
        if opened.source.len() > max as u64 {
            return None;
        }
        Some(opened.source.read(0, max))
    }

    /// Names in a directory, at most `max` of them, in no order.
    pub(super) fn names_in(&self, path: &[u8], max: usize) -> Vec<Vec<u8>> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = openat2(
            &self.fd,
            OsStr::from_bytes(path),
            flags,
            Mode::empty(),
            resolve,
        );
        let Some(entries) = opened
            .ok()
            .and_then(|fd| rustix::fs::Dir::read_from(fd).ok())
        else {
            return Vec::new();
        };
        let names = entries.take(max).filter_map(Result::ok);
        names
            .map(|entry| entry.file_name().to_bytes().to_vec())
            .collect()
    }

    /// Whether the process's descriptor `number` is a regular file, and that file.
    pub(super) fn descriptor(&self, pid: u32, number: u32) -> Option<Opened> {
        if self.is_own {
            return None;
        }
        let path = format!("/proc/{pid}/fd/{number}");
        let fd = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let stat = fstat(&fd).ok()?;
        self.open_held(&fd, &stat)
    }

    fn open_held(&self, fd: &OwnedFd, stat: &Stat) -> Option<Opened> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let reopened = openat(CWD, fd_link(fd), READ, Mode::empty()).ok()?;
        let seen = path_of(fd)?;
        let real = match seen.strip_prefix(self.prefix.as_slice()) {
            Some(real) if real.first() == Some(&b'/') => real.to_vec(),
            _ => seen,
        };
        Some(Opened {
            source: source(reopened, stat),
            key: key_of(stat),
            real,
        })
    }
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

/// The executed file of `candidate`: by `/proc/PID/exe`, which is right whatever happened to its
/// name, else by its path while that still names the same file.
pub(super) fn executed(candidate: &Candidate<'_>, root: &Root) -> Option<(Opened, Trust)> {
    let link = format!("/proc/{}/exe", candidate.pid);
    let by_process = openat(CWD, &*link, READ, Mode::empty())
        .ok()
        .and_then(|fd| {
            let stat = fstat(&fd).ok()?;
            let trust = trust(&stat, candidate)?;
            let real = path_of(&fd).unwrap_or_default();
            Some((
                Opened {
                    source: source(fd, &stat),
                    key: key_of(&stat),
                    real,
                },
                trust,
            ))
        });
    let by_path = || {
        let opened = root.open(candidate.exe?.as_bytes())?;
        let trust = trust_key(opened.key, opened.source.len(), candidate)?;
        // A path may name another file by now; without an inode to compare, it proves nothing.
        (trust > Trust::Unverified).then_some((opened, trust))
    };
    by_process.or_else(by_path)
}

fn trust(stat: &Stat, candidate: &Candidate<'_>) -> Option<Trust> {
    trust_key(
        key_of(stat),
        u64::try_from(stat.st_size).unwrap_or(0),
        candidate,
    )
}

/// `None`: another file than the kernel saw.
pub(super) fn trust_key(key: FileKey, size: u64, candidate: &Candidate<'_>) -> Option<Trust> {
    let seen = candidate.file;
    if seen.ino == 0 {
        return Some(Trust::Unverified);
    }
    if key.ino != seen.ino || size != candidate.file_size {
        return None;
    }
    let same_change = key.ctime_sec == seen.ctime_sec && key.ctime_nsec == seen.ctime_nsec;
    match (key.dev == seen.dev, same_change) {
        (true, _) => Some(Trust::Exact),
        (false, true) => Some(Trust::OtherDevice),
        (false, false) => None,
    }
}

/// A file as the kernel would name it: `stat` gives the C library's encoding of the device, the
/// kernel has 12 bits major and 20 bits minor.
fn key_of(stat: &Stat) -> FileKey {
    let (major, minor) = (
        rustix::fs::major(stat.st_dev),
        rustix::fs::minor(stat.st_dev),
    );
    FileKey {
        ino: stat.st_ino,
        ctime_sec: stat.st_ctime,
        ctime_nsec: u32::try_from(stat.st_ctime_nsec).unwrap_or(0),
        dev: major << 20 | minor & 0xf_ffff,
    }
}

fn source(fd: OwnedFd, stat: &Stat) -> Source {
    Source::new(File::from(fd), u64::try_from(stat.st_size).unwrap_or(0))
}

fn fd_link(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn path_of(fd: &OwnedFd) -> Option<Vec<u8>> {
    let link = readlinkat(CWD, fd_link(fd), Vec::new()).ok()?;
    Some(std::ffi::OsString::from_vec(link.into_bytes()).into_vec())
}

/// Whether the process was started with the variable `name` switched on, as Bun 1.3 reads its
/// switches: anything but nothing, `0` and `false`. Looks at nothing else of the environment and
/// keeps nothing of it.
pub(super) fn switch(pid: u32, name: &str) -> Switch {
    let mut environment = Vec::new();
    let opened = File::open(Path::new("/proc").join(pid.to_string()).join("environ"));
    let read = opened.and_then(|file| file.take(ENVIRONMENT_MAX).read_to_end(&mut environment));
    if read.is_err() || environment.is_empty() {
        return Switch::Unknown;
    }
    let value = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let is_off =
        |value: &[u8]| value.is_empty() || value == b"0" || value.eq_ignore_ascii_case(b"false");
    if value.is_none_or(is_off) {
        Switch::Off
    } else {
        Switch::On
    }
}
