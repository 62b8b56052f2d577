use std::net::{IpAddr, Ipv4Addr};

use skep_abi::Hook;

use super::*;

mod bounds;
mod gaps;
mod held;
mod places;

use skep_event::{ConnectRef, Device, NetFamily, OpenRef, Protocol, Text};

use crate::{
    decode::Ids,
    identify::{CodeFrom, Judgement, Unjudged},
    users::Users,
};

/// Judges by the base name of the executed file.
struct ByName;

impl Judge for ByName {
    fn judge(&mut self, candidate: &Candidate<'_>, _: &mut dyn FnMut()) -> Judgement {
        let exe = candidate.exe.map(Text::escaped).unwrap_or_default();
        let name = exe.rsplit('/').next().unwrap_or_default();
        let agent = |family: &str, version: Option<&str>| {
            Some(Arc::new(Agent {
                family: family.into(),
                version: version.map(Into::into),
                confidence: 90,
                evidence: vec!["name in a test".into()],
                install_path: None,
                name: None,
            }))
        };
        match name {
            "claude" if candidate.argv.first() == Some(&Text::from("rg")) => Judgement {
                multicall: true,
                agent: agent("claude-code", Some("1")),
                never: false,
                ..Default::default()
            },
            "claude" => Judgement {
                agent: agent("claude-code", Some("1")),
                ..Default::default()
            },
            "claude-launcher" => Judgement {
                agent: agent("claude-code", None),
                ..Default::default()
            },
            "codex" => Judgement {
                agent: agent("codex", Some("2")),
                ..Default::default()
            },
            "agent-a" | "agent-b" => Judgement {
                agent: agent("unknown", None).map(|agent| {
                    let mut agent = Agent::clone(&agent);
                    agent.name = Some(name.to_owned());
                    Arc::new(agent)
                }),
                ..Default::default()
            },
            "node" => Judgement::default(),
            // Its code came through a pipe.
            "python" => Judgement {
                waits: true,
                ..Judgement::not(PIPE)
            },
            _ => Judgement {
                never: true,
                ..Default::default()
            },
        }
    }

    fn is_telling(&self, path: &[u8]) -> bool {
        path.ends_with(b".js")
    }

    fn opened(&mut self, _: &Candidate<'_>, path: &[u8], _: &mut dyn FnMut()) -> Judgement {
        let agent = path.ends_with(b"/gemini.js").then(|| {
            Arc::new(Agent {
                family: "gemini-cli".into(),
                version: Some("3".into()),
                confidence: 70,
                evidence: vec!["opened in a test".into()],
                install_path: None,
                name: None,
            })
        });
        Judgement {
            agent,
            ..Judgement::default()
        }
    }
}

const PIPE: Unjudged = Unjudged::UnseenCode(CodeFrom::Stream);

#[derive(Default)]
struct Maps {
    settled: Vec<(Claim, u32)>,
    never: Vec<FileKey>,
    /// Kernel ids of sessions losses are accounted to.
    accounted: Vec<u64>,
    /// Claims records were lost of before they were answered.
    lost_waiting: BTreeSet<(u64, u32)>,
}

impl Verdicts for Maps {
    fn settle(&mut self, claim: Claim, verdict: ClaimVerdict) {
        self.settled.push((claim, verdict.state));
    }

    fn lost_waiting(&mut self, claim: Claim) -> bool {
        self.lost_waiting.remove(&(claim.exec_ns, claim.tgid))
    }

    fn never(&mut self, file: FileKey) {
        self.never.push(file);
    }

    fn begin_session(&mut self, kernel: u64) -> bool {
        self.accounted.push(kernel);
        true
    }

    fn end_session(&mut self, kernel: u64) {
        self.accounted.retain(|known| *known != kernel);
    }
}

/// What is executed, where the test cares.
const FILE: FileKey = FileKey {
    ino: 4,
    ctime_sec: 3,
    ctime_nsec: 2,
    dev: 1,
};

/// A kernel with one clock tick a record.
struct World {
    tracker: Tracker<ByName>,
    maps: Maps,
    now: u64,
    /// The executable the kernel side names, and the session.
    image: Option<u64>,
    /// User ids of the next record's thread.
    ids: Option<Ids>,
    session: Option<u64>,
}

fn claim(exec_ns: u64, tgid: u32) -> Claim {
    Claim {
        exec_ns,
        tgid,
        pad: 0,
    }
}

impl World {
    fn new() -> Self {
        Self::with(Bounds::default())
    }

