//! Builds: the release binaries, and the profile the demo and the end-to-end tests use.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use crate::command::Run;
use crate::{setup, workspace};

/// The programs of the project.
pub const PROGRAMS: [&str; 3] = ["skep-sensor", "skep-collector", "skep"];

/// What the tests of one package ask of another. With it, the programs are made of what the tests are
/// made of, and the largest crates are compiled once instead of twice.
const FEATURES_OF_TESTS: &str = "skep-event/proptest";
static AS_THE_TESTS: AtomicBool = AtomicBool::new(false);

/// Which cargo profile to build with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Minutes from nothing; what the tests use.
    Dev,
    /// Optimised; a quarter of an hour from nothing on two cores.
    Release,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// `cargo xtask build`.
pub fn release() -> Result<()> {
    setup::toolchain()?;
    let binaries = programs(Profile::Release)?;
    for name in PROGRAMS {
        println!("{}", binaries.join(name).display());
    }
    Ok(())
}

/// From now on the programs of the dev profile are built as the tests are.
pub fn as_the_tests() {
    AS_THE_TESTS.store(true, Ordering::Relaxed);
}

/// Builds the programs and the demo agent and returns the folder they are in.
pub fn programs(profile: Profile) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    // The whole workspace, not single packages: cargo then resolves features as the tests do, and
    // one set of artefacts serves both.
    cargo.args(["build", "--locked", "--workspace", "--bins"]);
    match profile {
        Profile::Release => {
            cargo.arg("--release");
        }
        Profile::Dev if AS_THE_TESTS.load(Ordering::Relaxed) => {
            cargo.args(["--features", FEATURES_OF_TESTS]);
        }
        Profile::Dev => {}
    }
    cargo.run()?;
    let folder = workspace::target()?.join(profile.folder());
    for name in PROGRAMS {
        if !folder.join(name).is_file() {
            bail!("cargo built no {name} in {}", folder.display());
        }
    }
    Ok(folder)
}

/// Builds the demo agent alone and returns the folder it is in.
pub fn demo_agent() -> Result<PathBuf> {
    workspace::cargo()
        .args(["build", "--locked", "--package", "skep-demo-agent"])
        .run()?;
    Ok(workspace::target()?.join(Profile::Dev.folder()))
}
