//! The feeder: appends numbered events to a spool and sends them, until the last or until it is killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_sensor::{
    status::StatusBoard,
    uplink::{Identity, Timing, Uplink},
};
use skep_spool::{Lane, Lanes};
use skep_testing::feeder::{Feed, Progress, numbered};

/// Short pauses: it lives for milliseconds.
const QUICK: Timing = Timing {
    first_backoff: Duration::from_millis(10),
    last_backoff: Duration::from_millis(50),
    answer: Duration::from_secs(5),
    gather: Duration::from_millis(5),
    stall: Duration::from_secs(5),
};
/// Time in which everything is acknowledged, unless something hangs.
const HANGS: Duration = Duration::from_secs(120);

/// Appends, writes down and sends; returns when everything is acknowledged.
pub fn feed(feed: &Feed<'_>) -> Result<()> {
    let spool = feed.directory.join("spool");
    let lanes = Lanes::open(&spool, feed.max_bytes, feed.max_bytes / 4);
    let settings = Identity {
        address: format!("http://127.0.0.1:{}", feed.port),
        sensor_id: "0".repeat(32),
        sensor_version: "0.1.0".into(),
        host: Default::default(),
        hooks: Vec::new(),
        orders: None,
    };
    let board = StatusBoard::new("0.1.0");
    let uplink = Uplink::with_timing(settings, lanes.clone(), board, QUICK)
        .context("cannot start the uplink")?;
    let mut progress = Progress::append(feed.directory).context("cannot write the progress")?;
    for number in feed.first..=feed.last {
        lanes.append(&numbered(number));
        progress.has(number).context("cannot write the progress")?;
    }
    uplink.stop(HANGS);
    let left = Lane::ALL.map(|lane| lanes.lane(lane).stats().records);
    ensure!(left == [0, 0], "{left:?} events were not acknowledged");
    Ok(())
}
