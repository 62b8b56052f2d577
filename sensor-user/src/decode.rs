//! From ring bytes to typed records.
//!
//! The bytes come from our own programs, but a record is checked all the same: lengths that do not
//! fit, unknown kinds and hooks give [`Malformed`], which the caller counts; nothing panics. Fields
//! the kernel side could not read are `None` from here on.
//!
//! Nothing is allocated but for an exec: text is borrowed from the record, or from the caller's
//! buffer where a path has to be put together.

mod change;
mod command_line;
mod path;
pub mod step;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use skep_abi::{
    self as abi, Claim, FileKey, Header, Hook, Kind, MISSING_ADDR, MISSING_ARGV, MISSING_CRED,
    MISSING_CWD, MISSING_ENVIRONMENT, MISSING_FILENAME, MISSING_INODE, MISSING_LOGINUID,
    MISSING_PARENT, MISSING_PATH, MISSING_PATH_HEAD, MISSING_PROTO, MISSING_RESULT, MISSING_START,
    PathForm,
};
use skep_event::{ConnectRef, Device, FileMode, NetFamily, OpenFlags, OpenRef, Protocol, Text};
use zerocopy::FromBytes;

use crate::place::Namespaces;

pub use self::{change::Change, command_line::ArgvEnd};
pub use skep_event::Exit;

/// File type in a mode, and that of a directory (linux/stat.h).
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
/// A name is relative to the working directory (linux/fcntl.h).
const AT_FDCWD: i32 = -100;
/// `u32::MAX`: no login uid was set (linux/audit.h, `AUDIT_UID_UNSET`).
pub(crate) const LOGINUID_UNSET: u32 = u32::MAX;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_VSOCK: u16 = 40;

/// A record that does not follow the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What every record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Boot clock, nanoseconds.
    pub time_ns: u64,
    pub tgid: u32,
    pub tid: u32,
    /// Start of the process, boot clock, nanoseconds.
    pub start_ns: Option<u64>,
    /// Session as the kernel knows it; `None` while pending.
    pub session: Option<u64>,
    pub claim: Option<Claim>,
    /// Identity of the executable as of the last exec the kernel side saw; `None` when unreadable.
    pub image: Option<u64>,
    /// Real and effective user id of the thread at that moment; `None` when unreadable.
    pub ids: Option<Ids>,
    pub hook: Hook,
}

/// User ids, initial user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub uid: u32,
    pub euid: u32,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub common: Common,
    pub body: Body<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    Exec(Box<Exec>),
    Fork(Fork),
    Exit(Exit),
    Open(Open<'a>),
    Connect(Connect<'a>),
    Task(Task),
    Uring,
    Socket(SocketKind),
    FailedExec(Box<FailedExec>),
    Change(Change<'a>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    pub file: Option<ExecFile>,
    pub previous_claim: Option<Claim>,
    pub ppid: Option<u32>,
    pub parent_start_ns: Option<u64>,
    pub uid: Option<u32>,
    pub euid: Option<u32>,
    pub login_uid: Option<u32>,
    pub cgroup_id: u64,
    /// Its path, where that was read rather than the id.
    pub cgroup: Option<Text>,
    pub namespaces: Namespaces,
    pub exe: Option<Text>,
    pub filename: Option<Text>,
    pub cwd: Option<Text>,
    /// Its beginning, if it is cut.
    pub argv: Vec<Text>,
    pub argv_truncated: bool,
    /// What is known of its end, if it is cut.
    pub argv_end: Option<ArgvEnd>,
    /// Which switches of the environment are on, a bit for each of the table that the kernel side was given;
    /// `None`: it could not read the environment to its end, or nobody asked it.
    pub switches: Option<u16>,
    pub terminal: Option<Text>,
}

impl Exec {
    /// One of which nothing is known.
    pub fn unknown() -> Self {
        Self {
            file: None,
            previous_claim: None,
            ppid: None,
            parent_start_ns: None,
            uid: None,
            euid: None,
            login_uid: None,
            cgroup_id: 0,
            cgroup: None,
            namespaces: Namespaces::default(),
            exe: None,
            filename: None,
            cwd: None,
            argv: Vec::new(),
            argv_truncated: true,
            argv_end: None,
            switches: None,
            terminal: None,
        }
    }
}

/// An exec that did not come to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedExec {
    pub filename: Option<Text>,
    pub argv: Vec<Text>,
    pub argv_truncated: bool,
    /// A negative errno.
    pub result: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecFile {
    pub key: FileKey,
    pub size: u64,
    pub mode: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    pub child: u32,
    pub child_start_ns: Option<u64>,
    pub child_ppid: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    pub facts: OpenRef<'a>,
    /// Folding epoch in which the kernel side counts repeats of it; `None`: it does not.
    pub epoch: Option<u32>,
    pub result: Option<i32>,
}

/// A process that runs, found by the walk over the task list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    pub watched: bool,
    /// Its executable.
    pub file: FileKey,
    pub ppid: u32,
    pub parent_start_ns: u64,
    pub uid: u32,
    pub euid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    pub facts: ConnectRef<'a>,
    pub result: Option<i32>,
}

/// What a socket was asked to be: `AF_*`, `SOCK_*`, and the protocol by its number in that family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketKind {
    pub family: u16,
    pub kind: u16,
    pub protocol: u32,
}

