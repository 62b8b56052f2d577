//! What the sensor reports: the event model that `watch`, the spool and the wire share.
//!
//! Invariants:
//! - a fact that was not observed is `None`, never a guess or a zero;
//! - text from the kernel is kept as bytes ([`Text`]) and escaped only when it is written out;
//! - nothing here is redacted: [`skep_redact`] runs over an event before it leaves the process.
//!
//! The JSON form is documented in `docs/events.md` and is stable.
#![forbid(unsafe_code)]

mod class;
pub mod json;
mod names;
pub mod sample;
pub mod wire;

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

pub use class::Class;
pub use names::{errno_name, open_flags, proto_name, result_name, time_text};

/// What an allocation costs beside its bytes, about.
const ALLOCATION: usize = 16;

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

/// Bytes from the kernel (paths, arguments, names), not necessarily UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text(pub Box<[u8]>);

/// A session: 128 bits derived from boot id, pid and start time of its root process, so that it is
/// the same after a restart of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub time: UnixNanos,
    pub session: Option<SessionId>,
    pub agent: Option<Arc<Agent>>,
    pub process: Option<Arc<Process>>,
    /// 0 or a negative errno; `None` when the hook runs before the outcome is known.
    pub result: Option<i32>,
    /// Which hook saw it, e.g. `raw_tp/sched_process_exec`.
    pub hook: Option<&'static str>,
    pub detail: Detail,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    Exec(Exec),
    Exit(Exit),
    Open(File),
    Connect(Net),
    Session(SessionInfo),
    Lost(Lost),
    Coverage(Coverage),
    Finding(Finding),
}

/// A recognised agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Agent {
    /// Catalogue id of the family, e.g. `claude-code`.
    pub family: String,
    pub version: Option<String>,
    /// 0 to 100.
    pub confidence: u8,
    /// What it was recognised by, strongest first, e.g. `package.json:@openai/codex@0.169.0`.
    pub evidence: Vec<String>,
    /// Directory of the package, or the executable itself where there is none.
    pub install_path: Option<Text>,
}

/// The process an event belongs to, as of its last exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub start: Option<UnixNanos>,
    pub ppid: Option<u32>,
    pub exe: Option<Text>,
    pub argv: Vec<Text>,
    pub argv_truncated: bool,
    pub cwd: Option<Text>,
    pub uid: Option<u32>,
    /// Lineage or image were not observed by the kernel programs but read from `/proc`, or inherited
    /// from a process of which that is so: it may have written over its arguments, its parent may
    /// have ended.
    pub inferred: bool,
}

/// A program was executed; it is the event's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The name given to `execve`; differs from the executable for scripts and links.
    pub filename: Option<Text>,
}

/// A process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status 0..=255 when it ended by itself.
    pub code: Option<u8>,
    /// Signal that ended it.
    pub signal: Option<u8>,
}

/// A file was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// `None` when neither the kernel's path nor what the program passed could be read.
    pub path: Option<Text>,
    /// True: the kernel's own path of the file. False: what the program passed, made absolute
    /// where that needed no guess.
    pub resolved: bool,
    /// `O_*` flags as the kernel has them.
    pub flags: u32,
    /// `st_mode` (type and permission bits).
    pub mode: Option<u32>,
    /// How many opens this event stands for.
    pub count: u64,
    /// Time of the last of them, when there are more than one.
    pub last: Option<UnixNanos>,
    /// `st_ino`; with the device it names the file whatever path led to it.
    pub inode: Option<u64>,
    pub device: Option<Device>,
    /// Number of hard links: more than 1 means the file has other names. `None` for a directory.
    pub links: Option<u32>,
}

/// A block device (or what stands for one, e.g. of overlayfs): major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    pub major: u32,
    pub minor: u32,
}

/// Socket family of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetFamily {
    Inet,
    Inet6,
    Unix,
    Vsock,
    /// Any other, by its number (`AF_*`, linux/socket.h).
    Other(u16),
}

/// A connection, or a datagram to a named peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    pub family: NetFamily,
    pub addr: Option<std::net::IpAddr>,
    pub port: Option<u16>,
    /// IANA protocol number (`IPPROTO_*`).
    pub proto: Option<u8>,
    /// Unix sockets: the path; an abstract name starts with `@`. Vsock: `CID:PORT`.
    pub path: Option<Text>,
    pub count: u64,
    pub last: Option<UnixNanos>,
}

/// Which moment of a session an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Start,
    Update,
    End,
}

