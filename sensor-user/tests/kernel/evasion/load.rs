//! More than the sensor can take: what does not fit must be counted, to the last record.

use std::time::Instant;

use skep_abi::Kind;
use skep_sensor::{
    event::{Detail, Event},
    fold::Fold,
    identify::Identifier,
    pipeline::{Pipeline, PipelineCounts},
};

use crate::sensor::{attach, shown};

use super::{
    Group, Technique,
    stage::{Stage, agent},
    verdict::Verdict,
};

/// Files of the small storm.
const STORM: usize = 2_000;
/// The smallest ring that is worth the name: some four hundred records.
const SMALL_RING: u32 = 64 << 10;
/// Holds the whole storm unread.
const LARGE_RING: u32 = 8 << 20;
/// How often the overflow is tried again because another program was started meanwhile.
const TRIES: usize = 20;

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

/// Two sensors with the same hooks, neither of them read: the one with the large ring tells what there
/// was to see, and the one with the small ring must account for all of it.
fn overflow(stage: &Stage) -> Verdict {
    let folder = files(stage);
    let sensor = |ring_bytes| attach(ring_bytes, stage.avoid);
    let (mut large, mut small) = (sensor(LARGE_RING), sensor(SMALL_RING));
    for _ in 0..TRIES {
        // What was started before is settled on both sides.
        read(&mut large);
        read(&mut small);
        let before = [large.counts(), small.counts()];
        let count = STORM.to_string();
        let storm = agent(&["storm", &folder, &count]).status();
        assert!(storm.expect("the actor").success());
        let after = [large.counts(), small.counts()];
        let made = |sensor: usize, kind| {
            let (after, before) = (
                attempts(&after[sensor], kind),
                attempts(&before[sensor], kind),
            );
            (after.made - before.made, after.lost - before.lost)
        };
        let (all, unsent) = made(0, Kind::Open);
        assert_eq!(unsent, 0, "the large ring holds everything");
        let (sent, lost) = made(1, Kind::Open);
        let execs = [made(0, Kind::Exec), made(1, Kind::Exec)];
        let (of_all, of_small) = (read(&mut large), read(&mut small));
        if execs != [(1, 0), (1, 0)] {
            continue; // another program was started meanwhile, so that there was more to see
        }
        assert_eq!(distinct(of_all.iter(), &folder), STORM);
        assert_eq!(sent + lost, all, "every open is sent or counted as lost");
        let told: u64 = of_small
            .iter()
            .filter_map(|event| match &event.detail {
                Detail::Lost(loss) if loss.hop == "kernel" && loss.record == "open" => {
                    Some(loss.count)
                }
                _ => None,
            })
            .sum();
        assert_eq!(told, lost, "what was lost is said in events");
        let arrived = opens(&of_small);
        assert_eq!(arrived, sent, "what was sent arrives");
        assert!(arrived > 0 && lost > 0, "the ring was to overflow");
        return Verdict::gap(
            stage.sensor.hook("open").hook,
            "what does not fit is lost, and counted to the last record: opens reported and opens in \
             `lost` events are together the opens made, as a second sensor with room for all of them \
             saw them",
        );
    }
    panic!("other programs were started all the time: the overflow cannot be reconciled here");
}

/// Opens reported, repeats included.
fn opens(events: &[Event]) -> u64 {
    let counts = events.iter().filter_map(|event| match &event.detail {
        Detail::Open(file) => Some(file.count),
        _ => None,
    });
    counts.sum()
}

struct Attempts {
    /// In the ring, or added to the count of a record that is.
    made: u64,
    lost: u64,
}

fn attempts(counts: &PipelineCounts, kind: Kind) -> Attempts {
    let counts = counts.kernel.iter().find(|counts| counts.kind == kind);
    let counts = counts.expect("every kind is counted");
    Attempts {
        made: counts.sent + counts.folded,
        lost: counts.lost.iter().map(|(_, lost)| lost).sum(),
    }
}

/// Reads everything, losses included.
fn read(pipeline: &mut Pipeline<Identifier>) -> Vec<Event> {
    let mut fold = Fold::default();
    let mut events = Vec::new();
    let begun = Instant::now();
    while pipeline.round(&mut fold, true, |event| events.push(event)) {
        assert!(begun.elapsed().as_secs() < 60, "there is no end to it");
    }
    events
}
