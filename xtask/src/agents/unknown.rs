//! Fetching the packages that generic evidence of agents is tried on: their own files, without what they depend on.
//!
//! `packages/npm+NAME@VERSION` holds `node_modules`, `packages/pypi+NAME@VERSION` the folders of a virtual
//! environment. The list is the one of the sensor's test.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::fetch::into_folder;
use crate::command::Run;

const LIST: &str = include_str!("../../../sensor-user/src/identify/tests/unknown_packages.toml");
/// Set: the packages with `more` as well.
const MORE: &str = "SKEP_MORE_PACKAGES";
const CACHE: &str = "packages";
/// Of which Python and platforms distributions are fetched, whatever runs here.
const PYTHON: &str = "3.13";
const PLATFORMS: [&str; 3] = ["manylinux_2_28_x86_64", "manylinux2014_x86_64", "any"];

#[derive(Deserialize)]
struct List {
    agent: Vec<Package>,
    other: Vec<Package>,
    family: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    npm: Option<String>,
    pypi: Option<String>,
    version: String,
    /// npm packages beside it, with their versions.
    #[serde(default)]
    with: Vec<(String, String)>,
    #[serde(default)]
    more: bool,
}

/// Fetches every package of the list that is not in the cache.
pub fn fetch_all() -> Result<()> {
    let list: List = toml::from_str(LIST).context("cannot read the list of packages")?;
    let more = std::env::var_os(MORE).is_some();
    let packages = list.agent.into_iter();
    let packages = packages.chain(list.other).chain(list.family);
    for package in packages.filter(|package| more || !package.more) {
        package.fetch()?;
    }
    Ok(())
}

impl Package {
    fn fetch(&self) -> Result<()> {
        match (&self.npm, &self.pypi) {
            (Some(name), _) => {
                let has = |folder: &Path| folder.join("node_modules").join(name).is_dir();
                let label = format!("npm+{name}");
                into_folder(CACHE, &label, &self.version, has, |folder| {
                    unpack(folder, name, &self.version)?;
                    self.with
                        .iter()
                        .try_for_each(|(name, version)| unpack(folder, name, version))
                })?;
            }
            (None, Some(name)) => {
                let has = |folder: &Path| folder.join("bin").is_dir();
                let label = format!("pypi+{name}");
                into_folder(CACHE, &label, &self.version, has, |folder| {
                    install(folder, name, &self.version)
                })?;
            }
            (None, None) => {}
        }
        Ok(())
    }
}

/// Puts the files of a package where npm would.
fn unpack(folder: &Path, name: &str, version: &str) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    Command::new("npm")
        .args(["pack", "--loglevel=error", "--pack-destination"])
        .arg(scratch.path())
        .arg(format!("{name}@{version}"))
        .current_dir(scratch.path())
        .env("HOME", scratch.path())
        .run()
        .with_context(|| format!("cannot fetch {name} {version}"))?;
    let to = folder.join("node_modules").join(name);
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(scratch.path())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tgz") {
            Command::new("tar")
                .args([
                    "--extract",
                    "--gzip",
                    "--strip-components=1",
                    "--no-same-owner",
                    "--file",
                ])
                .arg(&path)
                .arg("--directory")
                .arg(&to)
                .run()?;
        }
    }
    Ok(())
}

/// Installs a distribution into the folders of a virtual environment that has no interpreter.
fn install(folder: &Path, name: &str, version: &str) -> Result<()> {
    let site = folder.join(format!("lib/python{PYTHON}/site-packages"));
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
    ])
    .args([
        "--disable-pip-version-check",
        "--no-input",
        "--root-user-action=ignore",
    ])
    .args([
        "--only-binary",
        ":all:",
        "--implementation",
        "cp",
        "--python-version",
        PYTHON,
    ]);
    for platform in PLATFORMS {
        pip.args(["--platform", platform]);
    }
    pip.arg("--target")
        .arg(&site)
        .arg(format!("{name}=={version}"))
        .run()
        .with_context(|| format!("cannot fetch {name} {version}"))?;
    // Where an environment has its scripts.
    let scripts = site.join("bin");
    match scripts.is_dir() {
        true => std::fs::rename(scripts, folder.join("bin"))?,
        // One without scripts, which is of interest for a program in it.
        false => std::fs::create_dir(folder.join("bin"))?,
    }
    Ok(())
}
