//! Opening the files of another process as that process sees them.
//!
//! [`Root::of`] takes hold of what only `/proc` leads to, which may need privileges; everything after it opens
//! files by paths, with the rights of whoever calls.
//!
//! Invariants:
//! - a path of the process is resolved within its root directory (`openat2`, `RESOLVE_IN_ROOT`):
//!   absolute symbolic links never lead into the sensor's own tree, links of `/proc` are not
//!   followed, loops end with an error from the kernel;
//! - a file is first taken hold of without opening it (`O_PATH`), and opened only when it is a
//!   regular file: a FIFO cannot block, a device cannot be touched;
//! - the executed file is trusted as far as it is the file the kernel named ([`Trust`]);
//! - what is not there is a no; what is there and cannot be read is noted ([`Looks`]), and is never a no.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read as _,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat},
    io::Errno,
};
use skep_abi::FileKey;
use skep_event::Text;

use super::{
    candidate::{Candidate, Unjudged},
    environment::{Read, Variables},
    filesystems::{self, Filesystem},
    looks::Looks,
    source::Source,
};

const ENVIRONMENT_MAX: u64 = 256 << 10;
/// Longest command line that is read: the kernel allows more with a larger stack.
const ARGUMENTS_MAX: u64 = 2 << 20;
/// `/proc/PID/stat` is one line.
const STAT_MAX: u64 = 4 << 10;
/// Descriptors of a process that are taken hold of: standard input, and those its arguments name.
const DESCRIPTORS_MAX: usize = 8;

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

/// The root directory of a process, and what else of it was taken hold of.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    /// Path of the root as the sensor sees it, without a slash at the end.
    prefix: Vec<u8>,
    /// The process had ended: this is the sensor's own root.
    pub is_own: bool,
    /// What the process executes now.
    executed: Option<OwnedFd>,
    /// Reading it may have to wait for the process's memory map: only when it matters.
    environment: Option<File>,
    /// `/proc/PID`, of a process that had not ended.
    process: Option<OwnedFd>,
    /// Its command line, where the record of the exec does not hold all of it.
    arguments: Option<File>,
    descriptors: Vec<(u32, OwnedFd)>,
    /// Its mounts, read only where a file lies on FUSE.
    mounts: Option<File>,
    pub looks: Looks,
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
    /// A pipe with a name, a device: bytes that are gone once they are read.
    Stream,
}

/// What a descriptor of a process is.
#[derive(Debug)]
pub(super) enum Descriptor {
    File(Opened),
    Terminal,
    /// A pipe, a socket, a device: bytes that are gone once they are read.
    Stream,
    /// `/dev/null`, or nothing.
    Nothing,
    /// It was not taken hold of: the process had ended, or it is closed.
    Unknown,
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
    /// Takes hold of the root of a candidate's process (when it has ended, of the sensor's own), of what it
    /// executes, its environment, and the descriptors that `numbers` gives. Reads nothing.
    pub(crate) fn of(
        candidate: &Candidate<'_>,
        numbers: impl Iterator<Item = u32>,
        looks: Looks,
    ) -> Result<Self, Unjudged> {
        let held = OFlags::PATH | OFlags::CLOEXEC;
        let open = |path: &str, flags| openat(CWD, path, flags, Mode::empty());
        // One descriptor for all: what is found beneath it is of one process, whoever gets its pid later.
        let process = open(
            &format!("/proc/{}", candidate.pid),
            held | OFlags::DIRECTORY,
        );
        let of_process = |path: &str, flags| {
            let process = process.as_ref().ok()?;
            openat(process, path, flags, Mode::empty()).ok()
        };
        let (fd, is_own) = match of_process("root", held | OFlags::DIRECTORY) {
            Some(fd) => (fd, false),
            None => (
                open("/", held | OFlags::DIRECTORY).map_err(unreadable)?,
                true,
            ),
        };
        let mut prefix = path_of(&fd).ok_or(Unjudged::Gone)?;
        while prefix.last() == Some(&b'/') {
            prefix.pop();
        }
        let descriptors = numbers.take(DESCRIPTORS_MAX).filter_map(|number| {
            let fd = of_process(&format!("fd/{number}"), held)?;
            Some((number, fd))
        });
        let arguments = candidate
            .argv_truncated
            .then(|| of_process("cmdline", READ));
        Ok(Self {
            arguments: arguments.flatten().map(File::from),
            executed: of_process("exe", held),
            environment: of_process("environ", READ).map(File::from),
            descriptors: descriptors.collect(),
            mounts: of_process("mountinfo", READ).map(File::from),
            process: process.ok().filter(|_| !is_own),
            fd,
            prefix,
            is_own,
            looks,
        })
    }

