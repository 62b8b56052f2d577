//! The uplink against a collector on a real socket.

mod copies;
mod kills;
mod orders;
mod two_lanes;

use std::{net::TcpListener, path::Path, sync::Mutex};

use skep_testing::{
    Random,
    collector::{Collector, Store},
    eventually,
};

use super::*;

/// Nothing here takes nearly as long, unless it hangs.
const HANGS: Duration = Duration::from_secs(120);

const QUICK: Timing = Timing {
    first_backoff: Duration::from_millis(10),
    last_backoff: Duration::from_millis(50),
    answer: Duration::from_secs(5),
    gather: Duration::from_millis(5),
    stall: Duration::from_secs(5),
};

fn settings(port: u16) -> Identity {
    Identity {
        address: format!("http://127.0.0.1:{port}"),
        sensor_id: "0".repeat(32),
        sensor_version: "0.1.0".into(),
        host: v1::Host {
            hostname: "h".into(),
            ..v1::Host::default()
        },
        hooks: vec![v1::HookState {
            fact: "exec".into(),
            ..v1::HookState::default()
        }],
        orders: None,
    }
}

fn event(number: u64) -> v1::Event {
    let file = v1::Open {
        path: Some(format!("/{number}")),
        count: 1,
        ..v1::Open::default()
    };
    v1::Event {
        time_unix_nano: number,
        detail: Some(v1::event::Detail::Open(file)),
        ..v1::Event::default()
    }
}

struct Sensor {
    _dir: Option<tempfile::TempDir>,
    lanes: Lanes,
    board: StatusBoard,
    uplink: Option<Uplink>,
}

impl Sensor {
    fn new(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut sensor = Self::at(dir.path(), 2 << 20);
        sensor._dir = Some(dir);
        sensor.connect(port);
        sensor
    }

    /// In a directory that is there before and after it; not connected yet.
    fn at(directory: &Path, max_bytes: u64) -> Self {
        Self {
            _dir: None,
            lanes: Lanes::open(directory, max_bytes, max_bytes / 4),
            board: StatusBoard::new("0.1.0"),
            uplink: None,
        }
    }

    fn connect(&mut self, port: u16) {
        self.uplink = None;
        let (lanes, board) = (self.lanes.clone(), self.board.clone());
        self.uplink = Some(Uplink::with_timing(settings(port), lanes, board, QUICK).unwrap());
    }

    /// Follows the orders of its collector.
    fn following(port: u16, handle: settings::Handle) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut sensor = Self::at(dir.path(), 2 << 20);
        sensor._dir = Some(dir);
        let (lanes, board) = (sensor.lanes.clone(), sensor.board.clone());
        let identity = Identity {
            orders: Some(handle),
            ..settings(port)
        };
        sensor.uplink = Some(Uplink::with_timing(identity, lanes, board, QUICK).unwrap());
        sensor
    }

    fn append(&self, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.lanes.append(&event(number));
        }
    }

    /// Waits until everything is acknowledged.
    fn settle(&self) {
        self.wait(|sensor| Lane::ALL.map(|lane| sensor.lanes.lane(lane).stats().records) == [0, 0]);
    }

    fn wait(&self, mut until: impl FnMut(&Self) -> bool) {
        eventually("what the test waits for", HANGS, || {
            until(self).then_some(())
        });
    }
}

