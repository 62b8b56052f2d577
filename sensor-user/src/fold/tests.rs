//! Folding, told by what goes in and what comes out.

use proptest::prelude::*;

use std::sync::Arc;

use super::*;
use crate::clock::Moment;
use skep_event::sample;
use skep_event::{Class, Exec, Exit, Found, Process, SessionInfo, Text, UnixNanos};

/// Gives an event to the fold the way the tracker would.
fn give(fold: &mut Fold, event: Event, now: Instant, out: &mut Vec<Event>) {
    give_folding(fold, event, None, now, out);
}

fn give_folding(
    fold: &mut Fold,
    event: Event,
    folding: Option<Folding>,
    now: Instant,
    out: &mut Vec<Event>,
) {
    let Detail::Open(open) = &event.detail else {
        return fold.push(event, |event| out.push(event));
    };
    let act = Act {
        at: Moment {
            time: event.time,
            boot_ns: event.boot_time.unwrap_or(event.time.0),
        },
        session: event.session.expect("acts are of a session"),
        agent: event.agent.as_ref(),
        process: event.process.as_ref().expect("acts are of a process"),
        result: event.result,
        hook: event.hook.expect("acts are seen by a hook"),
        facts: ActRef::Open(open.borrowed()),
        folding,
    };
    fold.act(&act, now, |event| out.push(event));
}

fn with_room_for(events: usize) -> Fold {
    let bytes = Limits::default().bytes;
    Fold::with_limits(Limits { events, bytes })
}

/// The kernel side counts repeats of the record of this time in this epoch.
fn folding(epoch: u32, time_ns: u64) -> Option<Folding> {
    let record = RecordId { time_ns, tid: 1 };
    Some(Folding { epoch, record })
}

fn record(time_ns: u64) -> RecordId {
    RecordId { time_ns, tid: 1 }
}

fn process(pid: u32) -> Option<Arc<Process>> {
    Some(Arc::new(Process {
        pid,
        start: Some(UnixNanos(u64::from(pid) * 10)),
        ppid: None,
        exe: None,
        argv: vec![],
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
    }))
}

/// On a machine that booted in 1970.
fn moment(time: u64) -> Moment {
    Moment {
        time: UnixNanos(time),
        boot_ns: time,
    }
}

fn event(time: u64, pid: u32, detail: Detail) -> Event {
    Event {
        time: UnixNanos(time),
        boot_time: Some(time),
        boot_id: None,
        session: Some(SessionId([1; 16])),
        agent: None,
        process: process(pid),
        result: Some(0),
        hook: Some("lsm/file_open"),
        detail,
    }
}

fn open(time: u64, pid: u32, path: &str) -> Event {
    let open = OpenRef {
        path: Some(path.as_bytes()),
        resolved: true,
        ..OpenRef::default()
    };
    event(time, pid, Detail::Open(open.own()))
}

fn count(event: &Event) -> u64 {
    match &event.detail {
        Detail::Open(file) => file.count,
        Detail::Connect(net) => net.count,
        _ => 1,
    }
}

fn path(event: &Event) -> String {
    match &event.detail {
        Detail::Open(file) => file.path.as_ref().map(Text::escaped).unwrap_or_default(),
        _ => event.class().name().to_owned(),
    }
}

#[test]
fn equal_opens_within_the_window_become_one_with_a_count() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    for time in [5, 6, 9] {
        give(&mut fold, open(time, 1, "/a"), now, &mut out);
    }
    assert!(out.is_empty());
    fold.tick(now + WINDOW, |event| out.push(event));
    let [folded] = &out[..] else {
        panic!("{out:?}")
    };
    assert_eq!((folded.time, count(folded)), (UnixNanos(5), 3));
    let Detail::Open(file) = &folded.detail else {
        panic!("{folded:?}")
    };
    assert_eq!(file.last, Some(UnixNanos(9)));
}

#[test]
fn a_single_open_is_left_as_it_came() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    give(&mut fold, open(5, 1, "/a"), now, &mut out);
    fold.flush(|event| out.push(event));
    assert_eq!(out, [open(5, 1, "/a")]);
}

