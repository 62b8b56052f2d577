use std::collections::HashMap;

use skep_abi::{FileKey, Hook};

use super::*;
use skep_event::{Agent, Event, Text};

use crate::{
    clock::BootClock,
    decode::{Body, Record, Task},
    identify::{Candidate, Judgement},
    track::Claim,
    users::Users,
};

struct ByName;

impl Judge for ByName {
    fn judge(&mut self, candidate: &Candidate<'_>, _: &mut dyn FnMut()) -> Judgement {
        let exe = candidate.exe.map(Text::escaped).unwrap_or_default();
        let agent = exe.strip_prefix("/agents/").map(|family| {
            Arc::new(Agent {
                family: family.into(),
                version: None,
                confidence: 90,
                evidence: Vec::new(),
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

#[derive(Default)]
struct Maps {
    begun: Vec<u64>,
}

impl Verdicts for Maps {
    fn settle(&mut self, _: Claim, _: skep_abi::ClaimVerdict) {}
    fn never(&mut self, _: FileKey) {}
    fn begin_session(&mut self, kernel: u64) -> bool {
        self.begun.push(kernel);
        true
    }
    fn end_session(&mut self, _: u64) {}
}

/// Executables by inode, and processes no walk reports.
#[derive(Default)]
struct World {
    executables: HashMap<u64, &'static str>,
    unreported: Vec<(u32, u64)>,
}

impl Running for World {
    fn image(&mut self, _: &Common, task: &Task, _: &mut dyn FnMut()) -> Option<decode::Exec> {
        let exe = self.executables.get(&task.file.ino)?;
        Some(decode::Exec {
            exe: Some(Text::from(*exe)),
            argv_truncated: false,
            argv_end: None,
            switches: None,
            ..unknown(task)
        })
    }

    fn alive(&mut self, tgid: u32, start_ns: Option<u64>) -> bool {
        start_ns.is_some_and(|start_ns| self.unreported.contains(&(tgid, start_ns)))
    }

    fn end_is_to_come(&mut self, tgid: u32, start_ns: u64) -> bool {
        self.alive(tgid, Some(start_ns))
    }
}

#[derive(Default)]
struct Events(Vec<Event>);

impl Sink for Events {
    fn event(&mut self, event: Event) {
        self.0.push(event);
    }

    fn act(&mut self, act: &crate::act::Act<'_>) {
        self.0.push(act.to_event());
    }
}

struct Test {
    tracker: Tracker<ByName>,
    world: World,
    maps: Maps,
    out: Events,
}

fn test() -> Test {
    let clock = BootClock::measure();
    let enrich = crate::enrich::Enrich::new(Users::host());
    let executables = [(1, "/agents/claude"), (2, "/bin/sh"), (3, "/agents/codex")];
    Test {
        tracker: Tracker::new("boot".into(), clock, ByName, enrich),
        world: World {
            executables: executables.into(),
            unreported: Vec::new(),
        },
        maps: Maps::default(),
        out: Events::default(),
    }
}

/// Pid, start, parent's pid and start, inode of the executable, and the session the kernel has.
type Row = (u32, u64, (u32, u64), u64, Option<u64>);

fn task((tgid, start, (ppid, parent_start_ns), ino, session): Row) -> (Common, Task) {
    let common = Common {
        time_ns: 1_000_000,
        tgid,
        tid: tgid,
        start_ns: Some(start),
        session,
        claim: None,
        image: Some(ino),
        ids: None,
        hook: Hook::TaskWalk,
    };
    let task = Task {
        watched: session.is_some(),
        file: FileKey {
            ino,
            ctime_sec: 0,
            ctime_nsec: 0,
            dev: 0,
        },
        ppid,
        parent_start_ns,
        uid: 1000,
        euid: 1000,
    };
    (common, task)
}

impl Test {
    /// Pids that are in sessions.
    fn walk(&mut self, rows: &[Row]) -> Vec<(u32, SessionId)> {
        let tasks = rows.iter().copied().map(task).collect();
        let Self {
            tracker,
            world,
            maps,
            out,
        } = self;
        let adopted = tracker.adopt(tasks, world, maps, out);
        adopted
            .into_iter()
            .map(|adopted| (adopted.tgid, adopted.session))
            .collect()
    }

    /// An exec that nobody expects, of a child of this process; sessions of what is told of it.
    fn execute(&mut self, tgid: u32, parent: (u32, u64)) -> Vec<Option<SessionId>> {
        let (common, task) = task((tgid, 200, parent, 2, None));
        let record = Record {
            common,
            body: Body::Exec(Box::new(unknown(&task))),
        };
        self.tracker.handle(record, &mut self.maps, &mut self.out);
        let out = std::mem::take(&mut self.out.0);
        out.iter().map(|event| event.session).collect()
    }

    fn id(tgid: u32, start: u64, family: &str) -> SessionId {
        SessionId::derive("boot", tgid, start, family)
    }

    fn image(&self, tgid: u32) -> Arc<Process> {
        let member = self.tracker.processes.get(tgid, None).unwrap();
        member.image.clone()
    }

    fn finish(&mut self) -> Vec<(SessionId, Phase, Found, u64)> {
        let Settled { running, gone } = self.tracker.settle_expected(&mut self.world);
        for adopted in running {
            assert!(
                self.world
                    .unreported
                    .contains(&(adopted.tgid, adopted.start_ns))
            );
        }
        for (tgid, start_ns) in gone {
            self.tracker.vanished(tgid, start_ns);
        }
        let now = UnixNanos(2);
        self.tracker.tell_resumed(UnixNanos(1), now, &mut self.out);
        let out = std::mem::take(&mut self.out.0);
        out.iter()
            .filter_map(|event| match &event.detail {
                Detail::Session(info) => Some((event.session?, info.phase, info.found, info.gaps)),
                _ => None,
            })
            .collect()
    }
}

/// A session of claude (pid 10) and a shell of it (pid 11), as an earlier life kept it.
fn kept() -> (Kept, SessionId) {
    let id = Test::id(10, 100, "claude");
    let process = |tgid: u32, start_ns, core, executable| KeptProcess {
        tgid,
        start_ns,
        session: id,
        core,
        ppid: Some(1),
        executable,
        image: Arc::new(Process {
            pid: tgid,
            start: None,
            ppid: Some(1),
            exe: Some("/kept".into()),
            argv: Vec::new(),
            argv_truncated: false,
            cwd: None,
            uid: None,
            euid: None,
            inferred: false,
            cgroup: None,
            container_id: None,
            pid_namespace: None,
            user_namespace: None,
            mount_namespace: None,
        }),
    };
    let agent = Arc::new(Agent {
        family: "claude".into(),
        version: None,
        confidence: 90,
        evidence: Vec::new(),
        install_path: None,
        name: None,
    });
    let info = Session::new(agent.clone(), None, SessionFacts::default()).info(Phase::Update);
    let kept = Kept {
        sessions: vec![KeptSession { id, agent, info }],
        processes: vec![process(10, 100, true, 1), process(11, 110, false, 2)],
        until_ns: 500,
    };
    (kept, id)
}

const INIT: (u32, u64) = (1, 1);

#[test]
fn a_kept_process_that_is_there_is_certain_and_its_session_goes_on() {
    let mut test = test();
    let (kept, id) = kept();
    test.tracker.resume(kept, &mut test.maps);
    assert_eq!(test.maps.begun, [id.kernel()]);
    // The shell was daemonised meanwhile: its parent is init, its place in the session is known.
    let rows = [(10, 100, INIT, 1, None), (11, 110, INIT, 2, None)];
    assert_eq!(test.walk(&rows), [(10, id), (11, id)]);
    assert!(!test.image(11).inferred);
    let again = test.walk(&rows);
    assert_eq!(again, [(10, id), (11, id)], "the same");
    assert_eq!(test.finish(), [(id, Phase::Update, Found::Resumed, 1)]);
}

#[test]
fn a_pid_that_is_another_process_now_is_not_taken_for_the_kept_one() {
    let mut test = test();
    let (kept, id) = kept();
    test.tracker.resume(kept, &mut test.maps);
    // The pids are in use again, one of them even by the same executable.
    let rows = [(10, 700, INIT, 2, None), (11, 701, INIT, 2, None)];
    assert_eq!(test.walk(&rows), []);
    assert_eq!(test.finish(), [(id, Phase::End, Found::Resumed, 1)]);
    assert_eq!(test.tracker.counts().processes, 0);
}

#[test]
fn a_child_forked_while_nobody_watched_is_inferred_and_so_are_its_own() {
    let mut test = test();
    let (kept, id) = kept();
    test.tracker.resume(kept, &mut test.maps);
    let rows = [
        (13, 210, (12, 200), 2, None),
        (12, 200, (11, 110), 2, None),
        (11, 110, INIT, 2, None),
        // Of a process that had a member's pid before it.
        (14, 220, (11, 5), 2, None),
    ];
    assert_eq!(test.walk(&rows), [(11, id), (12, id), (13, id)]);
    assert!(test.image(12).inferred && test.image(13).inferred);
    assert!(!test.image(11).inferred);
}

#[test]
fn a_child_that_executes_something_before_a_walk_finds_it_is_taken_in_and_a_stranger_is_not() {
    let mut test = test();
    let (kept, id) = kept();
    test.tracker.resume(kept, &mut test.maps);
    // Before the walks there is nobody to be taken in.
    assert_eq!(test.execute(12, (11, 110)), []);
    test.tracker.adopting_until(None);
    assert_eq!(test.execute(12, (11, 110)), [Some(id)]);
    // Of a process that had a member's pid before it, and of a stranger.
    assert_eq!(test.execute(13, (11, 5)), []);
    assert_eq!(test.execute(14, INIT), []);
    test.tracker.adopting_until(Some(2_000_000));
    assert_eq!(test.walk(&[(12, 200, (11, 110), 2, None)]), [(12, id)]);
    assert!(!test.image(12).inferred, "its exec was seen");
}

#[test]
fn what_a_kept_process_executed_while_nobody_watched_is_inferred() {
    let mut test = test();
    let (kept, id) = kept();
    test.tracker.resume(kept, &mut test.maps);
    // The shell became an agent of another family: a session of its own, started by the first.
    let rows = [(10, 100, INIT, 1, None), (11, 110, (10, 100), 3, None)];
    let other = Test::id(11, 110, "codex");
    assert_eq!(test.walk(&rows), [(10, id), (11, other)]);
    assert!(test.image(11).inferred);
    let told = test.finish();
    assert_eq!(
        told,
        [
            (other, Phase::Start, Found::Running, 0),
            (id, Phase::Update, Found::Resumed, 1)
        ]
    );
}

#[test]
fn an_agent_nobody_knew_of_has_the_id_its_exec_would_have_given_it() {
    let mut test = test();
    let id = Test::id(20, 300, "claude");
    let rows = [
        (21, 310, (20, 300), 2, None),
        (20, 300, INIT, 1, None),
        (22, 320, INIT, 2, None),
        // A part of the agent starting another part of it.
        (23, 330, (20, 300), 1, None),
    ];
    assert_eq!(test.walk(&rows), [(20, id), (21, id), (23, id)]);
    assert_eq!(test.finish(), [(id, Phase::Start, Found::Running, 0)]);
}

#[test]
fn a_process_that_no_walk_reports_but_runs_stays() {
    let mut test = test();
    let (kept, id) = kept();
    test.tracker.resume(kept, &mut test.maps);
    test.world.unreported.push((11, 110));
    assert_eq!(test.walk(&[]), []);
    assert_eq!(test.finish(), [(id, Phase::Update, Found::Resumed, 1)]);
    assert_eq!(test.tracker.counts().processes, 1);
}

#[test]
fn a_session_ends_when_its_last_process_turns_out_to_be_gone() {
    let mut test = test();
    let id = Test::id(20, 300, "claude");
    test.walk(&[(20, 300, INIT, 1, None)]);
    test.tracker.settle_expected(&mut test.world);
    test.out.0.clear();
    // Later, after a time without the exit hook.
    test.tracker.expect_all();
    assert_eq!(test.walk(&[]), []);
    assert_eq!(test.finish(), [(id, Phase::End, Found::Running, 0)]);
    // And nothing ends twice.
    assert_eq!(test.finish(), []);
}

#[test]
fn every_change_is_told_to_the_journal() {
    let mut test = test();
    test.tracker.remember_changes();
    let id = Test::id(20, 300, "claude");
    test.walk(&[(20, 300, INIT, 1, None), (21, 310, (20, 300), 2, None)]);
    test.tracker.vanished(21, 310);
    let changes = test.tracker.take_changes();
    assert!(matches!(&changes[0], Change::Session(first) if *first == id));
    assert!(matches!(&changes[1], Change::Process(kept) if kept.tgid == 20 && kept.core));
    assert!(
        matches!(&changes[2], Change::Process(kept) if kept.tgid == 21 && kept.executable == 2)
    );
    assert_eq!(changes[3], Change::Gone { tgid: 21 });
    assert_eq!(test.tracker.kept().processes.len(), 1);
    assert_eq!(test.tracker.kept().sessions.len(), 1);
}
