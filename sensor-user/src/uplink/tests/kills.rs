//! SIGKILL at random moments: a process of its own fills the lanes and sends, is killed, and started
//! again on the same directory. `SKEP_KILL_ROUNDS` kills instead of a few; `SKEP_SEED` says when: the
//! seed is printed.

use std::collections::BTreeSet;

use skep_testing::{
    Finish,
    feeder::{FINDING_EVERY, Feed, Progress},
};

use super::*;

/// The longest life of a feeder after its first event.
const LIFE_MICROS: u64 = 65_536;
/// More than one life puts into its spool.
const BYTES_A_LIFE: u64 = 32 << 20;

fn rounds() -> u64 {
    std::env::var("SKEP_KILL_ROUNDS").map_or(12, |rounds| rounds.parse().expect("a number"))
}

#[test]
fn a_feeder_sends_each_event_once() {
    let collector = Collector::new();
    let dir = tempfile::tempdir().unwrap();
    let feed = Feed {
        directory: dir.path(),
        port: collector.address.port(),
        max_bytes: 64 << 20,
        first: 1,
        last: 300,
    };
    let ended = feed.command().finish();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{}: {said}", ended.status);
    let mut arrived = numbers(&collector.events());
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=300).collect::<Vec<_>>());
    assert_eq!(Progress::read(dir.path()), arrived);
}

/// Kills a feeder again and again; what was in the spool, and the events of the collector after the
/// last life.
fn kill_again_and_again(max_bytes: u64, collector_is_away: bool) -> (Vec<u64>, Vec<v1::Event>) {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let store = Arc::<Mutex<Store>>::default();
    let collector = (!collector_is_away).then(|| Collector::start(Arc::clone(&store), port));
    let mut random = Random::from_environment();
    for round in 0..rounds() {
        // The one after the last written down may be in the spool, or not: it is left out.
        let first = Progress::read(dir.path()).last().map_or(1, |last| last + 2);
        let feed = Feed {
            directory: dir.path(),
            port,
            max_bytes,
            first,
            last: u64::MAX,
        };
        let mut feeder = feed.command().spawn().unwrap();
        let before = Progress::read(dir.path()).len();
        eventually("the feeder to append", HANGS, || {
            assert_eq!(feeder.try_wait().unwrap(), None, "round {round}");
            (Progress::read(dir.path()).len() > before).then_some(())
        });
        std::thread::sleep(Duration::from_micros(random.below(LIFE_MICROS)));
        feeder.kill().unwrap();
        feeder.finish();
    }
    let collector = collector.unwrap_or_else(|| Collector::start(store, port));
    let mut sensor = Sensor::at(&dir.path().join("spool"), max_bytes);
    sensor.connect(port);
    sensor.lanes.sync();
    sensor.settle();
    (Progress::read(dir.path()), collector.events())
}

/// Numbers of what arrived, once each, and how many are said to be lost.
fn arrived(events: &[v1::Event]) -> (BTreeSet<u64>, u64) {
    let mut lost = 0;
    let mut numbers = BTreeSet::new();
    for event in events {
        match &event.detail {
            Some(v1::event::Detail::Lost(told)) => lost += told.count,
            _ => assert!(
                numbers.insert(event.time_unix_nano),
                "{} arrived twice",
                event.time_unix_nano
            ),
        }
    }
    (numbers, lost)
}

#[test]
fn what_was_spooled_when_the_sensor_was_killed_arrives_once() {
    // A life writes faster than it sends: room for all there is.
    let room = (rounds() * BYTES_A_LIFE).max(1 << 30);
    let (spooled, events) = kill_again_and_again(room, false);
    let (numbers, lost) = arrived(&events);
    let missing: Vec<_> = spooled.iter().filter(|n| !numbers.contains(n)).collect();
    let (count, first) = (missing.len(), missing.first());
    assert_eq!(
        (count, lost),
        (0, 0),
        "missing and told lost, from {first:?}"
    );
    let extra = numbers.len() - spooled.len();
    assert!(extra as u64 <= rounds(), "{extra} more than were appended");
}

#[test]
fn a_sensor_killed_while_its_spool_overflows_accounts_for_every_event() {
    let (spooled, events) = kill_again_and_again(2 << 20, true);
    let (numbers, lost) = arrived(&events);
    assert!(lost > 0, "it overflowed");
    let told = numbers.len() as u64 + lost;
    let least = spooled.len() as u64;
    assert!(
        (least..=least + rounds()).contains(&told),
        "{told} arrived or told lost, {least} spooled"
    );
    let findings = spooled.iter().filter(|n| n.is_multiple_of(FINDING_EVERY));
    for finding in findings {
        assert!(numbers.contains(finding), "the finding {finding}");
    }
}
