//! Orders of the collector.

use skep_proto::v1::{Order, Outcome, SetLogLevel, order::Body, outcome::Kind};

use super::*;
use crate::{
    log_level::Level,
    settings::{Handle, Log, Settings as All},
};

fn log(id: u64, level: &str) -> Order {
    Order {
        id,
        body: Some(Body::SetLogLevel(SetLogLevel {
            level: level.to_owned(),
        })),
    }
}

fn outcomes(collector: &Collector) -> Vec<Outcome> {
    collector.store.lock().unwrap().outcomes.clone()
}

#[test]
fn an_order_is_applied_or_refused_with_the_reason_and_an_unknown_one_changes_nothing() {
    let store = Store {
        orders: vec![
            Order { id: 7, body: None },
            log(8, "verbose"),
            log(9, "debug"),
        ],
        ..Store::default()
    };
    let collector = Collector::start(Arc::new(Mutex::new(store)), 0);
    let handle = Handle::new(All::of_defaults());
    let follower = handle.subscribe();
    let sensor = Sensor::following(collector.address.port(), handle);
    sensor.wait(|_| outcomes(&collector).len() == 3);
    let [unknown, refused, applied] = &outcomes(&collector)[..] else {
        panic!("three orders")
    };
    assert_eq!((unknown.id, unknown.kind()), (7, Kind::Refused));
    assert_eq!(unknown.reason, "unknown order");
    assert_eq!((refused.id, refused.kind()), (8, Kind::Refused));
    assert!(
        refused.reason.contains("no log level `verbose`"),
        "{refused:?}"
    );
    assert_eq!((applied.id, applied.kind()), (9, Kind::Applied));
    let now = follower.borrow().log.clone();
    assert_eq!(now.value, Log::Level(Level::Debug));
    assert_eq!(now.by.to_string(), "collector, order 9");
    // Only the lane that takes orders said so.
    let hellos = collector.store.lock().unwrap().hellos.clone();
    for hello in hellos {
        assert_eq!(hello.takes_orders, hello.lane() == v1::Lane::Findings);
    }
    // Events go on.
    sensor.append(1..=10);
    sensor.settle();
    assert_eq!(numbers(&collector.events()), (1..=10).collect::<Vec<_>>());
}

#[test]
fn an_order_does_not_wait_behind_events_that_nobody_reads() {
    let store = Arc::new(Mutex::new(Store {
        ignores_bulk: true,
        ..Store::default()
    }));
    let collector = Collector::start(Arc::clone(&store), 0);
    let handle = Handle::new(All::of_defaults());
    let _follower = handle.subscribe();
    let sensor = Sensor::following(collector.address.port(), handle);
    sensor.append(1..=20_000);
    sensor.wait(|sensor| sensor.board.snapshot().uplink.bulk.sent_events > 0);
    let first = store.lock().unwrap().hellos_of(v1::Lane::Findings).len();
    assert!(outcomes(&collector).is_empty());
    // The lane of findings connects again, and is given an order.
    store.lock().unwrap().orders = vec![log(1, "warn")];
    store.lock().unwrap().drop_findings();
    sensor.wait(|_| outcomes(&collector).len() == 1);
    assert!(store.lock().unwrap().hellos_of(v1::Lane::Findings).len() > first);
    assert!(
        sensor.lanes.lane(Lane::Bulk).stats().records > 0,
        "the bulk waits"
    );
}

#[test]
fn a_sensor_that_takes_no_orders_does_not_say_that_it_does() {
    let collector = Collector::start(Arc::default(), 0);
    let sensor = Sensor::new(collector.address.port());
    sensor.append(1..=3);
    sensor.settle();
    let hellos = || collector.store.lock().unwrap().hellos.clone();
    sensor.wait(|_| hellos().len() >= 2);
    assert!(hellos().iter().all(|hello| !hello.takes_orders));
}