/// Facts of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    pub phase: Phase,
    /// The session of the agent that started this one.
    pub parent: Option<SessionId>,
    pub user: Option<String>,
    pub uid: Option<u32>,
    /// Audit login uid; `None` when unset.
    pub login_uid: Option<u32>,
    pub terminal: Option<Text>,
    pub cwd: Option<Text>,
    pub repository: Option<Repository>,
    /// Known gaps so far: losses, throttling, times nobody watched. More than 0: the story is
    /// incomplete.
    pub gaps: u64,
    pub found: Found,
}

/// How the sensor came to know of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// Its first exec was seen.
    Observed,
    /// Known before a restart of the sensor, and found again.
    Resumed,
    /// Was running before the sensor first saw it; its identity was read from `/proc`.
    Running,
}

/// A git repository, read without running git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    pub root: Text,
    /// URL of `origin`, else of the first remote.
    pub remote: Option<Text>,
    /// Branch, or the commit of a detached head.
    pub branch: Option<Text>,
}

/// Records that did not arrive. The event has a session when the loss is known to be that session's
/// alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `kernel`, `decode`, `track`, `fold`, `spool`
    pub hop: &'static str,
    /// Record type, or `any`.
    pub record: &'static str,
    pub cause: &'static str,
    pub count: u64,
    pub first: UnixNanos,
    pub last: UnixNanos,
}

/// A change of what the sensor can vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    pub what: CoverageKind,
    pub phase: CoveragePhase,
    /// The hook concerned, e.g. `cgroup/connect4`; `None` when all are, or none.
    pub hook: Option<&'static str>,
    /// The range it speaks of.
    pub first: UnixNanos,
    pub last: UnixNanos,
    /// Records concerned (throttled: not sent; canary: seen; io_uring: set-ups; evicted: entries), 0
    /// where that is not a number of records.
    pub count: u64,
    /// One sentence for people.
    pub reason: String,
}

/// What a [`Coverage`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoverageKind {
    /// Nobody watched: the sensor was stopped, killed or upgraded.
    Blind,
    /// Records of one session, the event's, were held back in the kernel.
    Throttled,
    /// A hook stopped reporting, or was attached again.
    Hook,
    /// The session set up an `io_uring` where the open hook does not see it.
    IoUring,
    /// The session made a socket whose peers no connect hook sees.
    Socket,
    /// The self-test went through every hook.
    Canary,
    /// A table at its bound let something go.
    Evicted,
    /// Programs ended, or were deleted, before anybody could look at them.
    Unjudged,
    /// Processes of the session, the event's, had ended, and no record said so.
    Vanished,
    /// Hooks could not be tested.
    Untested,
    /// A part of the sensor does not do its work; the reason says which.
    Degraded,
}

/// Which moment of a gap a [`Coverage`] tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoveragePhase {
    Begin,
    End,
    /// No duration, or one that is over when it is told.
    Point,
}

/// Something a person should look at (OCSF Detection Finding, class 2004).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable id of the rule, e.g. `sensor.hook_detached`.
    pub rule: String,
    /// One line for people.
    pub title: String,
    pub severity: Severity,
    /// MITRE ATT&CK techniques, e.g. `T1562.001`.
    pub attack: Vec<String>,
    /// What was seen, in one sentence.
    pub reason: String,
}

/// OCSF `severity_id`, 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Informational = 1,
    Low = 2,
    Medium = 3,
    High = 4,
    Critical = 5,
}

// === impl Event ===

impl Event {
    /// Of a session, or of the machine, and of no process: nothing a hook has reported.
    pub fn told(session: Option<SessionId>, time: UnixNanos, detail: Detail) -> Self {
        Self {
            time,
            session,
            agent: None,
            process: None,
            result: None,
            hook: None,
            detail,
        }
    }

    /// The value of `class` in JSON and in the collector's table.
    pub fn class(&self) -> &'static str {
        let class = match self.detail {
            Detail::Exec(_) => Class::Exec,
            Detail::Exit(_) => Class::Exit,
            Detail::Open(_) => Class::Open,
            Detail::Connect(_) => Class::Connect,
            Detail::Session(_) => Class::Session,
            Detail::Lost(_) => Class::Lost,
            Detail::Coverage(_) => Class::Coverage,
            Detail::Finding(_) => Class::Finding,
        };
        class.name()
    }
}

/// Memory of a process with all it says.
pub fn process_bytes(process: &Process) -> usize {
    let text = |text: &Text| size_of::<Text>() + text.as_bytes().len() + ALLOCATION;
    let argv = process.argv.iter().map(text).sum::<usize>();
    let paths = process
        .exe
        .iter()
        .chain(&process.cwd)
        .map(text)
        .sum::<usize>();
    size_of::<Process>() + ALLOCATION + argv + paths
}

// === impl Coverage ===

