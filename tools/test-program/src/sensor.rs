//! A sensor that writes its events to a file where the daemon hands them to its spool.
//!
//! It goes through the steps of `skep-sensor run`: the probes, the journal and what runs already, then
//! rounds through the fold until SIGTERM.

use std::{fs::File, io::Write, path::Path, time::Duration};

use anyhow::{Context, Result};
use skep_event::{Event, json};
use skep_sensor::{clock::BootClock, config::Config, journal::Journal, start, stop::Stop};

/// How long it waits for a record before it looks by itself.
const IDLE: Duration = Duration::from_millis(100);

/// Watches until SIGTERM.
pub fn watch(state: &Path, events: &Path, avoid: Vec<String>) -> Result<()> {
    // Before any other thread.
    let stop = Stop::on_signals().context("cannot take signals over")?;
    let mut config = Config {
        state_directory: state.to_owned(),
        ..Config::default()
    };
    config.catalogue.directory = state.join("no-catalogue");
    config.kernel.avoid = avoid;
    // Where the machine is emulated everything takes its time.
    config.inspector.question_milliseconds = 60_000;

    let boot = start::boot_id();
    let clock = BootClock::for_boot(state, &boot);
    let mut pipeline = start::pipeline(&config, clock).context("the sensor cannot start here")?;
    let mut file = File::create(events).context("cannot write events")?;
    let mut failed = None;
    let mut tell = |event: Event| {
        let line = json::write(&event) + "\n";
        if let Err(error) = file.write_all(line.as_bytes()) {
            failed = Some(error);
        }
    };
    let (journal, found) = Journal::open(state, &boot, BootClock::boot_now());
    pipeline.keep_in(journal);
    pipeline.adopt(found.kept, &mut tell);
    File::create(events.with_extension("ready")).context("cannot say that it watches")?;
    let mut stopping = false;
    loop {
        let more = pipeline.round(stopping, &mut tell);
        if stopping && !more {
            break;
        }
        let idle = if more { Duration::ZERO } else { IDLE };
        stopping |= stop.wait([Some(pipeline.ring()), pipeline.alarm()], idle);
    }
    match failed {
        Some(error) => Err(error).context("cannot write events"),
        None => Ok(()),
    }
}
