//! The least that durable storage costs: the same batches appended to a file, with fsync.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    time::Instant,
};

use serde::Serialize;

use crate::run::{Options, prepared};

/// What appending took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Appended {
    pub events: u64,
    pub batches: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    pub batches_per_second: f64,
}

/// Appends all batches of a load to `file`, which must not be there yet, with an fsync after every
/// `group` of them. Nothing but writing and fsync is in the time.
pub fn append(options: &Options, file: &Path, group: usize) -> io::Result<Appended> {
    let batches = prepared(options)?;
    let mut out = OpenOptions::new()
        .append(true)
        .create_new(true)
        .open(file)?;
    let (mut events, mut bytes) = (0, 0);
    let begun = Instant::now();
    for some in batches.chunks(group.max(1)) {
        for batch in some {
            out.write_all(&batch.frame)?;
            events += batch.last_seq - batch.first_seq + 1;
            bytes += batch.frame.len() as u64;
        }
        out.sync_all()?;
    }
    let seconds = begun.elapsed().as_secs_f64().max(1e-9);
    Ok(Appended {
        events,
        batches: batches.len() as u64,
        bytes,
        seconds,
        events_per_second: events as f64 / seconds,
        batches_per_second: batches.len() as f64 / seconds,
    })
}