/// The fixed part of a record, copied out (the ring aligns to 8, but nothing here relies on it).
pub fn fixed<T: FromBytes>(bytes: &[u8]) -> Option<T> {
    let (value, _tail) = T::read_from_prefix(bytes).ok()?;
    Some(value)
}

/// Decodes one record. `room` is for paths that have to be put together; what it held is lost.
#[inline]
pub fn decode<'a>(bytes: &'a [u8], room: &'a mut Vec<u8>) -> Result<Record<'a>, Malformed> {
    let header = fixed::<Header>(bytes).ok_or(Malformed("shorter than its header"))?;
    if header.len as usize != bytes.len() {
        return Err(Malformed("length differs from the header's"));
    }
    let kind = Kind::from_u16(header.kind).ok_or(Malformed("unknown kind"))?;
    let hook = Hook::from_u8(header.hook).ok_or(Malformed("unknown hook"))?;
    let common = Common {
        time_ns: header.time_ns,
        tgid: header.tgid,
        tid: header.tid,
        start_ns: (header.start_ns != 0 && header.missing & MISSING_START == 0)
            .then_some(header.start_ns),
        session: (header.session != 0).then_some(header.session),
        claim: (header.claim != Claim::NONE).then_some(header.claim),
        image: (header.image != 0).then_some(header.image),
        ids: (header.missing & MISSING_CRED == 0).then_some(Ids {
            uid: header.uid,
            euid: header.euid,
        }),
        hook,
    };
    let body = match kind {
        Kind::Exec => Body::Exec(Box::new(exec(bytes, room)?)),
        Kind::Fork => Body::Fork(fork(bytes)?),
        Kind::Exit => Body::Exit(exit(bytes)?),
        Kind::Open => Body::Open(open(bytes, room)?),
        Kind::Connect => Body::Connect(connect(bytes, room)?),
        Kind::Task => Body::Task(task(bytes)?),
        Kind::Uring => Body::Uring,
        Kind::Socket => Body::Socket(socket(bytes)?),
        Kind::Change => Body::Change(change::change(bytes, room)?),
        Kind::FailedExec => Body::FailedExec(Box::new(failed_exec(bytes)?)),
    };
    Ok(Record { common, body })
}

/// Takes byte strings off a record's tail, in order.
struct Tail<'a>(&'a [u8]);

impl<'a> Tail<'a> {
    fn of<T>(bytes: &'a [u8]) -> Self {
        Self(bytes.get(size_of::<T>()..).unwrap_or_default())
    }

    fn take(&mut self, len: u16) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self
            .0
            .split_at_checked(len as usize)
            .ok_or(Malformed("tail shorter than its lengths"))?;
        self.0 = rest;
        Ok(head)
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("tail longer than its lengths"))
        }
    }
}

