//! Two lanes: what goes where, what is told of a loss, and what crashes at the worst moments leave.

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::segment;
use skep_event::sample;
use skep_event::wire;

const MIB: u64 = 1 << 20;

fn open(number: u64, size: usize, count: u64) -> v1::Event {
    let file = v1::Open {
        path: Some("x".repeat(size)),
        count,
        ..v1::Open::default()
    };
    v1::Event {
        time_unix_nano: number,
        detail: Some(v1::event::Detail::Open(file)),
        ..v1::Event::default()
    }
}

fn finding(number: u64) -> v1::Event {
    v1::Event {
        time_unix_nano: number,
        detail: Some(v1::event::Detail::Finding(v1::Finding::default())),
        ..v1::Event::default()
    }
}

fn lanes(directory: &Path) -> Lanes {
    Lanes::open(directory, 2 * MIB, MIB / 2)
}

fn read(spool: &Spool) -> Vec<v1::Event> {
    let records = spool.read_from(1, usize::MAX, usize::MAX).unwrap();
    records
        .into_iter()
        .map(|(_, bytes)| v1::Event::decode(&bytes[..]).unwrap())
        .collect()
}

/// Events an event stands for: what was seen, and what is said to be lost.
fn total(events: &[v1::Event]) -> (u64, u64) {
    events
        .iter()
        .map(|event| match event.detail.as_ref().unwrap() {
            v1::event::Detail::Lost(lost) => (0, lost.count),
            v1::event::Detail::Open(file) => (file.count, 0),
            _ => (1, 0),
        })
        .fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn every_class_has_its_lane() {
    let lane = |event| Lane::of(&wire::event(&event));
    let bulk = [
        sample::exec(),
        sample::exit(),
        sample::open(),
        sample::connect(),
        sample::change(),
    ];
    assert!(bulk.map(lane).iter().all(|lane| *lane == Lane::Bulk));
    let findings = [
        sample::finding(),
        sample::session(),
        sample::lost(),
        sample::coverage(),
    ];
    assert!(
        findings
            .map(lane)
            .iter()
            .all(|lane| *lane == Lane::Findings)
    );
    assert_eq!(sample::all().len(), 11, "a class without a lane");
}

#[test]
fn what_the_bulk_drops_is_told_among_the_findings_and_no_finding_is_dropped_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let lanes = lanes(dir.path());
    for number in 1..=10 {
        lanes.append(&finding(number));
    }
    for number in 1..=5_000 {
        lanes.append(&open(number, 1_000, 2));
    }
    let (bulk, findings) = (read(&lanes.bulk), read(&lanes.findings));
    let (seen, none) = total(&bulk);
    assert_eq!(none, 0, "nothing of it is told in the bulk");
    let (found, lost) = total(&findings);
    assert_eq!((seen + lost, found), (10_000, 10));
    assert_eq!(lanes.bulk.stats().lost["spool_full"], lost);
    assert_eq!(lanes.findings.stats().lost.get("spool_full"), None);
    assert!(lanes.bulk.stats().bytes + lanes.findings.stats().bytes <= 2 * MIB);
    // The oldest went, in order.
    assert!(
        bulk.iter()
            .map(|event| event.time_unix_nano)
            .eq(5_001 - seen / 2..=5_000)
    );
    let told: Vec<&v1::Event> = findings[10..].iter().collect();
    let mut next = 1;
    for event in told {
        let Some(v1::event::Detail::Lost(lost)) = &event.detail else {
            panic!("{event:?}")
        };
        assert_eq!(
            (lost.hop.as_str(), lost.cause.as_str(), lost.record.as_str()),
            ("spool", "spool_full", "open")
        );
        assert_eq!(lost.first_unix_nano, next);
        assert_eq!(lost.last_unix_nano + 1 - next, lost.count / 2);
        next = lost.last_unix_nano + 1;
    }
}