    fn with(bounds: Bounds) -> Self {
        let enrich = Enrich::new(Users::of_file(std::path::Path::new("/dev/null")));
        let clock = BootClock::measure();
        Self {
            tracker: Tracker::with_bounds("boot".into(), clock, ByName, enrich, bounds),
            maps: Maps::default(),
            now: 1_000,
            image: None,
            ids: None,
            session: None,
        }
    }

    fn record(&mut self, pid: u32, claim: Option<Claim>, hook: Hook, body: Body<'_>) -> Vec<Event> {
        self.now += 1;
        let common = Common {
            time_ns: self.now,
            tgid: pid,
            tid: pid,
            start_ns: Some(u64::from(pid) * 10),
            session: self.session,
            claim,
            image: self.image,
            ids: self.ids,
            hook,
        };
        let mut out = Vec::new();
        self.tracker
            .handle(Record { common, body }, &mut self.maps, &mut out);
        out
    }

    /// An exec that is pending under a new claim, after `previous`.
    fn exec(&mut self, pid: u32, argv: &[&str], previous: Option<Claim>) -> (Claim, Vec<Event>) {
        let new = claim(self.now + 1, pid);
        let exec = decode::Exec {
            file: self.image.map(|_| decode::ExecFile {
                key: FILE,
                size: 1,
                mode: 0o755,
            }),
            previous_claim: previous,
            ppid: Some(1),
            parent_start_ns: None,
            uid: Some(1000),
            euid: Some(1000),
            login_uid: None,
            cgroup_id: 1,
            cgroup: None,
            namespaces: Default::default(),
            exe: Some(Text::from(format!("/bin/{}", argv[0]).as_str())),
            filename: None,
            cwd: None,
            argv: argv[1..].iter().map(|arg| Text::from(*arg)).collect(),
            argv_truncated: false,
            argv_end: None,
            switches: None,
            terminal: None,
        };
        let out = self.record(pid, Some(new), Hook::RawTpExec, Body::Exec(Box::new(exec)));
        (new, out)
    }

    fn fork(&mut self, parent: u32, child: u32, claim: Option<Claim>) -> Vec<Event> {
        let start = Some(u64::from(child) * 10);
        let fork = decode::Fork {
            child,
            child_start_ns: start,
            child_ppid: Some(parent),
        };
        self.record(parent, claim, Hook::RawTpFork, Body::Fork(fork))
    }

    fn exit(&mut self, pid: u32) -> Vec<Event> {
        let exit = decode::Exit {
            code: Some(0),
            signal: None,
        };
        self.record(pid, None, Hook::RawTpExit, Body::Exit(exit))
    }

    fn open(&mut self, pid: u32, claim: Option<Claim>) -> Vec<Event> {
        let open = decode::Open {
            facts: OpenRef {
                path: Some(b"/etc/hosts"),
                resolved: true,
                inode: Some(77),
                device: Some(Device::from_kernel(259 << 20 | 4_097)),
                links: Some(1),
                ..OpenRef::default()
            },
            epoch: None,
            result: Some(0),
        };
        self.record(pid, claim, Hook::TpOpenat, Body::Open(open))
    }

    fn connect(&mut self, pid: u32) -> Vec<Event> {
        let connect = decode::Connect {
            facts: ConnectRef {
                family: NetFamily::Inet,
                addr: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                port: Some(443),
                proto: Some(Protocol(6)),
                ..ConnectRef::default()
            },
            result: None,
        };
        self.record(pid, None, Hook::CgroupConnect4, Body::Connect(connect))
    }
}

fn classes(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.class().name()).collect()
}

fn session(events: &[Event]) -> SessionId {
    events
        .last()
        .and_then(|event| event.session)
        .expect("an event of a session")
}

#[test]
fn what_is_no_agent_leaves_no_event_and_is_settled_as_ignored() {
    let mut world = World::new();
    let (claim, events) = world.exec(10, &["make"], None);
    assert!(events.is_empty());
    assert_eq!(world.maps.settled, [(claim, STATE_IGNORED)]);
    assert!(world.open(10, Some(claim)).is_empty());
    assert!(world.fork(10, 11, Some(claim)).is_empty());
    assert!(world.open(11, Some(claim)).is_empty());
    assert_eq!(world.tracker.counts().processes, 0);
    assert_eq!(world.tracker.counts().ignored, 4);
}

