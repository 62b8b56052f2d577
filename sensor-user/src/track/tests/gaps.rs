//! Execs and exits whose record was lost.

use super::*;
use skep_event::{CoverageKind, UnixNanos};

#[test]
fn a_process_that_runs_another_executable_has_lost_an_exec() {
    let mut world = World::new();
    world.image = Some(FILE.image());
    let (_, events) = world.exec(10, &["claude", "claude"], None);
    let id = session(&events);
    assert_eq!(classes(&world.open(10, None)), ["open"], "the image it has");

    world.image = Some(99);
    let events = world.open(10, None);
    assert_eq!(classes(&events), ["session", "open"], "said once");
    let Detail::Session(info) = &events[0].detail else {
        panic!("{events:?}")
    };
    assert_eq!((info.phase, info.gaps), (Phase::Update, 1));
    for event in [&events[1], &world.connect(10)[0], &world.exit(10)[0]] {
        let process = event.process.as_deref().expect("a process");
        assert_eq!((process.pid, event.session), (10, Some(id)));
        assert_eq!((&process.exe, &process.cwd), (&None, &None));
        assert!(process.argv.is_empty() && !process.inferred);
    }
}

#[test]
fn the_child_of_a_process_that_lost_an_exec_inherits_what_is_unknown() {
    let mut world = World::new();
    world.image = Some(FILE.image());
    world.exec(10, &["claude", "claude"], None);
    world.image = Some(99);
    assert_eq!(classes(&world.fork(10, 11, None)), ["session"]);
    let events = world.open(11, None);
    assert_eq!(classes(&events), ["open"], "the gap is known already");
    assert_eq!(events[0].process.as_deref().expect("a process").exe, None);
}

#[test]
fn an_executable_that_could_not_be_read_tells_nothing() {
    let mut world = World::new();
    world.image = Some(FILE.image());
    world.exec(10, &["claude", "claude"], None);
    world.image = None;
    assert_eq!(classes(&world.open(10, None)), ["open"]);
    // And an exec that is seen makes everything known again.
    world.image = Some(FILE.image());
    assert_eq!(classes(&world.exec(10, &["bash"], None).1), ["exec"]);
    assert_eq!(classes(&world.open(10, None)), ["open"]);
}

/// What a census finds dead.
fn census(world: &mut World, dead: &[Who]) -> Vec<Event> {
    let mut out = Vec::new();
    let between = (UnixNanos(1), UnixNanos(2));
    world.tracker.ended_unseen(dead, between, &mut out);
    out
}

#[test]
fn a_session_whose_exits_were_lost_ends_when_none_of_it_is_left() {
    let mut world = World::new();
    let (claim, events) = world.exec(10, &["claude", "claude"], None);
    let id = session(&events);
    world.fork(10, 11, Some(claim));
    world.fork(10, 12, Some(claim));
    world.tracker.remember_changes();

    let who = |pid: u32| (pid, Some(u64::from(pid) * 10));
    let told = census(&mut world, &[who(11)]);
    assert_eq!(classes(&told), ["coverage", "session"]);
    let phase = |event: &Event| match &event.detail {
        Detail::Session(info) => (info.phase, info.gaps),
        other => panic!("{other:?}"),
    };
    assert_eq!(phase(&told[1]), (Phase::Update, 1));
    let told = census(&mut world, &[who(10), who(12)]);
    assert_eq!(classes(&told), ["coverage", "session"]);
    assert_eq!(phase(&told[1]), (Phase::End, 2));
    let Detail::Coverage(coverage) = &told[0].detail else {
        panic!("{told:?}")
    };
    assert_eq!((coverage.what, coverage.count), (CoverageKind::Vanished, 2));
    assert_eq!(
        (coverage.first, coverage.last),
        (UnixNanos(1), UnixNanos(2))
    );
    assert!(told.iter().all(|event| event.session == Some(id)));
    let changes = world.tracker.take_changes();
    assert_eq!(changes.last(), Some(&Change::Ended(id)));
    assert_eq!(world.tracker.counts().processes, 0);
    assert_eq!(census(&mut world, &[who(10)]), [], "nothing ends twice");
}

#[test]
fn a_process_that_has_the_pid_of_a_dead_one_stays() {
    let mut world = World::new();
    world.exec(10, &["claude", "claude"], None);
    assert_eq!(census(&mut world, &[(10, Some(99))]), []);
    assert_eq!(world.tracker.counts().processes, 1);
}