impl Coverage {
    /// Of no hook in particular, told when it is over.
    pub fn point(
        what: CoverageKind,
        (first, last): (UnixNanos, UnixNanos),
        count: u64,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            what,
            phase: CoveragePhase::Point,
            hook: None,
            first,
            last,
            count,
            reason: reason.into(),
        }
    }

    /// As an event of the machine as a whole, at the end of what it speaks of.
    pub fn of_machine(self) -> Event {
        Event::told(None, self.last, Detail::Coverage(self))
    }
}

impl CoverageKind {
    pub const ALL: [Self; 11] = [
        Self::Blind,
        Self::Throttled,
        Self::Hook,
        Self::IoUring,
        Self::Socket,
        Self::Canary,
        Self::Evicted,
        Self::Unjudged,
        Self::Vanished,
        Self::Untested,
        Self::Degraded,
    ];

    /// Its name in JSON, on the wire and in the collector's table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Throttled => "throttled",
            Self::Hook => "hook",
            Self::IoUring => "io_uring",
            Self::Socket => "socket",
            Self::Canary => "canary",
            Self::Evicted => "evicted",
            Self::Unjudged => "unjudged",
            Self::Vanished => "vanished",
            Self::Untested => "untested",
            Self::Degraded => "degraded",
        }
    }
}

impl CoveragePhase {
    /// Its name in JSON and in the collector's table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::End => "end",
            Self::Point => "point",
        }
    }
}

// === impl Severity ===

impl Severity {
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Critical,
    ];

    /// OCSF's name of it, in lower case: in JSON and in the collector's table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// OCSF `severity_id`.
    pub fn id(self) -> u8 {
        self as u8
    }
}

// === impl Found ===

impl Found {
    /// Its name in JSON and in the collector's table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Resumed => "resumed",
            Self::Running => "running",
        }
    }
}

// === impl Device ===

impl Device {
    /// From `super_block::s_dev`: 12 bits of major, 20 of minor (`MAJOR`, `MINOR` in
    /// `linux/kdev_t.h`).
    pub fn from_kernel(dev: u32) -> Self {
        Self {
            major: dev >> 20,
            minor: dev & 0xf_ffff,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

// === impl Text ===

impl Text {
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Valid UTF-8 from which [`Text::unescape`] gives the same bytes back: a byte that is not part
    /// of valid UTF-8 becomes `\xNN`, a backslash `\\`, a control character (below 0x20, 0x7f)
    /// `\xNN` too.
    pub fn escaped(&self) -> String {
        let is_special = |c: char| c == '\\' || c.is_ascii_control();
        let mut out = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some((at, special)) = rest.match_indices(is_special).next() {
                out.push_str(&rest[..at]);
                match special {
                    "\\" => out.push_str("\\\\"),
                    control => control.bytes().for_each(|byte| push_hex(&mut out, byte)),
                }
                rest = &rest[at + special.len()..];
            }
            out.push_str(rest);
            for byte in chunk.invalid() {
                push_hex(&mut out, *byte);
            }
        }
        out
    }

    /// Turns the escaped form back; `None` when the text is not one.
    pub fn unescape(escaped: &str) -> Option<Self> {
        let mut out = Vec::with_capacity(escaped.len());
        let mut rest = escaped.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte != b'\\' {
                out.push(byte);
                continue;
            }
            match rest {
                [b'\\', tail @ ..] => {
                    out.push(b'\\');
                    rest = tail;
                }
                [b'x', high, low, tail @ ..] => {
                    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
                    out.push(digit(*high)? << 4 | digit(*low)?);
                    rest = tail;
                }
                _ => return None,
            }
        }
        Some(Self(out.into()))
    }
}

fn push_hex(out: &mut String, byte: u8) {
    use fmt::Write;
    // Writing to a `String` does not fail.
    let _ = write!(out, "\\x{byte:02x}");
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escaped())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.escaped())
    }
}

// === impl SessionId ===

impl SessionId {
    /// The first 128 bits of SHA-256 over what names the root process, so that a restarted sensor
    /// derives the same id. The family is part of it because a process can execute one agent after
    /// another.
    pub fn derive(boot_id: &str, tgid: u32, start_ns: u64, family: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(boot_id)
            .chain_update(tgid.to_le_bytes())
            .chain_update(start_ns.to_le_bytes())
            .chain_update(family)
            .finalize();
        let mut id = [0; 16];
        id.copy_from_slice(digest.get(..16).expect("a SHA-256 digest has 32 bytes"));
        Self(id)
    }

    /// The form kernel maps carry: the first eight bytes, never one of the ids that
    /// are the sensor's own.
    pub fn kernel(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(skep_abi::SESSION_FIRST)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
