//! The fields: name in JSON, name on the wire, meaning, and why.

use super::{
    Field,
    Redaction::{self, Command, None as Nothing, Text},
};

const ALL: &[&str] = &[
    "exec", "exit", "open", "connect", "session", "lost", "coverage", "finding",
];
/// A loss or a gap names the session when it is that session's alone.
const OF_SESSIONS: &[&str] = ALL;
const OF_PROCESSES: &[&str] = &[
    "exec", "exit", "open", "connect", "session", "coverage", "finding",
];
const RESULTS: &[&str] = &["exec", "open", "connect"];
const EXEC: &[&str] = &["exec"];
const EXIT: &[&str] = &["exit"];
const OPEN: &[&str] = &["open"];
const CONNECT: &[&str] = &["connect"];
const SESSION: &[&str] = &["session"];
const LOST: &[&str] = &["lost"];
const COVERAGE: &[&str] = &["coverage"];
const FINDING: &[&str] = &["finding"];

const WHO: &str = "tells whose agent it was, where accounts differ";
const WHICH_PROCESS: &str = "tells processes apart and puts them into a tree";
const WHERE_WORKED: &str = "tells which project the agent worked on";
const FILES: &str = "answers which files the agent looked at or changed";
const DESTINATIONS: &str = "answers where data went";
const COMMANDS: &str = "answers what the agent ran";
const RECOGNITION: &str = "answers which agent it was, and how that is known";
const COMPLETENESS: &str = "says honestly what is missing";
const ATTENTION: &str = "tells people what they should look at";
const FOLDING: &str = "many equal events are reported as one";

const fn field(
    name: &'static str,
    wire: &'static str,
    classes: &'static [&'static str],
    redaction: Redaction,
    meaning: &'static str,
    example: &'static str,
    why: &'static str,
) -> Field {
    let wire = if wire.is_empty() { None } else { Some(wire) };
    Field {
        name: Some(name),
        wire,
        classes,
        meaning,
        example,
        why,
        redaction,
    }
}