#[test]
fn what_differs_in_process_path_flags_result_or_session_stays_apart() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    let base = open(1, 1, "/a");
    let mut failed = base.clone();
    failed.result = Some(-2);
    let mut elsewhere = base.clone();
    elsewhere.session = Some(SessionId([2; 16]));
    let mut writing = base.clone();
    if let Detail::Open(file) = &mut writing.detail {
        file.flags.0 = 1;
    }
    let different = [
        base,
        failed,
        elsewhere,
        writing,
        open(1, 2, "/a"),
        open(1, 1, "/b"),
    ];
    for event in &different {
        give(&mut fold, event.clone(), now, &mut out);
    }
    fold.flush(|event| out.push(event));
    assert_eq!(out, different);
}

#[test]
fn an_open_after_the_window_starts_anew() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    give(&mut fold, open(1, 1, "/a"), now, &mut out);
    give(&mut fold, open(2, 1, "/a"), now + WINDOW, &mut out);
    assert_eq!(out.len(), 1);
    fold.flush(|event| out.push(event));
    assert_eq!(out.iter().map(count).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn exec_and_exit_do_not_overtake_opens_of_their_process() {
    for last in [
        Detail::Exec(Exec::done(None)),
        Detail::Exit(Exit {
            code: None,
            signal: None,
        }),
    ] {
        let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
        give(&mut fold, open(1, 1, "/mine"), now, &mut out);
        give(&mut fold, open(1, 2, "/other"), now, &mut out);
        let last = event(2, 1, last);
        let class = last.class().name();
        give(&mut fold, last, now, &mut out);
        assert_eq!(out.iter().map(path).collect::<Vec<_>>(), ["/mine", class]);
        give(&mut fold, open(3, 1, "/mine"), now, &mut out);
        fold.flush(|event| out.push(event));
        assert_eq!(
            out.iter().map(path).collect::<Vec<_>>(),
            ["/mine", class, "/other", "/mine"]
        );
    }
}

#[test]
fn the_end_of_a_session_comes_after_everything_in_it() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    for pid in [1, 2] {
        give(&mut fold, open(1, pid, "/a"), now, &mut out);
    }
    let info = SessionInfo {
        phase: Phase::End,
        parent: None,
        user: None,
        uid: None,
        login_uid: None,
        terminal: None,
        cwd: None,
        repository: None,
        gaps: 0,
        found: Found::Observed,
        user_source: None,
        cgroup: None,
        container_runtime: None,
        container_id: None,
        pid_namespace: None,
        user_namespace: None,
        mount_namespace: None,
    };
    let mut end = event(2, 1, Detail::Session(info));
    end.process = None;
    give(&mut fold, end, now, &mut out);
    assert_eq!(
        out.iter().map(path).collect::<Vec<_>>(),
        ["/a", "/a", "session"]
    );
}

#[test]
fn opens_of_different_files_under_one_path_stay_apart() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    for (inode, links) in [(7, 1), (7, 1), (8, 1), (8, 2)] {
        let mut event = open(1, 1, "/a");
        if let Detail::Open(file) = &mut event.detail {
            (file.inode, file.links) = (Some(inode), Some(links));
        }
        give(&mut fold, event, now, &mut out);
    }
    fold.flush(|event| out.push(event));
    assert_eq!(out.iter().map(count).collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn what_is_lost_or_not_covered_is_told_at_once_and_each_time() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    for event in [sample::lost(), sample::coverage(), sample::coverage()] {
        give(&mut fold, event, now, &mut out);
    }
    assert_eq!(fold.held(), 0);
    assert_eq!(
        out.iter().map(Event::class).collect::<Vec<_>>(),
        [Class::Lost, Class::Coverage, Class::Coverage]
    );
}

#[test]
fn a_full_fold_lets_the_oldest_go_first() {
    let (mut fold, now, mut out) = (with_room_for(2), Instant::now(), vec![]);
    for name in ["/a", "/b", "/c"] {
        give(&mut fold, open(1, 1, name), now, &mut out);
    }
    assert_eq!(out.iter().map(path).collect::<Vec<_>>(), ["/a"]);
    assert_eq!(fold.held(), 2);
}

