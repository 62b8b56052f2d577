//! What runs in the virtual machines: one boot per subject, and in it one round of calls per case.
//!
//! A case without the subject stands before and after the others: their mean is what the others
//! are compared with, and how far they are apart says what the comparison is worth. A guest first
//! does nothing for a while, since background work of the boot would be charged to whoever runs.

use std::fmt::Write;

use crate::vm::guest::{GuestFile, OUTPUT};

/// The case without the subject, before the others.
pub const BEFORE: &str = "bare-before";
/// The same after them.
pub const AFTER: &str = "bare-after";
/// File of the guest with one line per case and call.
pub const FIGURES: &str = "calls";

/// Seconds of the guest's time before the first call, and after a subject has been started.
const SETTLE: u32 = 5;
const FILE: &str = "/tmp/project/source/module/file.rs";

/// What is measured: its name in results, the name and subject as `skep-calls` takes them, and how
/// many of it make a repetition.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    subject: &'static str,
    count: u32,
    /// Its figure depends on whether the object was seen before, so it needs new ones.
    fresh: bool,
}

/// Files a case opens once each: as many as `skep-calls fill` makes.
pub const FILES_ONCE: u32 = 3000;

/// Every call, in the order it is measured and shown.
pub const CALLS: [Measured; 6] = [
    measured("open", "open+close, the same file", FILE, 1000),
    Measured {
        fresh: true,
        ..measured("open-each", "open+close, each time another file", "", 500)
    },
    measured("exec", "fork+exec+wait", "/bin/skep-nothing", 40),
    measured("connect", "TCP connect+accept+reset", "", 500),
    measured("connect-udp", "UDP connect", "", 8000),
    measured("getppid", "getppid", "", 20_000),
];

const fn measured(
    name: &'static str,
    title: &'static str,
    subject: &'static str,
    count: u32,
) -> Measured {
    Measured {
        name,
        title,
        subject,
        count,
        fresh: false,
    }
}

/// Whose cost is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Subject {
    /// The sensor with the best hooks.
    Sensor,
    /// The sensor with system call tracepoints.
    Fallback,
    /// `opensnoop` and `execsnoop`.
    Snoop,
    /// The audit daemon.
    Audit,
}

impl Subject {
    pub const ALL: [Self; 4] = [Self::Sensor, Self::Fallback, Self::Snoop, Self::Audit];

    /// As it is called in names of files and lines of output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sensor => "sensor",
            Self::Fallback => "fallback",
            Self::Snoop => "snoop",
            Self::Audit => "audit",
        }
    }

    /// As it is called on the page.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sensor => "skep-sensor, best tier",
            Self::Fallback => "skep-sensor, fallback tier",
            Self::Snoop => "opensnoop and execsnoop",
            Self::Audit => "auditd",
        }
    }

    /// Whether calls stay dearer when it has ended, so that only what was measured before it is
    /// bare: the kernel goes on to enter and leave every call the long way once a task has been
    /// audited.
    pub fn leaves_traces(self) -> bool {
        self == Self::Audit
    }

    /// The cases between the bare ones.
    pub fn cases(self) -> &'static [&'static str] {
        match self {
            Self::Sensor | Self::Fallback => &["unwatched", "watched"],
            Self::Snoop => &[
                "opensnoop-filtered",
                "opensnoop-all",
                "execsnoop-filtered",
                "execsnoop-all",
            ],
            Self::Audit => &["audit-other-login", "audit-everybody"],
        }
    }

    /// The configuration files of the sensor.
    pub fn files(self) -> Vec<GuestFile> {
        let configuration = match self {
            Self::Sensor => "",
            Self::Fallback => "[kernel]\navoid = [\"lsm/\", \"fentry/\"]\n",
            Self::Snoop | Self::Audit => return Vec::new(),
        };
        vec![GuestFile::text("etc/skep/sensor.toml", configuration)]
    }

    /// What the guest does.
    pub fn script(self) -> String {
        let mut script = COMMANDS
            .replace("OUTPUT", OUTPUT)
            .replace("FIGURES", FIGURES);
        writeln!(
            script,
            "mkdir -p {}",
            FILE.rsplit_once('/').map_or("", |(folder, _)| folder)
        )
        .expect(STRING);
        writeln!(script, "echo content > {FILE}\nsleep {SETTLE}").expect(STRING);
        writeln!(script, "take clock loop skep-calls loop 1000000").expect(STRING);
        // While nobody looks: who tells of opens shall not tell of these.
        for case in [BEFORE, AFTER].iter().chain(self.cases()) {
            for Measured { count, .. } in CALLS.iter().filter(|call| call.fresh) {
                let folder = folder_of(case);
                writeln!(script, "skep-calls fill {folder} {count}").expect(STRING);
            }
        }
        script.push_str(&round(BEFORE, ""));
        match self {
            Self::Sensor | Self::Fallback => {
                writeln!(script, "start_sensor\nsleep {SETTLE}").expect(STRING);
                script.push_str(&round("unwatched", ""));
                script.push_str(&round("watched", "skep-demo-agent do sleep 1000 exec "));
                script.push_str(
                    "stop\ntold unwatched /tmp/subject.out\ntold watched /tmp/subject.out\n",
                );
            }
            Self::Snoop => {
                // Where they look for the tracepoints.
                script.push_str("mount -t debugfs debugfs /sys/kernel/debug\n");
                for (case, command) in [
                    ("opensnoop-filtered", "opensnoop -p 1"),
                    ("opensnoop-all", "opensnoop"),
                    ("execsnoop-filtered", "execsnoop -u 12345"),
                    ("execsnoop-all", "execsnoop"),
                ] {
                    writeln!(script, "start {command}\nsleep {SETTLE}").expect(STRING);
                    script.push_str(&round(case, ""));
                    writeln!(script, "stop\ntold {case} /tmp/subject.out").expect(STRING);
                }
            }
            Self::Audit => {
                writeln!(script, "start_audit\nsleep {SETTLE}").expect(STRING);
                for (case, filter) in [
                    ("audit-other-login", "-F auid=12345"),
                    ("audit-everybody", ""),
                ] {
                    writeln!(script, "rule {filter}\nsleep {SETTLE}").expect(STRING);
                    script.push_str(&round(case, ""));
                    writeln!(script, "sleep {SETTLE}\nauditctl -D > /dev/null").expect(STRING);
                    writeln!(script, "told {case} /var/log/audit/*").expect(STRING);
                }
                script.push_str("stop_audit\n");
            }
        }
        writeln!(script, "sleep {SETTLE}").expect(STRING);
        script.push_str(&round(AFTER, ""));
        script
    }
}