#[test]
fn a_session_that_a_late_record_brought_back_to_life_does_not_end_twice() {
    let mut world = World::new();
    let (claim, _) = world.exec(10, &["claude", "claude"], None);
    assert_eq!(classes(&world.exit(10)), ["exit", "session"]);
    assert_eq!(classes(&world.open(10, Some(claim))), ["open"]);
    assert_eq!(world.tracker.counts().sessions, 1);
    world.tracker.remember_changes();
    let told = census(&mut world, &[(10, Some(100))]);
    assert_eq!(classes(&told), ["coverage"]);
    let changes = world.tracker.take_changes();
    assert!(matches!(changes.last(), Some(Change::Ended(_))));
    assert_eq!(world.tracker.counts().sessions, 0);
}

#[test]
fn what_an_agent_lost_before_its_verdict_is_a_gap_of_its_session() {
    let mut world = World::new();
    world.maps.lost_waiting.insert((world.now + 1, 10));
    let (_, events) = world.exec(10, &["claude", "claude"], None);
    assert_eq!(classes(&events), ["session", "exec", "session"]);
    let Detail::Session(info) = &events[2].detail else {
        panic!("{events:?}")
    };
    assert_eq!((info.phase, info.gaps), (Phase::Update, 1));
    assert!(world.maps.lost_waiting.is_empty(), "asked for once");
    let (_, events) = world.exec(20, &["claude", "claude"], None);
    assert_eq!(classes(&events), ["session", "exec"], "nothing of its own");
}

#[test]
fn what_a_full_table_refuses_is_the_sessions_it_would_have_been_of() {
    let mut world = World::with(Bounds {
        processes: 2,
        sessions: 1,
        ..Bounds::default()
    });
    let (claim, events) = world.exec(10, &["claude", "claude"], None);
    let kernel = session(&events).kernel();
    for child in 11..15 {
        world.fork(10, child, Some(claim));
    }
    // A tool of it becomes an agent, for whose session there is no room.
    world.exec(11, &["bash", "bash"], Some(claim));
    world.exec(11, &["codex", "codex"], Some(claim));
    // And an agent of nobody's.
    world.exec(30, &["codex", "codex"], None);
    let refused = world.tracker.counts().refused;
    assert_eq!(refused, 5, "three forks and two sessions");
    let of = world.tracker.take_refused();
    assert_eq!(of.keys().copied().collect::<Vec<_>>(), [kernel]);
    assert_eq!(of[&kernel].table_full, 4);
    assert!(world.tracker.take_refused().is_empty());
}

fn rings(events: &[Event]) -> Vec<u64> {
    let of = |event: &Event| match &event.detail {
        Detail::Coverage(coverage) if coverage.what == CoverageKind::IoUring => {
            assert!(event.process.is_some() && event.session.is_some());
            Some(coverage.count)
        }
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn io_urings_are_one_gap_and_told_at_once_and_then_together() {
    let mut world = World::new();
    let (claim, _) = world.exec(10, &["claude", "claude"], None);
    let ring = |world: &mut World| world.record(10, Some(claim), Hook::TpIoUringSetup, Body::Uring);
    let first = ring(&mut world);
    assert_eq!(classes(&first), ["coverage", "session"]);
    assert_eq!(rings(&first), [1]);
    let Detail::Session(info) = &first[1].detail else {
        panic!("{first:?}")
    };
    assert_eq!(info.gaps, 1);
    for _ in 0..1_000 {
        assert_eq!(ring(&mut world), []);
    }
    let due = |world: &mut World, last| {
        let mut out = Vec::new();
        let now = world.tracker.clock.unix(world.now);
        world.tracker.tell_due_rings(now, last, &mut out);
        out
    };
    assert_eq!(due(&mut world, false), []);
    world.now += 60_000_000_000;
    assert_eq!(rings(&due(&mut world, false)), [1_000]);
    assert_eq!(ring(&mut world), []);
    assert_eq!(rings(&due(&mut world, true)), [1], "the sensor ends");
    ring(&mut world);
    ring(&mut world);
    let end = world.exit(10);
    assert_eq!(classes(&end), ["exit", "coverage", "session"]);
    assert_eq!(rings(&end), [2], "before the end of the session");
    assert_eq!(due(&mut world, true), []);
}