fn exec(bytes: &[u8], room: &mut Vec<u8>) -> Result<Exec, Malformed> {
    let raw = fixed::<abi::Exec>(bytes).ok_or(Malformed("exec cut short"))?;
    let missing = raw.header.missing;
    let have = |bit: u32| missing & bit == 0;
    // No namespace has the number 0.
    let number = |inode: u32| (inode != 0).then_some(inode);
    let mut tail = Tail::of::<abi::Exec>(bytes);
    let exe = tail.take(raw.exe_len)?;
    let filename = tail.take(raw.filename_len)?;
    let cwd = tail.take(raw.cwd_len)?;
    let argv = tail.take(raw.argv_len)?;
    let argv_end = tail.take(raw.argv_end_len)?;
    let tty = tail.take(raw.tty_len)?;
    tail.end()?;
    let argv_truncated = !have(MISSING_ARGV) || argv.len() < raw.argv_bytes as usize;
    Ok(Exec {
        file: have(MISSING_INODE).then_some(ExecFile {
            key: raw.file,
            size: raw.file_size,
            mode: raw.mode,
        }),
        previous_claim: (raw.previous_claim != Claim::NONE).then_some(raw.previous_claim),
        ppid: have(MISSING_PARENT).then_some(raw.ppid),
        parent_start_ns: have(MISSING_PARENT).then_some(raw.parent_start_ns),
        uid: have(MISSING_CRED).then_some(raw.header.uid),
        euid: have(MISSING_CRED).then_some(raw.header.euid),
        login_uid: (have(MISSING_LOGINUID) && raw.loginuid != LOGINUID_UNSET)
            .then_some(raw.loginuid),
        cgroup_id: raw.cgroup_id,
        cgroup: None,
        namespaces: Namespaces {
            pid: number(raw.pid_namespace),
            user: number(raw.user_namespace),
            mount: number(raw.mount_namespace),
        },
        exe: have(MISSING_PATH)
            .then(|| Text::from(path::components(exe, have(MISSING_PATH_HEAD), room))),
        filename: have(MISSING_FILENAME).then(|| Text::from(path::string(filename))),
        cwd: have(MISSING_CWD).then(|| Text::from(path::components(cwd, true, room))),
        argv: arguments(argv, raw.argc),
        argv_truncated,
        argv_end: ArgvEnd::of(argv, argv_end, u64::from(raw.argv_bytes), raw.argc)
            .filter(|_| argv_truncated && have(MISSING_ARGV)),
        switches: have(MISSING_ENVIRONMENT).then_some(raw.switches),
        terminal: (!tty.is_empty()).then(|| Text::from(path::string(tty))),
    })
}

impl Exec {
    /// Takes the command line out, as it is told: with its end. Before that, `argv` is the judge's.
    pub fn take_command_line(&mut self) -> Vec<Text> {
        let argv = std::mem::take(&mut self.argv);
        match self.argv_end.take() {
            Some(end) => end.join(argv),
            None => argv,
        }
    }
}

/// Splits argv at its NULs; at most `argc` of them, since the last may end at the cut.
pub fn arguments(bytes: &[u8], argc: u32) -> Vec<Text> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() && argc == 0 {
        return Vec::new();
    }
    bytes
        .split(|byte| *byte == 0)
        .take(argc as usize)
        .map(Text::from)
        .collect()
}

fn failed_exec(bytes: &[u8]) -> Result<FailedExec, Malformed> {
    let raw = fixed::<abi::FailedExec>(bytes).ok_or(Malformed("failed exec cut short"))?;
    let have = |bit: u32| raw.header.missing & bit == 0;
    let mut tail = Tail::of::<abi::FailedExec>(bytes);
    let filename = tail.take(raw.filename_len)?;
    let argv = tail.take(raw.argv_len)?;
    tail.end()?;
    let filename = path::string(filename);
    Ok(FailedExec {
        filename: have(MISSING_FILENAME).then(|| match (raw.dirfd, filename) {
            (AT_FDCWD, _) | (_, [b'/', ..]) => Text::from(filename),
            // As the kernel names what is executed by a descriptor (fs/exec.c, `alloc_bprm`).
            (descriptor, []) => Text::from(format!("/dev/fd/{descriptor}").into_bytes()),
            (descriptor, name) => {
                Text::from([format!("/dev/fd/{descriptor}/").as_bytes(), name].concat())
            }
        }),
        argv: arguments(argv, u32::from(raw.argc)),
        argv_truncated: raw.is_cut != 0 || !have(MISSING_ARGV),
        result: raw.result,
    })
}

fn fork(bytes: &[u8]) -> Result<Fork, Malformed> {
    let raw = fixed::<abi::Fork>(bytes).ok_or(Malformed("fork cut short"))?;
    Ok(Fork {
        child: raw.child_tgid,
        child_start_ns: (raw.header.missing & MISSING_START == 0).then_some(raw.child_start_ns),
        child_ppid: (raw.header.missing & MISSING_PARENT == 0).then_some(raw.child_ppid),
    })
}

fn exit(bytes: &[u8]) -> Result<Exit, Malformed> {
    let raw = fixed::<abi::Exit>(bytes).ok_or(Malformed("exit cut short"))?;
    let known = raw.header.missing & MISSING_RESULT == 0;
    let signal = (raw.status & 0x7f) as u8;
    Ok(Exit {
        code: (known && signal == 0).then_some((raw.status >> 8) as u8),
        signal: (known && signal != 0).then_some(signal),
    })
}

