//! Debian packages: which are missing, and their installation.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use crate::command::Run;

/// The package lists are fetched at most once in the life of this process.
static UPDATED: AtomicBool = AtomicBool::new(false);

/// Installs the package of every program that is not on the search path. Pairs of (program,
/// package).
pub fn programs(wanted: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(program, _)| !on_search_path(program))
        .map(|(_, package)| *package)
        .collect();
    install(&missing)
}

/// Installs those of the packages that are not installed. Without root, fails with the command
/// that root should run.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.into_iter().collect::<Vec<_>>();
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "missing: {}; this system has no apt-get, so install them by hand",
            list.join(" ")
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "missing Debian packages, and installing them needs root; run as root: \
             apt-get update && apt-get install -y --no-install-recommends {}",
            list.join(" ")
        );
    }
    println!("installing Debian packages: {}", list.join(" "));
    update()?;
    apt_get()
        .args([
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "-o",
            "Dpkg::Use-Pty=0",
        ])
        .args(&list)
        .run()
        .context("apt-get could not install the packages")
}

/// Fetches the package lists, once.
pub fn update() -> Result<()> {
    if UPDATED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    apt_get()
        .args(["update", "-qq"])
        .run()
        .context("apt-get could not fetch the package lists")
}

/// Whether a program of that name is on the search path.
pub fn on_search_path(program: &str) -> bool {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&search_path)
        .chain(system)
        .any(|folder| folder.join(program).is_file())
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}

fn missing<'a>(packages: &[&'a str]) -> BTreeSet<&'a str> {
    let mut query = Command::new("dpkg-query");
    query
        .args(["-W", "-f", "${db:Status-Status} ${Package}\\n"])
        .args(packages);
    // dpkg-query fails as soon as one package is unknown to it, and still lists the others.
    let output = query
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let listed = String::from_utf8_lossy(&output).into_owned();
    let installed: BTreeSet<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .collect();
    packages
        .iter()
        .copied()
        .filter(|package| !installed.contains(package))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_nobody_has_is_missing_and_dpkg_itself_is_not() {
        let found = missing(&["dpkg", "skep-no-such-package"]);
        assert_eq!(found, BTreeSet::from(["skep-no-such-package"]));
    }

    #[test]
    fn a_program_is_found_by_the_file_on_the_search_path() {
        assert!(on_search_path("sh"));
        assert!(!on_search_path("skep-no-such-program"));
    }
}