#[test]
fn an_agent_and_everything_it_starts_are_one_session() {
    let mut world = World::new();
    let (_, events) = world.exec(10, &["claude", "claude", "-p"], None);
    assert_eq!(classes(&events), ["session", "exec"]);
    let id = session(&events);
    world.fork(10, 11, None);
    let events = world.open(11, None);
    assert_eq!(
        session(&events),
        id,
        "a fork that has not executed anything"
    );
    let process = events[0].process.as_ref().expect("a process");
    assert_eq!((process.pid, process.ppid), (11, Some(10)));
    assert_eq!(process.argv.len(), 2, "the image it inherited");
    let (_, events) = world.exec(11, &["bash", "bash", "-c", "ls"], None);
    assert_eq!((classes(&events), session(&events)), (vec!["exec"], id));
    assert_eq!(session(&world.connect(11)), id);
    assert_eq!(
        classes(&world.exit(10)),
        ["exit"],
        "a descendant still lives"
    );
    assert_eq!(classes(&world.exit(11)), ["exit", "session"]);
    assert_eq!(world.tracker.counts().processes, 0);
    assert_eq!(world.tracker.counts().sessions, 0);
}

#[test]
fn an_open_names_the_file_by_inode_and_device_when_the_record_has_them() {
    let mut world = World::new();
    world.exec(10, &["claude"], None);
    let events = world.open(10, None);
    let Detail::Open(file) = &events[0].detail else {
        panic!("{events:?}")
    };
    let device = Device {
        major: 259,
        minor: 4_097,
    };
    assert_eq!((file.inode, file.device), (Some(77), Some(device)));
    assert_eq!(device.to_string(), "259:4097");
}

#[test]
fn a_relaunch_of_the_agent_is_not_a_second_session_and_may_tell_its_version() {
    let mut world = World::new();
    let (_, events) = world.exec(10, &["claude-launcher"], None);
    let id = session(&events);
    assert_eq!(
        events[0]
            .agent
            .as_ref()
            .and_then(|agent| agent.version.clone()),
        None
    );
    world.fork(10, 11, None);
    let (_, events) = world.exec(11, &["claude"], None);
    assert_eq!(
        (classes(&events), session(&events)),
        (vec!["session", "exec"], id)
    );
    let agent = events[1].agent.as_ref().expect("an agent");
    assert_eq!(agent.version.as_deref(), Some("1"));
}

#[test]
fn an_agent_started_by_a_tool_of_an_agent_is_a_child_session() {
    let mut world = World::new();
    let (_, events) = world.exec(10, &["claude"], None);
    let parent = session(&events);
    world.fork(10, 11, None);
    world.exec(11, &["bash"], None);
    world.fork(11, 12, None);
    let (_, events) = world.exec(12, &["claude"], None);
    let child = session(&events);
    assert_ne!(
        child, parent,
        "the same family, but not started by the agent itself"
    );
    let Detail::Session(info) = &events[0].detail else {
        panic!("{events:?}")
    };
    assert_eq!(info.parent, Some(parent));
    assert_eq!(classes(&world.exit(12)), ["exit", "session"]);
    // Another family, from the agent itself.
    world.fork(10, 13, None);
    let (_, events) = world.exec(13, &["codex"], None);
    assert_ne!(session(&events), parent);
}

#[test]
fn two_agents_of_no_family_are_one_session_only_if_they_have_one_name() {
    let mut world = World::new();
    let (_, events) = world.exec(10, &["agent-a"], None);
    let first = session(&events);
    world.fork(10, 11, None);
    let (_, events) = world.exec(11, &["agent-a"], None);
    assert_eq!((classes(&events), session(&events)), (vec!["exec"], first));
    let (_, events) = world.exec(11, &["agent-b"], None);
    assert_ne!(session(&events), first);
    // In the same process as well.
    let (_, events) = world.exec(10, &["agent-b"], None);
    // The second begins, and the first has nobody left.
    assert_eq!(classes(&events), ["session", "session", "exec"]);
    assert_ne!(session(&events), first);
}

#[test]
fn an_agents_binary_run_as_its_tool_is_not_an_agent() {
    let mut world = World::new();
    let (_, events) = world.exec(10, &["claude", "claude"], None);
    let id = session(&events);
    world.fork(10, 11, None);
    let (_, events) = world.exec(11, &["claude", "rg", "--files"], None);
    assert_eq!((classes(&events), session(&events)), (vec!["exec"], id));
    // And what that tool starts is no part of the agent proper.
    world.fork(11, 12, None);
    let (_, events) = world.exec(12, &["claude", "claude"], None);
    assert_ne!(session(&events), id);
}

