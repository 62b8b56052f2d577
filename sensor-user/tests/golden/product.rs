//! The steps of the sensor that these tests go through, and nothing else of it: what has to follow when
//! modules or names move.
//!
//! Time and chance are fixed: the clock is that of a recorded boot, the fold's is moved by hand, the
//! epochs of the spool are in its state files from the start, and who is an agent goes by the path.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message;
use skep_abi::{Claim, ClaimVerdict, FileKey, FoldCount};
use skep_event::{
    Agent, Coverage, CoverageKind, CoveragePhase, Detail, Event, Finding, Found, Lost, Phase,
    Process, Repository, SessionId, SessionInfo, Severity, Text, UnixNanos, UserSource, json, wire,
};
use skep_proto::v1;
use skep_redact::Redactor;
use skep_sensor::{
    act::RecordId,
    chain::Tail,
    clock::BootClock,
    decode::{self, Common},
    enrich::Enrich,
    identify::{Candidate, Judgement},
    journal::{Journal, Source},
    stamp::Stamp,
    status::StatusBoard,
    step::Sink,
    track::{
        Judge, Tracker,
        adopt::Running,
        kept::{Change, Kept, KeptProcess, KeptSession},
    },
    uplink::{Identity, Uplink},
    users::Users,
    verdicts::Verdicts,
};
use skep_spool::{Lane, Lanes};

use crate::recording::{FIRST_PID, Step};

/// Inodes of what the walk over the task list finds.
pub const AGENT_RUNS: u64 = 800;
pub const SHELL_RUNS: u64 = 801;
/// Records were lost of who waited for the verdict on the exec at this time.
pub const LOSING_CLAIM_NS: u64 = 999_999_999_999;

const BOOT: &str = "5eed5eed-0000-4000-8000-000000000b07";
/// Unix time at boot: the recording begins at 2025-11-20T08:30:00Z.
const BOOTED: i64 = 1_763_626_400_000_000_000;
const SPOOL_BYTES: u64 = 16 << 20;
/// More than the recording needs: nothing is evicted.
const MEMORY_BYTES: usize = 64 << 20;

/// First eight bytes of the id of the session that a process begins.
pub fn kernel_session(pid: u32, start_ns: u64, family: &str) -> u64 {
    SessionId::derive(BOOT, pid, start_ns, family).kernel()
}

// === who is an agent ===

struct ByPath;

fn agent(family: &str, version: Option<&str>, confidence: u8) -> Agent {
    let evidence = match version {
        Some(version) => vec![
            format!("package.json:{family}@{version}"),
            "https://dev:hunter2@registry.example.com/x".to_owned(),
        ],
        None => vec![],
    };
    Agent {
        family: family.to_owned(),
        version: version.map(str::to_owned),
        confidence,
        evidence,
        install_path: version.map(|_| Text::from(&b"/opt/\xff/claude"[..])),
        name: None,
    }
}

impl Judge for ByPath {
    fn judge(&mut self, candidate: &Candidate<'_>, _: &mut dyn FnMut()) -> Judgement {
        let path = candidate.exe.map_or(&b""[..], Text::as_bytes);
        let made = |agent| Judgement {
            agent: Some(Arc::new(agent)),
            ..Judgement::default()
        };
        match path {
            b"/opt/claude/launcher" => made(agent("claude-code", None, 60)),
            b"/opt/claude/cli" => made(agent("claude-code", Some("2.1.91"), 95)),
            b"/opt/codex/codex" => made(agent("codex", None, 90)),
            b"/opt/claude/rg" => Judgement {
                multicall: true,
                ..made(agent("claude-code", Some("2.1.91"), 95))
            },
            b"/usr/bin/never" => Judgement {
                never: true,
                ..Judgement::default()
            },
            b"/usr/bin/gone" => Judgement::UNSEEN,
            _ => Judgement::default(),
        }
    }
}

/// No kernel that is told.
struct Nowhere;

