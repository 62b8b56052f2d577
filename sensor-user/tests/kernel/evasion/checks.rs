//! The questions can be answered with no: put to what a real agent really did, and to the same events
//! with one thing changed.

use std::{fs, process::Command, sync::Arc};

use skep_event::{Detail, Event, Open, Text};

use crate::sensor::{sensor, shown};

use super::{attempt::Attempt, stage::Stage, verdict::Verdict};

fn stage(name: &str) -> Stage<'static> {
    Stage::new(sensor(), "checks", name, &[])
}

/// The events of an attempt, with each open changed.
fn changed(attempt: &Attempt, change: impl Fn(&mut Open)) -> Attempt {
    let mut events: Vec<Event> = attempt.events.clone();
    for event in &mut events {
        if let Detail::Open(file) = &mut event.detail {
            change(file);
        }
    }
    Attempt::with(events, None, None)
}

fn is_not_seen(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::NotSeen { .. })
}

#[test]
fn what_the_agent_did_not_do_is_not_seen() {
    let stage = stage("idle");
    let (secret, other) = (stage.secret(), stage.path("other"));
    fs::write(&other, "x").expect("own folder");
    let attempt = stage.act(&["open", &other]);
    assert!(!is_not_seen(&attempt.opened(&other)));
    assert!(is_not_seen(&attempt.opened(&secret)));
    assert!(is_not_seen(&attempt.recognised(&secret)));
    assert!(is_not_seen(&attempt.executed("cat", &secret)));
    assert!(
        is_not_seen(&attempt.opened_by_descendant(&other)),
        "it was the agent's own"
    );
    assert!(is_not_seen(&attempt.connected(([127, 0, 0, 1], 9).into())));
    assert!(is_not_seen(&attempt.connected_to_unix(&other)));
    assert_eq!(attempt.has_uring(), None);
    assert_eq!(attempt.has_socket(""), None);
}

#[test]
fn what_a_program_does_that_is_no_agent_counts_for_nothing() {
    let stage = stage("no-agent");
    let secret = stage.secret();
    let mut command = Command::new("cat");
    command.arg(&secret);
    let attempt = stage.act_as(command);
    assert!(attempt.events.is_empty());
    assert!(is_not_seen(&attempt.opened(&secret)));
}

#[test]
fn what_is_missing_from_an_event_is_a_gap_or_unseen() {
    let stage = stage("changed");
    let secret = stage.secret();
    let file = fs::metadata(&secret).expect("own folder");
    let attempt = stage.act(&["open", &secret]);
    assert!(matches!(attempt.opened(&secret), Verdict::Seen { .. }));
    let as_given = changed(&attempt, |file| file.resolved = false);
    assert!(matches!(as_given.opened(&secret), Verdict::Gap { .. }));
    let nameless = changed(&attempt, |file| file.path = None);
    assert!(is_not_seen(&nameless.opened(&secret)));

    assert!(!is_not_seen(&attempt.opened_by_other_name(&secret, &file)));
    let another_file = changed(&attempt, |file| {
        file.inode = file.inode.map(|inode| inode + 1);
    });
    assert!(is_not_seen(
        &another_file.opened_by_other_name(&secret, &file)
    ));
    let no_device = changed(&attempt, |file| file.device = None);
    assert!(is_not_seen(&no_device.opened_by_other_name(&secret, &file)));

    let cut = |resolved| {
        changed(&attempt, move |file| {
            let path = shown(file);
            file.path = Some(Text::from(path.replacen("/tmp", "…", 1).as_str()));
            file.resolved = resolved;
        })
    };
    assert!(matches!(
        cut(false).opened_too_long(&secret),
        Verdict::Gap { .. }
    ));
    assert!(
        is_not_seen(&cut(true).opened_too_long(&secret)),
        "a cut that is not said"
    );
}

#[test]
fn an_exec_without_what_the_program_did_is_not_enough() {
    let stage = stage("exec-alone");
    let secret = stage.secret();
    let attempt = stage.act(&["exec", "cat", &secret]);
    assert!(!is_not_seen(&attempt.executed("cat", &secret)));
    let only_exec = Attempt::with(
        attempt
            .events
            .iter()
            .filter(|event| !matches!(event.detail, Detail::Open(_)))
            .cloned()
            .collect(),
        None,
        None,
    );
    assert!(is_not_seen(&only_exec.executed("cat", &secret)));
    let mut disowned = attempt.events.clone();
    for event in &mut disowned {
        if let (Detail::Open(_), Some(process)) = (&event.detail, &mut event.process) {
            Arc::make_mut(process).argv = vec![Text::from("other")];
        }
    }
    let disowned = Attempt::with(disowned, None, None);
    assert!(is_not_seen(&disowned.executed("cat", &secret)));
}
