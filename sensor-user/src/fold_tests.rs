//! Folding, told by what goes in and what comes out.

use proptest::prelude::*;

use super::*;
use crate::{
    event::{Exec, Exit, Found, Process, SessionInfo},
    sample,
};

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
        inferred: false,
    }))
}

fn event(time: u64, pid: u32, detail: Detail) -> Event {
    Event {
        time: UnixNanos(time),
        session: Some(SessionId([1; 16])),
        agent: None,
        process: process(pid),
        result: Some(0),
        hook: Some("lsm/file_open"),
        detail,
    }
}

fn open(time: u64, pid: u32, path: &str) -> Event {
    let file = File {
        path: Some(path.into()),
        resolved: true,
        flags: 0,
        mode: None,
        count: 1,
        last: None,
        inode: None,
        device: None,
        links: None,
    };
    event(time, pid, Detail::Open(file))
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
        _ => event.class().to_owned(),
    }
}

#[test]
fn equal_opens_within_the_window_become_one_with_a_count() {
    let (mut fold, now, mut out) = (Fold::new(), Instant::now(), vec![]);
    for time in [5, 6, 9] {
        fold.push(open(time, 1, "/a"), now, |event| out.push(event));
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
    let (mut fold, now, mut out) = (Fold::new(), Instant::now(), vec![]);
    fold.push(open(5, 1, "/a"), now, |event| out.push(event));
    fold.flush(|event| out.push(event));
    assert_eq!(out, [open(5, 1, "/a")]);
}

#[test]
fn what_differs_in_process_path_flags_result_or_session_stays_apart() {
    let (mut fold, now, mut out) = (Fold::new(), Instant::now(), vec![]);
    let base = open(1, 1, "/a");
    let mut failed = base.clone();
    failed.result = Some(-2);
    let mut elsewhere = base.clone();
    elsewhere.session = None;
    let mut writing = base.clone();
    if let Detail::Open(file) = &mut writing.detail {
        file.flags = 1;
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
        fold.push(event.clone(), now, |event| out.push(event));
    }
    fold.flush(|event| out.push(event));
    assert_eq!(out, different);
}

#[test]
fn an_open_after_the_window_starts_anew() {
    let (mut fold, now, mut out) = (Fold::new(), Instant::now(), vec![]);
    fold.push(open(1, 1, "/a"), now, |event| out.push(event));
    fold.push(open(2, 1, "/a"), now + WINDOW, |event| out.push(event));
    assert_eq!(out.len(), 1);
    fold.flush(|event| out.push(event));
    assert_eq!(out.iter().map(count).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn exec_and_exit_do_not_overtake_opens_of_their_process() {
    for last in [
        Detail::Exec(Exec { filename: None }),
        Detail::Exit(Exit {
            code: None,
            signal: None,
        }),
    ] {
        let (mut fold, now, mut out) = (Fold::new(), Instant::now(), vec![]);
        fold.push(open(1, 1, "/mine"), now, |event| out.push(event));
        fold.push(open(1, 2, "/other"), now, |event| out.push(event));
        let last = event(2, 1, last);
        let class = last.class();
        fold.push(last, now, |event| out.push(event));
        assert_eq!(out.iter().map(path).collect::<Vec<_>>(), ["/mine", class]);
        fold.push(open(3, 1, "/mine"), now, |event| out.push(event));
        fold.flush(|event| out.push(event));
        assert_eq!(
            out.iter().map(path).collect::<Vec<_>>(),
            ["/mine", class, "/other", "/mine"]
        );
    }
}

#[test]
fn the_end_of_a_session_comes_after_everything_in_it() {
    let (mut fold, now, mut out) = (Fold::new(), Instant::now(), vec![]);
    for pid in [1, 2] {
        fold.push(open(1, pid, "/a"), now, |event| out.push(event));
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
    };
    let mut end = event(2, 1, Detail::Session(info));
    end.process = None;
    fold.push(end, now, |event| out.push(event));
    assert_eq!(
        out.iter().map(path).collect::<Vec<_>>(),
        ["/a", "/a", "session"]
    );
}

#[test]
fn opens_of_different_files_under_one_path_stay_apart() {
    let (mut fold, now, mut out) = (Fold::new(), Instant::now(), vec![]);
    for (inode, links) in [(7, 1), (7, 1), (8, 1), (8, 2)] {
        let mut event = open(1, 1, "/a");
        if let Detail::Open(file) = &mut event.detail {
            (file.inode, file.links) = (Some(inode), Some(links));
        }
        fold.push(event, now, |event| out.push(event));
    }
    fold.flush(|event| out.push(event));
    assert_eq!(out.iter().map(count).collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn what_is_lost_or_not_covered_is_told_at_once_and_each_time() {
    let (mut fold, now, mut out) = (Fold::new(), Instant::now(), vec![]);
    for event in [sample::lost(), sample::coverage(), sample::coverage()] {
        fold.push(event, now, |event| out.push(event));
    }
    assert_eq!(fold.held(), 0);
    assert_eq!(
        out.iter().map(Event::class).collect::<Vec<_>>(),
        ["lost", "coverage", "coverage"]
    );
}

#[test]
fn a_full_fold_lets_the_oldest_go_first() {
    let (mut fold, now, mut out) = (Fold::with_capacity(2), Instant::now(), vec![]);
    for name in ["/a", "/b", "/c"] {
        fold.push(open(1, 1, name), now, |event| out.push(event));
    }
    assert_eq!(out.iter().map(path).collect::<Vec<_>>(), ["/a"]);
    assert_eq!(fold.held(), 2);
}

#[derive(Clone, Debug)]
enum Step {
    Open { pid: u32, path: u8, count: u64 },
    Exit { pid: u32 },
    Wait { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4u32, 0..6u8, 1..4u64)
            .prop_map(|(pid, path, count)| Step::Open { pid, path, count }),
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
        let (mut fold, mut now, mut out) = (Fold::with_capacity(capacity), Instant::now(), vec![]);
        let mut total = 0;
        let mut before_exit: HashMap<u32, Vec<u64>> = HashMap::new();
        let mut opened: HashMap<u32, u64> = HashMap::new();
        for (time, step) in (1..).zip(steps) {
            match step {
                Step::Open { pid, path, count } => {
                    let mut event = open(time, pid, &format!("/{path}"));
                    if let Detail::Open(file) = &mut event.detail {
                        file.count = count;
                    }
                    total += count;
                    *opened.entry(pid).or_default() += count;
                    fold.push(event, now, |event| out.push(event));
                }
                Step::Exit { pid } => {
                    total += 1;
                    before_exit.entry(pid).or_default().push(opened.get(&pid).copied().unwrap_or(0));
                    let exit = Detail::Exit(Exit { code: Some(0), signal: None });
                    fold.push(event(time, pid, exit), now, |event| out.push(event));
                }
                Step::Wait { millis } => {
                    now += Duration::from_millis(millis);
                    fold.tick(now, |event| out.push(event));
                }
            }
            prop_assert!(fold.held() <= capacity);
        }
        fold.flush(|event| out.push(event));
        prop_assert_eq!(fold.held(), 0);
        prop_assert!(fold.by_process.is_empty() && fold.held.is_empty());
        prop_assert_eq!(out.iter().map(count).sum::<u64>(), total);
        for (pid, expected) in before_exit {
            let (mut opens, mut seen) = (0, vec![]);
            for event in out.iter().filter(|e| e.process.as_ref().is_some_and(|p| p.pid == pid)) {
                match &event.detail {
                    Detail::Exit(_) => seen.push(opens),
                    _ => opens += count(event),
                }
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
