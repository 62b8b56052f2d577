//! SIGKILL at random moments: a process of its own fills the lanes and sends, is killed, and started
//! again on the same directory. `SKEP_KILL_ROUNDS` kills instead of a few.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::*;

/// Where the process works, told by the test that started it.
const DIRECTORY: &str = "SKEP_FEEDER_DIRECTORY";
const PORT: &str = "SKEP_FEEDER_PORT";
const FIRST: &str = "SKEP_FEEDER_FIRST";
const MAX_BYTES: &str = "SKEP_FEEDER_MAX_BYTES";

/// One event in so many is a finding.
const FINDING_EVERY: u64 = 50;

/// More than one life, of at most 65 ms, puts into its spool.
const BYTES_A_LIFE: u64 = 32 << 20;

fn rounds() -> u64 {
    std::env::var("SKEP_KILL_ROUNDS").map_or(12, |rounds| rounds.parse().expect("a number"))
}

fn numbered(number: u64) -> v1::Event {
    if number.is_multiple_of(FINDING_EVERY) {
        return v1::Event {
            time_unix_nano: number,
            detail: Some(v1::event::Detail::Finding(v1::Finding::default())),
            ..v1::Event::default()
        };
    }
    let mut event = event(number);
    if let Some(v1::event::Detail::Open(file)) = &mut event.detail {
        file.path = Some("x".repeat(1_000));
    }
    event
}

/// Appends and sends until `last`; each number is written down once its event is in the spool.
fn feed(directory: &Path, port: u16, max_bytes: u64, first: u64, last: u64) {
    let mut sensor = Sensor::at(&directory.join("spool"), max_bytes);
    sensor.connect(port);
    let mut progress = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("progress"))
        .unwrap();
    for number in first..=last {
        sensor.lanes.append(&numbered(number));
        progress.write_all(&number.to_le_bytes()).unwrap();
    }
    sensor.settle();
}

/// Numbers whose events were in the spool when the process was killed.
fn progress(directory: &Path) -> Vec<u64> {
    let bytes = fs::read(directory.join("progress")).unwrap_or_default();
    bytes
        .chunks_exact(8)
        .map(|number| u64::from_le_bytes(number.try_into().unwrap()))
        .collect()
}

/// This very test is also what the others start: then it goes on until it is killed.
#[test]
fn a_feeder_sends_each_event_once() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
        let port = u16::try_from(number(PORT)).unwrap();
        return feed(
            &PathBuf::from(directory),
            port,
            number(MAX_BYTES),
            number(FIRST),
            u64::MAX,
        );
    }
    let collector = Collector::start(Arc::default(), 0);
    let dir = tempfile::tempdir().unwrap();
    feed(dir.path(), collector.address.port(), 64 << 20, 1, 300);
    let mut arrived = numbers(&collector.events());
    arrived.sort_unstable();
    assert_eq!(arrived, (1..=300).collect::<Vec<_>>());
    assert_eq!(progress(dir.path()), arrived);
}

/// Kills a feeder again and again; what was in the spool, and the events of the collector after the
/// last life.
fn kill_again_and_again(max_bytes: u64, collector_is_away: bool) -> (Vec<u64>, Vec<v1::Event>) {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let store = Arc::<Mutex<Store>>::default();
    let collector = (!collector_is_away).then(|| Collector::start(Arc::clone(&store), port));
    for round in 0..rounds() {
        // The one after the last written down may be in the spool, or not: it is left out.
        let first = progress(dir.path()).last().map_or(1, |last| last + 2);
        let mut feeder = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "uplink::tests::kills::a_feeder_sends_each_event_once",
            ])
            .env(DIRECTORY, dir.path())
            .env(PORT, port.to_string())
            .env(FIRST, first.to_string())
            .env(MAX_BYTES, max_bytes.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let before = progress(dir.path()).len();
        while progress(dir.path()).len() == before {
            assert_eq!(feeder.try_wait().unwrap(), None, "round {round}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let moment = u64::from(u16::from_le_bytes(random)) % 150_000;
        std::thread::sleep(Duration::from_micros(moment));
        feeder.kill().unwrap();
        feeder.wait().unwrap();
    }
    let collector = collector.unwrap_or_else(|| Collector::start(store, port));
    let mut sensor = Sensor::at(&dir.path().join("spool"), max_bytes);
    sensor.connect(port);
    sensor.lanes.sync();
    sensor.settle();
    (progress(dir.path()), collector.events())
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
