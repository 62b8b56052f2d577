//! Processes whose place among the others is not what it seems.

use rustix::process::Signal;

use super::{Group, Technique, programs::tool, restart, stage::Stage, verdict::Verdict};

/// Generations of the small fork bomb: 2^7 - 2 processes.
const GENERATIONS: u32 = 6;

pub const GROUP: Group = Group {
    title: "Processes",
    techniques: &[
        Technique {
            id: "thread-exec",
            title: "exec from a thread",
            tries: "not the first thread calls exec, and takes over the pid of the process",
            attempt: |stage| tool(stage, "thread-exec"),
        },
        Technique {
            id: "vfork",
            title: "vfork and exec",
            tries: "a child that shares its parent's memory until it executes a program",
            attempt: |stage| tool(stage, "vfork-exec"),
        },
        Technique {
            id: "posix-spawn",
            title: "posix_spawn",
            tries: "a child without a call of `fork`",
            attempt: |stage| tool(stage, "spawn-exec"),
        },
        Technique {
            id: "clone-parent",
            title: "clone3 with CLONE_PARENT",
            tries: "the child's parent is the agent's parent: by parent pid it is no descendant",
            attempt: clone_parent,
        },
        Technique {
            id: "parent-dies-first",
            title: "double fork, parent dies first",
            tries: "a daemon whose parent pid is 1 (or a subreaper's) before it acts",
            attempt: parent_dies_first,
        },
        Technique {
            id: "setsid",
            title: "setsid",
            tries: "a new session and process group, away from the agent's terminal",
            attempt: |stage| by_descendant(stage, "setsid"),
        },
        Technique {
            id: "fork-bomb",
            title: "fork bomb (126 processes)",
            tries: "a tree of processes, each of which creates one file and ends",
            attempt: fork_bomb,
        },
        Technique {
            id: "sensor-restarted",
            title: "sensor restarted mid-session",
            tries: "the agent and a daemon of its making go on while nobody watches, and after",
            attempt: |stage| restart::goes_on(stage, Signal::TERM),
        },
        Technique {
            id: "sensor-killed",
            title: "SIGKILL of the sensor",
            tries: "the same with a sensor that cannot say a last word",
            attempt: |stage| restart::goes_on(stage, Signal::KILL),
        },
    ],
};

/// A child made by the action of this name opens the secret.
pub fn by_descendant(stage: &Stage, action: &str) -> Verdict {
    let secret = stage.secret();
    stage
        .act(&[action, "open", &secret])
        .opened_by_descendant(&secret)
}

fn clone_parent(stage: &Stage) -> Verdict {
    let secret = stage.secret();
    let attempt = stage.act(&["clone-parent", "open", &secret]);
    let parent = std::process::id();
    let verdict = attempt.opened_by_descendant(&secret).and(|| {
        attempt.opened_by(&secret, "a child of the agent's parent", |process| {
            process.ppid == Some(parent)
        })
    });
    // It is this process's child, so this process has to take it off the process table.
    let child = attempt
        .opens()
        .filter_map(|(event, _)| Some(event.process.as_ref()?.pid))
        .find(|pid| attempt.root() != Some(*pid));
    if let Some(child) = child.and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
        let ended = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
        ended.expect("own child");
    }
    verdict
}

fn parent_dies_first(stage: &Stage) -> Verdict {
    let secret = stage.secret();
    stage
        .act(&["double-fork", &secret])
        .opened_by_descendant(&secret)
}

fn fork_bomb(stage: &Stage) -> Verdict {
    let folder = stage.subfolder("tree");
    let attempt = stage.act(&["fork-tree", &folder, &GENERATIONS.to_string()]);
    let wanted = (1usize << (GENERATIONS + 1)) - 2;
    let prefix = format!("{folder}/");
    let mut files = std::collections::BTreeSet::new();
    let mut pids = std::collections::BTreeSet::new();
    for (event, file) in attempt.opens() {
        let path = crate::sensor::shown(file);
        if path.starts_with(&prefix) && file.resolved {
            files.insert(path);
            pids.extend(event.process.as_ref().map(|process| process.pid));
        }
    }
    if (files.len(), pids.len()) == (wanted, wanted) {
        Verdict::seen(stage.sensor.hook("fork").hook)
    } else {
        Verdict::not_seen(format!(
            "{} of {wanted} files, by {} of {wanted} processes",
            files.len(),
            pids.len()
        ))
    }
}
