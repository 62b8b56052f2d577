//! At the bounds: everything is in an event or in a count.

use super::*;

/// Events that tell of a record; sessions begin, change and end with one of those.
fn telling(events: &[Event]) -> u64 {
    let of_record = |event: &&Event| !matches!(event.detail, Detail::Session(_));
    events.iter().filter(of_record).count() as u64
}

#[test]
fn with_every_table_full_each_record_is_an_event_or_counted() {
    let mut world = World::with(Bounds {
        processes: 8,
        sessions: 2,
        claims: 1,
        ..Bounds::default()
    });
    let (mut records, mut told) = (0, 0);
    let mut fed = |events: Vec<Event>| {
        records += 1;
        told += telling(&events);
    };
    let kernel = |world: &mut World, events: &[Event]| {
        world.session = events
            .last()
            .and_then(|event| event.session)
            .map(|id| id.kernel());
    };
    for agent in 0..4 {
        let pid = 100 + agent;
        world.session = None;
        let (claim, events) = world.exec(pid, &["claude", "claude"], None);
        kernel(&mut world, &events);
        fed(events);
        for child in 0..5 {
            let child = 1_000 + 10 * agent + child;
            fed(world.fork(pid, child, Some(claim)));
            fed(world.open(child, Some(claim)));
            fed(world.connect(child));
            fed(world.exec(child, &["bash", "bash"], Some(claim)).1);
        }
        fed(world.exec(pid, &["make"], None).1);
    }
    world.session = None;
    for pid in (100..104).chain(1_000..1_040) {
        fed(world.exit(pid));
    }
    let counts = world.tracker.counts();
    assert!(counts.refused > 0 && counts.ignored > 0 && counts.evicted.processes > 0);
    assert_eq!(
        records,
        told + counts.ignored + counts.consumed + counts.refused,
        "{counts:?}"
    );
    assert_eq!(counts.processes, 0);
    assert_eq!(counts.image_bytes, 0, "nothing is kept of what has ended");
}

#[test]
fn long_command_lines_are_cut_before_they_take_all_memory() {
    let image_bytes = 1 << 20;
    let mut world = World::with(Bounds {
        image_bytes,
        ..Bounds::default()
    });
    let (_, events) = world.exec(10, &["claude", "claude"], None);
    let id = session(&events);
    let word = "x".repeat(40);
    let mut argv = vec!["bash"];
    argv.extend([word.as_str(); 200]);
    for pid in 1_000..1_500 {
        world.fork(10, pid, None);
        let (_, events) = world.exec(pid, &argv, None);
        let process = events[0].process.as_deref().expect("a process");
        assert_eq!(process.argv.len(), 200, "the exec itself has all of it");
        assert!(world.tracker.counts().image_bytes <= image_bytes as u64);
    }
    let counts = world.tracker.counts();
    assert_eq!(counts.processes, 501);
    assert!(counts.evicted.images > 0);
    // Told from then on: that the command line is not what it was.
    let events = world.open(1_000, None);
    let process = events[0].process.as_deref().expect("a process");
    assert_eq!((process.pid, process.argv.len()), (1_000, 0));
    assert!(process.argv_truncated);
    assert_eq!(
        process.exe.as_ref().map(Text::escaped).as_deref(),
        Some("/bin/bash")
    );
    // A short one of somebody else is whole.
    let events = world.open(10, None);
    let process = events[0].process.as_deref().expect("a process");
    assert_eq!((process.argv.len(), session(&events)), (1, id));
}

#[test]
fn children_of_a_long_command_line_share_it_until_they_act_and_are_cut_with_it() {
    let image_bytes = 1 << 20;
    let mut world = World::with(Bounds {
        image_bytes,
        ..Bounds::default()
    });
    let word = "x".repeat(40);
    let argv = [&["claude"][..], &[word.as_str(); 200]].concat();
    world.exec(10, &argv, None);
    let one = world.tracker.counts().image_bytes;
    for pid in 1_000..2_000 {
        world.fork(10, pid, None);
    }
    assert_eq!(world.tracker.counts().image_bytes, one);
    for pid in 1_000..2_000 {
        assert_eq!(classes(&world.open(pid, None)), ["open"]);
        assert!(world.tracker.counts().image_bytes <= image_bytes as u64);
    }
    for pid in (1_000..2_000).chain([10]) {
        world.exit(pid);
    }
    assert_eq!(world.tracker.counts().image_bytes, 0);
}

#[test]
fn what_nobody_asks_for_is_bounded() {
    let mut world = World::with(Bounds {
        walked: 3,
        ..Bounds::default()
    });
    world.session = Some(CANARY_SESSION);
    for _ in 0..5 {
        assert!(world.open(10, None).is_empty());
    }
    let counts = world.tracker.counts();
    assert_eq!((counts.consumed, counts.evicted.walked), (5, 2));
    assert_eq!(world.tracker.take_canaries().len(), 3);
}
