//! A question that is never answered: whoever looks into it is stopped for good, as by a file system that does
//! not answer or a memory map that somebody holds. A tracer stops it as it is forked, since no such file system
//! is to be had everywhere.

use std::time::{Duration, Instant};

use skep_sensor::{identify::Unjudged, inspect::Inspector, track::adopt::Running as _};

use crate::{
    desk::{Place, Running, inspector, is_root, judge, judge_counting, limits, me, str_of},
    running::walked,
    stopped::stopping_children,
};

fn pid_of(inspector: &Inspector) -> u32 {
    inspector.counts().pid.expect("it runs")
}

#[test]
fn a_question_that_is_never_answered_fails_in_time_and_records_go_on() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let node = place.program("node");
    let process = Running::start(&node, None);
    let script = place.agent_of(me());
    let who = (process.pid(), me());
    let words = ["node", str_of(&script)];
    let began = Instant::now();
    let (judgement, meanwhile) = stopping_children(pid_of(&inspector), || {
        judge_counting(&mut inspector, &node, who, &words)
    });
    assert_eq!(judgement.unjudged, Some(Unjudged::Late));
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(4),
        "{took:?}"
    );
    assert!(meanwhile > 200, "{meanwhile} looks at the ring");

    // Its user's questions are not asked for a while, so that not each exec costs as much.
    let began = Instant::now();
    let judgement = judge(&mut inspector, &node, who, &words);
    assert_eq!(judgement.unjudged, Some(Unjudged::OverBudget));
    assert!(began.elapsed() < Duration::from_millis(100));
    assert_eq!(inspector.counts().late, 1);

    // Those of others are.
    if is_root() {
        let other = judge(&mut inspector, &node, (process.pid(), 4711), &words);
        assert!(other.agent.is_some(), "{other:?}");
    }
    assert_eq!(inspector.counts().replaced, 0);
    assert!(is_childless(&inspector), "the stopped process was ended");
}

#[test]
fn a_process_that_runs_already_and_is_never_looked_at_keeps_nobody_long_and_is_not_forgotten() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let process = Running::start(&place.program("tool"), None);
    let (common, task) = walked(&process, me());
    let began = Instant::now();
    let image = stopping_children(pid_of(&inspector), || {
        inspector.image(&common, &task, &mut || ())
    });
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    let image = image.expect("it runs, whatever it is");
    assert_eq!((image.exe, image.uid), (None, Some(me())));
}

fn is_childless(inspector: &Inspector) -> bool {
    let pid = pid_of(inspector);
    let children = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        match children() {
            Ok(children) if !children.trim().is_empty() => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(_) | Err(_) => return true,
        }
    }
    false
}
