//! A process that fills a spool and sends it, until it is killed: what it and its tests agree on.
//!
//! Part of `skep-test-program` (`feed DIRECTORY PORT BYTES FIRST LAST`). It appends numbered events to
//! the spool in `DIRECTORY/spool` and writes each number to `DIRECTORY/progress` once its event is in.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

use skep_proto::v1;

/// One event in so many is a finding.
pub const FINDING_EVERY: u64 = 50;

/// What a feeder is told.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    pub directory: &'a Path,
    /// Of a collector on this machine.
    pub port: u16,
    /// Size of the spool.
    pub max_bytes: u64,
    pub first: u64,
    pub last: u64,
}

/// Numbers that were appended.
#[derive(Debug)]
pub struct Progress(fs::File);

// === impl Feed ===

impl Feed<'_> {
    /// Starts a process that does it.
    pub fn command(&self) -> Command {
        let Self {
            directory,
            port,
            max_bytes,
            first,
            last,
        } = self;
        let mut command = Command::new(crate::test_program());
        command
            .arg("feed")
            .arg(directory)
            .args([port.to_string(), max_bytes.to_string()])
            .args([first.to_string(), last.to_string()])
            .stdout(Stdio::null());
        command
    }
}

// === impl Progress ===

impl Progress {
    /// Goes on with the one in a directory.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn append(directory: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join("progress"))?;
        Ok(Self(file))
    }

    /// The event of this number is in the spool.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn has(&mut self, number: u64) -> io::Result<()> {
        self.0.write_all(&number.to_le_bytes())
    }

    /// Numbers whose events were in the spool when the process ended, in their order.
    pub fn read(directory: &Path) -> Vec<u64> {
        let bytes = fs::read(directory.join("progress")).unwrap_or_default();
        bytes
            .chunks_exact(8)
            .map(|number| u64::from_le_bytes(number.try_into().expect("eight bytes")))
            .collect()
    }
}

/// The event of a number: an open, or a finding.
pub fn numbered(number: u64) -> v1::Event {
    let detail = match number.is_multiple_of(FINDING_EVERY) {
        true => v1::event::Detail::Finding(v1::Finding::default()),
        false => v1::event::Detail::Open(v1::Open {
            path: Some("x".repeat(1_000)),
            count: 1,
            ..v1::Open::default()
        }),
    };
    v1::Event {
        time_unix_nano: number,
        detail: Some(detail),
        ..v1::Event::default()
    }
}