#[test]
fn the_account_of_a_loss_does_not_wait_for_the_records_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let lanes = lanes(dir.path());
    for number in 1..=100 {
        lanes.append(&open(number, 1_000, 1));
    }
    // Handed out, never acknowledged: they stay, and what is dropped comes after them.
    let under_way = lanes.bulk.read_from(1, usize::MAX, 100).unwrap();
    for number in 101..=4_000 {
        lanes.append(&open(number, 1_000, 1));
    }
    let lost = total(&read(&lanes.findings)).1;
    assert!(lost > 0);
    assert_eq!(lanes.bulk.read_from(1, usize::MAX, 100).unwrap(), under_way);
    assert_eq!(total(&read(&lanes.bulk)), (4_000 - lost, 0));
    // Nothing of it is damage, also when it is opened again.
    let epochs = [&lanes.bulk, &lanes.findings].map(|lane| lane.position().unwrap().0);
    drop(lanes);
    let lanes = self::lanes(dir.path());
    lanes.sync();
    assert_eq!(
        [&lanes.bulk, &lanes.findings].map(|lane| lane.position().unwrap().0),
        epochs
    );
    assert_eq!(total(&read(&lanes.bulk)), (4_000 - lost, 0));
    assert_eq!(total(&read(&lanes.findings)), (0, lost));
}

#[test]
fn findings_past_their_share_make_room_for_newer_ones_and_that_is_told_there() {
    let dir = tempfile::tempdir().unwrap();
    let lanes = lanes(dir.path());
    for number in 1..=1_000 {
        let mut event = finding(number);
        if let Some(v1::event::Detail::Finding(finding)) = &mut event.detail {
            finding.reason = "x".repeat(1_000);
        }
        lanes.append(&event);
    }
    let (seen, lost) = total(&read(&lanes.findings));
    assert_eq!(seen + lost, 1_000);
    assert!(lost > 0 && lanes.findings.stats().bytes <= MIB / 2);
    assert_eq!(lanes.bulk.stats().records, 0);
}

/// More of a thousand bytes than the bulk has room for.
const EVENTS: u64 = 2_500;

/// A directory as it was before a tombstone was handed over, and as it is after.
struct Moment {
    _dir: tempfile::TempDir,
    before: PathBuf,
    after: PathBuf,
    /// Name of the tombstone in the bulk, and what it became among the findings.
    tombstone: String,
    told: String,
    lost: u64,
}

fn hand_over() -> Moment {
    let dir = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|name| dir.path().join(name));
    // Alone, the bulk keeps its tombstone.
    let alone = Spool::open(Place {
        directory: before.join("bulk"),
        max_bytes: 2 * MIB - MIB / 2,
        lane: Lane::Bulk,
    });
    for number in 1..=EVENTS {
        alone.append(&open(number, 1_000, 1));
    }
    let lost = total(&read(&alone)).1;
    assert!(lost > 0);
    // What was read is pinned, and would not be handed over.
    alone.new_epoch().unwrap();
    drop(alone);
    drop(lanes(&before).findings);
    let names = |directory: &Path| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|name| name.ends_with(".seg"))
            .collect();
        names.sort();
        names
    };
    copy_tree(&before, &after);
    lanes(&after).sync();
    let tombstone = names(&before.join("bulk")).remove(0);
    let told = names(&after.join("findings")).remove(0);
    Moment {
        _dir: dir,
        before,
        after,
        tombstone,
        told,
        lost,
    }
}

