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

use super::{Class, Column, Row};

macro_rules! columns {
    ($($name:literal $fill:ident($row:ident => $value:expr) of $classes:expr, $about:literal;)*) => {
        /// Every column of `events`.
        pub const COLUMNS: &[Column] = &[$(Column {
            name: $name,
            nullable: nullable!($fill),
            about: $about,
            classes: $classes,
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
    "sensor_id" text_always(r => &r.origin.sensor_id) of ALL, "install id of the sensor";
    "epoch" long_always(r => r.origin.epoch) of ALL, "life of the sensor's spool";
    "seq" long_always(r => r.seq) of ALL, "place within the epoch, from 1, without gaps";
    "host" text(r => r.origin.hostname.as_deref()) of ALL, "host name, as of the stream that brought the event";
    "kernel" text(r => r.origin.kernel.as_deref()) of ALL, "kernel release, as of the stream that brought the event";
    "time" time_always(r => r.event.time_unix_nano) of ALL, "when it happened";
    "class" text_always(r => r.class.name()) of ALL, "exec, exit, open, connect, session, lost, coverage or finding";
    "session" text(r => r.event.session.as_deref()) of ALL, "session id; null on host-wide events (lost and coverage that are not one session's alone)";
    "agent_family" text(r => r.agent().map(|a| a.family.as_str())) of ALL, "catalogue id of the agent";
    "agent_version" text(r => r.agent()?.version.as_deref()) of ALL, "version of the agent";
    "agent_confidence" short(r => r.agent().map(|a| narrow(a.confidence))) of ALL, "0 to 100";
    "agent_evidence" texts(r => r.agent().map(|a| a.evidence.as_slice())) of ALL, "what the agent was recognised by, strongest first";
    "agent_install_path" text(r => r.agent()?.install_path.as_deref()) of ALL, "folder of the agent's package, or its executable";
    "pid" int(r => r.process().map(|p| p.pid)) of ALL, "process id";
    "start" time(r => r.process()?.start_unix_nano) of ALL, "start of the process; with pid it names the process";
    "ppid" int(r => r.process()?.ppid) of ALL, "parent's process id, measured at fork";
    "exe" text(r => r.process()?.exe.as_deref()) of ALL, "executable of the process";
    "argv" texts(r => r.process().map(|p| p.argv.as_slice()).filter(|argv| !argv.is_empty())) of ALL, "arguments, taken at exec";
    "argv_truncated" boolean(r => r.process().map(|p| p.argv_truncated)) of ALL, "argv was longer than what the sensor records";
    "cwd" text(r => r.process()?.cwd.as_deref()) of ALL, "working directory of the process";
    "uid" long(r => r.process()?.uid) of ALL, "user id of the process";
    "file_path" text(r => r.file()?.path.as_deref()) of &[Open], "file opened";
    "file_resolved" boolean(r => r.file().map(|f| f.path_resolved)) of &[Open], "true: the kernel's own path; false: as the program gave it";
    "file_flags" long(r => r.file().map(|f| f.flags)) of &[Open], "O_* flags of the open";
    "file_mode" int(r => r.file()?.mode) of &[Open], "file type and permission bits; null when the open failed";
    "count" long(r => r.count()) of &[Open, Connect, Lost, Coverage], "how many opens, connects or records lost the row stands for; of coverage, records concerned (0: none, or not a number of records)";
    "last" time(r => r.last()) of &[Open, Connect], "time of the last of them; null when there is one";
    "net_family" text(r => r.net().map(|n| n.family.as_str())) of &[Connect], "inet, inet6 or unix";
    "net_addr" text(r => r.net()?.addr.as_deref()) of &[Connect], "address connected to";
    "net_port" int(r => r.net()?.port) of &[Connect], "port connected to";
    "net_proto" text(r => r.net()?.proto.as_deref()) of &[Connect], "tcp, udp …; null for unix sockets";
    "net_path" text(r => r.net()?.path.as_deref()) of &[Connect], "unix socket; an abstract name starts with @";
    "result" int(r => r.event.result) of ALL, "0 or a negative errno; null when the hook runs before the outcome";
    "hook" text(r => r.event.hook.as_deref()) of ALL, "which kernel hook saw it";
    "exec_filename" text(r => r.exec()?.filename.as_deref()) of &[Exec], "name given to execve; differs from exe for scripts and links";
    "exit_code" short(r => r.exit()?.code.map(narrow)) of &[Exit], "exit status, when it ended by itself";
    "exit_signal" short(r => r.exit()?.signal.map(narrow)) of &[Exit], "signal that ended it";
    "session_phase" text(r => r.phase()) of &[Session], "start, update or end";
    "session_parent" text(r => r.session()?.parent.as_deref()) of &[Session], "session of the agent that started this one";
    "user_name" text(r => r.session()?.user.as_deref()) of &[Session], "user of the session";
    "user_uid" long(r => r.session()?.uid) of &[Session], "user id of the session";
    "login_uid" long(r => r.session()?.login_uid) of &[Session], "audit login id; null when unset";
    "terminal" text(r => r.session()?.terminal.as_deref()) of &[Session], "terminal of the session";
    "session_cwd" text(r => r.session()?.cwd.as_deref()) of &[Session], "working directory in which the session began";
    "repo_root" text(r => r.repository().map(|g| g.root.as_str())) of &[Session], "root of the git repository";
    "repo_remote" text(r => r.repository()?.remote.as_deref()) of &[Session], "URL of its remote";
    "repo_branch" text(r => r.repository()?.branch.as_deref()) of &[Session], "branch, or commit of a detached head";
    "lost_hop" text(r => r.lost().map(|l| l.hop.as_str())) of &[Lost], "where records were lost";
    "lost_record" text(r => r.lost().map(|l| l.record.as_str())) of &[Lost], "type of the lost records, or any";
    "lost_cause" text(r => r.lost().map(|l| l.cause.as_str())) of &[Lost], "why they were lost";
    "lost_first" time(r => r.lost().map(|l| l.first_unix_nano)) of &[Lost], "time of the first loss";
    "lost_last" time(r => r.lost().map(|l| l.last_unix_nano)) of &[Lost], "time of the last loss";
    "file_inode" wide(r => r.file()?.inode) of &[Open], "number of the file on its device";
    "file_device" text(r => r.file()?.device.as_deref()) of &[Open], "device of the file, major:minor";
    "file_links" long(r => r.file()?.links) of &[Open], "hard links; more than 1: the file has other names";
    "process_inferred" boolean(r => r.process().map(|p| p.inferred)) of ALL, "process was read from /proc, not observed from its start";
    "session_gaps" long(r => r.session()?.gaps) of &[Session], "known gaps in the session's story so far";
    "session_found" text(r => r.found()) of &[Session], "observed, resumed or running: how the sensor came to know of the session";
    "coverage_what" text(r => r.coverage().map(|c| c.what.as_str())) of &[Coverage], "what the sensor can or cannot vouch for: blind, throttled, hook, io_uring, canary, evicted, unjudged, vanished";
    "coverage_phase" text(r => r.coverage_phase()) of &[Coverage], "begin, end or point";
    "coverage_hook" text(r => r.coverage()?.hook.as_deref()) of &[Coverage], "hook concerned; null when all are, or none";
    "coverage_first" time(r => r.coverage().map(|c| c.first_unix_nano)) of &[Coverage], "begin of the time it speaks of";
    "coverage_last" time(r => r.coverage().map(|c| c.last_unix_nano)) of &[Coverage], "end of the time it speaks of";
    "coverage_reason" text(r => r.coverage().map(|c| c.reason.as_str())) of &[Coverage], "why, in one sentence";
    "finding_rule" text(r => r.finding().map(|f| f.rule.as_str())) of &[Finding], "stable id of the rule, e.g. sensor.hook_detached";
    "finding_title" text(r => r.finding().map(|f| f.title.as_str())) of &[Finding], "one line for people";
    "finding_severity" text(r => r.severity()) of &[Finding], "informational, low, medium, high or critical (OCSF severity_id)";
    "finding_attack" texts(r => r.finding().map(|f| f.attack.as_slice())) of &[Finding], "MITRE ATT&CK techniques";
    "finding_reason" text(r => r.finding().map(|f| f.reason.as_str())) of &[Finding], "what was seen, in one sentence";
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

// === impl Row ===

impl<'a> Row<'a> {
    fn agent(&self) -> Option<&'a v1::Agent> {
        self.event.agent.as_ref()
    }

    fn process(&self) -> Option<&'a v1::Process> {
        self.event.process.as_ref()
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