fn open<'a>(bytes: &'a [u8], room: &'a mut Vec<u8>) -> Result<Open<'a>, Malformed> {
    let raw = fixed::<abi::Open>(bytes).ok_or(Malformed("open cut short"))?;
    let have = |bit: u32| raw.header.missing & bit == 0;
    let mut tail = Tail::of::<abi::Open>(bytes);
    let tail_bytes = tail.take(raw.path_len)?;
    tail.end()?;
    let whole = have(MISSING_PATH_HEAD);
    let (path, resolved) = match raw.path_form {
        form if form == PathForm::Components as u8 => {
            (path::components(tail_bytes, whole, room), whole)
        }
        form if form == PathForm::Given as u8 => (path::string(tail_bytes), false),
        _ => return Err(Malformed("unknown path form")),
    };
    let is_directory = raw.mode & S_IFMT == S_IFDIR;
    Ok(Open {
        facts: OpenRef {
            path: have(MISSING_PATH).then_some(path),
            resolved: resolved && have(MISSING_PATH),
            flags: OpenFlags(raw.flags),
            mode: have(MISSING_INODE).then_some(FileMode(raw.mode)),
            inode: have(MISSING_INODE).then_some(raw.file.ino),
            device: have(MISSING_INODE).then_some(Device::from_kernel(raw.file.dev)),
            // Those of a directory are its subdirectories.
            links: (have(MISSING_INODE) && !is_directory).then_some(raw.links),
        },
        epoch: (raw.epoch != 0).then_some(raw.epoch),
        result: have(MISSING_RESULT).then_some(raw.result),
    })
}

fn task(bytes: &[u8]) -> Result<Task, Malformed> {
    let raw = fixed::<abi::Task>(bytes).ok_or(Malformed("task cut short"))?;
    Ok(Task {
        watched: raw.header.state != abi::PROCESS_UNWATCHED,
        file: raw.file,
        ppid: raw.ppid,
        parent_start_ns: raw.parent_start_ns,
        uid: raw.header.uid,
        euid: raw.header.euid,
    })
}

fn socket(bytes: &[u8]) -> Result<SocketKind, Malformed> {
    let raw = fixed::<abi::Socket>(bytes).ok_or(Malformed("socket cut short"))?;
    Ok(SocketKind {
        family: raw.family,
        kind: raw.kind,
        protocol: raw.protocol,
    })
}

fn connect<'a>(bytes: &'a [u8], room: &'a mut Vec<u8>) -> Result<Connect<'a>, Malformed> {
    let raw = fixed::<abi::Connect>(bytes).ok_or(Malformed("connect cut short"))?;
    let have = |bit: u32| raw.header.missing & bit == 0;
    let mut tail = Tail::of::<abi::Connect>(bytes);
    let sun_path = tail.take(raw.path_len)?;
    tail.end()?;
    let known = have(MISSING_ADDR);
    let [a, b, c, d, ..] = raw.addr;
    let (family, addr, path) = match raw.family {
        AF_INET => (
            NetFamily::Inet,
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            None,
        ),
        AF_INET6 => {
            // An IPv4-mapped address is an IPv4 connection, whatever the socket.
            let address = IpAddr::V6(Ipv6Addr::from(raw.addr)).to_canonical();
            let family = if address.is_ipv4() {
                NetFamily::Inet
            } else {
                NetFamily::Inet6
            };
            (family, Some(address), None)
        }
        AF_UNIX => (NetFamily::Unix, None, path::unix(sun_path, room)),
        AF_VSOCK => {
            let [_, _, _, _, e, f, g, h, ..] = raw.addr;
            let (port, cid) = ([a, b, c, d], [e, f, g, h]);
            let (port, cid) = (u32::from_ne_bytes(port), u32::from_ne_bytes(cid));
            (NetFamily::Vsock, None, Some(path::vsock(cid, port, room)))
        }
        number => (NetFamily::Other(number), None, None),
    };
    let inet = addr.is_some();
    Ok(Connect {
        facts: ConnectRef {
            family,
            addr: addr.filter(|_| known),
            port: (known && inet).then_some(raw.port),
            proto: (inet && have(MISSING_PROTO)).then_some(Protocol(raw.proto)),
            path: path.filter(|_| known),
        },
        result: have(MISSING_RESULT).then_some(raw.result),
    })
}

#[cfg(test)]
mod tests;
