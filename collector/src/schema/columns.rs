//! The columns of `events`, in their order in the files, and in which classes each can have a value.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Int16Array, Int32Array, Int64Array, ListBuilder,
        StringArray, StringBuilder, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field},
};
use skep_proto::v1::{
    self,
    coverage::Phase as CoveragePhase,
    event::Detail,
    finding::Severity,
    session::{Found, Phase},
};

use super::{By, Class, Column, Row};

macro_rules! columns {
    ($($name:literal $fill:ident($row:ident => $value:expr) of $classes:expr, by $by:ident, $about:literal;)*) => {
        /// Every column of `events`.
        pub const COLUMNS: &[Column] = &[$(Column {
            name: $name,
            nullable: nullable!($fill),
            about: $about,
            classes: $classes,
            by: By::$by,
            fill: |rows| $fill(rows, |$row| $value),
        }),*];
    };
}

macro_rules! nullable {
    (text_always) => {
        false
    };
    (long_always) => {
        false
    };
    (time_always) => {
        false
    };
    ($other:ident) => {
        true
    };
}

use Class::{Connect, Coverage, Exec, Exit, Finding, Lost, Open, Session};

const ALL: &[Class] = &Class::ALL;

columns! {
    "sensor_id" text_always(r => &r.origin.sensor_id) of ALL, by Origin, "install id of the sensor";
    "epoch" long_always(r => r.origin.epoch) of ALL, by Origin, "life of the sensor's spool";
    "seq" long_always(r => r.seq) of ALL, by Event, "place within the epoch, from 1, without gaps";
    "host" text(r => r.origin.hostname.as_deref()) of ALL, by Origin, "host name, as of the stream that brought the event";
    "kernel" text(r => r.origin.kernel.as_deref()) of ALL, by Origin, "kernel release, as of the stream that brought the event";
    "time" time_always(r => r.event.time_unix_nano) of ALL, by Event, "when it happened";
    "class" text_always(r => r.class.name()) of ALL, by Event, "exec, exit, open, connect, session, lost, coverage or finding";
    "session" text(r => r.session_id()) of ALL, by Session, "session id; null on host-wide events (lost and coverage that are not one session's alone)";
    "agent_family" text(r => r.agent().map(|a| a.family.as_str())) of ALL, by Agent, "catalogue id of the agent";
    "agent_version" text(r => r.agent()?.version.as_deref()) of ALL, by Agent, "version of the agent";
    "agent_confidence" short(r => r.agent().map(|a| narrow(a.confidence))) of ALL, by Agent, "0 to 100";
    "agent_evidence" texts(r => r.agent().map(|a| a.evidence.as_slice())) of ALL, by Agent, "what the agent was recognised by, strongest first";
    "agent_install_path" text(r => r.agent()?.install_path.as_deref()) of ALL, by Agent, "folder of the agent's package, or its executable";
    "pid" int(r => r.process().map(|p| p.pid)) of ALL, by Process, "process id";
    "start" time(r => r.process()?.start_unix_nano) of ALL, by Process, "start of the process; with pid it names the process";
    "ppid" int(r => r.process()?.ppid) of ALL, by Process, "parent's process id, measured at fork";
    "exe" text(r => r.process()?.exe.as_deref()) of ALL, by Process, "executable of the process";
    "argv" texts(r => r.process().map(|p| p.argv.as_slice()).filter(|argv| !argv.is_empty())) of ALL, by Process, "arguments, taken at exec";
    "argv_truncated" boolean(r => r.process().map(|p| p.argv_truncated)) of ALL, by Process, "argv was longer than what the sensor records";
    "cwd" text(r => r.process()?.cwd.as_deref()) of ALL, by Process, "working directory of the process";
    "uid" long(r => r.process()?.uid) of ALL, by Process, "user id of the process";
    "file_path" text(r => r.file()?.path.as_deref()) of &[Open], by Event, "file opened";
    "file_resolved" boolean(r => r.file().map(|f| f.path_resolved)) of &[Open], by Event, "true: the kernel's own path; false: as the program gave it";
    "file_flags" long(r => r.file().map(|f| f.flags)) of &[Open], by Event, "O_* flags of the open";
    "file_mode" int(r => r.file()?.mode) of &[Open], by Event, "file type and permission bits; null when the open failed";
    "count" long(r => r.count()) of &[Open, Connect, Lost, Coverage], by Event, "how many opens, connects or records lost the row stands for; of coverage, records concerned (0: none, or not a number of records)";
    "last" time(r => r.last()) of &[Open, Connect], by Event, "time of the last of them; null when there is one";
    "net_family" text(r => r.net().map(|n| n.family.as_str())) of &[Connect], by Event, "inet, inet6, unix, vsock, or the number of another";
    "net_addr" text(r => r.net()?.addr.as_deref()) of &[Connect], by Event, "address connected to";
    "net_port" int(r => r.net()?.port) of &[Connect], by Event, "port connected to";
    "net_proto" text(r => r.net()?.proto.as_deref()) of &[Connect], by Event, "tcp, udp …; null for unix sockets";
    "net_path" text(r => r.net()?.path.as_deref()) of &[Connect], by Event, "unix socket; an abstract name starts with @; of vsock, CID:PORT";
    "result" int(r => r.event.result) of ALL, by Event, "0 or a negative errno; null when the hook runs before the outcome";
    "hook" text(r => r.hook()) of ALL, by Hook, "which kernel hook saw it";
    "exec_filename" text(r => r.exec()?.filename.as_deref()) of &[Exec], by Event, "name given to execve; differs from exe for scripts and links";
    "exit_code" short(r => r.exit()?.code.map(narrow)) of &[Exit], by Event, "exit status, when it ended by itself";
    "exit_signal" short(r => r.exit()?.signal.map(narrow)) of &[Exit], by Event, "signal that ended it";
    "session_phase" text(r => r.phase()) of &[Session], by Event, "start, update or end";
    "session_parent" text(r => r.session()?.parent.as_deref()) of &[Session], by Event, "session of the agent that started this one";
    "user_name" text(r => r.session()?.user.as_deref()) of &[Session], by Event, "user of the session";
    "user_uid" long(r => r.session()?.uid) of &[Session], by Event, "user id of the session";
    "login_uid" long(r => r.session()?.login_uid) of &[Session], by Event, "audit login id; null when unset";
    "terminal" text(r => r.session()?.terminal.as_deref()) of &[Session], by Event, "terminal of the session";
    "session_cwd" text(r => r.session()?.cwd.as_deref()) of &[Session], by Event, "working directory in which the session began";
    "repo_root" text(r => r.repository().map(|g| g.root.as_str())) of &[Session], by Event, "root of the git repository";
    "repo_remote" text(r => r.repository()?.remote.as_deref()) of &[Session], by Event, "URL of its remote";
    "repo_branch" text(r => r.repository()?.branch.as_deref()) of &[Session], by Event, "branch, or commit of a detached head";
    "lost_hop" text(r => r.lost().map(|l| l.hop.as_str())) of &[Lost], by Event, "where records were lost";
    "lost_record" text(r => r.lost().map(|l| l.record.as_str())) of &[Lost], by Event, "type of the lost records, or any";
    "lost_cause" text(r => r.lost().map(|l| l.cause.as_str())) of &[Lost], by Event, "why they were lost";
    "lost_first" time(r => r.lost().map(|l| l.first_unix_nano)) of &[Lost], by Event, "time of the first loss";
    "lost_last" time(r => r.lost().map(|l| l.last_unix_nano)) of &[Lost], by Event, "time of the last loss";
    "file_inode" wide(r => r.file()?.inode) of &[Open], by Event, "number of the file on its device";
    "file_device" text(r => r.file()?.device.as_deref()) of &[Open], by Event, "device of the file, major:minor";
    "file_links" long(r => r.file()?.links) of &[Open], by Event, "hard links; more than 1: the file has other names";
    "process_inferred" boolean(r => r.process().map(|p| p.inferred)) of ALL, by Process, "process was read from /proc, not observed from its start";
    "session_gaps" long(r => r.session()?.gaps) of &[Session], by Event, "known gaps in the session's story so far";
    "session_found" text(r => r.found()) of &[Session], by Event, "observed, resumed or running: how the sensor came to know of the session";
    "coverage_what" text(r => r.coverage().map(|c| c.what.as_str())) of &[Coverage], by Event, "what the sensor can or cannot vouch for: blind, throttled, hook, io_uring, socket, canary, evicted, unjudged, vanished, untested, degraded";
    "coverage_phase" text(r => r.coverage_phase()) of &[Coverage], by Event, "begin, end or point";
    "coverage_hook" text(r => r.coverage()?.hook.as_deref()) of &[Coverage], by Event, "hook concerned; null when all are, or none";
    "coverage_first" time(r => r.coverage().map(|c| c.first_unix_nano)) of &[Coverage], by Event, "begin of the time it speaks of";
    "coverage_last" time(r => r.coverage().map(|c| c.last_unix_nano)) of &[Coverage], by Event, "end of the time it speaks of";
    "coverage_reason" text(r => r.coverage().map(|c| c.reason.as_str())) of &[Coverage], by Event, "why, in one sentence";
    "finding_rule" text(r => r.finding().map(|f| f.rule.as_str())) of &[Finding], by Event, "stable id of the rule, e.g. sensor.hook_detached";
    "finding_title" text(r => r.finding().map(|f| f.title.as_str())) of &[Finding], by Event, "one line for people";
    "finding_severity" text(r => r.severity()) of &[Finding], by Event, "informational, low, medium, high or critical (OCSF severity_id)";
    "finding_attack" texts(r => r.finding().map(|f| f.attack.as_slice())) of &[Finding], by Event, "MITRE ATT&CK techniques";
    "finding_reason" text(r => r.finding().map(|f| f.reason.as_str())) of &[Finding], by Event, "what was seen, in one sentence";
}