#[test]
fn a_launcher_that_becomes_the_agent_starts_the_session_there() {
    let mut world = World::new();
    let (first, events) = world.exec(10, &["env"], None);
    assert!(events.is_empty());
    let (second, events) = world.exec(10, &["claude"], Some(first));
    assert_eq!(classes(&events), ["session", "exec"]);
    assert_eq!(
        world.maps.settled,
        [(first, STATE_IGNORED), (second, STATE_AGENT)]
    );
}

#[test]
fn a_process_whose_fork_was_lost_is_found_by_the_claim_it_waited_for() {
    let mut world = World::new();
    let (claim, events) = world.exec(10, &["claude"], None);
    let id = session(&events);
    let events = world.open(77, Some(claim));
    assert_eq!(session(&events), id);
    let process = events[0].process.as_ref().expect("a process");
    assert_eq!(
        (process.pid, process.ppid, process.exe.as_ref()),
        (77, None, None),
        "unknown"
    );
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut world = World::new();
    world.exec(10, &["claude"], None);
    world.now += 1;
    let common = Common {
        time_ns: world.now,
        tgid: 10,
        tid: 10,
        start_ns: Some(999_999),
        session: None,
        claim: Some(claim(5, 5)),
        image: None,
        ids: None,
        hook: Hook::TpOpenat,
    };
    let open = decode::Open {
        facts: OpenRef::default(),
        epoch: None,
        result: None,
    };
    let mut out = Vec::new();
    let record = Record {
        common,
        body: Body::Open(open),
    };
    world.tracker.handle(record, &mut world.maps, &mut out);
    assert!(out.is_empty());
}

#[test]
fn the_last_process_of_a_session_becoming_another_agent_ends_it() {
    let mut world = World::new();
    let (_, events) = world.exec(10, &["claude"], None);
    let first = session(&events);
    let (_, events) = world.exec(10, &["codex"], None);
    assert_eq!(classes(&events), ["session", "session", "exec"]);
    let Detail::Session(info) = &events[1].detail else {
        panic!("{events:?}")
    };
    assert_eq!((events[1].session, info.phase), (Some(first), Phase::End));
    assert_ne!(session(&events), first);
}

#[test]
fn a_process_acts_with_the_user_ids_it_has_at_that_moment() {
    let mut world = World::new();
    world.exec(10, &["claude", "claude"], None);
    let mut of_open = |pid, uid, euid| {
        world.ids = Some(Ids { uid, euid });
        let events = world.open(pid, None);
        let process = events[0].process.clone().expect("a process");
        assert_eq!(process.argv, ["claude".into()]);
        (process.pid, process.uid, process.euid)
    };
    assert_eq!(of_open(10, 1000, 1000), (10, Some(1000), Some(1000)));
    assert_eq!(of_open(10, 1000, 0), (10, Some(1000), Some(0)));
    assert_eq!(of_open(10, 0, 0), (10, Some(0), Some(0)));
    world.fork(10, 11, None);
    world.ids = None;
    let events = world.open(11, None);
    let process = events[0].process.as_ref().expect("a process");
    assert_eq!((process.uid, process.euid), (Some(0), Some(0)), "inherited");
}

#[test]
fn a_session_keeps_its_id_when_derived_again() {
    let id = SessionId::derive("boot", 10, 100, "codex");
    assert_eq!(id, SessionId::derive("boot", 10, 100, "codex"));
    for other in [
        SessionId::derive("boot2", 10, 100, "codex"),
        SessionId::derive("boot", 11, 100, "codex"),
        SessionId::derive("boot", 10, 101, "codex"),
        SessionId::derive("boot", 10, 100, "aider"),
    ] {
        assert_ne!((id, id.kernel()), (other, other.kernel()));
    }
}

#[test]
fn a_rare_kind_of_socket_is_told_once_a_session_and_no_more_than_some() {
    let mut world = World::new();
    world.exec(10, &["claude", "claude"], None);
    world.exec(20, &["codex", "codex"], None);
    let mut told = |pid, protocol| {
        let socket = Body::Socket(decode::SocketKind {
            family: 2,
            kind: 3,
            protocol,
        });
        classes(&world.record(pid, None, Hook::TpSocket, socket))
    };
    assert_eq!(told(10, 1), ["coverage", "session"], "the first is a gap");
    assert_eq!(told(10, 1), Vec::<&str>::new());
    assert_eq!(told(10, 2), ["coverage"]);
    assert_eq!(told(20, 1), ["coverage", "session"], "another session");
    let many: usize = (0..100).map(|protocol| told(10, protocol).len()).sum();
    assert_eq!(many, 14, "16 kinds in all");
}