    /// The same of any directory that stands for a process's root.
    pub(crate) fn directory(fd: OwnedFd, looks: Looks) -> Self {
        Self {
            fd,
            prefix: Vec::new(),
            is_own: false,
            executed: None,
            environment: None,
            process: None,
            arguments: None,
            descriptors: Vec::new(),
            mounts: None,
            looks,
        }
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// What a path within the root leads to, and what that is; `None` as well when it cannot be looked at,
    /// which is noted.
    fn find(&self, path: &[u8]) -> Option<(OwnedFd, Stat)> {
        self.looks.entry().ok()?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let name = OsStr::from_bytes(path);
        let found = again(|| openat2(&self.fd, name, flags, Mode::empty(), resolve))
            .and_then(|fd| fstat(&fd).map(|stat| (fd, stat)));
        found.map_err(|error| self.missed(error, path)).ok()
    }

    /// A regular file or a directory by its path within the root.
    pub(super) fn reach(&self, path: &[u8]) -> Option<Reached> {
        let (fd, stat) = self.find(path)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Some(Reached::Directory),
            FileType::RegularFile => self.open_held(&fd, &stat, path).map(Reached::File),
            FileType::Fifo | FileType::CharacterDevice if !is_null(&stat) => Some(Reached::Stream),
            _ => None,
        }
    }

    pub(super) fn open(&self, path: &[u8]) -> Option<Opened> {
        match self.reach(path)? {
            Reached::File(opened) => Some(opened),
            Reached::Directory | Reached::Stream => None,
        }
    }

