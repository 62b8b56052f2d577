//! `cargo xtask deny`: the dependencies against `deny.toml`, by cargo-deny, without a network.
//!
//! Three trees are checked: the workspace, and the kernel programs and the fuzz programs with lock
//! files of their own. Each must have licences that are allowed, come from the registry, and keep to
//! who may use what. Known weaknesses are not asked for: their list comes from the network.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command::Run;
use crate::{setup, workspace};

/// Platform whose packages are checked, as in `deny.toml`: the only one the project is built for.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Checks the trees, and fails if one breaks a rule.
pub fn check() -> Result<()> {
    let program = setup::deny()?;
    let rules = workspace::root().join("deny.toml");
    let mut refused = Vec::new();
    let trees = [
        workspace::root(),
        workspace::kernel_crate(),
        workspace::fuzz_programs(),
    ];
    for folder in trees {
        // Before the check, which asks nothing of the network.
        workspace::cargo()
            .current_dir(&folder)
            .args(["fetch", "--locked", "--quiet", "--target", PLATFORM])
            .run()?;
        let checked = Command::new(&program)
            .current_dir(&folder)
            .args(["--offline", "--locked", "--config"])
            .arg(&rules)
            .args(["check", "--hide-inclusion-graph"])
            // One list of wrappers serves three trees, none of which has all of them.
            .args(["--allow", "unused-wrapper"])
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
