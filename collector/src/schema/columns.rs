//! The columns of `events`, in their order in the files.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, ListBuilder, StringArray, StringBuilder,
    TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use skep_proto::v1::{
    self,
    coverage::Phase as CoveragePhase,
    event::Detail,
    session::{Found, Phase},
};

use super::{Column, Row, class};

macro_rules! columns {
    ($($name:literal $fill:ident($row:ident => $value:expr) $about:literal;)*) => {
        /// Every column of `events`.
        pub const COLUMNS: &[Column] = &[$(Column {
            name: $name,
            nullable: nullable!($fill),
            about: $about,
            fill: |rows| $fill(rows, |$row| $value),
        }),*];
    };
}

macro_rules! nullable {
    (text_always) => {
        false
    };
    (u64_always) => {
        false
    };
    (time_always) => {
        false
    };
    ($other:ident) => {
        true
    };
}

columns! {
    "sensor_id" text_always(r => &r.origin.sensor_id) "install id of the sensor";
    "epoch" u64_always(r => r.origin.epoch) "life of the sensor's spool";
    "seq" u64_always(r => r.seq) "place within the epoch, from 1, without gaps";
    "host" text(r => r.origin.hostname.as_deref()) "host name, as of the stream that brought the event";
    "kernel" text(r => r.origin.kernel.as_deref()) "kernel release, as of the stream that brought the event";
    "time" time_always(r => r.event.time_unix_nano) "when it happened";
    "class" text_always(r => class(r.event)) "exec, exit, open, connect, session, lost or coverage";
    "session" text(r => r.event.session.as_deref()) "session id; null on host-wide events (lost and coverage that are not one session's alone)";
    "agent_family" text(r => r.agent().map(|a| a.family.as_str())) "catalogue id of the agent";
    "agent_version" text(r => r.agent()?.version.as_deref()) "version of the agent";
    "agent_confidence" u8(r => r.agent().map(|a| narrow(a.confidence))) "0 to 100";
    "agent_evidence" texts(r => r.agent().map(|a| a.evidence.as_slice())) "what the agent was recognised by, strongest first";
    "agent_install_path" text(r => r.agent()?.install_path.as_deref()) "folder of the agent's package, or its executable";
    "pid" u32(r => r.process().map(|p| p.pid)) "process id";
    "start" time(r => r.process()?.start_unix_nano) "start of the process; with pid it names the process";
    "ppid" u32(r => r.process()?.ppid) "parent's process id, measured at fork";
    "exe" text(r => r.process()?.exe.as_deref()) "executable of the process";
    "argv" texts(r => r.process().map(|p| p.argv.as_slice()).filter(|argv| !argv.is_empty())) "arguments, taken at exec";
    "argv_truncated" boolean(r => r.process().map(|p| p.argv_truncated)) "argv was longer than what the sensor records";
    "cwd" text(r => r.process()?.cwd.as_deref()) "working directory of the process";
    "uid" u32(r => r.process()?.uid) "user id of the process";
    "file_path" text(r => r.file()?.path.as_deref()) "file opened";
    "file_resolved" boolean(r => r.file().map(|f| f.path_resolved)) "true: the kernel's own path; false: as the program gave it";
    "file_flags" u32(r => r.file().map(|f| f.flags)) "O_* flags of the open";
    "file_mode" u32(r => r.file()?.mode) "file type and permission bits; null when the open failed";
    "count" u64(r => r.count()) "how many opens, connects or records lost the row stands for; of coverage, records concerned (0: none, or not a number of records)";
    "last" time(r => r.last()) "time of the last of them; null when there is one";
    "net_family" text(r => r.net().map(|n| n.family.as_str())) "inet, inet6 or unix";
    "net_addr" text(r => r.net()?.addr.as_deref()) "address connected to";
    "net_port" u16(r => r.net()?.port.map(narrow)) "port connected to";
    "net_proto" text(r => r.net()?.proto.as_deref()) "tcp, udp …; null for unix sockets";
    "net_path" text(r => r.net()?.path.as_deref()) "unix socket; an abstract name starts with @";
    "result" i32(r => r.event.result) "0 or a negative errno; null when the hook runs before the outcome";
    "hook" text(r => r.event.hook.as_deref()) "which kernel hook saw it";
    "exec_filename" text(r => r.exec()?.filename.as_deref()) "name given to execve; differs from exe for scripts and links";
    "exit_code" u8(r => r.exit()?.code.map(narrow)) "exit status, when it ended by itself";
    "exit_signal" u8(r => r.exit()?.signal.map(narrow)) "signal that ended it";
    "session_phase" text(r => r.phase()) "start, update or end";
    "session_parent" text(r => r.session()?.parent.as_deref()) "session of the agent that started this one";
    "user_name" text(r => r.session()?.user.as_deref()) "user of the session";
    "user_uid" u32(r => r.session()?.uid) "user id of the session";
    "login_uid" u32(r => r.session()?.login_uid) "audit login id; null when unset";
    "terminal" text(r => r.session()?.terminal.as_deref()) "terminal of the session";
    "session_cwd" text(r => r.session()?.cwd.as_deref()) "working directory in which the session began";
    "repo_root" text(r => r.repository().map(|g| g.root.as_str())) "root of the git repository";
    "repo_remote" text(r => r.repository()?.remote.as_deref()) "URL of its remote";
    "repo_branch" text(r => r.repository()?.branch.as_deref()) "branch, or commit of a detached head";
    "lost_hop" text(r => r.lost().map(|l| l.hop.as_str())) "where records were lost";
    "lost_record" text(r => r.lost().map(|l| l.record.as_str())) "type of the lost records, or any";
    "lost_cause" text(r => r.lost().map(|l| l.cause.as_str())) "why they were lost";
    "lost_first" time(r => r.lost().map(|l| l.first_unix_nano)) "time of the first loss";
    "lost_last" time(r => r.lost().map(|l| l.last_unix_nano)) "time of the last loss";
    "file_inode" u64(r => r.file()?.inode) "number of the file on its device";
    "file_device" text(r => r.file()?.device.as_deref()) "device of the file, major:minor";
    "file_links" u32(r => r.file()?.links) "hard links; more than 1: the file has other names";
    "process_inferred" boolean(r => r.process().map(|p| p.inferred)) "process was read from /proc, not observed from its start";
    "session_gaps" u64(r => r.session()?.gaps) "known gaps in the session's story so far";
    "session_found" text(r => r.found()) "observed, resumed or running: how the sensor came to know of the session";
    "coverage_what" text(r => r.coverage().map(|c| c.what.as_str())) "what the sensor can or cannot vouch for: blind, throttled, hook, io_uring, canary, evicted, unjudged";
    "coverage_phase" text(r => r.coverage_phase()) "begin, end or point";
    "coverage_hook" text(r => r.coverage()?.hook.as_deref()) "hook concerned; null when all are, or none";
    "coverage_first" time(r => r.coverage().map(|c| c.first_unix_nano)) "begin of the time it speaks of";
    "coverage_last" time(r => r.coverage().map(|c| c.last_unix_nano)) "end of the time it speaks of";
    "coverage_reason" text(r => r.coverage().map(|c| c.reason.as_str())) "why, in one sentence";
}