impl Verdicts for Nowhere {
    fn settle(&mut self, _: Claim, _: ClaimVerdict) {}
    fn never(&mut self, _: FileKey) {}
    fn begin_session(&mut self, _: u64) -> bool {
        true
    }
    fn end_session(&mut self, _: u64) {}
    fn lost_waiting(&mut self, claim: Claim) -> bool {
        claim.exec_ns == LOSING_CLAIM_NS
    }
}

/// Processes that run, as `/proc` would tell.
struct ByInode;

impl Running for ByInode {
    fn image(
        &mut self,
        _: &Common,
        task: &decode::Task,
        _: &mut dyn FnMut(),
    ) -> Option<decode::Exec> {
        let (exe, argv) = match task.file.ino {
            AGENT_RUNS => ("/opt/claude/cli", ["claude", "--resume"]),
            SHELL_RUNS => ("/usr/bin/bash", ["bash", "-i"]),
            _ => return None,
        };
        Some(decode::Exec {
            ppid: Some(task.ppid),
            uid: Some(task.uid),
            euid: Some(task.euid),
            exe: Some(exe.into()),
            cwd: Some("/nonexistent/golden".into()),
            argv: argv.map(Into::into).to_vec(),
            argv_truncated: false,
            argv_end: None,
            switches: None,
            terminal: Some("pts7".into()),
            ..decode::Exec::unknown()
        })
    }

    fn alive(&mut self, _: u32, _: Option<u64>) -> bool {
        false
    }

    fn end_is_to_come(&mut self, _: u32, _: u64) -> bool {
        true
    }
}

// === from records to events ===

/// The sensor between the ring and what leaves it.
pub struct Sensor {
    tracker: Tracker<ByPath>,
    tail: Tail,
    journal: Journal,
    clock: BootClock,
    /// The fold's clock.
    now: Instant,
    /// Time of the last record.
    seen_ns: u64,
    room: Vec<u8>,
    /// What left, redacted.
    events: Vec<Event>,
}

/// The events of a recording, read by a sensor that keeps its journal in `state`, where an earlier life
/// of it may have left one. `passwd`: where it looks up who is who.
pub fn events(steps: &[Step], state: &Path, passwd: &Path) -> Events {
    let clock = BootClock::with_offset(BOOTED);
    let (journal, found) = Journal::open(state, BOOT, 0);
    let enrich = Enrich::new(Users::of_file(passwd));
    let mut tail = Tail::within(MEMORY_BYTES);
    tail.stamp = Stamp::new(clock.clone(), BOOT);
    let mut sensor = Sensor {
        tracker: Tracker::new(BOOT.to_owned(), clock.clone(), ByPath, enrich),
        tail,
        journal,
        clock,
        now: Instant::now(),
        seen_ns: 0,
        room: Vec::new(),
        events: Vec::new(),
    };
    sensor.tracker.remember_changes();
    let kept = found.kept.unwrap_or_default();
    let since_ns = kept.until_ns;
    sensor.tracker.resume(kept, &mut Nowhere);
    for step in steps {
        sensor.step(step, since_ns);
    }
    Events(sensor.events)
}

/// What left the sensor, in order.
pub struct Events(Vec<Event>);

impl Events {
    /// The lines of `watch --json`.
    pub fn json(&self) -> String {
        self.0
            .iter()
            .map(|event| json::write(event) + "\n")
            .collect()
    }

    /// As they go into the spool.
    pub fn wire(&self) -> Vec<v1::Event> {
        self.0.iter().map(wire::event).collect()
    }
}

