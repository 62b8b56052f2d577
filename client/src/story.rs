//! A session and all that happened in it; also its JSON form (`skep session ID -o json`).
//!
//! Times are RFC 3339 in UTC; what was not observed is null.
//!
//! Parents are found by process id and time: of the session's processes with the id `ppid`, the one
//! that was seen last before the child. A process whose parent is not in the session is a root, and so
//! is one that is [`DEEPEST`] levels below another: an agent can fork as deep as it
//! likes, and whoever draws, writes or parses a tree does so level by level.

use std::collections::HashMap;

use serde::Serialize;

use crate::columns::from_columns;

/// Levels of a tree. Readers of JSON stop at 128 values within each other, two for each level.
pub const DEEPEST: usize = 48;

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
#[derive(Clone, Debug, Default, Serialize)]
pub struct Header {
    pub sensor_id: String,
    pub session: String,
    pub host: Option<String>,
    pub agent_family: Option<String>,
    pub agent_version: Option<String>,
    pub agent_confidence: Option<u8>,
    pub agent_evidence: Option<Vec<String>>,
    pub agent_install_path: Option<String>,
    /// Of an agent that no family describes.
    pub agent_name: Option<String>,
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
    pub lost: bool,
    /// Something else was not vouched for meanwhile.
    pub uncovered: bool,
}

from_columns!(Header { sensor_id, session, host, agent_family, agent_version, agent_confidence, agent_evidence, agent_install_path, agent_name, started, ended, first_event, last_event, parent, user_name, uid, login_uid, terminal, cwd, repo_root, repo_remote, repo_branch, processes, files, destinations, gaps, found; lost: false, uncovered: false });

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
    /// Every program it tried to execute and could not, in order.
    pub failed_execs: Vec<FailedExec>,
    pub exit: Option<Exit>,
    pub files: Vec<File>,
    /// What it did to names and attributes of files.
    pub changes: Vec<Change>,
    pub destinations: Vec<Destination>,
    pub children: Vec<Process>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Exec {
    pub time: String,
    pub filename: Option<String>,
    pub exe: Option<String>,
    pub argv: Option<Vec<String>>,
}

from_columns!(Exec {
    time,
    filename,
    exe,
    argv
});

#[derive(Clone, Debug, Serialize)]
pub struct FailedExec {
    pub time: String,
    pub filename: Option<String>,
    pub argv: Option<Vec<String>>,
    pub result: i32,
}

from_columns!(FailedExec {
    time,
    filename,
    argv,
    result
});

#[derive(Clone, Debug, Serialize)]
pub struct Exit {
    pub time: String,
    pub code: Option<u32>,
    pub signal: Option<u32>,
}

from_columns!(Exit { time, code, signal });

#[derive(Clone, Debug, Serialize)]
pub struct File {
    pub path: Option<String>,
    /// read, write, create or path, as in the view `files`
    pub access: String,
    pub result: Option<i32>,
    /// Hard links, the most there were.
    pub links: Option<u32>,
    /// The name the file got later in the session.
    pub became: Option<String>,
    pub count: u64,
    pub first: String,
    pub last: String,
}

from_columns!(File {
    path,
    access,
    result,
    links,
    count,
    first,
    last;
    became: None
});

#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// rename, exchange, link, symlink, unlink, rmdir, mkdir, truncate, chmod, chown, setxattr or removexattr
    pub op: String,
    /// Of rename, exchange and link, the name it got; with `many`, the folder.
    pub path: Option<String>,
    /// Of these three, the name before.
    pub was: Option<String>,
    /// So many files in the folder.
    pub many: bool,
    pub result: Option<i32>,
    pub count: u64,
    pub first: String,
    pub last: String,
}

from_columns!(Change {
    op,
    path,
    was,
    many,
    result,
    count,
    first,
    last
});

#[derive(Clone, Debug, Serialize)]
pub struct Destination {
    pub family: String,
    pub destination: Option<String>,
    pub proto: Option<String>,
    pub result: Option<i32>,
    pub count: u64,
    pub first: String,
    pub last: String,
}

