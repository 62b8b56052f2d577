//! The programs a guest runs, linked statically: it has no C library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::build::Profile;
use crate::command::Run;
use crate::workspace;

/// Static programs for a guest.
pub struct Programs {
    /// The test program.
    pub test: PathBuf,
    /// Whether it takes the arguments of Rust's test harness.
    pub is_libtest: bool,
    /// What it starts, by name.
    pub others: Vec<(&'static str, PathBuf)>,
}

/// Programs that the kernel tests start; each is a package of its own.
const STARTED: [&str; 2] = ["skep-demo-agent", "skep-test-program"];
/// Packages that are optimised all the same, and how much: in an emulated machine what they do is most of
/// what a test takes. Above all the kernel's types are read anew for each sensor that is attached.
const OPTIMISED: [(&str, u8); 10] = [
    ("aya", 2),
    ("aya-obj", 2),
    ("object", 2),
    ("prost", 1),
    ("skep-abi", 1),
    ("skep-catalogue", 1),
    ("skep-demo-agent", 1),
    ("skep-event", 1),
    ("skep-redact", 1),
    ("skep-sensor", 1),
];

/// Builds the kernel tests, or takes the program given, and builds what they start.
pub fn build(program: Option<&Path>) -> Result<Programs> {
    // One build of all, so that what they share is built once.
    let mut arguments = vec!["build", "--bins"];
    for package in STARTED {
        arguments.extend(["--package", package]);
    }
    if program.is_none() {
        arguments.extend(["--package", "skep-sensor", "--test", "kernel"]);
    }
    let levels = OPTIMISED
        .map(|(package, level)| format!("profile.dev.package.{package}.opt-level={level}"));
    for level in &levels {
        arguments.extend(["--config", level]);
    }
    let messages = messages(&arguments)?;
    let others = STARTED
        .iter()
        .map(|name| Ok((*name, built(&messages, name, "bin")?)))
        .collect::<Result<_>>()?;
    Ok(Programs {
        test: match program {
            Some(program) => program.to_path_buf(),
            None => built(&messages, "kernel", "test")?,
        },
        is_libtest: program.is_none(),
        others,
    })
}

/// Builds a package's program statically.
pub fn program_of(package: &str, program: &str, profile: Profile) -> Result<PathBuf> {
    let mut arguments = vec!["build", "--package", package, "--bin", program];
    if profile == Profile::Release {
        arguments.push("--release");
    }
    built(&messages(&arguments)?, program, "bin")
}

/// Builds an example of a package, optimised and statically.
pub fn example_of(package: &str, example: &str) -> Result<PathBuf> {
    let arguments = [
        "build",
        "--package",
        package,
        "--example",
        example,
        "--release",
    ];
    built(&messages(&arguments)?, example, "example")
}

/// Runs a static build in a target folder of its own and returns what cargo says it built. Without
/// debug information: the guest keeps its files in memory.
fn messages(arguments: &[&str]) -> Result<String> {
    let mut cargo = workspace::cargo();
    cargo
        .args(arguments)
        .args(["--locked", "--target", &host()?])
        .arg("--target-dir")
        .arg(workspace::target()?.join("static"))
        .arg("--message-format=json-render-diagnostics")
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C strip=debuginfo",
        )
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stderr(Stdio::inherit());
    println!("$ {}", cargo.line());
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{}: {}", cargo.line(), output.status);
    }
    String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")
}

/// The executable of a target.
fn built(messages: &str, target: &str, kind: &str) -> Result<PathBuf> {
    find(messages, target, kind)
        .with_context(|| format!("cargo built no {kind} target named {target}"))
}

/// The host as a compilation target. Given explicitly, because flags then apply to the program
/// only and not to procedural macros, which cannot be linked statically.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("-vV")
        .current_dir(workspace::root())
        .quiet_output()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn find(messages: &str, name: &str, kind: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        target: Option<Target>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .find_map(|message| {
            let target = message.target?;
            let wanted = target.name == name && target.kind.iter().any(|word| word == kind);
            message.executable.filter(|_| wanted)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_one_of_the_named_target() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"kernel","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"kernel","kind":["test"]},"executable":"/t/kernel-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            find(messages, "kernel", "test"),
            Some(PathBuf::from("/t/kernel-1"))
        );
        assert_eq!(find(messages, "other", "test"), None);
    }
}