impl Sensor {
    fn step(&mut self, step: &Step, since_ns: u64) {
        let Self {
            tracker,
            tail,
            clock,
            now,
            events,
            ..
        } = self;
        if let Step::After(milliseconds) = step {
            *now += Duration::from_millis(*milliseconds);
        }
        match step {
            Step::Count(bytes) => {
                let count: FoldCount = decode::fixed(bytes).expect("a count");
                let record = RecordId {
                    time_ns: count.first_ns,
                    tid: count.first_tid,
                };
                // One that finds no event is lost, as the accounts then say.
                let _ = tail
                    .fold
                    .repeated(record, count.count, clock.at(count.last_ns));
                return;
            }
            Step::Close(epoch) => return tail.fold.close(*epoch),
            _ => {}
        }
        let mut out = tail.to(*now, |event| events.push(event));
        match step {
            Step::Count(_) | Step::Close(_) => {}
            Step::Record(bytes) => {
                let record = decode::decode(bytes, &mut self.room).expect("a record");
                self.seen_ns = record.common.time_ns;
                tracker.handle(record, &mut Nowhere, &mut out);
            }
            Step::After(_) => {
                out.tick();
                drop(out);
                self.keep();
            }
            Step::Walk => {
                tracker.adopting_until(None);
                let walked = tracker.take_walked();
                tracker.adopt(walked, &mut ByInode, &mut Nowhere, &mut out);
            }
            Step::Settle => {
                for (pid, start_ns) in tracker.settle_expected(&mut ByInode).gone {
                    tracker.vanished(pid, start_ns);
                }
                tracker.adopting_until(Some(self.seen_ns));
                let (since, now) = (clock.unix(since_ns), clock.unix(self.seen_ns));
                tracker.tell_resumed(since, now, &mut out);
            }
            Step::Dead(pid, start_ns) => {
                let now = clock.unix(self.seen_ns);
                let between = (UnixNanos(now.0 - 10_000_000_000), now);
                tracker.ended_unseen(&[(*pid, Some(*start_ns))], between, &mut out);
            }
            Step::Gap => tracker.add_gap(clock.unix(self.seen_ns), &mut out),
            Step::Told => {
                for event in told(clock.unix(self.seen_ns)) {
                    out.event(event);
                }
            }
            Step::End => {
                tracker.tell_due_rings(clock.unix(self.seen_ns), true, &mut out);
                out.end();
                drop(out);
                self.keep();
                self.journal.close(self.seen_ns);
            }
        }
    }

    /// What a round leaves to the next life.
    fn keep(&mut self) {
        let changes = self.tracker.take_changes();
        self.journal.round(
            changes,
            self.seen_ns,
            &self.tracker,
            self.tail.redact.redactor(),
        );
    }
}

/// One of each that comes from the accounts, the self-test and the daemon itself, which need a kernel.
fn told(now: UnixNanos) -> Vec<Event> {
    let before = UnixNanos(now.0 - 2_000_000_321);
    let session = SessionId(*b"\x4d\x2f golden: told.");
    let mut events = Vec::new();
    let phases = [
        (CoveragePhase::Begin, None),
        (CoveragePhase::End, Some("cgroup/connect4")),
        (CoveragePhase::Point, None),
    ];
    for (number, what) in CoverageKind::ALL.iter().copied().enumerate() {
        let (phase, hook) = phases[number % phases.len()];
        let reason = format!("because of {} in /tmp/AKIAIOSFODNN7EXAMPLE", what.name());
        let coverage = Coverage {
            phase,
            hook,
            ..Coverage::point(what, (before, now), number as u64, reason)
        };
        let session = (number % 2 == 1).then_some(session);
        events.push(Event::told(session, now, Detail::Coverage(coverage)));
    }
    for (hop, record, cause, of) in [
        ("kernel", "open", "ring_full", None),
        ("kernel", "connect", "throttled", Some(session)),
        ("decode", "any", "malformed", None),
    ] {
        let lost = Lost {
            hop,
            record,
            cause,
            count: 1 << 40,
            first: before,
            last: now,
        };
        events.push(Event::told(of, now, Detail::Lost(lost)));
    }
    for severity in Severity::ALL.iter().copied() {
        let finding = Finding {
            rule: "sensor.hook_detached".to_owned(),
            title: "a hook of the sensor was detached: /tmp/AKIAIOSFODNN7EXAMPLE".to_owned(),
            severity,
            attack: vec!["T1562.001".to_owned(); severity as usize - 1],
            reason: "https://dev:hunter2@example.com was opened".to_owned(),
        };
        let mut event = Event::told(None, now, Detail::Finding(finding));
        if severity == Severity::Critical {
            event.session = Some(session);
            event.agent = Some(Arc::new(agent("claude-code", Some("2.1.91"), 95)));
            event.process = Some(Arc::new(process(FIRST_PID + 70)));
            (event.result, event.hook) = (Some(-libc::EPERM), Some("lsm/file_open"));
        }
        events.push(event);
    }
    let of_session =
        |phase, found| Event::told(Some(session), now, Detail::Session(info(phase, found)));
    events.push(of_session(Phase::Start, Found::Observed));
    events.push(of_session(Phase::Update, Found::Running));
    events.push(of_session(Phase::End, Found::Resumed));
    events
}