#[test]
fn what_the_kernel_side_counts_is_added_to_the_open_it_repeats() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    give_folding(&mut fold, open(5, 1, "/a"), folding(1, 5), now, &mut out);
    fold.tick(now + WINDOW, |event| out.push(event));
    assert!(out.is_empty(), "its epoch is not closed");
    assert!(fold.repeated(record(5), 41, moment(90)));
    fold.close(1);
    fold.tick(now, |event| out.push(event));
    let Some(Detail::Open(file)) = out.first().map(|event| &event.detail) else {
        panic!("{out:?}")
    };
    assert_eq!((file.count, file.last), (42, Some(UnixNanos(90))));
    assert_eq!((out.len(), fold.bytes()), (1, 0));
}

#[test]
fn opens_of_different_epochs_stay_apart() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    for (time, epoch) in [(5, 1), (6, 1), (7, 2)] {
        let folding = folding(epoch, time);
        give_folding(&mut fold, open(time, 1, "/a"), folding, now, &mut out);
    }
    // Two records of one epoch: the kernel side may have entered either.
    assert!(fold.repeated(record(6), 10, moment(8)));
    assert!(fold.repeated(record(7), 20, moment(9)));
    fold.close(2);
    fold.tick(now, |event| out.push(event));
    assert_eq!(out.iter().map(count).collect::<Vec<_>>(), [12, 21]);
}

#[test]
fn an_exit_lets_its_opens_go_and_their_repeats_follow_as_a_second_event() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    for (time, path) in [(5, "/a"), (6, "/b")] {
        let event = open(time, 1, path);
        give_folding(&mut fold, event, folding(1, time), now, &mut out);
    }
    let exit = Detail::Exit(Exit {
        code: None,
        signal: None,
    });
    give(&mut fold, event(7, 1, exit), now, &mut out);
    assert_eq!(
        out.iter().map(path).collect::<Vec<_>>(),
        ["/a", "/b", "exit"]
    );
    // A process of another program opens it anew meanwhile: that is another event.
    give_folding(&mut fold, open(8, 1, "/a"), folding(1, 8), now, &mut out);
    assert!(fold.repeated(record(5), 3, moment(9)));
    fold.close(1);
    fold.tick(now, |event| out.push(event));
    let late: Vec<_> = out[3..]
        .iter()
        .map(|event| (path(event), count(event), event.time.0))
        .collect();
    assert_eq!(late, [("/a".into(), 1, 8), ("/a".into(), 3, 9)]);
    assert_eq!(fold.bytes(), 0, "nothing is kept of what had no repeats");
}

#[test]
fn an_open_whose_epoch_never_closes_leaves_all_the_same() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    give_folding(&mut fold, open(5, 1, "/a"), folding(1, 5), now, &mut out);
    fold.tick(now + WINDOW + LATE, |event| out.push(event));
    assert_eq!(out, [open(5, 1, "/a")]);
}

#[test]
fn what_has_no_event_to_be_counted_in_is_refused() {
    let (mut fold, now, mut out) = (Fold::default(), Instant::now(), vec![]);
    assert!(!fold.repeated(record(5), 1, moment(6)));
    give_folding(&mut fold, open(5, 1, "/a"), folding(1, 5), now, &mut out);
    fold.flush(|event| out.push(event));
    assert!(!fold.repeated(record(5), 1, moment(6)));
}

#[test]
fn long_paths_are_held_within_the_bound_of_bytes() {
    let bytes = 64 << 10;
    let (mut now, mut out) = (Instant::now(), vec![]);
    let mut fold = Fold::with_limits(Limits {
        events: 4096,
        bytes,
    });
    for time in 0..200 {
        let path = format!("/{time}/{}", "x".repeat(4000));
        give_folding(
            &mut fold,
            open(time, 1, &path),
            folding(1, time),
            now,
            &mut out,
        );
        assert!(fold.bytes() <= bytes + 4096 + 1024);
        now += Duration::from_millis(1);
    }
    assert!(out.len() > 150);
    fold.flush(|event| out.push(event));
    assert_eq!(out.iter().map(count).sum::<u64>(), 200);
}

