//! Set-up: finds what the other tasks need, and installs what is missing.
//!
//! Debian packages by `apt-get`, `bpf-linker`, `cargo-deny` and `cargo-fuzz` by cargo into the cache, Rust
//! components by rustup.
//! Each need is checked by looking for the thing itself, so that a second run costs milliseconds
//! and a machine that has it from elsewhere is left alone.

mod apt;
mod python;

pub use python::install_into as virtual_environment;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use skep_kernel_object::{BPF_LINKER_VERSION, find_compiler, find_linker, find_toolchain};

use crate::command::Run;
use crate::laps::Laps;
use crate::workspace;

/// Debian's compiler with a `core` for BPF.
const COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
/// What building `bpf-linker` links against; LLVM of the version Debian's compiler uses.
const LINKER_LIBRARIES: [&str; 5] = [
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "g++",
];
/// Where `llvm-22-dev` keeps its libraries.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

const DENY_VERSION: &str = "0.20.2";
const FUZZ_VERSION: &str = "0.13.2";

type Part = fn() -> Result<()>;

/// Everything that any task needs. What could not be set up does not keep the rest from it; all
/// of it is said at the end.
pub fn everything() -> Result<()> {
    let parts: [(&str, Part); 7] = [
        ("kernel toolchain", toolchain),
        ("virtual machines", machines),
        ("sessions", sessions),
        ("faults", faults),
        ("packages of agents", packages),
        ("checks", checks),
        ("readers of the tables", || readers().map(drop)),
    ];
    let mut laps = Laps::start();
    let mut failures = Vec::new();
    for (name, part) in parts {
        failures.extend(part().err().map(|error| format!("{name}: {error:#}")));
        laps.end(name);
    }
    laps.print();
    if !failures.is_empty() {
        bail!("set-up is not complete:\n{}", failures.join("\n"));
    }
    println!("set-up is complete");
    Ok(())
}

/// What building the workspace needs: the toolchain of the kernel object. (A C linker is there, or
/// this program would not have been built.)
pub fn toolchain() -> Result<()> {
    let mut packages = Vec::new();
    if find_compiler().is_err() {
        packages.extend(COMPILER);
    }
    if find_linker().is_err() {
        packages.extend(LINKER_LIBRARIES);
    }
    apt::install(&packages)?;
    if find_linker().is_err() {
        install_linker()?;
    }
    let toolchain = find_toolchain().context("the kernel object still cannot be built")?;
    println!("kernel object: {}", toolchain.describe());
    Ok(())
}

/// What the virtual machines need: an emulator and a static userland.
pub fn machines() -> Result<()> {
    apt::programs(&[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("dpkg", "dpkg"),
    ])
}

/// What running an agent in a network namespace of its own needs, and the decoys beside it.
pub fn sessions() -> Result<()> {
    apt::programs(&[
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("git", "git"),
        ("python3", "python3"),
    ])
}

/// What makes life hard for the collector under test: slow and failing disks, clocks, networks.
pub fn faults() -> Result<()> {
    apt::programs(&[
        ("strace", "strace"),
        ("faketime", "faketime"),
        ("ip", "iproute2"),
        ("mount", "mount"),
    ])
}

/// What fetching real agents from their published packages needs.
pub fn packages() -> Result<()> {
    apt::programs(&[("npm", "npm")])?;
    if !Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        apt::install(&["ca-certificates"])?;
    }
    Ok(())
}

/// cargo-deny, of a fixed version: its program in the cache.
pub fn deny() -> Result<PathBuf> {
    subcommand("cargo-deny", DENY_VERSION, "minutes on two cores")
}

/// cargo-fuzz, of a fixed version: its program in the cache. Set-up does not install it, since no test
/// needs it.
pub fn fuzz() -> Result<PathBuf> {
    // What links the fuzzer's own part, which is C++.
    apt::programs(&[("c++", "g++")])?;
    subcommand("cargo-fuzz", FUZZ_VERSION, "a minute on two cores")
}

/// A program of cargo's, of a fixed version, in the cache.
fn subcommand(name: &str, version: &str, takes: &str) -> Result<PathBuf> {
    let program = workspace::cache("tools")?.join("bin").join(name);
    let found = Command::new(&program).arg("--version").quiet_output();
    if found.is_ok_and(|found| found.split_whitespace().nth(1) == Some(version)) {
        return Ok(program);
    }
    println!("building {name} {version} into the cache; {takes}");
    install_program(name, version, &[], &[])?;
    Ok(program)
}

/// What the checks of `cargo xtask test` need beyond a compiler.
pub fn checks() -> Result<()> {
    deny()?;
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !workspace::cargo()
            .args([subcommand, "--version"])
            .succeeds()
        {
            println!("installing the Rust component {component}");
            Command::new("rustup")
                .args(["component", "add", component])
                .run()?;
        }
    }
    // A client of the collector that is not ours.
    apt::programs(&[("psql", "postgresql-client")])
}

/// What reads the collector's tables beside it, and the object storage of the tests: a Python with
/// the packages of `xtask/python/requirements.txt`. Returns that Python.
pub fn readers() -> Result<PathBuf> {
    python::interpreter()
}

fn install_linker() -> Result<()> {
    println!("building bpf-linker {BPF_LINKER_VERSION} into the cache; about 75 s on two cores");
    install_program(
        "bpf-linker",
        BPF_LINKER_VERSION,
        &["--no-default-features", "--features", "llvm-22"],
        &[("LLVM_PREFIX", LLVM_PREFIX)],
    )
}

/// Builds a program of a fixed version into the folder `tools` of the cache.
fn install_program(
    name: &str,
    version: &str,
    features: &[&str],
    environment: &[(&str, &str)],
) -> Result<()> {
    let tools = workspace::cache("tools")?;
    let target = workspace::cache(&format!("target-{name}"))?;
    let installed = workspace::cargo()
        .args(["install", name, "--version", version, "--locked"])
        .args(features)
        .arg("--root")
        .arg(&tools)
        .envs(environment.iter().copied())
        // A tool of the build: what optimising it costs is never won back.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_TARGET_DIR", &target)
        .run();
    std::fs::remove_dir_all(&target)
        .with_context(|| format!("cannot remove {}", target.display()))?;
    installed
}

/// Fails unless this process is root, saying what needs it.
pub fn require_root(what: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("{what} needs root; run the command as root");
    }
    Ok(())
}

/// Fetches Debian's package lists, at most once in the life of this process.
pub fn update_package_lists() -> Result<()> {
    apt::update()
}
