//! What a session is made of; also its JSON form (`skep session ID -o json`).
//!
//! Times are RFC 3339 in UTC; what was not observed is null.

use serde::{Deserialize, Serialize};

/// A session and all that happened in it.
#[derive(Debug, Serialize)]
pub struct Story {
    pub session: Header,
    /// What a person should look at, in the order of time.
    pub findings: Vec<Finding>,
    /// Roots; the others are below them.
    pub processes: Vec<Process>,
    /// Processes too many levels below another: they are among the roots, and their `ppid` says whose
    /// children they are.
    pub too_deep: u64,
    /// Sessions of agents that this one started.
    pub child_sessions: Vec<Child>,
    /// What is not vouched for, of this session or of its host while it ran.
    pub not_vouched_for: Vec<Gap>,
    /// Lists that the collector's row limit cut.
    pub cut: Vec<String>,
}

/// The row of the view `sessions`, and how much it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    pub sensor_id: String,
    pub session: String,
    pub host: Option<String>,
    pub agent_family: Option<String>,
    pub agent_version: Option<String>,
    pub agent_confidence: Option<u8>,
    pub agent_evidence: Option<Vec<String>>,
    pub agent_install_path: Option<String>,
    pub started: Option<String>,
    pub ended: Option<String>,
    /// Null when nothing is known but that records of it were lost.
    pub first_event: Option<String>,
    pub last_event: Option<String>,
    pub parent: Option<String>,
    pub user_name: Option<String>,
    pub uid: Option<u32>,
    pub login_uid: Option<u32>,
    pub terminal: Option<String>,
    pub cwd: Option<String>,
    pub repo_root: Option<String>,
    pub repo_remote: Option<String>,
    pub repo_branch: Option<String>,
    pub processes: u64,
    pub files: u64,
    pub destinations: u64,
    /// As the sensor last told; null from one that does not count them.
    pub gaps: Option<u64>,
    /// observed, resumed or running
    pub found: Option<String>,
    /// Records were lost, of it or of its host, while it ran.
    #[serde(default)]
    pub lost: bool,
    /// Something else was not vouched for meanwhile.
    #[serde(default)]
    pub uncovered: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Process {
    pub pid: u32,
    pub start: Option<String>,
    pub ppid: Option<u32>,
    pub first_seen: String,
    pub exe: Option<String>,
    pub argv: Option<Vec<String>>,
    pub argv_truncated: Option<bool>,
    pub cwd: Option<String>,
    pub uid: Option<u32>,
    /// It was read from `/proc`, not observed from its start.
    pub inferred: Option<bool>,
    /// Every program it executed, in order.
    pub execs: Vec<Exec>,
    pub exit: Option<Exit>,
    pub files: Vec<File>,
    pub destinations: Vec<Destination>,
    pub children: Vec<Process>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    pub time: String,
    pub filename: Option<String>,
    pub exe: Option<String>,
    pub argv: Option<Vec<String>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exit {
    pub time: String,
    pub code: Option<u32>,
    pub signal: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    pub path: Option<String>,
    /// read, write, create or path, as in the view `files`
    pub access: String,
    pub result: Option<i32>,
    /// Hard links, the most there were.
    pub links: Option<u32>,
    pub count: u64,
    pub first: String,
    pub last: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Destination {
    pub family: String,
    pub destination: Option<String>,
    pub proto: Option<String>,
    pub result: Option<i32>,
    pub count: u64,
    pub first: String,
    pub last: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Child {
    pub session: String,
    pub agent_family: Option<String>,
    pub agent_version: Option<String>,
    pub started: Option<String>,
    pub root_pid: Option<u32>,
    pub root_ppid: Option<u32>,
}

/// A row of the view `findings`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    pub time: String,
    /// informational, low, medium, high or critical
    pub severity: Option<String>,
    pub rule: String,
    pub title: String,
    pub reason: String,
    pub attack: Option<Vec<String>>,
    /// Of the process it is about.
    pub pid: Option<u32>,
    pub exe: Option<String>,
}

/// A row of the view `session_gaps`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// It is not the session's alone.
    pub whole_host: bool,
    /// lost, blind, throttled, hook, io_uring, evicted …
    pub what: String,
    pub hook: Option<String>,
    pub first: String,
    /// Null: it still holds, as far as is known.
    pub last: Option<String>,
    pub count: u64,
    pub reason: String,
}