/// What events carry.
#[rustfmt::skip]
pub const EVENT_FIELDS: &[Field] = &[
    field("time", "time_unix_nano", ALL, Nothing, "when it happened", "2026-07-01T08:15:02.123456789Z", "orders events"),
    field("class", "", ALL, Nothing, "what kind of event it is", "exec", "says which of the other fields apply"),
    field("session", "session", OF_SESSIONS, Nothing, "one run of an agent, by a hash of its first process", "4d2f0c…", "keeps one run's events together"),
    field("agent.family", "agent.family", OF_SESSIONS, Text, "which agent it is", "claude-code", RECOGNITION),
    field("agent.version", "agent.version", OF_SESSIONS, Text, "its version", "2.1.91", RECOGNITION),
    field("agent.confidence", "agent.confidence", OF_SESSIONS, Nothing, "how sure that is, 0 to 100", "95", RECOGNITION),
    field("agent.evidence", "agent.evidence", OF_SESSIONS, Text, "what it was recognised by", "package.json:@openai/codex@0.169.0", RECOGNITION),
    field("agent.install_path", "agent.install_path", OF_SESSIONS, Text, "where it is installed", "/usr/lib/node_modules/@openai/codex", RECOGNITION),
    field("process.pid", "process.pid", OF_PROCESSES, Nothing, "process id", "812", WHICH_PROCESS),
    field("process.start", "process.start_unix_nano", OF_PROCESSES, Nothing, "when the process began", "2026-07-01T08:15:02.120000000Z", WHICH_PROCESS),
    field("process.ppid", "process.ppid", OF_PROCESSES, Nothing, "process that started it", "800", WHICH_PROCESS),
    field("process.exe", "process.exe", OF_PROCESSES, Text, "the program's file", "/usr/bin/bash", COMMANDS),
    field("process.argv", "process.argv", OF_PROCESSES, Command, "the command line, argument by argument", "[\"bash\",\"-c\",\"echo hi\"]", COMMANDS),
    field("process.argv_truncated", "process.argv_truncated", OF_PROCESSES, Nothing, "whether the command line was longer than what is recorded", "false", COMPLETENESS),
    field("process.cwd", "process.cwd", OF_PROCESSES, Text, "its working directory", "/home/dev/app", WHERE_WORKED),
    field("process.uid", "process.uid", OF_PROCESSES, Nothing, "user id it runs as", "1000", WHO),
    field("process.inferred", "process.inferred", OF_PROCESSES, Nothing, "whether the process was read from /proc instead of observed from its start", "false", COMPLETENESS),
    field("exec.filename", "exec.filename", EXEC, Text, "the name the program was started by, e.g. a script's", "/usr/local/bin/codex", COMMANDS),
    field("exit.code", "exit.code", EXIT, Nothing, "exit status, when it ended by itself", "0", "tells whether a command failed"),
    field("exit.signal", "exit.signal", EXIT, Nothing, "signal that ended it", "9", "tells whether a command was killed"),
    field("file.path", "open.path", OPEN, Text, "path of the file that was opened; never what is in it", "/home/dev/app/src/main.rs", FILES),
    field("file.resolved", "open.path_resolved", OPEN, Nothing, "whether the path is the kernel's, or as the program gave it", "true", COMPLETENESS),
    field("file.flags", "open.flags", OPEN, Nothing, "how it was opened: to read, write, create", "[\"O_RDONLY\"]", FILES),
    field("file.mode", "open.mode", OPEN, Nothing, "type and permissions of the file", "100644", "tells files from directories and devices"),
    field("file.count", "open.count", OPEN, Nothing, "how many equal opens this stands for", "3", FOLDING),
    field("file.last", "open.last_unix_nano", OPEN, Nothing, "time of the last of them", "2026-07-01T08:15:02.900000000Z", FOLDING),
    field("file.inode", "open.inode", OPEN, Nothing, "number of the file on its device", "1048577", "tells that two paths are one file"),
    field("file.device", "open.device", OPEN, Nothing, "device the file is on, major:minor", "8:1", "tells that two paths are one file"),
    field("file.links", "open.links", OPEN, Nothing, "how many names (hard links) the file has", "1", "tells that a file was opened that has another name too"),
    field("net.family", "connect.family", CONNECT, Nothing, "inet, inet6, unix, vsock, or the number of another", "inet", DESTINATIONS),
    field("net.addr", "connect.addr", CONNECT, Nothing, "address connected to", "192.0.2.7", DESTINATIONS),
    field("net.port", "connect.port", CONNECT, Nothing, "port connected to", "443", DESTINATIONS),
    field("net.proto", "connect.proto", CONNECT, Nothing, "protocol", "tcp", DESTINATIONS),
    field("net.path", "connect.path", CONNECT, Text, "path of a unix socket; of vsock, context and port", "/run/docker.sock", "tells of Docker, key agents and keyrings being used"),
    field("net.count", "connect.count", CONNECT, Nothing, "how many equal connections this stands for", "1", FOLDING),
    field("net.last", "connect.last_unix_nano", CONNECT, Nothing, "time of the last of them", "2026-07-01T08:15:02.900000000Z", FOLDING),
    field("result", "result", RESULTS, Nothing, "0, or the error", "ENOENT", "tells attempts from successes"),
    field("hook", "hook", OF_PROCESSES, Nothing, "which place in the kernel saw it", "lsm/file_open", COMPLETENESS),
    field("session_info.phase", "session_info.phase", SESSION, Nothing, "start, update or end", "start", "marks a run's beginning and end"),
    field("session_info.parent", "session_info.parent", SESSION, Nothing, "session of the agent that started this one", "09ab…", "follows agents that start agents"),
    field("session_info.user", "session_info.user", SESSION, Text, "user name, from /etc/passwd", "dev", WHO),
    field("session_info.uid", "session_info.uid", SESSION, Nothing, "user id", "1000", WHO),
    field("session_info.login_uid", "session_info.login_uid", SESSION, Nothing, "user id that logged in, whatever sudo did since", "1000", WHO),
    field("session_info.terminal", "session_info.terminal", SESSION, Text, "terminal", "/dev/pts/3", "tells sessions of a person from those of a service"),
    field("session_info.cwd", "session_info.cwd", SESSION, Text, "directory the agent was started in", "/home/dev/app", WHERE_WORKED),
    field("session_info.repository.root", "session_info.repository.root", SESSION, Text, "top of the git repository", "/home/dev/app", WHERE_WORKED),
    field("session_info.repository.remote", "session_info.repository.remote", SESSION, Text, "its remote, without user and password", "https://example.com/app.git", WHERE_WORKED),
    field("session_info.repository.branch", "session_info.repository.branch", SESSION, Text, "its branch", "main", WHERE_WORKED),
    field("session_info.gaps", "session_info.gaps", SESSION, Nothing, "how many gaps in this run's story are known of", "0", COMPLETENESS),
    field("session_info.found", "session_info.found", SESSION, Nothing, "observed from its start, resumed after a restart of the sensor, or found running", "observed", COMPLETENESS),
    field("lost.hop", "lost.hop", LOST, Nothing, "where events were lost", "kernel", COMPLETENESS),
    field("lost.record", "lost.record", LOST, Nothing, "which kind", "open", COMPLETENESS),
    field("lost.cause", "lost.cause", LOST, Nothing, "why", "ring_full", COMPLETENESS),
    field("lost.count", "lost.count", LOST, Nothing, "how many", "7", COMPLETENESS),
    field("lost.first", "lost.first_unix_nano", LOST, Nothing, "from when", "2026-07-01T08:15:02.100000000Z", COMPLETENESS),
    field("lost.last", "lost.last_unix_nano", LOST, Nothing, "until when", "2026-07-01T08:15:02.900000000Z", COMPLETENESS),
    field("coverage.what", "coverage.what", COVERAGE, Nothing, "what the sensor can or cannot vouch for: blind, throttled, hook, io_uring, socket, canary, evicted, unjudged, vanished, untested or degraded", "blind", COMPLETENESS),
    field("coverage.phase", "coverage.phase", COVERAGE, Nothing, "begin, end or point", "end", COMPLETENESS),
    field("coverage.hook", "coverage.hook", COVERAGE, Nothing, "which place in the kernel it concerns", "cgroup/connect4", COMPLETENESS),
    field("coverage.first", "coverage.first_unix_nano", COVERAGE, Nothing, "from when", "2026-07-01T08:15:02.100000000Z", COMPLETENESS),
    field("coverage.last", "coverage.last_unix_nano", COVERAGE, Nothing, "until when", "2026-07-01T08:15:02.900000000Z", COMPLETENESS),
    field("coverage.count", "coverage.count", COVERAGE, Nothing, "how many records it concerns", "1200", COMPLETENESS),
    field("coverage.reason", "coverage.reason", COVERAGE, Text, "why, in a sentence", "the sensor was not running", COMPLETENESS),
    field("finding.rule", "finding.rule", FINDING, Nothing, "which rule found it", "sensor.hook_detached", ATTENTION),
    field("finding.title", "finding.title", FINDING, Text, "what it is, in one line", "a hook of the sensor was detached", ATTENTION),
    field("finding.severity", "finding.severity", FINDING, Nothing, "informational, low, medium, high or critical", "high", ATTENTION),
    field("finding.severity_id", "", FINDING, Nothing, "the same as a number, as OCSF has it", "4", ATTENTION),
    field("finding.attack", "finding.attack", FINDING, Nothing, "techniques of MITRE ATT&CK", "[\"T1562.001\"]", ATTENTION),
    field("finding.reason", "finding.reason", FINDING, Text, "what was seen, in a sentence", "a hook does not report the sensor's own calls", ATTENTION),
];

