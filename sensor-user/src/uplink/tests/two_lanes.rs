//! Findings and the bulk beside each other: who waits for whom, and how the account adds up.

use proptest::prelude::*;
use prost::Message;

use super::*;

fn finding(number: u64) -> v1::Event {
    let finding = v1::Finding {
        rule: "test".into(),
        ..v1::Finding::default()
    };
    v1::Event {
        time_unix_nano: number,
        detail: Some(v1::event::Detail::Finding(finding)),
        ..v1::Event::default()
    }
}

/// An event of `size` bytes that do not become fewer by compression, the same for the same number.
fn noise(number: u64, size: usize) -> v1::Event {
    let mut bytes = vec![0; size / 2];
    Random::from_seed(number).fill(&mut bytes);
    let path = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut event = event(number);
    if let Some(v1::event::Detail::Open(file)) = &mut event.detail {
        file.path = Some(path);
    }
    event
}

fn findings(collector: &Collector) -> Vec<u64> {
    let events = collector.events().into_iter();
    events
        .filter(|event| matches!(event.detail, Some(v1::event::Detail::Finding(_))))
        .map(|event| event.time_unix_nano)
        .collect()
}

#[test]
fn a_finding_does_not_wait_for_a_bulk_that_nobody_reads() {
    let store = Arc::new(Mutex::new(Store {
        ignores_bulk: true,
        ..Store::default()
    }));
    let collector = Collector::start(store, 0);
    let dir = tempfile::tempdir().unwrap();
    let mut sensor = Sensor::at(dir.path(), 128 << 20);
    for number in 1..=400 {
        sensor.lanes.append(&noise(number, 100_000));
    }
    assert!(sensor.lanes.bulk.stats().bytes > 32 << 20);
    sensor.connect(collector.address.port());
    // As much of the bulk is under way as ever will be.
    sensor.wait(|sensor| {
        let sent = sensor.board.snapshot().uplink.bulk.sent_bytes;
        sent > (WINDOW_BYTES - BATCH_BYTES) as u64
    });
    for number in 1..=50 {
        sensor.lanes.append(&finding(number));
        sensor.wait(|_| findings(&collector).len() as u64 == number);
    }
    let uplink = sensor.board.snapshot().uplink;
    assert_eq!(
        uplink.bulk.acked_events, 0,
        "the collector took nothing of it"
    );
    assert!(uplink.bulk.sent_bytes <= WINDOW_BYTES as u64, "{uplink:?}");
    sensor.uplink = None;
}

#[test]
fn each_lane_has_a_stream_of_its_own_on_one_connection_and_says_which() {
    let collector = Collector::new();
    let sensor = Sensor::new(collector.address.port());
    sensor.append(1..=3);
    sensor.lanes.append(&finding(4));
    sensor.settle();
    let store = collector.store.lock().unwrap();
    let [bulk] = &store.hellos_of(v1::Lane::Unspecified)[..] else {
        panic!("{:?}", store.hellos)
    };
    let [findings] = &store.hellos_of(v1::Lane::Findings)[..] else {
        panic!("{:?}", store.hellos)
    };
    assert_eq!(bulk.sensor_id, findings.sensor_id);
    assert_ne!(bulk.epoch, findings.epoch);
    assert_eq!(numbers(&store.events[&bulk.epoch]), [1, 2, 3]);
    assert_eq!(numbers(&store.events[&findings.epoch]), [4]);
    assert_eq!(store.connections.len(), 1, "{:?}", store.connections);
}