// === how a column is filled ===

fn text<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<&'a str>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<StringArray>())
}

fn text_always<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> &'a str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
}

fn texts<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<&'a [String]>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
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

fn u8<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u8>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<UInt8Array>())
}

fn u16<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u16>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<UInt16Array>())
}

fn u32<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u32>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<UInt32Array>())
}

fn i32<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<i32>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Int32Array>())
}

fn u64<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u64>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<UInt64Array>())
}

fn u64_always<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> u64) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(rows.iter().map(value)))
}

fn time<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> Option<u64>) -> ArrayRef {
    let nanos = |row| value(row).map(nanos);
    Arc::new(
        rows.iter()
            .map(nanos)
            .collect::<TimestampNanosecondArray>()
            .with_timezone("UTC"),
    )
}

fn time_always<'a>(rows: &'a [Row], value: impl Fn(&'a Row) -> u64) -> ArrayRef {
    let nanos = rows.iter().map(|row| nanos(value(row)));
    Arc::new(TimestampNanosecondArray::from_iter_values(nanos).with_timezone("UTC"))
}

/// Unix nanoseconds as Arrow keeps them.
fn nanos(unix: u64) -> i64 {
    i64::try_from(unix).expect("ingest refuses times after the year 2262")
}

fn narrow<T: TryFrom<u32>>(number: u32) -> T {
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