fn numbers(events: &[v1::Event]) -> Vec<u64> {
    events.iter().map(|event| event.time_unix_nano).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn events_arrive_once_and_in_order_and_status_says_so() {
    let collector = Collector::new();
    let sensor = Sensor::new(collector.address.port());
    sensor.append(1..=1000);
    sensor.settle();
    assert_eq!(numbers(&collector.events()), (1..=1000).collect::<Vec<_>>());
    sensor.wait(|sensor| sensor.board.snapshot().uplink.bulk.acked_events == 1000);
    let uplink = sensor.board.snapshot().uplink.bulk;
    assert!(
        uplink.connected && uplink.last_ack_seconds_ago.is_some(),
        "{uplink:?}"
    );
    assert_eq!((uplink.sent_events, uplink.last_error), (1000, None));
    let hello = collector
        .store
        .lock()
        .unwrap()
        .hellos_of(v1::Lane::Unspecified)[0]
        .clone();
    assert_eq!(
        (hello.sensor_id.len(), hello.hooks[0].fact.as_str()),
        (32, "exec")
    );
}

#[test]
fn the_sensor_catches_up_after_the_collector_was_away() {
    let port = free_port();
    let sensor = Sensor::new(port);
    sensor.append(1..=10);
    sensor.wait(|sensor| sensor.board.snapshot().uplink.bulk.last_error.is_some());
    let collector = Collector::start(Arc::default(), port);
    sensor.settle();
    let store = Arc::clone(&collector.store);
    drop(collector);
    sensor.append(11..=20);
    sensor.wait(|sensor| !sensor.board.snapshot().uplink.bulk.connected);
    let collector = Collector::start(store, port);
    sensor.settle();
    assert_eq!(numbers(&collector.events()), (1..=20).collect::<Vec<_>>());
    let epochs = collector.store.lock().unwrap().events.len();
    assert_eq!(epochs, 2, "one a lane");
}

#[test]
fn what_was_stored_but_not_acknowledged_is_not_stored_twice() {
    let store = Arc::new(Mutex::new(Store {
        break_after_store: 3,
        ..Store::default()
    }));
    let collector = Collector::start(store, 0);
    let sensor = Sensor::new(collector.address.port());
    for number in 1..=5 {
        sensor.append(number..=number);
        sensor.settle();
    }
    assert_eq!(numbers(&collector.events()), (1..=5).collect::<Vec<_>>());
    let store = collector.store.lock().unwrap();
    assert_eq!(store.hellos_of(v1::Lane::Unspecified).len(), 4);
}

#[test]
fn a_restarted_sensor_goes_on_where_it_was() {
    let collector = Collector::new();
    let mut sensor = Sensor::new(collector.address.port());
    sensor.append(1..=5);
    sensor.settle();
    sensor.connect(collector.address.port());
    sensor.append(6..=9);
    sensor.settle();
    assert_eq!(numbers(&collector.events()), (1..=9).collect::<Vec<_>>());
    let epochs = collector.store.lock().unwrap().events.len();
    assert_eq!(epochs, 2, "one a lane");
}

#[test]
fn a_refusal_is_said_and_tried_again() {
    let store = Arc::new(Mutex::new(Store {
        closed: true,
        ..Store::default()
    }));
    let collector = Collector::start(store, 0);
    let sensor = Sensor::new(collector.address.port());
    sensor.append(1..=3);
    let said = |sensor: &Sensor| sensor.board.snapshot().uplink.bulk.last_error;
    sensor.wait(|sensor| said(sensor).is_some());
    assert_eq!(
        said(&sensor).unwrap(),
        "refused by the collector: internal: because"
    );
    collector.store.lock().unwrap().closed = false;
    sensor.settle();
    assert_eq!(numbers(&collector.events()), [1, 2, 3]);
}

#[test]
fn an_event_the_collector_never_takes_does_not_hold_up_the_others() {
    let store = Arc::new(Mutex::new(Store {
        poison: Some("/2".into()),
        ..Store::default()
    }));
    let collector = Collector::start(store, 0);
    let sensor = Sensor::new(collector.address.port());
    sensor.append(1..=4);
    sensor.settle();
    let events = collector.events();
    assert_eq!(numbers(&events), [1, 2, 3, 4]);
    let Some(v1::event::Detail::Lost(lost)) = &events[1].detail else {
        panic!("{events:?}")
    };
    assert_eq!(
        (lost.hop.as_str(), lost.cause.as_str(), lost.count),
        ("uplink", "refused", 1)
    );
    sensor.append(5..=400);
    sensor.settle();
    assert!(collector.store.lock().unwrap().largest > 1);
}

#[test]
fn a_collector_that_lost_its_data_gets_a_new_epoch() {
    let port = free_port();
    let sensor = Sensor::new(port);
    let collector = Collector::start(Arc::default(), port);
    sensor.append(1..=5);
    sensor.settle();
    drop(collector);
    let collector = Collector::start(Arc::default(), port);
    sensor.append(6..=8);
    sensor.settle();
    assert_eq!(numbers(&collector.events()), [6, 7, 8]);
}

#[test]
fn stopping_sends_what_is_left() {
    let collector = Collector::new();
    let mut sensor = Sensor::new(collector.address.port());
    sensor.append(1..=100);
    sensor.uplink.take().unwrap().stop(Duration::from_secs(60));
    assert_eq!(collector.events().len(), 100);
    assert_eq!(sensor.lanes.bulk.stats().records, 0);
}

#[test]
fn stopping_without_a_collector_does_not_wait_for_one() {
    let mut sensor = Sensor::new(free_port());
    sensor.append(1..=3);
    sensor.wait(|sensor| sensor.board.snapshot().uplink.bulk.last_error.is_some());
    sensor
        .uplink
        .take()
        .unwrap()
        .stop(Duration::from_secs(3600));
    assert_eq!(sensor.lanes.bulk.stats().records, 3);
}
