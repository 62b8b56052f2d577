//! The JSON form of an event (`docs/events.md`): one object, every key always there, `null` for what
//! is unknown or does not apply.
//!
//! Structures are taken apart completely, so that a new field of an event does not compile until it
//! has a place here.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::names::{open_flags, proto_name, result_name, time_text};
use crate::{
    Agent, Coverage, Detail, Event, Exec, Exit, File, Finding, Lost, Net, NetFamily, Phase,
    Process, Repository, SessionId, SessionInfo, Text, UnixNanos,
};

/// One line of JSON, without the line's end.
pub fn write(event: &Event) -> String {
    serde_json::to_string(&Json(event))
        .expect("no map with keys that are not text, no failing writer")
}

struct Json<'a>(&'a Event);

#[derive(Serialize)]
struct ProcessJson<'a> {
    pid: u32,
    start: Option<UnixNanos>,
    ppid: Option<u32>,
    exe: Option<&'a Text>,
    argv: &'a [Text],
    argv_truncated: bool,
    cwd: Option<&'a Text>,
    uid: Option<u32>,
    inferred: bool,
}

#[derive(Serialize)]
struct ExecJson<'a> {
    filename: Option<&'a Text>,
}

#[derive(Serialize)]
struct ExitJson {
    code: Option<u8>,
    signal: Option<u8>,
}

#[derive(Serialize)]
struct FileJson<'a> {
    path: Option<&'a Text>,
    resolved: bool,
    flags: Vec<String>,
    mode: Option<String>,
    count: u64,
    last: Option<UnixNanos>,
    inode: Option<u64>,
    device: Option<String>,
    links: Option<u32>,
}

#[derive(Serialize)]
struct NetJson<'a> {
    family: Cow<'static, str>,
    addr: Option<String>,
    port: Option<u16>,
    proto: Option<String>,
    path: Option<&'a Text>,
    count: u64,
    last: Option<UnixNanos>,
}

#[derive(Serialize)]
struct SessionJson<'a> {
    phase: Phase,
    parent: Option<SessionId>,
    user: Option<&'a str>,
    uid: Option<u32>,
    login_uid: Option<u32>,
    terminal: Option<&'a Text>,
    cwd: Option<&'a Text>,
    repository: Option<RepositoryJson<'a>>,
    gaps: u64,
    found: &'static str,
}

#[derive(Serialize)]
struct RepositoryJson<'a> {
    root: &'a Text,
    remote: Option<&'a Text>,
    branch: Option<&'a Text>,
}

#[derive(Serialize)]
struct LostJson {
    hop: &'static str,
    record: &'static str,
    cause: &'static str,
    count: u64,
    first: UnixNanos,
    last: UnixNanos,
}

#[derive(Serialize)]
struct CoverageJson<'a> {
    what: &'static str,
    phase: &'static str,
    hook: Option<&'static str>,
    first: UnixNanos,
    last: UnixNanos,
    count: u64,
    reason: &'a str,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    rule: &'a str,
    title: &'a str,
    severity: &'static str,
    severity_id: u8,
    attack: &'a [String],
    reason: &'a str,
}

// === impl Json ===

impl Serialize for UnixNanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time_text(*self))
    }
}

/// `0`, or the name of the errno.
struct ResultJson(i32);