/// Events that were seen, and events that are said to be lost.
fn account(events: &[v1::Event]) -> (u64, u64) {
    events
        .iter()
        .fold((0, 0), |(seen, lost), event| match &event.detail {
            Some(v1::event::Detail::Lost(told)) => (seen, lost + told.count),
            _ => (seen + 1, lost),
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// The collector comes and goes, the sensor starts anew, the spool overflows: what arrives and what
    /// is said to be lost is what came in, and nothing arrives twice.
    #[test]
    fn what_arrives_and_what_is_told_is_what_came_in(
        steps in prop::collection::vec((0..4u8, 1..600u64), 4..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let store = Arc::<Mutex<Store>>::default();
        let mut sensor = Sensor::at(dir.path(), 1 << 20);
        let mut collector = None;
        let (mut appended, mut found) = (0, 0);
        for (step, size) in steps {
            match step {
                0 => for _ in 0..size {
                    appended += 1;
                    sensor.lanes.append(&noise(appended, 2_000));
                },
                1 => {
                    found += 1;
                    sensor.lanes.append(&finding(found));
                }
                2 if collector.is_none() => {
                    collector = Some(Collector::start(Arc::clone(&store), port));
                    sensor.connect(port);
                }
                2 => collector = None,
                _ => {
                    sensor.lanes.sync();
                    drop(sensor);
                    sensor = Sensor::at(dir.path(), 1 << 20);
                    sensor.connect(port);
                }
            }
        }
        let collector = collector.unwrap_or_else(|| Collector::start(Arc::clone(&store), port));
        sensor.connect(port);
        sensor.lanes.sync();
        sensor.settle();
        let events = collector.events();
        let (seen, lost) = account(&events);
        prop_assert_eq!(seen + lost, appended + found);
        let arrived: Vec<u64> = findings(&collector);
        prop_assert_eq!(arrived, (1..=found).collect::<Vec<_>>());
        let mut paths: Vec<u64> = events
            .iter()
            .filter(|event| matches!(event.detail, Some(v1::event::Detail::Open(_))))
            .map(|event| event.time_unix_nano)
            .collect();
        let all = paths.len();
        paths.sort_unstable();
        paths.dedup();
        prop_assert_eq!(paths.len(), all, "one arrived twice");
        // What was dropped of the bulk is told among the findings, all of it.
        let bulk = collector.store.lock().unwrap().hellos_of(v1::Lane::Unspecified)[0].epoch;
        prop_assert_eq!(account(&collector.store.lock().unwrap().events[&bulk]).1, 0);
    }
}

#[test]
fn a_lane_waits_longer_after_each_failure_and_never_exactly_as_long_as_another() {
    let dir = tempfile::tempdir().unwrap();
    let sensor = Sensor::at(dir.path(), 1 << 20);
    let worker = |failures| Worker {
        lane: Lane::Bulk,
        identity: Arc::new(settings(1)),
        channel: Endpoint::from_static("http://127.0.0.1:1").connect_lazy(),
        spool: sensor.lanes.bulk.clone(),
        board: sensor.board.clone(),
        timing: Timing::DEFAULT,
        position: Position::default(),
        failures: Failures {
            in_a_row: failures,
            logged: None,
        },
        copied: Copied {
            this: Arc::default(),
            other: Arc::default(),
        },
    };
    // A channel needs a runtime, though it is not used.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    for (failures, full) in [
        (1, 500),
        (2, 1_000),
        (4, 4_000),
        (7, 30_000),
        (u32::MAX, 30_000),
    ] {
        let full = Duration::from_millis(full);
        let worker = worker(failures);
        let pauses: std::collections::BTreeSet<Duration> =
            (0..200).map(|_| worker.backoff()).collect();
        assert!(
            pauses
                .iter()
                .all(|pause| *pause <= full && *pause >= full / 2)
        );
        assert!(pauses.len() > 50, "jitter is random: {pauses:?}");
    }
}

#[test]
fn what_the_encoder_writes_is_what_arrives() {
    let collector = Collector::new();
    let sensor = Sensor::new(collector.address.port());
    let all: Vec<v1::Event> = skep_event::sample::all()
        .iter()
        .map(skep_event::wire::event)
        .collect();
    all.iter().for_each(|event| sensor.lanes.append(event));
    sensor.settle();
    let mut arrived: Vec<Vec<u8>> = collector
        .events()
        .iter()
        .map(Message::encode_to_vec)
        .collect();
    let mut sent: Vec<Vec<u8>> = all.iter().map(Message::encode_to_vec).collect();
    arrived.sort();
    sent.sort();
    assert_eq!(arrived, sent);
}
