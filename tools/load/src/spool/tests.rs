use std::sync::Arc;

use prost::Message;

use super::*;
use crate::{simulate::Span, world::World};

const LANES: [v1::Lane; 2] = [v1::Lane::Unspecified, v1::Lane::Findings];

fn spool(events: u64) -> Spool {
    let begin = 1_763_600_000_000_000_000;
    let span = Span {
        begin,
        end: begin + 3_600_000_000_000,
        events,
    };
    let machine = Machine::new(&Arc::new(World::new(3)), 3, 0, span);
    Spool::new(machine, begin, &LANES, events, 500).unwrap()
}

/// Everything there is, in order.
fn drained(spool: &mut Spool, lane: usize) -> Vec<v1::Batch> {
    while !spool.is_made() {
        spool.make().unwrap();
    }
    let lane = spool.lane(lane);
    std::iter::from_fn(|| lane.next())
        .map(|batch| batch.decoded().unwrap())
        .collect()
}

#[test]
fn sequences_are_dense_in_each_lane_and_nothing_is_left_out() {
    let mut spool = spool(7_777);
    let mut events = 0;
    for lane in [BULK, FINDINGS] {
        let mut next = 1;
        for batch in drained(&mut spool, lane) {
            assert_eq!(batch.first_seq, next);
            next += batch.events.len() as u64;
        }
        events += next - 1;
    }
    assert_eq!(events, 7_777);
}

#[test]
fn what_was_acknowledged_is_counted_and_the_rest_is_sent_again() {
    let mut spool = spool(3_000);
    let all: Vec<_> = drained(&mut spool, BULK)
        .into_iter()
        .flat_map(|batch| batch.events)
        .collect();
    let lane = spool.lane(BULK);
    // In the middle of the second batch, as a collector may say after a crash.
    let stored = 700;
    let crc = crc32fast::hash(&all[stored - 1].encode_to_vec());
    lane.resume(stored as u64, Some(crc)).unwrap();
    let mut expected = Tally::default();
    all[..stored]
        .iter()
        .for_each(|event| expected.count_event(event));
    assert_eq!((lane.acked(), lane.tally()), (stored as u64, &expected));
    let again: Vec<_> = std::iter::from_fn(|| lane.next())
        .flat_map(|batch| batch.decoded().unwrap().events)
        .collect();
    assert!(again == all[stored..]);
    lane.acknowledged(all.len() as u64).unwrap();
    all[stored..]
        .iter()
        .for_each(|event| expected.count_event(event));
    assert_eq!(lane.tally(), &expected);
    assert!(lane.is_empty());
}

#[test]
fn a_load_that_begins_again_goes_on_after_what_is_stored() {
    let mut first = spool(2_000);
    let all: Vec<_> = drained(&mut first, BULK)
        .into_iter()
        .flat_map(|batch| batch.events)
        .collect();
    let mut second = spool(2_000);
    second.lane(BULK).resume(1_234, None).unwrap();
    let batches = drained(&mut second, BULK);
    assert_eq!(batches[0].first_seq, 1_235);
    assert!(
        batches
            .into_iter()
            .flat_map(|batch| batch.events)
            .eq(all[1_234..].iter().cloned())
    );
}

#[test]
fn a_collector_that_breaks_its_word_is_found_out() {
    let mut spool = spool(2_000);
    drained(&mut spool, BULK);
    let lane = spool.lane(BULK);
    assert!(matches!(
        lane.acknowledged(2_001),
        Err(Broken::NeverMade { .. })
    ));
    lane.acknowledged(600).unwrap();
    assert!(matches!(
        lane.resume(599, None),
        Err(Broken::Behind {
            theirs: 599,
            ours: 600
        })
    ));
    assert!(matches!(
        lane.resume(700, Some(1)),
        Err(Broken::OtherEvent { seq: 700, .. })
    ));
    lane.resume(700, None).unwrap();
}