impl Serialize for ResultJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_i32(0),
            errno => serializer.serialize_str(&result_name(errno)),
        }
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Event {
            time,
            session,
            agent,
            process,
            result,
            hook,
            detail,
        } = self.0;
        let agent: Option<&Agent> = agent.as_deref();
        let mut parts = Parts::default();
        match detail {
            Detail::Exec(Exec { filename }) => {
                parts.exec = Some(ExecJson {
                    filename: filename.as_ref(),
                });
            }
            Detail::Exit(Exit { code, signal }) => {
                parts.exit = Some(ExitJson {
                    code: *code,
                    signal: *signal,
                });
            }
            Detail::Open(file) => parts.file = Some(file_json(file)),
            Detail::Connect(net) => parts.net = Some(net_json(net)),
            Detail::Session(info) => parts.session_info = Some(session_json(info)),
            Detail::Lost(lost) => parts.lost = Some(lost_json(lost)),
            Detail::Coverage(coverage) => parts.coverage = Some(coverage_json(coverage)),
            Detail::Finding(finding) => parts.finding = Some(finding_json(finding)),
        }
        let Parts {
            exec,
            exit,
            file,
            net,
            session_info,
            lost,
            coverage,
            finding,
        } = parts;
        let mut out = serializer.serialize_struct("Event", 15)?;
        out.serialize_field("time", time)?;
        out.serialize_field("class", self.0.class())?;
        out.serialize_field("session", session)?;
        out.serialize_field("agent", &agent)?;
        out.serialize_field("process", &process.as_deref().map(process_json))?;
        out.serialize_field("exec", &exec)?;
        out.serialize_field("exit", &exit)?;
        out.serialize_field("file", &file)?;
        out.serialize_field("net", &net)?;
        out.serialize_field("result", &result.map(ResultJson))?;
        out.serialize_field("hook", hook)?;
        out.serialize_field("session_info", &session_info)?;
        out.serialize_field("lost", &lost)?;
        out.serialize_field("coverage", &coverage)?;
        out.serialize_field("finding", &finding)?;
        out.end()
    }
}

#[derive(Default)]
struct Parts<'a> {
    exec: Option<ExecJson<'a>>,
    exit: Option<ExitJson>,
    file: Option<FileJson<'a>>,
    net: Option<NetJson<'a>>,
    session_info: Option<SessionJson<'a>>,
    lost: Option<LostJson>,
    coverage: Option<CoverageJson<'a>>,
    finding: Option<FindingJson<'a>>,
}

fn process_json(process: &Process) -> ProcessJson<'_> {
    let Process {
        pid,
        start,
        ppid,
        exe,
        argv,
        argv_truncated,
        cwd,
        uid,
        inferred,
    } = process;
    ProcessJson {
        pid: *pid,
        start: *start,
        ppid: *ppid,
        exe: exe.as_ref(),
        argv,
        argv_truncated: *argv_truncated,
        cwd: cwd.as_ref(),
        uid: *uid,
        inferred: *inferred,
    }
}

fn file_json(file: &File) -> FileJson<'_> {
    let File {
        path,
        resolved,
        flags,
        mode,
        count,
        last,
        inode,
        device,
        links,
    } = file;
    FileJson {
        path: path.as_ref(),
        resolved: *resolved,
        flags: open_flags(*flags),
        mode: mode.map(|mode| format!("{mode:06o}")),
        count: *count,
        last: *last,
        inode: *inode,
        device: device.map(|device| device.to_string()),
        links: *links,
    }
}

fn net_json(net: &Net) -> NetJson<'_> {
    let Net {
        family,
        addr,
        port,
        proto,
        path,
        count,
        last,
    } = net;
    NetJson {
        family: family_name(*family),
        addr: addr.map(|addr| addr.to_string()),
        port: *port,
        proto: proto.map(proto_name),
        path: path.as_ref(),
        count: *count,
        last: *last,
    }
}

fn session_json(info: &SessionInfo) -> SessionJson<'_> {
    let SessionInfo {
        phase,
        parent,
        user,
        uid,
        login_uid,
        terminal,
        cwd,
        repository,
        gaps,
        found,
    } = info;
    SessionJson {
        phase: *phase,
        parent: *parent,
        user: user.as_deref(),
        uid: *uid,
        login_uid: *login_uid,
        terminal: terminal.as_ref(),
        cwd: cwd.as_ref(),
        repository: repository.as_ref().map(
            |Repository {
                 root,
                 remote,
                 branch,
             }| RepositoryJson {
                root,
                remote: remote.as_ref(),
                branch: branch.as_ref(),
            },
        ),
        gaps: *gaps,
        found: found.name(),
    }
}

fn lost_json(lost: &Lost) -> LostJson {
    let Lost {
        hop,
        record,
        cause,
        count,
        first,
        last,
    } = lost;
    LostJson {
        hop,
        record,
        cause,
        count: *count,
        first: *first,
        last: *last,
    }
}

fn coverage_json(coverage: &Coverage) -> CoverageJson<'_> {
    let Coverage {
        what,
        phase,
        hook,
        first,
        last,
        count,
        reason,
    } = coverage;
    CoverageJson {
        what: what.name(),
        phase: phase.name(),
        hook: *hook,
        first: *first,
        last: *last,
        count: *count,
        reason,
    }
}