#[test]
fn a_crash_at_any_step_of_handing_over_tells_each_loss_once() {
    let moment = hand_over();
    let Moment {
        before,
        after,
        tombstone,
        told,
        lost,
        ..
    } = &moment;
    let gap = tombstone.replace(".seg", ".gap");
    let arrived = told.replace(".seg", ".told");
    let step = |name: &str, from: &Path, change: &dyn Fn(&Path)| {
        let place = moment._dir.path().join(name);
        copy_tree(from, &place);
        change(&place);
        let lanes = lanes(&place);
        assert_eq!(
            (lanes.bulk.stats().error, lanes.findings.stats().error),
            (None, None)
        );
        lanes.sync();
        let (bulk, findings) = (read(&lanes.bulk), read(&lanes.findings));
        assert_eq!(total(&bulk), (EVENTS - lost, 0), "{name}");
        assert_eq!(total(&findings), (0, *lost), "{name}");
        assert_eq!(lanes.bulk.stats().lost.get("corrupt"), None, "{name}");
        // And it goes on.
        lanes.append(&finding(7));
        lanes.append(&open(EVENTS + 1, 10, 1));
        drop(lanes);
        let lanes = self::lanes(&place);
        assert_eq!(total(&read(&lanes.findings)), (1, *lost), "{name}");
        assert_eq!(read(&lanes.bulk).last().unwrap().time_unix_nano, EVENTS + 1);
        for lane in ["bulk", "findings"] {
            for entry in fs::read_dir(place.join(lane)).unwrap() {
                let file = entry.unwrap().file_name().into_string().unwrap();
                assert!(
                    !file.ends_with(".gap") && !file.ends_with(".told"),
                    "{name}: {file}"
                );
            }
        }
    };
    // The empty tombstone that stays in the bulk is what the gap was.
    let empty = after.join("bulk").join(tombstone);
    let full = before.join("bulk").join(tombstone);
    step("untouched", before, &|_| {});
    step("gap made", before, &|place| {
        fs::copy(&empty, place.join("bulk").join(&gap)).unwrap();
    });
    step("gap torn", before, &|place| {
        fs::write(place.join("bulk").join(&gap), "SKEP").unwrap();
    });
    step("renamed", before, &|place| {
        fs::copy(&empty, place.join("bulk").join(&gap)).unwrap();
        fs::rename(
            place.join("bulk").join(tombstone),
            place.join("findings").join(&arrived),
        )
        .unwrap();
    });
    step("taken, not removed", after, &|place| {
        fs::copy(&full, place.join("findings").join(&arrived)).unwrap();
    });
    step("taken, gap left", after, &|place| {
        fs::rename(
            place.join("bulk").join(tombstone),
            place.join("bulk").join(&gap),
        )
        .unwrap();
    });
    step("done", after, &|_| {});
}

#[test]
fn a_spool_without_lanes_is_taken_over_as_the_bulk() {
    let dir = tempfile::tempdir().unwrap();
    let old = Spool::open(Place {
        directory: dir.path().to_owned(),
        max_bytes: 2 * MIB,
        lane: Lane::Bulk,
    });
    for number in 1..=500 {
        old.append(&open(number, 1_000, 1));
    }
    let handed_out = old.read_from(1, usize::MAX, 20).unwrap();
    old.ack(5).unwrap();
    let position = old.position();
    drop(old);
    let half = dir.path().join("bulk");
    // A crash in the middle of it: some segments have moved.
    fs::create_dir(&half).unwrap();
    fs::rename(segment::path(dir.path(), 1), segment::path(&half, 1)).unwrap();
    let lanes = lanes(dir.path());
    assert_eq!(lanes.bulk.stats().error, None);
    assert_eq!(lanes.bulk.position(), position);
    assert_eq!(
        lanes.bulk.read_from(6, usize::MAX, 15).unwrap(),
        handed_out[5..]
    );
    assert_eq!(read(&lanes.bulk).len(), 495);
    let mut left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["bulk", "findings"]);
}

#[test]
fn a_spool_without_lanes_beside_one_with_them_is_said_and_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    drop(lanes(dir.path()));
    let old = Spool::open(Place {
        directory: dir.path().to_owned(),
        max_bytes: MIB,
        lane: Lane::Bulk,
    });
    old.append(&open(1, 10, 1));
    drop(old);
    let lanes = lanes(dir.path());
    let error = lanes.bulk.stats().error.unwrap();
    assert!(error.contains("spool of an older sensor"), "{error}");
    assert!(segment::path(dir.path(), 1).exists());
    lanes.append(&finding(1));
    assert_eq!(read(&lanes.findings).len(), 1, "the other lane works");
}