fn process(pid: u32) -> Process {
    Process {
        pid,
        start: Some(UnixNanos(1_763_626_500_000_000_123)),
        ppid: Some(1),
        exe: Some(Text::from(&b"/opt/\xff/claude"[..])),
        argv: ["claude", "--api-key=hunter2hunter2"]
            .map(Into::into)
            .to_vec(),
        argv_truncated: true,
        cwd: Some("/home/dev".into()),
        uid: Some(u32::MAX - 1),
        euid: None,
        inferred: true,
        cgroup: Some("/system.slice/docker-1.scope".into()),
        container_id: None,
        pid_namespace: Some(4_026_532_281),
        user_namespace: Some(4_026_532_280),
        mount_namespace: Some(4_026_532_279),
    }
}

/// Facts of a session, all of them there.
fn info(phase: Phase, found: Found) -> SessionInfo {
    SessionInfo {
        phase,
        parent: Some(SessionId([9; 16])),
        user: Some("dev".to_owned()),
        uid: Some(1000),
        login_uid: Some(1001),
        terminal: Some("pts/3".into()),
        cwd: Some("/home/dev/app".into()),
        repository: Some(Repository {
            root: "/home/dev/app".into(),
            remote: Some("https://dev:hunter2@example.com/app.git".into()),
            branch: Some("main".into()),
        }),
        gaps: 3,
        found,
        user_source: Some(UserSource::NameService),
        cgroup: Some("/lxc.payload.web/system.slice/ssh.service".into()),
        container_runtime: Some("lxc"),
        container_id: Some("web".into()),
        pid_namespace: Some(4_026_531_836),
        user_namespace: Some(4_026_531_837),
        mount_namespace: Some(4_026_531_841),
    }
}

// === the journal ===

/// What an earlier life of the sensor knew: one session, of which one process was left.
struct Before;

const BEFORE: SessionId = SessionId(*b"golden: before..");

impl Source for Before {
    fn session(&self, id: SessionId) -> Option<KeptSession> {
        Some(KeptSession {
            id,
            agent: Arc::new(agent("claude-code", Some("2.1.90"), 95)),
            info: info(Phase::Update, Found::Observed),
        })
    }

    fn everything(&self) -> Kept {
        Kept::default()
    }
}

/// Writes the journal of an earlier life into `state`, with every kind of entry.
pub fn earlier_life(state: &Path) {
    let (mut journal, _) = Journal::open(state, BOOT, 500_000_000_000);
    let ended = SessionId([7; 16]);
    let kept = |pid, image| {
        Change::Process(Box::new(KeptProcess {
            tgid: FIRST_PID + pid,
            start_ns: 600_000_000_000,
            session: BEFORE,
            core: pid == 80,
            ppid: (pid == 80).then_some(1),
            executable: u64::from(pid),
            image: Arc::new(image),
        }))
    };
    let unknown = Process {
        start: None,
        ppid: None,
        exe: None,
        argv: vec![],
        argv_truncated: false,
        cwd: None,
        uid: None,
        inferred: false,
        cgroup: None,
        pid_namespace: None,
        user_namespace: None,
        mount_namespace: None,
        ..process(FIRST_PID + 81)
    };
    let changes = vec![
        Change::Session(ended),
        Change::Session(BEFORE),
        kept(80, process(FIRST_PID + 80)),
        kept(81, unknown),
        Change::Child {
            tgid: FIRST_PID + 82,
            start_ns: 600_000_000_001,
            ppid: None,
            parent: FIRST_PID + 80,
        },
        Change::Gone {
            tgid: FIRST_PID + 81,
        },
        Change::Gone {
            tgid: FIRST_PID + 82,
        },
        Change::Ended(ended),
    ];
    journal.round(changes, 700_000_000_000, &Before, &Redactor::new());
    journal.close(700_000_000_000);
}

