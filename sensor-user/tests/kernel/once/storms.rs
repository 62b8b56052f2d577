//! Many changes in one folder.

use std::fs;

use skep_event::{ChangeOp, Text};

use crate::sensor::{Sensor, scratch};

#[test]
fn a_storm_of_removals_is_a_handful_of_events_and_none_is_missing() {
    const COUNT: u64 = 3_000;
    let sensor = Sensor::start_folding(&[]);
    let folder = scratch("changes-storm");
    let count = COUNT.to_string();
    let run = sensor.run(&["remove-storm", folder.to_str().expect("text"), &count]);
    fs::remove_dir_all(&folder).expect("own directory");
    let unlinks: Vec<_> = run
        .changes()
        .into_iter()
        .filter(|(_, change)| change.op == ChangeOp::Unlink)
        .collect();
    let sum: u64 = unlinks.iter().map(|(_, change)| change.count).sum();
    assert_eq!(sum, COUNT, "none is lost here");
    assert!(unlinks.len() < 300, "{} events", unlinks.len());
    let many = unlinks.iter().filter(|(_, change)| change.many);
    for (_, change) in many {
        let path = change.path.as_ref().map(Text::escaped);
        assert_eq!(path.as_deref(), folder.to_str());
    }
    assert_eq!(sensor.lost(), Vec::<String>::new());
}