    /// Whether it is there, readable or not.
    pub(super) fn is_file(&self, path: &[u8]) -> bool {
        self.find(path)
            .is_some_and(|(_, stat)| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    /// What the process executes now, if it has not ended.
    pub(crate) fn executed_fd(&self) -> Option<&OwnedFd> {
        self.executed.as_ref()
    }

    /// What a path within the root is, and whose.
    pub(crate) fn kind_and_owner(&self, path: &[u8]) -> Option<(FileType, u32)> {
        let (_, stat) = self.find(path)?;
        Some((FileType::from_raw_mode(stat.st_mode), stat.st_uid))
    }

    /// The first `max` bytes of a regular file.
    pub(crate) fn read_start(&self, path: &[u8], max: usize) -> Option<Vec<u8>> {
        Some(self.open(path)?.source.read(0, max))
    }

    /// At most `max` bytes of a regular file; `None` when it is longer.
    pub(super) fn read_whole(&self, path: &[u8], max: usize) -> Option<Vec<u8>> {
        let opened = self.open(path)?;
        if opened.source.len() > max as u64 {
            return None;
        }
        Some(opened.source.read(0, max))
    }

    /// Those of the names in a directory that are wanted, out of at most `max`, in no order.
    pub(super) fn names_in(
        &self,
        path: &[u8],
        max: usize,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Vec<Vec<u8>> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let name = OsStr::from_bytes(path);
        let opened = again(|| openat2(&self.fd, name, flags, Mode::empty(), resolve))
            .and_then(rustix::fs::Dir::read_from);
        let entries = match opened {
            Ok(entries) => entries,
            Err(error) => {
                self.missed(error, path);
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for entry in entries.take(max) {
            if self.looks.entry().is_err() {
                break;
            }
            match entry {
                Ok(entry) if wanted(entry.file_name().to_bytes()) => {
                    names.push(entry.file_name().to_bytes().to_vec());
                }
                Ok(_) => {}
                Err(error) => {
                    self.missed(error, path);
                    break;
                }
            }
        }
        names
    }

    /// The process's descriptor `number`; `None` when it is a file that cannot be read, which is noted.
    pub(super) fn descriptor(&self, number: u32) -> Option<Descriptor> {
        let Some((_, fd)) = self.descriptors.iter().find(|(held, _)| *held == number) else {
            return Some(Descriptor::Unknown);
        };
        let path = format!("/proc/self/fd/{number}");
        let stat = fstat(fd).map_err(|error| self.missed(error, path.as_bytes()));
        let stat = stat.ok()?;
        Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                Descriptor::File(self.open_held(fd, &stat, path.as_bytes())?)
            }
            FileType::CharacterDevice if is_null(&stat) => Descriptor::Nothing,
            FileType::CharacterDevice if is_terminal(&stat) => Descriptor::Terminal,
            FileType::Directory | FileType::BlockDevice => Descriptor::Nothing,
            _ => Descriptor::Stream,
        })
    }

    /// The variables `names` of the process's environment; `None` when that cannot be read, or the process has
    /// ended. Nothing else of it is kept.
    pub(super) fn variables(&self, names: &[&str]) -> Option<Variables> {
        match Variables::read(self.environment.as_ref()?, names, &self.looks)? {
            // It has none, or no memory any more.
            Read::Nothing => self.is_running().then(Variables::default),
            Read::Variables(variables) => Some(variables),
        }
    }

    /// Whether the process has not ended yet, and is no zombie.
    fn is_running(&self) -> bool {
        let read = |process| {
            let stat = openat(process, "stat", READ, Mode::empty()).ok()?;
            let mut text = Vec::new();
            File::from(stat)
                .take(STAT_MAX)
                .read_to_end(&mut text)
                .ok()?;
            // The state stands behind the name, which may hold anything (proc_pid_stat(5)).
            let name_ends = text.iter().rposition(|byte| *byte == b')')?;
            text.get(name_ends + 2).copied()
        };
        let state = self.process.as_ref().and_then(read);
        state.is_some_and(|state| !matches!(state, b'Z' | b'X' | b'x'))
    }

    /// All arguments of a process of which the record of its exec holds but the first: by `/proc/PID/cmdline`,
    /// as far as that begins with what the record has (a process can overwrite it). `None` when it does not,
    /// or is longer than [`ARGUMENTS_MAX`].
    pub(super) fn arguments(&self, recorded: &[Text]) -> Option<Vec<Text>> {
        use std::io::Seek;
        let mut file = self.arguments.as_ref()?;
        let mut bytes = Vec::new();
        file.rewind().ok()?;
        file.take(ARGUMENTS_MAX + 1).read_to_end(&mut bytes).ok()?;
        let fits = !bytes.is_empty() && bytes.len() as u64 <= ARGUMENTS_MAX;
        (fits && self.looks.read(bytes.len()).is_ok()).then_some(())?;
        let parts: Vec<&[u8]> = recorded.iter().map(Text::as_bytes).collect();
        bytes.starts_with(&parts.join(&0)).then_some(())?;
        let all = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        Some(all.split(|byte| *byte == 0).map(Text::from).collect())
    }

    /// `path` is what it was found by.
    fn open_held(&self, fd: &OwnedFd, stat: &Stat, path: &[u8]) -> Option<Opened> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        if let Err(why) = self.may_be_read(fd) {
            self.looks.note(why, Some(path));
            return None;
        }
        let reopened = again(|| openat(CWD, fd_link(fd), READ, Mode::empty()));
        let reopened = reopened.map_err(|error| self.missed(error, path)).ok()?;
        let seen = path_of(fd)?;
        let real = match seen.strip_prefix(self.prefix.as_slice()) {
            Some(real) if real.first() == Some(&b'/') => real.to_vec(),
            _ => seen,
        };
        Some(Opened {
            source: self.source(reopened, stat),
            key: key_of(stat),
            real,
        })
    }

