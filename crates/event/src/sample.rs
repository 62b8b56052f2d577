//! One event of each class with every field set: what tests hold the JSON form, the wire form, the
//! manifest and redaction to.

use std::sync::Arc;

use crate::{
    Agent, Coverage, CoverageKind, CoveragePhase, Detail, Device, Event, Exec, Exit, File, Finding,
    Found, Lost, Net, NetFamily, Phase, Process, Repository, SessionId, SessionInfo, Severity,
    Text, UnixNanos,
};

pub const TIME: UnixNanos = UnixNanos(1_700_000_000_000_000_001);
const LATER: UnixNanos = UnixNanos(1_700_000_000_500_000_000);

pub fn all() -> Vec<Event> {
    vec![
        exec(),
        exit(),
        open(),
        connect(),
        connect_unix(),
        session(),
        lost(),
        coverage(),
        finding(),
    ]
}

fn with(detail: Detail) -> Event {
    let mut session = [0; 16];
    session[..2].copy_from_slice(&[0x4d, 0x2f]);
    Event {
        time: TIME,
        session: Some(SessionId(session)),
        agent: Some(Arc::new(Agent {
            family: "claude-code".into(),
            version: Some("2.1.91".into()),
            confidence: 95,
            evidence: vec!["package.json:@anthropic-ai/claude-code@2.1.91".into()],
            install_path: Some("/usr/lib/node_modules/@anthropic-ai/claude-code".into()),
        })),
        process: Some(Arc::new(Process {
            pid: 812,
            start: Some(UnixNanos(1_699_999_999_000_000_000)),
            ppid: Some(800),
            exe: Some("/usr/bin/bash".into()),
            argv: ["bash", "-c", "echo hi"].map(Into::into).to_vec(),
            argv_truncated: false,
            cwd: Some("/home/dev/app".into()),
            uid: Some(1000),
            inferred: false,
        })),
        result: Some(0),
        hook: Some("raw_tp/sched_process_exec"),
        detail,
    }
}

pub fn exec() -> Event {
    with(Detail::Exec(Exec {
        filename: Some("/bin/bash".into()),
    }))
}

pub fn exit() -> Event {
    with(Detail::Exit(Exit {
        code: Some(3),
        signal: None,
    }))
}

pub fn open() -> Event {
    let flags = (libc::O_WRONLY | libc::O_CREAT) as u32;
    let path = Some("/home/dev/new".into());
    with(Detail::Open(File {
        path,
        resolved: true,
        flags,
        mode: Some(0o100_644),
        count: 2,
        last: Some(LATER),
        inode: Some(1_048_577),
        device: Some(Device { major: 8, minor: 1 }),
        links: Some(2),
    }))
}

pub fn connect() -> Event {
    let mut event = with(Detail::Connect(Net {
        family: NetFamily::Inet,
        addr: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        port: Some(8399),
        proto: Some(6),
        path: None,
        count: 2,
        last: Some(LATER),
    }));
    event.result = Some(-libc::ECONNREFUSED);
    event
}

pub fn connect_unix() -> Event {
    with(Detail::Connect(Net {
        family: NetFamily::Unix,
        addr: None,
        port: None,
        proto: None,
        path: Some("/run/docker.sock".into()),
        count: 1,
        last: None,
    }))
}

pub fn session() -> Event {
    with(Detail::Session(SessionInfo {
        phase: Phase::Start,
        parent: Some(SessionId([9; 16])),
        user: Some("dev".into()),
        uid: Some(1000),
        login_uid: Some(1001),
        terminal: Some("/dev/pts/3".into()),
        cwd: Some("/home/dev/app".into()),
        repository: Some(Repository {
            root: "/home/dev/app".into(),
            remote: Some("https://example.com/app.git".into()),
            branch: Some("main".into()),
        }),
        gaps: 0,
        found: Found::Observed,
    }))
}

pub fn lost() -> Event {
    let mut event = with(Detail::Lost(Lost {
        hop: "kernel",
        record: "open",
        cause: "ring_full",
        count: 7,
        first: TIME,
        last: LATER,
    }));
    (
        event.session,
        event.agent,
        event.process,
        event.hook,
        event.result,
    ) = (None, None, None, None, None);
    event
}

/// What a throttled session's end looks like.
pub fn coverage() -> Event {
    let mut event = with(Detail::Coverage(Coverage {
        what: CoverageKind::Throttled,
        phase: CoveragePhase::End,
        hook: Some("fexit/vfs_open"),
        first: TIME,
        last: LATER,
        count: 1200,
        reason: "the session sent more than its share while the ring was over half full".into(),
    }));
    (event.process, event.hook, event.result) = (None, None, None);
    event
}

/// A finding of the sensor's own; one about a session would have all of its parts.
pub fn finding() -> Event {
    with(Detail::Finding(Finding {
        rule: "sensor.hook_detached".into(),
        title: "a hook of the sensor was detached".into(),
        severity: Severity::High,
        attack: vec!["T1562.001".into()],
        reason: "cgroup/connect4 does not report the sensor's own calls".into(),
    }))
}

/// Puts a secret into every text an event has.
pub fn plant(event: &mut Event, secret: &str) {
    let path = || Text::from(format!("/x/{secret}").as_str());
    if let Some(agent) = &mut event.agent {
        let Agent {
            family,
            version,
            confidence: _,
            evidence,
            install_path,
        } = Arc::make_mut(agent);
        *family = secret.into();
        *version = Some(secret.into());
        *evidence = vec![secret.into()];
        *install_path = Some(path());
    }
    if let Some(process) = &mut event.process {
        let process = Arc::make_mut(process);
        (process.exe, process.cwd) = (Some(path()), Some(path()));
        process.argv = ["x", secret].map(Into::into).to_vec();
    }
    match &mut event.detail {
        Detail::Exec(exec) => exec.filename = Some(path()),
        Detail::Open(file) => file.path = Some(path()),
        Detail::Connect(net) => net.path = Some(path()),
        Detail::Session(info) => {
            info.user = Some(secret.into());
            (info.terminal, info.cwd) = (Some(path()), Some(path()));
            let remote = format!("https://dev:{secret}@example.com/a.git");
            info.repository = Some(Repository {
                root: path(),
                remote: Some(remote.as_str().into()),
                branch: Some(secret.into()),
            });
        }
        Detail::Coverage(coverage) => coverage.reason = format!("could not open /x/{secret}"),
        Detail::Finding(finding) => {
            finding.title = format!("/x/{secret} was opened");
            finding.reason = format!("it opened /x/{secret}");
        }
        Detail::Exit(_) | Detail::Lost(_) => {}
    }
}
