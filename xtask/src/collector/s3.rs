//! `cargo xtask test-s3`: two collectors with one table on object storage, one of them killed.
//!
//! The storage is a server with conditional PUT on this machine. Both collectors write at once; one is
//! killed in the middle, starts again with the same data directory, and goes on.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Collector, Load, Start, readers, reconcile, script};
use crate::build::{self, Profile};
use crate::demo::service::Service;
use crate::setup;

const BUCKET: &str = "skep";
const TABLE: &str = "s3://skep/fleet";
/// How often the one is killed.
const KILLS: u32 = 3;

/// Runs the test.
pub fn test() -> Result<()> {
    let python = setup::readers()?;
    let programs = build::programs(Profile::Dev)?;
    let scratch = tempfile::tempdir()?;
    let (mut storage, endpoint) =
        Service::start(Command::new(&python).arg(script("s3.py")).arg(BUCKET))?;
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let folders = ["one", "two"].map(|name| scratch.path().join(name));
    let start = |data: &Path, port| {
        Collector::start(&Start {
            programs: &programs,
            data,
            port,
            arguments: &["--table", TABLE, "--flush-every", "1"],
            environment: &environment,
        })
    };
    let mut one = start(&folders[0], 0)?;
    let mut two = start(&folders[1], 0)?;
    let load = |collector: &Collector, seed| {
        let arguments = [
            "--sensors",
            "4",
            "--events",
            "120000",
            "--rate",
            "15000",
            "--seed",
            seed,
        ];
        Load::start(&programs, &collector.server, &arguments)
    };
    let mut killed = load(&one, "1")?;
    let other = load(&two, "2")?;
    let port = one.port()?;
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(1500));
        ensure!(
            !killed.is_over()?,
            "the load ended before the collector was killed"
        );
        one.service.kill()?;
        one = start(&folders[0], port)?;
    }
    let loads = [killed.finish()?, other.finish()?];
    // What is in their logs goes to the table; then either of them answers for both.
    one.service.stop()?;
    two.service.stop()?;
    let mut reader = start(&folders[1], 0)?;
    reconcile(&reader, &loads)?;
    let classes = readers::compare(&python, TABLE, &reader, &["delta-rs"], &environment)?;
    ensure!(classes > 0, "no class has a table in the bucket");
    reader.service.stop()?;
    storage.stop()
}