#[test]
fn lanes_never_have_the_same_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let lanes = lanes(dir.path());
    for _ in 0..50 {
        let epoch = |spool: &Spool| spool.new_epoch().unwrap();
        assert_eq!((epoch(&lanes.bulk) % 2, epoch(&lanes.findings) % 2), (0, 1));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Bulk {
        size: usize,
        count: u64,
    },
    Finding,
    Read {
        bulk: bool,
        records: usize,
    },
    Ack {
        bulk: bool,
    },
    Sync,
    Restart,
    /// A copy of the directory goes on, as after a power cut: everything was synced.
    PowerCut,
    NewEpoch {
        bulk: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (1..60_000usize, 1..4u64).prop_map(|(size, count)| Step::Bulk { size, count }),
        4 => Just(Step::Finding),
        3 => (any::<bool>(), 1..20usize).prop_map(|(bulk, records)| Step::Read { bulk, records }),
        3 => any::<bool>().prop_map(|bulk| Step::Ack { bulk }),
        1 => Just(Step::Sync),
        1 => Just(Step::Restart),
        1 => Just(Step::PowerCut),
        1 => any::<bool>().prop_map(|bulk| Step::NewEpoch { bulk }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// What is acknowledged, what waits and what is told lost, of both lanes, is what came in.
    #[test]
    fn no_event_of_either_lane_is_lost_unsaid(steps in prop::collection::vec(step(), 1..250)) {
        let dir = tempfile::tempdir().unwrap();
        let mut place = dir.path().join("0");
        let mut lanes = lanes(&place);
        let (mut appended, mut done) = (0, (0, 0));
        for (number, step) in (1..).zip(steps) {
            let of = |bulk: bool, lanes: &Lanes| lanes.lane(if bulk { Lane::Bulk } else { Lane::Findings }).clone();
            match step {
                Step::Bulk { size, count } => {
                    lanes.append(&open(number, size, count));
                    appended += count;
                }
                Step::Finding => {
                    lanes.append(&finding(number));
                    appended += 1;
                }
                Step::Read { bulk, records } => {
                    of(bulk, &lanes).read_from(1, 1 << 30, records).unwrap();
                }
                Step::Ack { bulk } => {
                    let spool = of(bulk, &lanes);
                    let acked = spool.position().unwrap().1;
                    let records = spool.read_from(acked + 1, 1 << 30, 7).unwrap();
                    let events: Vec<_> = records
                        .iter()
                        .map(|(_, bytes)| v1::Event::decode(&bytes[..]).unwrap())
                        .collect();
                    let (seen, lost) = total(&events);
                    done = (done.0 + seen, done.1 + lost);
                    if let Some((last, _)) = records.last() {
                        spool.ack(*last).unwrap();
                    }
                }
                Step::Sync => lanes.sync(),
                Step::Restart => {
                    lanes.sync();
                    drop(lanes);
                    lanes = self::lanes(&place);
                }
                Step::PowerCut => {
                    lanes.sync();
                    let next = dir.path().join(number.to_string());
                    copy_tree(&place, &next);
                    lanes = self::lanes(&next);
                    place = next;
                }
                Step::NewEpoch { bulk } => {
                    of(bulk, &lanes).new_epoch().unwrap();
                }
            }
            let stats = [lanes.bulk.stats(), lanes.findings.stats()];
            prop_assert!(stats[0].bytes <= 2 * MIB - MIB / 2 && stats[1].bytes <= MIB / 2, "{:?}", stats);
            prop_assert_eq!(stats.map(|stats| stats.error), [None, None]);
        }
        lanes.sync();
        let left = [&lanes.bulk, &lanes.findings].map(|lane| total(&read(lane)));
        let sum = done.0 + done.1 + left.iter().map(|(seen, lost)| seen + lost).sum::<u64>();
        prop_assert_eq!(sum, appended);
    }
}
