//! Execs whose record was lost.

use super::*;

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