fn finding_json(finding: &Finding) -> FindingJson<'_> {
    let Finding {
        rule,
        title,
        severity,
        attack,
        reason,
    } = finding;
    FindingJson {
        rule,
        title,
        severity: severity.name(),
        severity_id: severity.id(),
        attack,
        reason,
    }
}

/// `inet`, `inet6`, `unix`, `vsock`, or the number
pub fn family_name(family: NetFamily) -> Cow<'static, str> {
    match family {
        NetFamily::Inet => "inet".into(),
        NetFamily::Inet6 => "inet6".into(),
        NetFamily::Unix => "unix".into(),
        NetFamily::Vsock => "vsock".into(),
        NetFamily::Other(number) => number.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_example_in_the_documentation_is_what_is_written() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, example) = page.split_once("```json\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        assert_eq!(write(&sample::exec()), example.replace('\n', ""));
    }

    #[test]
    fn each_class_has_its_part_and_null_for_the_others() {
        let cases = [
            (sample::exit(), r#""exit":{"code":3,"signal":null}"#),
            (
                sample::open(),
                r#""file":{"path":"/home/dev/new","resolved":true,"flags":["O_WRONLY","O_CREAT"],"mode":"100644","count":2,"last":"2023-11-14T22:13:20.500000000Z","inode":1048577,"device":"8:1","links":2}"#,
            ),
            (
                sample::connect(),
                r#""net":{"family":"inet","addr":"127.0.0.1","port":8399,"proto":"tcp","path":null,"count":2,"last":"2023-11-14T22:13:20.500000000Z"},"result":"ECONNREFUSED""#,
            ),
            (
                sample::connect_unix(),
                r#""net":{"family":"unix","addr":null,"port":null,"proto":null,"path":"/run/docker.sock","count":1,"last":null}"#,
            ),
            (
                sample::session(),
                r#""session_info":{"phase":"start","parent":"09090909090909090909090909090909","user":"dev","uid":1000,"login_uid":1001,"terminal":"/dev/pts/3","cwd":"/home/dev/app","repository":{"root":"/home/dev/app","remote":"https://example.com/app.git","branch":"main"},"gaps":0,"found":"observed"}"#,
            ),
            (
                sample::lost(),
                r#""session":null,"agent":null,"process":null,"exec":null,"exit":null,"file":null,"net":null,"result":null,"hook":null,"session_info":null,"lost":{"hop":"kernel","record":"open","cause":"ring_full","count":7,"first":"2023-11-14T22:13:20.000000001Z","last":"2023-11-14T22:13:20.500000000Z"}"#,
            ),
            (
                sample::coverage(),
                r#""coverage":{"what":"throttled","phase":"end","hook":"fexit/vfs_open","first":"2023-11-14T22:13:20.000000001Z","last":"2023-11-14T22:13:20.500000000Z","count":1200,"reason":"the session sent more than its share while the ring was over half full"}"#,
            ),
            (
                sample::finding(),
                r#""finding":{"rule":"sensor.hook_detached","title":"a hook of the sensor was detached","severity":"high","severity_id":4,"attack":["T1562.001"],"reason":"cgroup/connect4 does not report the sensor's own calls"}"#,
            ),
        ];
        for (event, part) in cases {
            let line = write(&event);
            assert!(line.contains(part), "{part}\nnot in\n{line}");
            let parts = [
                "exec",
                "exit",
                "file",
                "net",
                "session_info",
                "lost",
                "coverage",
                "finding",
            ];
            let empty = parts
                .iter()
                .filter(|key| line.contains(&format!("\"{key}\":null")));
            assert_eq!(empty.count(), 7, "{line}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_can_be_had_back() {
        let mut event = sample::open();
        let bytes: Vec<u8> = (0..=255).collect();
        if let Detail::Open(file) = &mut event.detail {
            file.path = Some(Text::from(bytes.clone()));
        }
        let line: serde_json::Value = serde_json::from_str(&write(&event)).unwrap();
        let path = Text::unescape(line["file"]["path"].as_str().unwrap()).unwrap();
        assert_eq!(path.as_bytes(), bytes);
    }
}
