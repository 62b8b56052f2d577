//! The independent readers of the tables and the S3 server of the tests: Python packages of fixed
//! versions in a virtual environment of the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt;
use crate::command::Run;
use crate::workspace;

/// What is installed; a copy beside the environment says what is in it.
const REQUIREMENTS: &str = "xtask/python/requirements.txt";

/// The interpreter of the environment, made or renewed if its requirements are not these.
pub fn interpreter() -> Result<PathBuf> {
    let folder = workspace::cache("python")?;
    let requirements = workspace::root().join(REQUIREMENTS);
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let interpreter = folder.join("venv/bin/python");
    let installed = folder.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|have| have == wanted)
        && Command::new(&interpreter).arg("--version").succeeds()
    {
        return Ok(interpreter);
    }
    println!("installing the independent readers of the tables into the cache; about 200 MB");
    let environment = folder.join("venv");
    if environment.exists() {
        std::fs::remove_dir_all(&environment)
            .with_context(|| format!("cannot remove {}", environment.display()))?;
    }
    install_into(&environment, |pip| {
        pip.args(["--no-deps", "--only-binary", ":all:", "--requirement"])
            .arg(&requirements);
    })?;
    std::fs::write(&installed, wanted)?;
    Ok(interpreter)
}

/// Makes a virtual environment in a folder and installs into it; `what` adds to pip's arguments what.
pub fn install_into(folder: &Path, what: impl FnOnce(&mut Command)) -> Result<()> {
    apt::programs(&[("python3", "python3")])?;
    if !Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .succeeds()
    {
        apt::install(&["python3-venv"])?;
    }
    Command::new("python3")
        .args(["-m", "venv"])
        .arg(folder)
        .run()?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet"])
        .arg("--disable-pip-version-check");
    what(&mut pip);
    pip.run()
}
