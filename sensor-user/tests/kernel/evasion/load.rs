//! More than the sensor can take: what does not fit must be counted, to the last record.

use skep_event::{Detail, Event};
use skep_testing::Finish;

use crate::sensor::{Sensor, shown, wait_for};

use super::{
    Group, Technique,
    stage::{Stage, agent},
    verdict::Verdict,
};

/// Files of the small storm.
const STORM: usize = 2_000;
/// Room for far fewer records than that.
const SMALL_RING: u32 = 64 << 10;

pub const GROUP: Group = Group {
    title: "Load and loss",
    techniques: &[
        Technique {
            id: "open-storm",
            title: "open storm (2,000 files)",
            tries: "as many different files as fast as possible, one of them the one that matters",
            attempt: storm,
        },
        Technique {
            id: "ring-overflow",
            title: "ring overflow",
            tries: "the same into a ring of 64 KiB that nobody reads meanwhile",
            attempt: overflow,
        },
    ],
};

fn files(stage: &Stage) -> String {
    let folder = stage.subfolder("many");
    for number in 0..STORM {
        std::fs::write(format!("{folder}/{number}"), "").expect("own folder");
    }
    folder
}

/// How many of the files of this folder these events tell of; each at most once.
fn distinct<'a>(events: impl Iterator<Item = &'a Event>, folder: &str) -> usize {
    let prefix = format!("{folder}/");
    let paths = events.filter_map(|event| match &event.detail {
        Detail::Open(file) => Some(shown(file)).filter(|path| path.starts_with(&prefix)),
        _ => None,
    });
    paths.collect::<std::collections::BTreeSet<_>>().len()
}

fn storm(stage: &Stage) -> Verdict {
    let folder = files(stage);
    let attempt = stage.act(&["storm", &folder, &STORM.to_string()]);
    let seen = distinct(attempt.events.iter(), &folder);
    if seen == STORM {
        return Verdict::seen(stage.sensor.hook("open").hook);
    }
    Verdict::not_seen(format!(
        "{seen} of {STORM} files; lost: {:?}",
        stage.sensor.lost()
    ))
}

/// The agent waits until nobody reads the ring any more. What it then opens is reported or told as lost,
/// in its own session, and both together are what it opened.
fn overflow(stage: &Stage) -> Verdict {
    let folder = files(stage);
    let sensor = Sensor::start_with(SMALL_RING, stage.avoid);
    let (first, go) = (stage.secret(), stage.path("go"));
    let count = STORM.to_string();
    let mut agent = agent(&["open", &first, "wait-for", &go, "storm", &folder, &count])
        .spawn()
        .expect("the actor");
    let session = wait_for("the agent to be known", || {
        let is_first =
            |event: &Event| matches!(&event.detail, Detail::Open(file) if shown(file) == first);
        sensor.find(is_first).and_then(|event| event.session)
    });
    let stalled = sensor.stall();
    std::fs::write(&go, "").expect("own folder");
    assert!(agent.finish().success());
    drop(stalled);

    let (mut seen, mut lost) = (0, 0);
    wait_for("every open to be reported or told as lost", || {
        let of_session = sensor.of(|event| event.session == Some(session));
        seen = distinct(of_session.iter(), &folder);
        lost = opens_lost(&of_session);
        (seen + lost >= STORM).then_some(())
    });
    assert_eq!(seen + lost, STORM, "{seen} reported and {lost} lost");
    assert!(seen > 0 && lost > 0, "the ring was to overflow");
    Verdict::gap(
        sensor.hook("open").hook,
        "what does not fit is lost, and counted to the last record: the opens reported and those in the \
         `lost` events of the session are together the opens made",
    )
}

/// Opens that were made and not sent, as these events tell.
fn opens_lost(events: &[Event]) -> usize {
    let lost = events.iter().filter_map(|event| match &event.detail {
        Detail::Lost(lost) if lost.hop == "kernel" && lost.record == "open" => Some(lost.count),
        _ => None,
    });
    lost.sum::<u64>() as usize
}
