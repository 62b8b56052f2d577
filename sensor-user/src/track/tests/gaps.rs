//! Execs and exits whose record was lost.

use super::*;
use crate::event::{CoverageKind, UnixNanos};

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
