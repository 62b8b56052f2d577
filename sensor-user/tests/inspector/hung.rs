//! A question that is never answered: whoever looks into it is stopped for good, as by a file system that does
//! not answer or a memory map that somebody holds. A tracer stops it as it is forked, since no such file system
//! is to be had everywhere.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use skep_sensor::{identify::Unjudged, inspect::Inspector};

use crate::desk::{Place, Running, inspector, is_root, judge, judge_counting, limits, me, str_of};

/// Stops every process the inspector forks, while `during` runs.
fn stopping_workers<T>(inspector: &Inspector, during: impl FnOnce() -> T) -> T {
    let pid = inspector.counts().pid.expect("it runs").cast_signed();
    let (traces, is_traced) = mpsc::channel();
    let (ends, is_over) = mpsc::channel::<()>();
    let null = std::ptr::null_mut::<libc::c_void>();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: requests that take numbers only.
            let seized = unsafe {
                let options = libc::PTRACE_O_TRACEFORK as usize;
                libc::ptrace(
                    libc::PTRACE_SEIZE,
                    pid,
                    std::ptr::null_mut::<libc::c_void>(),
                    options,
                )
            };
            assert_eq!(seized, 0, "{}", std::io::Error::last_os_error());
            traces.send(()).expect("waited for");
            while is_over.recv_timeout(Duration::from_millis(1))
                == Err(mpsc::RecvTimeoutError::Timeout)
            {
                let mut status = 0;
                // SAFETY: writes one number; only the inspector is waited for, its children stay stopped.
                unsafe {
                    if libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::__WALL) == pid {
                        libc::ptrace(libc::PTRACE_CONT, pid, 0, 0);
                    }
                }
            }
            // Ending, this thread lets go of all it traces.
        });
        is_traced.recv().expect("it is traced");
        let outcome = during();
        drop(ends);
        outcome
    });
    let _ = null;
    outcome
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
    let handle = inspector.clone();
    let began = Instant::now();
    let (judgement, meanwhile) = stopping_workers(&handle, || {
        judge_counting(&mut inspector, &node, who, &words)
    });
    assert_eq!(judgement.unjudged, Some(Unjudged::Late));
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(3),
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

fn is_childless(inspector: &Inspector) -> bool {
    let pid = inspector.counts().pid.expect("it runs");
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
