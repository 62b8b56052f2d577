//! What sensors send in these tests.

use skep_proto::v1::{
    Agent, Connect, Coverage, Event, Exec, Exit, Finding, Hello, HookState, HookStatus, Host, Lost,
    Open, Process, Repository, SessionInfo,
    coverage::Phase as CoveragePhase,
    event::Detail,
    finding::Severity,
    session_info::{Found, Phase},
};

use super::{CHILD_SESSION, EPOCH, NOON, SESSION};

pub fn hello(sensor_id: &str) -> Hello {
    Hello {
        sensor_id: sensor_id.to_owned(),
        epoch: EPOCH,
        sensor_version: "0.1.0".to_owned(),
        host: Some(Host {
            hostname: format!("ws-{}", &sensor_id[..4]),
            os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            kernel: "6.12.9-amd64".to_owned(),
            arch: "x86_64".to_owned(),
            boot_id: String::new(),
        }),
        hooks: vec![HookState {
            fact: "open".to_owned(),
            hook: Some("tracepoint/openat".to_owned()),
            status: HookStatus::Fallback.into(),
            reason: "lsm/file_open: EPERM".to_owned(),
        }],
        ..Hello::default()
    }
}

/// `count` opens of files named by `from`, `from + 1` …
pub fn opens(from: u64, count: u64) -> Vec<Event> {
    let one = |n| {
        open(
            NOON + n * 1_000_000,
            &format!("/home/alice/file-{n}"),
            0,
            Some(0),
        )
    };
    (from..from + count).map(one).collect()
}

pub fn event(time_unix_nano: u64, detail: Detail) -> Event {
    Event {
        time_unix_nano,
        session: Some(SESSION.to_owned()),
        agent: Some(agent()),
        process: Some(process(4242, 1000, &["claude", "-p", "say hi"])),
        hook: None,
        result: None,
        detail: Some(detail),
        ..Event::default()
    }
}

fn open(time: u64, path: &str, flags: u32, result: Option<i32>) -> Event {
    let file = Open {
        path: Some(path.to_owned()),
        flags,
        mode: result.filter(|r| *r == 0).map(|_| 0o100_644),
        count: 1,
        path_resolved: true,
        inode: Some(1_048_577),
        device: Some("8:1".to_owned()),
        links: Some(1),
        ..Open::default()
    };
    Event {
        result,
        ..event(time, Detail::Open(file))
    }
}

fn agent() -> Agent {
    Agent {
        family: "claude-code".to_owned(),
        version: Some("2.1.91".to_owned()),
        confidence: 95,
        evidence: vec!["package.json:@anthropic-ai/claude-code@2.1.91".to_owned()],
        install_path: Some("/usr/lib/node_modules/@anthropic-ai/claude-code".to_owned()),
        name: None,
    }
}

fn process(pid: u32, ppid: u32, argv: &[&str]) -> Process {
    Process {
        pid,
        start_unix_nano: Some(NOON - 1_000_000 + u64::from(pid)),
        ppid: Some(ppid),
        exe: Some("/usr/bin/node".to_owned()),
        argv: argv.iter().map(|&a| a.to_owned()).collect(),
        argv_truncated: false,
        cwd: Some("/home/alice/app".to_owned()),
        uid: Some(1000),
        euid: Some(1000),
        inferred: false,
        ..Process::default()
    }
}

/// A session with two processes, files, destinations, a child session and a loss.
pub fn small_session() -> Vec<Event> {
    let session = |phase: Phase, parent: Option<&str>| {
        Detail::SessionInfo(SessionInfo {
            phase: phase.into(),
            parent: parent.map(str::to_owned),
            user: Some("alice".to_owned()),
            uid: Some(1000),
            login_uid: Some(1000),
            terminal: Some("/dev/pts/3".to_owned()),
            cwd: Some("/home/alice/app".to_owned()),
            repository: Some(Repository {
                root: "/home/alice/app".to_owned(),
                remote: Some("git@github.com:acme/app.git".to_owned()),
                branch: Some("main".to_owned()),
            }),
            gaps: Some(0),
            found: Found::Observed.into(),
            ..SessionInfo::default()
        })
    };
    let exec = |filename: &str| {
        Detail::Exec(Exec {
            filename: Some(filename.to_owned()),
            ..Exec::default()
        })
    };
    let net = |family: &str, addr: Option<&str>, port, proto: Option<&str>, path: Option<&str>| {
        Detail::Connect(Connect {
            family: family.to_owned(),
            addr: addr.map(str::to_owned),
            port,
            proto: proto.map(str::to_owned),
            path: path.map(str::to_owned),
            count: 2,
            last_unix_nano: Some(NOON + 60_000_000_000),
        })
    };
    let at = |second: u64| NOON + second * 1_000_000_000;
    let shell = process(4250, 4242, &["sh", "-c", "echo 'hi'"]);
    let env = process(4242, 1000, &["/usr/bin/env", "node", "claude"]);
    let child = Event {
        session: Some(CHILD_SESSION.to_owned()),
        process: Some(process(4300, 4250, &["codex", "exec"])),
        agent: Some(Agent {
            family: "codex".to_owned(),
            version: None,
            ..agent()
        }),
        ..event(at(5), session(Phase::Start, Some(SESSION)))
    };
    let lost = Lost {
        hop: "kernel".to_owned(),
        record: "open".to_owned(),
        cause: "ring_full".to_owned(),
        count: 7,
        first_unix_nano: at(3),
        last_unix_nano: at(4),
    };
    let mut events = vec![
        event(at(0), session(Phase::Start, None)),
        Event {
            process: Some(env),
            ..event(at(0), exec("claude"))
        },
        event(at(1), exec("node")),
        open(at(2), "/home/alice/.claude.json", 0o101, Some(0)),
        open(at(2), "/home/alice/.claude/settings.json", 0, Some(-2)),
        open(at(2), "/home/alice/\\xff\u{1b}[31m,\"red\"", 1, Some(0)),
        event(
            at(3),
            net("inet", Some("127.0.0.1"), Some(8399), Some("tcp"), None),
        ),
        event(
            at(3),
            net("inet6", Some("::1"), Some(443), Some("tcp"), None),
        ),
        event(at(3), net("unix", None, None, None, Some("@keyring"))),
        Event {
            process: Some(shell.clone()),
            ..event(at(4), exec("/bin/sh"))
        },
        child,
        Event {
            process: Some(shell),
            ..event(
                at(6),
                Detail::Exit(Exit {
                    code: Some(0),
                    signal: None,
                }),
            )
        },
        event(at(7), session(Phase::End, None)),
        Event {
            session: None,
            agent: None,
            process: None,
            ..event(at(8), Detail::Lost(lost))
        },
    ];
    events.extend((0..200).map(|n| open(at(2) + n, &format!("/usr/lib/node/{n}.js"), 0, Some(0))));
    events
}