from_columns!(Destination {
    family,
    destination,
    proto,
    result,
    count,
    first,
    last
});

#[derive(Clone, Debug, Serialize)]
pub struct Child {
    pub session: String,
    pub agent_family: Option<String>,
    pub agent_version: Option<String>,
    pub started: Option<String>,
    pub root_pid: Option<u32>,
    pub root_ppid: Option<u32>,
}

from_columns!(Child {
    session,
    agent_family,
    agent_version,
    started,
    root_pid,
    root_ppid
});

/// A row of the view `findings`.
#[derive(Clone, Debug, Serialize)]
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

from_columns!(Finding {
    time,
    severity,
    rule,
    title,
    reason,
    attack,
    pid,
    exe
});

/// A row of the view `session_gaps`.
#[derive(Clone, Debug, Serialize)]
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

from_columns!(Gap {
    whole_host,
    what,
    hook,
    first,
    last,
    count,
    reason
});

/// The roots, and how many of them are roots only because they are too deep. `processes` are in the
/// order in which they were first seen.
pub(crate) fn family_tree(processes: Vec<Process>) -> (Vec<Process>, u64) {
    let mut latest: HashMap<u32, usize> = HashMap::new();
    let mut parents = Vec::with_capacity(processes.len());
    let mut levels: Vec<usize> = Vec::with_capacity(processes.len());
    let mut too_deep = 0;
    for (index, process) in processes.iter().enumerate() {
        let parent = process.ppid.filter(|ppid| *ppid != process.pid);
        let parent = parent.and_then(|ppid| latest.get(&ppid).copied());
        let (parent, level) = match parent.map(|parent| (parent, levels[parent] + 1)) {
            Some((_, level)) if level == DEEPEST => {
                too_deep += 1;
                (None, 0)
            }
            Some((parent, level)) => (Some(parent), level),
            None => (None, 0),
        };
        parents.push(parent);
        levels.push(level);
        latest.insert(process.pid, index);
    }
    // A parent comes before its children, so that from the end each subtree is complete when it is
    // moved below its parent.
    let mut slots: Vec<Option<Process>> = processes.into_iter().map(Some).collect();
    let mut roots = Vec::new();
    for (index, parent) in parents.into_iter().enumerate().rev() {
        let Some(mut process) = slots[index].take() else {
            continue;
        };
        process.children.reverse();
        match parent.and_then(|parent| slots[parent].as_mut()) {
            Some(parent) => parent.children.push(process),
            None => roots.push(process),
        }
    }
    roots.reverse();
    (roots, too_deep)
}

#[cfg(test)]
impl Process {
    /// One of which no more is known.
    pub(crate) fn seen(pid: u32, ppid: Option<u32>) -> Self {
        Self {
            pid,
            start: None,
            ppid,
            first_seen: String::new(),
            exe: None,
            argv: None,
            argv_truncated: None,
            cwd: None,
            uid: None,
            inferred: None,
            execs: Vec::new(),
            failed_execs: Vec::new(),
            exit: None,
            files: Vec::new(),
            changes: Vec::new(),
            destinations: Vec::new(),
            children: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(processes: &[Process]) -> String {
        let one = |p: &Process| format!("{}({})", p.pid, shape(&p.children));
        processes.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn children_are_below_the_parent_seen_last_before_them() {
        let seen = vec![
            Process::seen(10, Some(1)),
            Process::seen(11, Some(10)),
            Process::seen(12, Some(11)),
            Process::seen(11, Some(10)), // the id 11 again, for another process
            Process::seen(13, Some(11)),
            Process::seen(14, None),
        ];
        let (roots, too_deep) = family_tree(seen);
        assert_eq!(shape(&roots), "10(11(12()) 11(13())) 14()");
        assert_eq!(too_deep, 0);
    }

    #[test]
    fn a_parent_that_is_itself_or_comes_later_is_no_parent() {
        let seen = vec![
            Process::seen(5, Some(5)),
            Process::seen(6, Some(7)),
            Process::seen(7, Some(6)),
        ];
        assert_eq!(shape(&family_tree(seen).0), "5() 6(7())");
    }
}
