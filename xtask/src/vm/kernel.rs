//! Debian's kernels: found by `apt-cache`, fetched by `apt-get download`, unpacked into the cache.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::Run;
use crate::setup;
use crate::workspace;

const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-cloud-amd64-unsigned";

/// Options that must be built in: the guest loads no modules.
const BUILT_IN: [&str; 15] = [
    "BLK_DEV_INITRD",
    "DEVTMPFS",
    "TMPFS",
    "SERIAL_8250_CONSOLE",
    "TTY",
    "INET",
    "IPV6",
    "UNIX",
    "CGROUPS",
    "CGROUP_BPF",
    "BPF_SYSCALL",
    "BPF_LSM",
    "DEBUG_INFO_BTF",
    "FUNCTION_TRACER",
    "FTRACE_SYSCALLS",
];

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    /// As `uname -r` says it.
    pub release: String,
    /// The compressed kernel image.
    pub image: PathBuf,
}

/// The newest kernel of a version: from the cache if one is there, else from Debian.
pub fn fetch(version: &str) -> Result<Kernel> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the virtual machines run amd64 kernels; this machine is of another kind"
    );
    let cache = workspace::cache("kernels")?;
    if let Some(package) = newest(&packages_in(&cache)?, version) {
        return unpacked(&cache.join(package));
    }
    let pattern = format!("^{PREFIX}{}\\..*{SUFFIX}$", version.replace('.', "\\."));
    let mut package = newest(&search(&pattern)?, version);
    if package.is_none() {
        setup::update_package_lists()?;
        package = newest(&search(&pattern)?, version);
    }
    let Some(package) = package else {
        bail!("Debian's package lists hold no {PREFIX}{version}…{SUFFIX}");
    };
    download(&package, &cache)?;
    unpacked(&cache.join(package))
}

fn packages_in(cache: &Path) -> Result<Vec<String>> {
    let mut packages = Vec::new();
    for entry in std::fs::read_dir(cache)? {
        if let Ok(name) = entry?.file_name().into_string() {
            packages.push(name);
        }
    }
    Ok(packages)
}

fn search(pattern: &str) -> Result<Vec<String>> {
    let found = Command::new("apt-cache")
        .args(["search", "--names-only", pattern])
        .quiet_output()?;
    Ok(found
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect())
}

/// The newest of the packages whose kernel version is `version` or begins with `version` and a dot.
fn newest(packages: &[String], version: &str) -> Option<String> {
    packages
        .iter()
        .filter(|package| {
            package
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.strip_suffix(SUFFIX))
                .and_then(|rest| rest.strip_prefix(version))
                .is_some_and(|rest| rest.starts_with('.') || rest.starts_with('+'))
        })
        .max_by(|one, other| compare(one, other))
        .cloned()
}

/// Compares texts with their runs of digits taken as numbers.
fn compare(one: &str, other: &str) -> Ordering {
    let numbers = |text: &str| {
        text.split(|character: char| !character.is_ascii_digit())
            .filter(|run| !run.is_empty())
            .map(|run| run.parse::<u64>().unwrap_or(u64::MAX))
            .collect::<Vec<_>>()
    };
    numbers(one)
        .cmp(&numbers(other))
        .then_with(|| one.cmp(other))
}

/// Downloads beside the final place and renames, so that an interrupted download leaves no kernel.
fn download(package: &str, cache: &Path) -> Result<()> {
    let partial = cache.join(format!(".{package}.{}", std::process::id()));
    std::fs::create_dir_all(&partial)?;
    let fetched = Command::new("apt-get")
        .args(["-o", "APT::Sandbox::User=root", "-q", "download", package])
        .current_dir(&partial)
        .run();
    let outcome = fetched.and_then(|()| {
        let archive = std::fs::read_dir(&partial)?
            .next()
            .context("apt-get download left no file")??
            .path();
        Command::new("dpkg")
            .arg("-x")
            .arg(&archive)
            .arg(&partial)
            .run()?;
        std::fs::remove_file(&archive)?;
        // Modules are most of the package and never loaded.
        std::fs::remove_dir_all(partial.join("lib"))?;
        std::fs::rename(&partial, cache.join(package))?;
        Ok(())
    });
    if outcome.is_err() {
        // The error that matters is the one above.
        let _ = std::fs::remove_dir_all(&partial);
    }
    outcome.with_context(|| format!("cannot fetch the kernel package {package}"))
}

fn unpacked(folder: &Path) -> Result<Kernel> {
    let boot = folder.join("boot");
    let mut release = None;
    for entry in std::fs::read_dir(&boot).with_context(|| format!("no {}", boot.display()))? {
        if let Some(found) = entry?
            .file_name()
            .to_string_lossy()
            .strip_prefix("vmlinuz-")
        {
            release = Some(found.to_owned());
        }
    }
    let release = release.with_context(|| format!("no vmlinuz in {}", boot.display()))?;
    let configuration = std::fs::read_to_string(boot.join(format!("config-{release}")))?;
    let lacking = not_built_in(&configuration);
    ensure!(
        lacking.is_empty(),
        "{release} is built without {}",
        lacking.join(", ")
    );
    Ok(Kernel {
        image: boot.join(format!("vmlinuz-{release}")),
        release,
    })
}

fn not_built_in(configuration: &str) -> Vec<&'static str> {
    BUILT_IN
        .into_iter()
        .filter(|option| {
            let line = format!("CONFIG_{option}=y");
            !configuration.lines().any(|candidate| candidate == line)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_the_one_with_the_greatest_number() {
        let packages = ["9+deb12", "113+deb12", "20+deb12"]
            .map(|patch| format!("linux-image-6.12.{patch}-cloud-amd64-unsigned"));
        assert_eq!(newest(&packages, "6.12").as_ref(), Some(&packages[1]));
    }

    #[test]
    fn version_6_1_does_not_mean_6_12() {
        let packages = ["linux-image-6.12.113+deb12-cloud-amd64-unsigned".to_owned()];
        assert_eq!(newest(&packages, "6.1"), None);
    }

    #[test]
    fn a_feature_that_is_a_module_counts_as_lacking() {
        let mut configuration: Vec<_> = BUILT_IN
            .iter()
            .map(|option| format!("CONFIG_{option}=y"))
            .collect();
        configuration[6] = "CONFIG_IPV6=m".to_owned();
        assert_eq!(not_built_in(&configuration.join("\n")), ["IPV6"]);
    }
}
