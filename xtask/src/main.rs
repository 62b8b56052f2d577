//! `cargo xtask`: set-up, build, virtual machines, demo and tests.
//!
//! Invariants: every external command is shown before it runs; only processes started here are
//! ended, by their pid; what is costly to fetch goes to the cache folder (`$SKEP_CACHE`, else
//! `$HOME/.cache/skep`), what is built to cargo's target folder, what is scratch to a temporary
//! folder that is removed at the end.

#![forbid(unsafe_code)]

mod agents;
mod bench;
mod build;
mod collector;
mod command;
mod compat;
mod demo;
mod deny;
mod evasion;
mod fuzz;
mod kernel_tests;
mod laps;
mod session;
mod setup;
mod test;
mod times;
mod vm;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::times::Times;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set-up, build, virtual machines, demo and tests of Skep"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install everything the other tasks need
    Setup,
    /// Build the release binaries: skep-sensor, skep-collector, skep
    Build,
    /// Run the kernel tests on Debian kernels in virtual machines
    Vm(kernel_tests::Options),
    /// Show sensor and collector at work on one agent session
    Demo(demo::Options),
    /// Run every check and every test
    Test(test::Options),
    /// Run the unit and socket tests
    TestUnits,
    /// Fetch the packages of real agents and run the tests that need them
    TestPackages,
    /// Run the kernel tests on this machine
    TestKernel,
    /// Compare what DuckDB, chdb and delta-rs read from the collector's tables with its own answers
    TestReaders,
    /// Two collectors with one table on object storage, one of them killed
    TestS3,
    /// A sensor of an earlier commit with the collector of this one, and the reverse
    TestCompat(compat::Options),
    /// Measure what the sensor and the collector cost
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Try every way not to be seen, on every kernel, and write docs/evasion.md
    Evasion(evasion::Options),
    /// Check the dependencies: licences, sources, and who may use what
    Deny,
    /// Feed the parsers of outside bytes with inputs that a fuzzer makes up
    Fuzz(fuzz::Options),
    /// Fetch the packages of the real agents into the cache
    Fetch,
    /// Run one agent session offline, without a sensor
    Session(session::Options),
    /// The part of a session inside its network namespace
    #[command(hide = true)]
    SessionInside {
        /// File that describes the session
        plan: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    workspace::program()?;
    match task {
        Task::Setup => setup::everything(),
        Task::Build => build::release(),
        Task::Vm(options) => kernel_tests::in_machines(&options, &mut Times::default()),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::TestUnits => test::workspace_tests(&mut Times::default()),
        Task::TestPackages => test::package_tests(&mut Times::default()),
        Task::TestKernel => kernel_tests::here(&[], &mut Times::default()),
        Task::TestReaders => collector::readers::test(),
        Task::TestS3 => collector::s3::test(),
        Task::TestCompat(options) => compat::run(&options),
        Task::Bench(bench) => bench::run(&bench),
        Task::Evasion(options) => evasion::run(&options),
        Task::Deny => deny::check(),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Fetch => agents::fetch_all(),
        Task::Session(options) => session::run(&options),
        Task::SessionInside { plan } => session::run_inside(&plan),
    }
}