// === the spool and the uplink ===

/// The spool in a directory.
pub struct Spool(Lanes);

impl Spool {
    pub fn open(directory: &Path) -> Self {
        Self(Lanes::open(directory, SPOOL_BYTES, SPOOL_BYTES / 4))
    }

    pub fn append(&self, events: &[v1::Event]) {
        for event in events {
            self.0.append(event);
        }
        self.0.sync();
    }

    /// Everything that waits in a lane, encoded, with its sequence; handed out from now on.
    pub fn waiting(&self, lane: &str) -> Vec<(u64, Vec<u8>)> {
        let all = (usize::MAX, usize::MAX);
        self.lane(lane).read_from(1, all.0, all.1).unwrap()
    }

    /// What a collector does that has stored everything of a lane up to there.
    pub fn acknowledge(&self, lane: &str, seq: u64) {
        self.lane(lane).ack(seq).unwrap();
    }

    fn lane(&self, name: &str) -> &skep_spool::Spool {
        let lane = Lane::ALL.into_iter().find(|known| known.name() == name);
        self.0.lane(lane.expect("a lane"))
    }

    /// Sends until a collector has acknowledged everything, then hangs up.
    pub fn send(&self, port: u16) {
        let hook = |fact: &str, hook: Option<&str>, status: v1::HookStatus| v1::HookState {
            fact: fact.to_owned(),
            hook: hook.map(str::to_owned),
            status: status.into(),
            reason: match status {
                v1::HookStatus::Live => String::new(),
                _ => "lsm/file_open: EPERM".to_owned(),
            },
        };
        let settings = Identity {
            address: format!("http://127.0.0.1:{port}"),
            sensor_id: "0123456789abcdef0123456789abcdef".to_owned(),
            sensor_version: "0.1.0".to_owned(),
            host: v1::Host {
                hostname: "ws-golden".to_owned(),
                os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
                kernel: "6.12.9-amd64".to_owned(),
                arch: "x86_64".to_owned(),
                boot_id: BOOT.to_owned(),
            },
            hooks: vec![
                hook(
                    "exec",
                    Some("raw_tp/sched_process_exec"),
                    v1::HookStatus::Live,
                ),
                hook("open", Some("tracepoint/openat"), v1::HookStatus::Fallback),
                hook("socket", None, v1::HookStatus::Off),
            ],
            orders: None,
        };
        let uplink = Uplink::start(settings, self.0.clone(), StatusBoard::new("0.1.0")).unwrap();
        let begun = Instant::now();
        let waits = || {
            Lane::ALL
                .iter()
                .any(|lane| self.0.lane(*lane).stats().records > 0)
        };
        while waits() {
            assert!(
                begun.elapsed() < crate::HANGS,
                "the collector does not take everything"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        uplink.stop(crate::HANGS);
    }

    /// Epoch and last acknowledged sequence of each lane.
    pub fn positions(&self) -> Vec<(String, u64, u64)> {
        let position = |lane: Lane| {
            let (epoch, acked) = self.0.lane(lane).position().expect("it can be used");
            (lane.name().to_owned(), epoch, acked)
        };
        Lane::ALL.map(position).to_vec()
    }
}

/// Lane of an event, by its name.
pub fn lane(event: &v1::Event) -> &'static str {
    Lane::of(event).name()
}

/// An event as it is in the spool.
pub fn encoded(event: &v1::Event) -> Vec<u8> {
    event.encode_to_vec()
}