// === how a column is filled ===

fn text<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<&'a str>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<StringArray>())
}

fn text_always<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> &'a str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

fn texts<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<&'a [String]>) -> ArrayRef {
    // The name is Delta Lake's and Parquet's.
    let element = Field::new("element", DataType::Utf8, true);
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(element);
    for row in rows {
        match value(row) {
            Some(items) => {
                items
                    .iter()
                    .for_each(|item| lists.values().append_value(item));
                lists.append(true);
            }
            None => lists.append(false),
        }
    }
    Arc::new(lists.finish())
}

fn boolean<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<bool>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<BooleanArray>())
}

fn short<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u8>) -> ArrayRef {
    let values = rows.iter().map(|row| value(row).map(i16::from));
    Arc::new(values.collect::<Int16Array>())
}

fn int<'a, T>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<T>) -> ArrayRef
where
    i32: TryFrom<T>,
{
    let values = rows.iter().map(|row| value(row).map(narrow::<T, i32>));
    Arc::new(values.collect::<Int32Array>())
}

fn long<'a, T>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<T>) -> ArrayRef
where
    i64: TryFrom<T>,
{
    let values = rows.iter().map(|row| value(row).map(narrow::<T, i64>));
    Arc::new(values.collect::<Int64Array>())
}

fn long_always<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> u64) -> ArrayRef {
    let values = rows.iter().map(|row| narrow(value(row)));
    Arc::new(Int64Array::from_iter_values(values))
}