    /// Whether the file lies on a file system whose files are files.
    fn may_be_read(&self, fd: &OwnedFd) -> Result<(), Unjudged> {
        match filesystems::kind(fd).map_err(unreadable)? {
            Filesystem::Files => Ok(()),
            Filesystem::Kernel => Err(Unjudged::Refused),
            Filesystem::Fuse => {
                let me = rustix::process::geteuid().as_raw();
                let owner = self
                    .mounts
                    .as_ref()
                    .and_then(|mounts| filesystems::owner(fd, mounts));
                // Who serves it decides what is read and for how long. Root serves what the host has mounted.
                match owner {
                    Some(owner) if owner != me && owner != 0 => Err(Unjudged::Refused),
                    Some(_) | None => Ok(()),
                }
            }
        }
    }

    fn source(&self, fd: OwnedFd, stat: &Stat) -> Source {
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        Source::new(File::from(fd), len).counted_by(&self.looks)
    }

    fn missed(&self, error: Errno, path: &[u8]) {
        if !is_not_there(error) {
            self.looks.note(unreadable(error), Some(path));
        }
    }

    /// The executed file of `candidate`: what the process executes, which is right whatever happened to its
    /// name, else by its path while that still names the same file.
    pub(super) fn executed(&self, candidate: &Candidate<'_>) -> Option<(Opened, Trust)> {
        let by_process = || {
            let held = self.executed.as_ref()?;
            let stat = fstat(held).ok()?;
            let trust = trust(&stat, candidate)?;
            let path = candidate.exe.map_or(&b""[..], |exe| exe.as_bytes());
            let opened = self.open_held(held, &stat, path)?;
            Some((opened, trust))
        };
        let by_path = || {
            let opened = self.open(candidate.exe?.as_bytes())?;
            let trust = trust_key(opened.key, opened.source.len(), candidate)?;
            // A path may name another file by now; without an inode to compare, it proves nothing.
            (trust > Trust::Unverified).then_some((opened, trust))
        };
        by_process().or_else(by_path)
    }

    /// Whether the process was started with the variable `name` switched on, as Bun 1.3 reads its
    /// switches: anything but nothing, `0` and `false`. Looks at nothing else of the environment and
    /// keeps nothing of it.
    pub(super) fn switch(&self, name: &str) -> Switch {
        use std::io::Seek;
        let Some(mut file) = self.environment.as_ref() else {
            return Switch::Unknown;
        };
        let mut environment = Vec::new();
        let read = file
            .rewind()
            .and_then(|()| file.take(ENVIRONMENT_MAX).read_to_end(&mut environment));
        if read.is_err() || environment.is_empty() {
            return Switch::Unknown;
        }
        switch_in(&environment, name)
    }
}

/// `/dev/null` (Documentation/admin-guide/devices.txt).
fn is_null(stat: &Stat) -> bool {
    let device = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && device == (1, 3)
}

/// Consoles, serial lines, `/dev/tty` and the ends of pseudo-terminals (the same list).
fn is_terminal(stat: &Stat) -> bool {
    matches!(rustix::fs::major(stat.st_rdev), 4 | 5 | 136..=143)
}

/// Not there, in this process's view: a path that leads nowhere, or is none.
fn is_not_there(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::ISDIR
    )
}

fn unreadable(error: Errno) -> Unjudged {
    Unjudged::Unreadable {
        errno: error.raw_os_error(),
    }
}

/// Tries again what was refused only for now: a file system that says `EAGAIN` (a lease that is being given
/// up, a path that changes while it is resolved), a signal.
fn again<T>(attempt: impl Fn() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    const TRIES: u32 = 20;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
    for _ in 1..TRIES {
        match attempt() {
            Err(Errno::AGAIN) => std::thread::sleep(PAUSE),
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
    attempt()
}

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

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

fn fd_link(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn path_of(fd: &OwnedFd) -> Option<Vec<u8>> {
    let link = readlinkat(CWD, fd_link(fd), Vec::new()).ok()?;
    Some(std::ffi::OsString::from_vec(link.into_bytes()).into_vec())
}

fn switch_in(environment: &[u8], name: &str) -> Switch {
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