const fn hello(
    wire: &'static str,
    meaning: &'static str,
    example: &'static str,
    why: &'static str,
) -> Field {
    Field {
        name: None,
        wire: Some(wire),
        classes: &[],
        meaning,
        example,
        why,
        redaction: Nothing,
    }
}

/// What the sensor says of itself and the host when it connects to the collector.
#[rustfmt::skip]
pub const HELLO_FIELDS: &[Field] = &[
    hello("sensor_id", "random number of this installation", "3f0a…", "tells sensors apart; it says nothing about the machine"),
    hello("epoch", "when the spool was begun", "1782893702000000000", "numbers events, so that none is stored twice"),
    hello("sensor_version", "version of the sensor", "0.1.0", "tells which sensors are old"),
    hello("host.hostname", "the host's name", "workstation-7", "tells which machine it is"),
    hello("host.os", "the distribution", "Debian GNU/Linux 12", "tells which machines behave alike"),
    hello("host.kernel", "the kernel's release", "6.1.0-18-amd64", "tells what the sensor can see there"),
    hello("host.arch", "the processor's architecture", "x86_64", "tells what the sensor can see there"),
    hello("host.boot_id", "random number of this boot", "0e3a2f6e-…", "process ids start anew at each boot"),
    hello("lane", "whether this stream carries the bulk of events, or findings and what says how complete it is", "findings", "what is urgent does not wait behind what is much"),
    hello("hooks.fact", "what a hook sees", "open", COMPLETENESS),
    hello("hooks.hook", "the hook that is used for it", "lsm/file_open", COMPLETENESS),
    hello("hooks.status", "whether it is the best one", "fallback", COMPLETENESS),
    hello("hooks.reason", "why not", "lsm: EPERM", COMPLETENESS),
];
