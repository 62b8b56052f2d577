//! The wire form turns back into the very same event.

use std::sync::Arc;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{CoverageKind, Device, NetFamily, SessionId, UnixNanos};

use crate::sample;

fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

fn session_id(hex: &str) -> SessionId {
    let mut id = [0; 16];
    for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    }
    SessionId(id)
}

fn bytes(escaped: Option<String>) -> Option<Text> {
    escaped.map(|escaped| Text::unescape(&escaped).unwrap())
}

fn device(text: &str) -> Device {
    let (major, minor) = text.split_once(':').unwrap();
    Device {
        major: major.parse().unwrap(),
        minor: minor.parse().unwrap(),
    }
}

/// The way back; only tests need it.
fn from_wire(event: v1::Event) -> Event {
    let time = UnixNanos;
    let detail = match event.detail.unwrap() {
        v1::event::Detail::Exec(exec) => Detail::Exec(Exec {
            filename: bytes(exec.filename),
        }),
        v1::event::Detail::Exit(exit) => Detail::Exit(Exit {
            code: exit.code.map(|code| code.try_into().unwrap()),
            signal: exit.signal.map(|signal| signal.try_into().unwrap()),
        }),
        v1::event::Detail::Open(file) => Detail::Open(File {
            path: file
                .path
                .as_deref()
                .map(|path| Text::unescape(path).unwrap()),
            resolved: file.path_resolved,
            flags: file.flags,
            mode: file.mode,
            count: file.count,
            last: file.last_unix_nano.map(time),
            inode: file.inode,
            device: file.device.as_deref().map(device),
            links: file.links,
        }),
        v1::event::Detail::Connect(net) => Detail::Connect(Net {
            family: match net.family.as_str() {
                "inet" => NetFamily::Inet,
                "inet6" => NetFamily::Inet6,
                "unix" => NetFamily::Unix,
                "vsock" => NetFamily::Vsock,
                other => panic!("{other}"),
            },
            addr: net.addr.map(|addr| addr.parse().unwrap()),
            port: net.port.map(|port| port.try_into().unwrap()),
            proto: net.proto.map(|name| {
                (0..=255)
                    .find(|number| proto_name(*number) == name)
                    .expect("a protocol")
            }),
            path: bytes(net.path),
            count: net.count,
            last: net.last_unix_nano.map(time),
        }),
        v1::event::Detail::SessionInfo(info) => {
            let found = info.found();
            Detail::Session(SessionInfo {
                phase: match info.phase() {
                    v1::session::Phase::Start => Phase::Start,
                    v1::session::Phase::Update => Phase::Update,
                    v1::session::Phase::End => Phase::End,
                    v1::session::Phase::Unspecified => panic!("no phase"),
                },
                parent: info.parent.as_deref().map(session_id),
                user: info.user,
                uid: info.uid,
                login_uid: info.login_uid,
                terminal: bytes(info.terminal),
                cwd: bytes(info.cwd),
                repository: info.repository.map(|repository| Repository {
                    root: Text::unescape(&repository.root).unwrap(),
                    remote: bytes(repository.remote),
                    branch: bytes(repository.branch),
                }),
                gaps: info.gaps.unwrap(),
                found: match found {
                    v1::session::Found::Observed => Found::Observed,
                    v1::session::Found::Resumed => Found::Resumed,
                    v1::session::Found::Running => Found::Running,
                    v1::session::Found::Unspecified => panic!("not said how it was found"),
                },
            })
        }
        v1::event::Detail::Lost(lost) => Detail::Lost(Lost {
            hop: leaked(lost.hop),
            record: leaked(lost.record),
            cause: leaked(lost.cause),
            count: lost.count,
            first: UnixNanos(lost.first_unix_nano),
            last: UnixNanos(lost.last_unix_nano),
        }),
        v1::event::Detail::Finding(finding) => Detail::Finding(Finding {
            severity: Severity::ALL
                .into_iter()
                .find(|severity| i32::from(severity.id()) == finding.severity)
                .expect("a severity"),
            rule: finding.rule,
            title: finding.title,
            attack: finding.attack,
            reason: finding.reason,
        }),
        v1::event::Detail::Coverage(coverage) => Detail::Coverage(Coverage {
            what: CoverageKind::ALL
                .into_iter()
                .find(|kind| kind.name() == coverage.what)
                .expect("a kind of coverage"),
            phase: match coverage.phase() {
                v1::coverage::Phase::Begin => CoveragePhase::Begin,
                v1::coverage::Phase::End => CoveragePhase::End,
                v1::coverage::Phase::Point => CoveragePhase::Point,
                v1::coverage::Phase::Unspecified => panic!("no phase"),
            },
            hook: coverage.hook.map(leaked),
            first: UnixNanos(coverage.first_unix_nano),
            last: UnixNanos(coverage.last_unix_nano),
            count: coverage.count,
            reason: coverage.reason,
        }),
    };
    Event {
        time: UnixNanos(event.time_unix_nano),
        session: event.session.as_deref().map(session_id),
        agent: event.agent.map(|agent| {
            Arc::new(Agent {
                family: agent.family,
                version: agent.version,
                confidence: agent.confidence.try_into().unwrap(),
                evidence: agent.evidence,
                install_path: bytes(agent.install_path),
            })
        }),
        process: event.process.map(|process| {
            Arc::new(Process {
                pid: process.pid,
                start: process.start_unix_nano.map(time),
                ppid: process.ppid,
                exe: bytes(process.exe),
                argv: process
                    .argv
                    .into_iter()
                    .map(|text| Text::unescape(&text).unwrap())
                    .collect(),
                argv_truncated: process.argv_truncated,
                cwd: bytes(process.cwd),
                uid: process.uid,
                inferred: process.inferred,
            })
        }),
        result: event.result,
        hook: event.hook.map(leaked),
        detail,
    }
}

