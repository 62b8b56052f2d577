//! The power goes at any moment, again and again: what was acknowledged is there, once.

use std::collections::BTreeMap;

use super::{
    objects::Fault,
    scene::{Failing, Random, Sensor, rows},
};
use crate::store::{Next, Own, Start, Store, maintain};

const SENSORS: u64 = 3;
const ROUNDS: u64 = 12;

/// Reads everything from where the reader is; the sequences of each sensor, in their order.
async fn drain(store: &Store, seen: &mut BTreeMap<String, u64>) {
    let last = store.shared.state().hot.position();
    let last = last.max(
        store
            .readers()
            .iter()
            .map(|reader| reader.position)
            .max()
            .unwrap(),
    );
    let mut reader = store.reader("all").await.unwrap();
    let start = store
        .readers()
        .into_iter()
        .find(|known| known.name == "all")
        .unwrap();
    let mut position = start.position;
    while position < last {
        match reader.next_batch().await.unwrap() {
            Next::Batch(batch) => {
                assert_eq!(batch.position, position + 1);
                position = batch.position;
                for row in batch.rows() {
                    let sensor = format!("{} {}", batch.origin.sensor_id, batch.origin.epoch);
                    let before = seen.insert(sensor.clone(), row.seq).unwrap_or(0);
                    // What was read and not committed before the cut comes again, and no gap.
                    assert!(
                        row.seq <= before + 1,
                        "{sensor}: {} after {before}",
                        row.seq
                    );
                }
            }
            Next::Gap(gap) => panic!("{gap:?}"),
        }
    }
    reader.commit(position).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_moment_takes_nothing_acknowledged_from_tables_and_readers() {
    let mut random = Random::new();
    let mut failing = Failing::new();
    let mut acknowledged = [0; SENSORS as usize + 1];
    let mut seen = BTreeMap::new();
    let mut emitted = 0;
    for round in 0..ROUNDS {
        let store = failing.open(|_| {}).await;
        store.add_reader("all", Start::Oldest).await.unwrap();
        let mut sensors = Vec::new();
        let mut stored = 0;
        for number in 1..=SENSORS {
            let sensor = Sensor::connect(&store, number).await;
            let known = acknowledged[usize::try_from(number).unwrap()];
            assert!(
                sensor.seq >= known,
                "round {round}: {} of {known}",
                sensor.seq
            );
            stored += sensor.seq;
            sensors.push(sensor);
        }
        let own = rows(&store).checked_sub(stored);
        let own = own.unwrap_or_else(|| panic!("round {round}: {} of {stored}", rows(&store)));
        // At most the emission that was under way is there, too.
        assert!(
            (emitted..=emitted + 1).contains(&own),
            "round {round}: {own} of {emitted}"
        );
        emitted = own;
        for _ in 0..random.below(12) {
            let number = random.below(SENSORS);
            let sensor = &mut sensors[usize::try_from(number).unwrap()];
            match random.below(8) {
                0..=3 => {
                    let count = 1 + random.below(20);
                    sensor.send(&store, count, 100).await;
                    acknowledged[usize::try_from(number).unwrap() + 1] = sensor.seq;
                }
                4 => {
                    let finding = skep_proto::v1::Finding::default();
                    store.emit(vec![Own::Finding(finding)]).await.unwrap();
                    emitted += 1;
                }
                5 => drain(&store, &mut seen).await,
                6 => {
                    failing.objects.fail("_delta_log", Fault::PutAnswer, 1);
                    // It may have worked; the next flush looks.
                    let _ = maintain::flush_all(&store.shared).await;
                    failing.objects.heal();
                }
                _ => {
                    let flushed = maintain::flush_all(&store.shared).await;
                    flushed.unwrap();
                }
            }
        }
        // Something is under way as the power goes.
        for sensor in &mut sensors {
            sensor.append(&store, 1 + random.below(5), 3000).await;
        }
        let under_way = store.clone();
        let flushing = tokio::spawn(async move {
            let _ = maintain::flush_all(&under_way.shared).await;
        });
        tokio::time::sleep(std::time::Duration::from_micros(random.below(3000))).await;
        let parts: Vec<u8> = (0..40)
            .map(|_| match random.below(3) {
                0 => 0,
                1 => 255,
                _ => u8::try_from(random.below(256)).unwrap(),
            })
            .collect();
        let left = failing.power_cut(&parts);
        flushing.abort();
        drop((sensors, store));
        failing = left;
    }
    let store = failing.open(|_| {}).await;
    drain(&store, &mut seen).await;
    store.close().await.unwrap();
}
