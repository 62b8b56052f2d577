use super::*;

const FORK: Hook = Hook::RawTpFork;
const OPEN: Hook = Hook::TpOpenat;
const INET6: Hook = Hook::CgroupConnect6;

fn ledger() -> Ledger {
    let attached = |fact, hook, proven| AttachedHook { fact, hook, proven };
    let hooks = [
        attached("fork", FORK, true),
        attached("open", OPEN, true),
        attached("connect_inet", INET6, false),
    ];
    Ledger::new(&hooks, 5)
}

fn canary(ledger: &mut Ledger, seen: &[Hook], time_ns: u64, sound: bool) -> Outcome {
    ledger.begin();
    seen.iter().for_each(|hook| ledger.saw(*hook, time_ns));
    ledger.conclude(Deeds::ALL.when(sound))
}

#[test]
fn a_hook_that_reports_is_not_accused() {
    let mut ledger = ledger();
    let outcome = canary(&mut ledger, &[FORK, OPEN], 10, true);
    assert_eq!(
        outcome,
        Outcome {
            records: 2,
            ..Outcome::default()
        }
    );
    assert_eq!(ledger.hooks()[1].seen_ns, Some(10));
}

#[test]
fn a_silent_hook_is_told_once_with_the_time_it_last_reported_and_once_when_it_is_back() {
    let mut ledger = ledger();
    canary(&mut ledger, &[FORK, OPEN], 10, true);
    let outcome = canary(&mut ledger, &[FORK], 20, true);
    assert_eq!(outcome.silent, [(OPEN, 10)]);
    assert_eq!(outcome.attach, [OPEN]);
    ledger.attached(OPEN, Ok(()));
    let outcome = canary(&mut ledger, &[FORK, OPEN], 30, true);
    assert_eq!((outcome.silent, outcome.back), (vec![], vec![(OPEN, 10)]));
    assert!(outcome.missing.is_empty());
}

#[test]
fn a_hook_that_was_tried_at_the_start_is_judged_by_the_first_canary() {
    let outcome = canary(&mut ledger(), &[FORK], 10, true);
    assert_eq!(outcome.silent, [(OPEN, 5)]);
}

#[test]
fn a_hook_no_canary_has_ever_reached_is_not_judged_until_one_has() {
    let mut ledger = ledger();
    for _ in 0..3 {
        assert!(
            canary(&mut ledger, &[FORK, OPEN], 10, true)
                .silent
                .is_empty()
        );
    }
    canary(&mut ledger, &[FORK, OPEN, INET6], 20, true);
    let outcome = canary(&mut ledger, &[FORK, OPEN], 30, true);
    assert_eq!(outcome.silent, [(INET6, 20)]);
}

#[test]
fn without_the_fork_hook_nothing_else_is_judged() {
    let mut ledger = ledger();
    let outcome = canary(&mut ledger, &[], 10, true);
    assert_eq!(outcome.silent, [(FORK, 5)]);
    assert_eq!(outcome.attach, [FORK]);
}

#[test]
fn a_canary_that_was_hindered_accuses_nobody_but_acquits() {
    let mut ledger = ledger();
    assert_eq!(canary(&mut ledger, &[FORK], 10, false).silent, []);
    canary(&mut ledger, &[FORK], 20, true);
    let outcome = canary(&mut ledger, &[FORK, OPEN], 30, false);
    assert_eq!(outcome.back, [(OPEN, 5)]);
}

#[test]
fn attaching_is_tried_less_and_less_often_and_never_given_up() {
    let mut ledger = ledger();
    let mut attempts = Vec::new();
    for round in 0..600 {
        let outcome = canary(&mut ledger, &[FORK], round, true);
        assert_eq!(outcome.missing, [OPEN]);
        for hook in outcome.attach {
            ledger.attached(hook, Err("refused".into()));
            attempts.push(round);
        }
    }
    let pauses: Vec<_> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 32, 64]);
    assert!(pauses[7..].iter().all(|pause| *pause == 64), "{pauses:?}");
    let silence = ledger.hooks()[1].silence.as_ref().unwrap();
    assert_eq!(silence.error.as_deref(), Some("refused"));
}

#[test]
fn what_the_host_cannot_do_any_more_accuses_no_hook() {
    let mut ledger = ledger();
    canary(&mut ledger, &[FORK, OPEN, INET6], 10, true);
    // IPv6 is turned off, and the hook on openat detached.
    ledger.begin();
    ledger.saw(FORK, 20);
    let outcome = ledger.conclude(Deeds::LIFE.and(Deeds::OPENAT));
    assert_eq!(outcome.silent, [(OPEN, 10)]);
    // IPv6 is back, and its hook was detached meanwhile.
    let outcome = canary(&mut ledger, &[FORK, OPEN], 30, true);
    assert_eq!(outcome.silent, [(INET6, 10)]);
}

#[test]
fn a_hook_that_is_detached_on_purpose_accuses_nobody_and_one_that_is_attached_has_to_prove_itself()
{
    let mut ledger = ledger();
    canary(&mut ledger, &[FORK, OPEN], 10, true);
    let attached = |fact, hook, proven| AttachedHook { fact, hook, proven };
    let hooks = [
        attached("fork", FORK, true),
        attached("connect_inet", INET6, false),
        attached("open", Hook::TpOpenat2, false),
    ];
    ledger.renew(&hooks, 15);
    let outcome = canary(&mut ledger, &[FORK], 20, true);
    assert_eq!((outcome.silent, outcome.missing), (vec![], vec![]));
    // What was known of those that stayed is known still.
    assert_eq!(ledger.hooks()[0].seen_ns, Some(20));
    canary(&mut ledger, &[FORK, Hook::TpOpenat2], 30, true);
    let outcome = canary(&mut ledger, &[FORK], 40, true);
    assert_eq!(outcome.silent, [(Hook::TpOpenat2, 30)]);
}
