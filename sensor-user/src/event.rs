//! What the sensor reports: the event model that `watch`, the spool and the wire share.
//!
//! Invariants:
//! - a fact that was not observed is `None`, never a guess or a zero;
//! - text from the kernel is kept as bytes ([`Text`]) and escaped only when it is written out;
//! - nothing here is redacted: [`crate::redact`] runs over an event before it leaves the process.
//!
//! The JSON form is documented in `docs/events.md` and is stable.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
}

/// Socket family of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetFamily {
    Inet,
    Inet6,
    Unix,
}

/// A connection, or a datagram to a named peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    pub family: NetFamily,
    pub addr: Option<std::net::IpAddr>,
    pub port: Option<u16>,
    /// IANA protocol number (`IPPROTO_*`).
    pub proto: Option<u8>,
    /// Unix sockets: the path; an abstract name starts with `@`.
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

/// Records that did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `kernel`, `decode`, `track`, `spool`
    pub hop: &'static str,
    /// Record type, or `any`.
    pub record: &'static str,
    pub cause: &'static str,
    pub count: u64,
    pub first: UnixNanos,
    pub last: UnixNanos,
}

// === impl Event ===

impl Event {
    /// The value of `class` in JSON and in the collector's table.
    pub fn class(&self) -> &'static str {
        match self.detail {
            Detail::Exec(_) => "exec",
            Detail::Exit(_) => "exit",
            Detail::Open(_) => "open",
            Detail::Connect(_) => "connect",
            Detail::Session(_) => "session",
            Detail::Lost(_) => "lost",
        }
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
        let mut out = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => out.push_str("\\\\"),
                    c if c.is_ascii_control() => push_hex(&mut out, c as u8),
                    c => out.push(c),
                }
            }
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
    /// The form kernel maps carry: the first eight bytes, never 0.
    pub fn kernel(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
