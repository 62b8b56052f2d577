//! `cargo xtask deny`: the dependencies against `deny.toml`, by cargo-deny, without a network.
//!
//! Both trees are checked: the workspace, and the kernel programs with a lock file of their own. Each
//! must have licences that are allowed, come from the registry, and keep to who may use what. Known
//! weaknesses are not asked for: their list comes from the network.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command::Run;
use crate::{setup, workspace};

/// Checks both trees, and fails if either breaks a rule.
pub fn check() -> Result<()> {
    let program = setup::deny()?;
    let rules = workspace::root().join("deny.toml");
    let mut refused = Vec::new();
    for folder in [workspace::root(), workspace::kernel_crate()] {
        // Packages of other platforms too: cargo-deny reads all that the lock file names.
        workspace::cargo()
            .current_dir(&folder)
            .args(["fetch", "--locked", "--quiet"])
            .run()?;
        let checked = Command::new(&program)
            .current_dir(&folder)
            .args(["--offline", "--locked", "check", "--hide-inclusion-graph"])
            .arg("--config")
            .arg(&rules)
            .args(["bans", "licenses", "sources"])
            .run();
        if let Err(error) = checked {
            refused.push(format!("{}: {error:#}", folder.display()));
        }
    }
    if !refused.is_empty() {
        bail!("not allowed by deny.toml:\n{}", refused.join("\n"));
    }
    Ok(())
}