#[derive(Clone, Debug)]
enum Step {
    Open {
        pid: u32,
        path: u8,
        count: u64,
    },
    /// One record, and so many repeats which the kernel side counts.
    Folded {
        pid: u32,
        path: u8,
        repeats: u64,
    },
    /// The epoch ends, and what was counted in the one before it is handed out.
    Turn,
    Exit {
        pid: u32,
    },
    Wait {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4u32, 0..6u8, 1..4u64)
            .prop_map(|(pid, path, count)| Step::Open { pid, path, count }),
        8 => (1..4u32, 0..6u8, 0..4u64)
            .prop_map(|(pid, path, repeats)| Step::Folded { pid, path, repeats }),
        2 => Just(Step::Turn),
        1 => (1..4u32).prop_map(|pid| Step::Exit { pid }),
        2 => (0..700u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

proptest! {
    #[test]
    fn counts_are_kept_and_exits_do_not_overtake(
        steps in prop::collection::vec(step(), 0..200),
        capacity in 1..12usize,
    ) {
        let (mut fold, mut now, mut out) = (with_room_for(capacity), Instant::now(), vec![]);
        let mut total = 0;
        let (mut epoch, mut refused) = (1, 0);
        let mut counted: Vec<(u32, u64, u64)> = vec![];
        let mut before_exit: HashMap<u32, Vec<u64>> = HashMap::new();
        let mut opened: HashMap<u32, u64> = HashMap::new();
        for (time, step) in (1..).zip(steps) {
            match step {
                Step::Open { pid, path, count } => {
                    for _ in 0..count {
                        let event = open(time, pid, &format!("/{path}"));
                        give(&mut fold, event, now, &mut out);
                    }
                    total += count;
                    *opened.entry(pid).or_default() += count;
                }
                Step::Folded { pid, path, repeats } => {
                    let event = open(time, pid, &format!("/{path}"));
                    give_folding(&mut fold, event, folding(epoch, time), now, &mut out);
                    total += 1 + repeats;
                    *opened.entry(pid).or_default() += 1;
                    counted.push((epoch, time, repeats));
                }
                Step::Turn => {
                    epoch += 1;
                    let closed = epoch - 2;
                    for (_, time, repeats) in counted.extract_if(.., |(of, ..)| *of <= closed) {
                        if repeats > 0 && !fold.repeated(record(time), repeats, moment(time)) {
                            refused += repeats;
                        }
                    }
                    fold.close(closed);
                    fold.tick(now, |event| out.push(event));
                }
                Step::Exit { pid } => {
                    total += 1;
                    before_exit.entry(pid).or_default().push(opened.get(&pid).copied().unwrap_or(0));
                    let exit = Detail::Exit(Exit { code: Some(0), signal: None });
                    give(&mut fold, event(time, pid, exit), now, &mut out);
                }
                Step::Wait { millis } => {
                    now += Duration::from_millis(millis);
                    fold.tick(now, |event| out.push(event));
                }
            }
            prop_assert!(fold.held() <= capacity);
        }
        for (_, time, repeats) in counted {
            if !fold.repeated(record(time), repeats, moment(time)) {
                refused += repeats;
            }
        }
        fold.flush(|event| out.push(event));
        prop_assert_eq!(fold.held(), 0);
        prop_assert_eq!(fold.bytes(), 0);
        prop_assert_eq!(out.iter().map(count).sum::<u64>() + refused, total);
        for (pid, expected) in before_exit {
            let (mut opens, mut seen) = (0, vec![]);
            for event in out.iter().filter(|e| e.process.as_ref().is_some_and(|p| p.pid == pid)) {
                match &event.detail {
                    Detail::Exit(_) => seen.push(opens),
                    _ => opens += count(event),
                }
            }
            // What the kernel side counted may have come by then, or come later.
            prop_assert_eq!(seen.len(), expected.len());
            prop_assert!(seen.iter().zip(&expected).all(|(seen, expected)| seen >= expected));
        }
    }
}
