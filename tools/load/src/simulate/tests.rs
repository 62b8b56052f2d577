use std::collections::BTreeMap;

use super::*;
use crate::tally::Tally;

const BEGIN: u64 = 1_763_600_000 * SECOND;

fn machine(number: u64, span: Span) -> Machine {
    Machine::new(&Arc::new(World::new(7)), 7, number, span)
}

fn day(events: u64) -> Span {
    Span {
        begin: BEGIN,
        end: BEGIN + 86_400 * SECOND,
        events,
    }
}

#[test]
fn events_are_the_bytes_that_prost_makes_and_their_counts_are_right() {
    for number in 0..6 {
        let mut machine = machine(number, day(20_000));
        let (mut counted, mut decoded) = (Tally::default(), Tally::default());
        for _ in 0..20_000 {
            let made = machine.make();
            let event = v1::Event::decode(machine.bytes()).unwrap();
            assert_eq!(event.encode_to_vec(), machine.bytes(), "{event:?}");
            assert_eq!(event.time_unix_nano, made.nanos);
            counted.count_made(&made);
            decoded.count_event(&event);
        }
        assert_eq!(counted, decoded);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let bytes = |seed| {
        let mut machine = Machine::new(&Arc::new(World::new(seed)), seed, 1, day(1000));
        let mut all = Vec::new();
        for _ in 0..5_000 {
            machine.make();
            all.extend_from_slice(machine.bytes());
        }
        all
    };
    assert!(bytes(1) == bytes(1));
    assert!(bytes(1) != bytes(2));
}

#[test]
fn a_machine_keeps_to_the_span_it_is_given() {
    for (days, events) in [(1, 60_000), (7, 200_000), (30, 100_000)] {
        let span = Span {
            begin: BEGIN,
            end: BEGIN + days * 86_400 * SECOND,
            events,
        };
        let mut halves = 0;
        for number in 0..8 {
            let mut machine = machine(number, span);
            let mut last = 0;
            for event in 0..events {
                let made = machine.make();
                assert!(made.nanos >= last, "out of order");
                last = made.nanos;
                if event == events / 2 {
                    halves += (last - span.begin) * 100 / (span.end - span.begin);
                }
            }
            // Beyond the end there is only as much as is running then.
            assert!(last < span.end + 3600 * SECOND, "{last}");
        }
        let half = halves / 8;
        assert!(
            (35..=65).contains(&half),
            "{days} days, {half} % of them at half time"
        );
    }
}

#[test]
fn the_mix_is_that_of_real_sessions() {
    let mut rows = BTreeMap::<Class, u64>::new();
    for number in 0..10 {
        let mut machine = machine(number, day(50_000));
        for _ in 0..50_000 {
            *rows.entry(machine.make().class).or_default() += 1;
        }
    }
    let share = |class| rows.get(&class).copied().unwrap_or_default() as f64 / 500_000.0;
    assert!((0.85..0.97).contains(&share(Class::Open)), "{rows:?}");
    assert!((0.01..0.06).contains(&share(Class::Exec)), "{rows:?}");
    assert!((0.003..0.03).contains(&share(Class::Connect)), "{rows:?}");
    assert_eq!(rows.len(), 8, "every class: {rows:?}");
}