/// All 64 bits of a number that has no sign: an inode of an overlay uses the highest.
fn wide<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u64>) -> ArrayRef {
    let values = rows.iter().map(|row| value(row).map(i128::from));
    let values = values.collect::<Decimal128Array>();
    Arc::new(
        values
            .with_precision_and_scale(20, 0)
            .expect("20 digits are fewer than a Decimal128 can have"),
    )
}

fn time<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u64>) -> ArrayRef {
    let values = rows.iter().map(|row| value(row).map(micros));
    let values = values.collect::<TimestampMicrosecondArray>();
    Arc::new(values.with_timezone("UTC"))
}

fn time_always<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> u64) -> ArrayRef {
    let values = rows.iter().map(|row| micros(value(row)));
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// Unix nanoseconds as the table keeps them.
fn micros(unix: u64) -> i64 {
    (unix / 1000)
        .try_into()
        .expect("a thousandth of 64 bits fits 63")
}

fn narrow<N, T: TryFrom<N>>(number: N) -> T {
    T::try_from(number)
        .ok()
        .expect("ingest refuses numbers that do not fit their column")
}

fn part<T>(parts: &[T], index: Option<u32>) -> Option<&T> {
    index.map(|index| &parts[index as usize])
}

// === impl Row ===

impl<'a> Row<'a> {
    pub(super) fn session_id(&self) -> Option<&'a str> {
        let id = part(&self.parts.sessions, self.event.session)?;
        Some(id)
    }

    pub(super) fn agent(&self) -> Option<&'a v1::Agent> {
        part(&self.parts.agents, self.event.agent)
    }

    pub(super) fn process(&self) -> Option<&'a v1::Process> {
        part(&self.parts.processes, self.event.process)
    }

    pub(super) fn hook(&self) -> Option<&'a str> {
        let hook = part(&self.parts.hooks, self.event.hook)?;
        Some(hook)
    }

    fn exec(&self) -> Option<&'a v1::Exec> {
        match &self.event.detail {
            Some(Detail::Exec(exec)) => Some(exec),
            _ => None,
        }
    }

    fn exit(&self) -> Option<&'a v1::Exit> {
        match &self.event.detail {
            Some(Detail::Exit(exit)) => Some(exit),
            _ => None,
        }
    }

    fn file(&self) -> Option<&'a v1::File> {
        match &self.event.detail {
            Some(Detail::Open(file)) => Some(file),
            _ => None,
        }
    }

    fn net(&self) -> Option<&'a v1::Net> {
        match &self.event.detail {
            Some(Detail::Connect(net)) => Some(net),
            _ => None,
        }
    }

    fn session(&self) -> Option<&'a v1::Session> {
        match &self.event.detail {
            Some(Detail::SessionInfo(session)) => Some(session),
            _ => None,
        }
    }

    fn lost(&self) -> Option<&'a v1::Lost> {
        match &self.event.detail {
            Some(Detail::Lost(lost)) => Some(lost),
            _ => None,
        }
    }

    fn coverage(&self) -> Option<&'a v1::Coverage> {
        match &self.event.detail {
            Some(Detail::Coverage(coverage)) => Some(coverage),
            _ => None,
        }
    }

    fn finding(&self) -> Option<&'a v1::Finding> {
        match &self.event.detail {
            Some(Detail::Finding(finding)) => Some(finding),
            _ => None,
        }
    }

    fn severity(&self) -> Option<&'static str> {
        match self.finding()?.severity() {
            Severity::Informational => Some("informational"),
            Severity::Low => Some("low"),
            Severity::Medium => Some("medium"),
            Severity::High => Some("high"),
            Severity::Critical => Some("critical"),
            Severity::Unspecified => None,
        }
    }

    fn coverage_phase(&self) -> Option<&'static str> {
        match self.coverage()?.phase() {
            CoveragePhase::Begin => Some("begin"),
            CoveragePhase::End => Some("end"),
            CoveragePhase::Point => Some("point"),
            CoveragePhase::Unspecified => None,
        }
    }

    fn found(&self) -> Option<&'static str> {
        match self.session()?.found() {
            Found::Observed => Some("observed"),
            Found::Resumed => Some("resumed"),
            Found::Running => Some("running"),
            Found::Unspecified => None,
        }
    }

    fn repository(&self) -> Option<&'a v1::Repository> {
        self.session()?.repository.as_ref()
    }

    fn phase(&self) -> Option<&'static str> {
        match self.session()?.phase() {
            Phase::Start => Some("start"),
            Phase::Update => Some("update"),
            Phase::End => Some("end"),
            Phase::Unspecified => None,
        }
    }

    fn count(&self) -> Option<u64> {
        match self.event.detail.as_ref()? {
            Detail::Open(file) => Some(file.count),
            Detail::Connect(net) => Some(net.count),
            Detail::Lost(lost) => Some(lost.count),
            Detail::Coverage(coverage) => Some(coverage.count),
            Detail::Exec(_) | Detail::Exit(_) | Detail::SessionInfo(_) | Detail::Finding(_) => None,
        }
    }

    fn last(&self) -> Option<u64> {
        match self.event.detail.as_ref()? {
            Detail::Open(file) => file.last_unix_nano,
            Detail::Connect(net) => net.last_unix_nano,
            _ => None,
        }
    }
}