fn round_trip(original: &Event) -> Event {
    let encoded = event(original).encode_to_vec();
    from_wire(v1::Event::decode(&encoded[..]).unwrap())
}

#[test]
fn every_class_survives_the_wire() {
    for event in sample::all() {
        assert_eq!(round_trip(&event), event);
    }
}

#[test]
fn unknown_stays_unknown_on_the_wire() {
    let mut bare = sample::exec();
    (
        bare.session,
        bare.agent,
        bare.process,
        bare.hook,
        bare.result,
    ) = (None, None, None, None, None);
    bare.detail = Detail::Exec(Exec { filename: None });
    assert_eq!(round_trip(&bare), bare);
}

fn text_strategy() -> impl Strategy<Value = Text> {
    prop::collection::vec(any::<u8>(), 0..24).prop_map(Text::from)
}

fn detail_strategy() -> impl Strategy<Value = Detail> {
    let last = || prop::option::of(any::<u64>().prop_map(UnixNanos));
    let optional = || prop::option::of(text_strategy());
    prop_oneof![
        optional().prop_map(|filename| Detail::Exec(Exec { filename })),
        (any::<Option<u8>>(), any::<Option<u8>>())
            .prop_map(|(code, signal)| Detail::Exit(Exit { code, signal })),
        (
            optional(),
            any::<bool>(),
            any::<u32>(),
            any::<Option<u32>>(),
            any::<u64>(),
            last(),
            any::<(Option<u64>, Option<(u32, u32)>, Option<u32>)>(),
        )
            .prop_map(|(path, resolved, flags, mode, count, last, identity)| {
                let (inode, device, links) = identity;
                Detail::Open(File {
                    path,
                    resolved,
                    flags,
                    mode,
                    count,
                    last,
                    inode,
                    device: device.map(|(major, minor)| Device { major, minor }),
                    links,
                })
            }),
        (
            any::<Option<std::net::IpAddr>>(),
            any::<Option<u16>>(),
            any::<Option<u8>>(),
            optional(),
            any::<u64>(),
            last()
        )
            .prop_map(|(addr, port, proto, path, count, last)| {
                let family = NetFamily::Inet6;
                Detail::Connect(Net {
                    family,
                    addr,
                    port,
                    proto,
                    path,
                    count,
                    last,
                })
            }),
        (
            optional(),
            any::<Option<String>>(),
            any::<Option<u32>>(),
            text_strategy(),
            optional(),
            any::<u64>(),
            prop::sample::select(vec![Found::Observed, Found::Resumed, Found::Running]),
        )
            .prop_map(|(cwd, user, login_uid, root, remote, gaps, found)| {
                Detail::Session(SessionInfo {
                    phase: Phase::Update,
                    parent: None,
                    user,
                    uid: login_uid,
                    login_uid,
                    terminal: cwd.clone(),
                    cwd,
                    repository: Some(Repository {
                        root,
                        branch: remote.clone(),
                        remote,
                    }),
                    gaps,
                    found,
                })
            }),
        (
            prop::sample::select(CoverageKind::ALL.to_vec()),
            prop::sample::select(vec![
                CoveragePhase::Begin,
                CoveragePhase::End,
                CoveragePhase::Point
            ]),
            prop::option::of(Just("cgroup/connect4")),
            any::<[u64; 3]>(),
            any::<String>(),
        )
            .prop_map(|(what, phase, hook, [first, last, count], reason)| {
                Detail::Coverage(Coverage {
                    what,
                    phase,
                    hook,
                    first: UnixNanos(first),
                    last: UnixNanos(last),
                    count,
                    reason,
                })
            }),
        (
            prop::sample::select(Severity::ALL.to_vec()),
            any::<[String; 3]>(),
            any::<Vec<String>>(),
        )
            .prop_map(|(severity, [rule, title, reason], attack)| {
                Detail::Finding(Finding {
                    rule,
                    title,
                    severity,
                    attack,
                    reason,
                })
            }),
    ]
}

proptest! {
    #[test]
    fn any_event_survives_the_wire(
        time: u64,
        id: [u8; 16],
        argv in prop::collection::vec(text_strategy(), 0..5),
        inferred: bool,
        result: Option<i32>,
        detail in detail_strategy(),
    ) {
        let mut event = sample::exec();
        event.time = UnixNanos(time);
        event.session = Some(SessionId(id));
        event.result = result;
        event.detail = detail;
        if let Some(process) = &mut event.process {
            let process = Arc::make_mut(process);
            (process.argv, process.inferred) = (argv, inferred);
        }
        prop_assert_eq!(round_trip(&event), event);
    }
}
