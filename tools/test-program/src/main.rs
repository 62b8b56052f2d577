//! `skep-test-program`: processes that tests start and end. No part of the product.

mod canary;
mod feeder;
mod inspector;
mod sensor;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(about = "Processes that the tests of Skep start and end")]
enum Task {
    /// Does once what each hook reports, as `skep-sensor canary` does
    Canary {
        /// On a host that has no network
        #[arg(long)]
        without_network: bool,
    },
    /// Fills a spool and sends it (skep_testing::feeder)
    Feed {
        directory: PathBuf,
        /// Port of a collector on this machine
        port: u16,
        /// Size of the spool
        max_bytes: u64,
        first: u64,
        last: u64,
    },
    /// Answers the questions of a sensor on standard input, as `skep-sensor inspector` does
    Inspector {
        /// Of the catalogue
        directory: PathBuf,
    },
    /// Watches until SIGTERM and writes its events as lines of JSON
    Sensor {
        /// State directory
        state: PathBuf,
        /// Its events go to this file; the file with the ending `.ready` says that it watches
        events: PathBuf,
        /// Hooks it leaves out
        avoid: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Canary { without_network } => canary::act(without_network),
        Task::Inspector { directory } => inspector::serve(&directory),
        Task::Feed {
            directory,
            port,
            max_bytes,
            first,
            last,
        } => feeder::feed(&skep_testing::feeder::Feed {
            directory: &directory,
            port,
            max_bytes,
            first,
            last,
        }),
        Task::Sensor {
            state,
            events,
            avoid,
        } => sensor::watch(&state, &events, avoid),
    }
}