/// A finding about the root process of the small session.
pub fn finding(second: u64, rule: &str, severity: Severity) -> Event {
    let finding = Finding {
        rule: rule.to_owned(),
        title: "A hook was detached".to_owned(),
        severity: severity.into(),
        attack: vec!["T1562.001".to_owned()],
        reason: "cgroup/connect4 was detached".to_owned(),
    };
    event(NOON + second * 1_000_000_000, Detail::Finding(finding))
}

/// A session that was running before the sensor saw it, on a host where not all could be seen.
pub fn session_with_gaps() -> Vec<Event> {
    let at = |second: u64| NOON + second * 1_000_000_000;
    let of_host = |time, detail| Event {
        session: None,
        agent: None,
        process: None,
        ..event(time, detail)
    };
    let of_session = |time, detail| Event {
        process: None,
        ..event(time, detail)
    };
    let gap =
        |what: &str, phase: CoveragePhase, hook: Option<&str>, [first, last]: [u64; 2]| Coverage {
            what: what.to_owned(),
            phase: phase.into(),
            hook: hook.map(str::to_owned),
            first_unix_nano: at(first),
            last_unix_nano: at(last),
            count: 0,
            reason: format!("because of {what}"),
            ..Coverage::default()
        };
    let lost = |record: &str| {
        Detail::Lost(Lost {
            hop: "kernel".to_owned(),
            record: record.to_owned(),
            cause: "throttled".to_owned(),
            count: 3,
            first_unix_nano: at(5),
            last_unix_nano: at(6),
        })
    };
    let seen = Process {
        inferred: true,
        ..process(4242, 1, &["claude"])
    };
    let info = |phase: Phase, gaps| {
        Detail::SessionInfo(SessionInfo {
            phase: phase.into(),
            gaps: Some(gaps),
            found: Found::Running.into(),
            ..SessionInfo::default()
        })
    };
    let mut linked = open(at(3), "/home/alice/notes", 0, Some(0));
    if let Some(Detail::Open(file)) = &mut linked.detail {
        file.links = Some(2);
    }
    linked.process = Some(process(4250, 4242, &["cat", "notes"]));
    let mut no_path = open(at(3), "", 0, Some(-2));
    if let Some(Detail::Open(file)) = &mut no_path.detail {
        (file.path, file.inode, file.device, file.links) = (None, None, None, None);
    }
    no_path.process = Some(seen.clone());
    let throttled = |phase, range, count| Coverage {
        count,
        ..gap("throttled", phase, None, range)
    };
    use CoveragePhase::{Begin, End, Point};
    let connect = Some("cgroup/connect4");
    let told = |coverage| Detail::Coverage(coverage);
    vec![
        of_host(at(0), told(gap("blind", Point, None, [0, 1]))),
        Event {
            process: Some(seen),
            ..event(at(1), info(Phase::Start, 0))
        },
        linked,
        no_path,
        of_host(at(2), told(gap("hook", Begin, connect, [2, 2]))),
        of_session(at(2), told(throttled(Begin, [2, 2], 0))),
        of_session(at(4), told(throttled(End, [2, 4], 1200))),
        of_host(at(5), told(gap("hook", End, connect, [2, 5]))),
        of_host(at(5), told(gap("canary", Point, None, [5, 5]))),
        of_session(at(6), lost("open")),
        Event {
            session: Some(CHILD_SESSION.to_owned()),
            ..of_session(at(6), lost("connect"))
        },
        of_session(at(7), info(Phase::End, 2)),
        of_host(at(8), told(gap("hook", Begin, connect, [8, 8]))),
        of_host(at(9), told(gap("evicted", Point, None, [8, 9]))),
        of_host(at(9), told(gap("hook", Begin, connect, [9, 9]))),
    ]
}