const STRING: &str = "writing to a string does not fail";

/// Where a case has the files it opens once each; as deep as the file opened again and again.
fn folder_of(case: &str) -> String {
    format!("/tmp/project/source/{case}")
}

/// Every call once, as a child of what the prefix starts.
fn round(case: &str, prefix: &str) -> String {
    let mut text = String::new();
    for Measured {
        name,
        title: _,
        subject,
        count,
        fresh,
    } in CALLS
    {
        let own = folder_of(case);
        let subject = if fresh { &own } else { subject };
        let end = if prefix.is_empty() { "" } else { " --" };
        writeln!(
            text,
            "take {case} {name} {prefix}skep-calls {name} {subject} {count}{end}"
        )
        .expect(STRING);
    }
    text
}

/// The guest's vocabulary. Whatever fails ends the guest with a failure.
const COMMANDS: &str = r#"
take() {
    case=$1; call=$2; shift 2
    line=$("$@") || { echo "failed: $*"; exit 1; }
    echo "$case $call $line" >> OUTPUT/FIGURES
    echo "$case $call $line"
}
patiently() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || { echo "in vain: $*"; cat /tmp/subject.err; exit 1; }
        sleep 0.1
    done
}
start() {
    "$@" > /tmp/subject.out 2> /tmp/subject.err &
    subject=$!
    sleep 2
    kill -0 $subject || { echo "ended: $*"; cat /tmp/subject.err; exit 1; }
}
stop() {
    kill -INT $subject
    wait $subject
    cat /tmp/subject.err
}
start_sensor() {
    start skep-sensor watch --json
    patiently grep -q ready /tmp/subject.err
}
told() {
    case=$1; shift
    echo "told $case $(cat "$@" | grep -c "/tmp/project/source/$case/")" >> OUTPUT/FIGURES
}
start_audit() {
    mkdir -p /var/log/audit /etc/audit/plugins.d
    mount -t tmpfs tmpfs /var/log/audit
    start auditd -n
    auditctl -b 8192 --backlog_wait_time 60000 -f 1 > /dev/null || exit 1
}
rule() {
    auditctl -a always,exit -F arch=b64 -S open,openat,execve,connect "$@" || exit 1
}
stop_audit() {
    auditctl -e 0 > /dev/null
    kill -TERM $subject
    wait $subject
    cat /tmp/subject.err
}
"#;
