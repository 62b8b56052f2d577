//! Decoys: processes that are no agents and do what agents do, outside the session, while it runs.
//! Not one event of theirs may reach the collector.
//!
//! A node script, a python script and cargo, started again and again; each reads the very project
//! the agent works on, and the scripts start a child. The pids are collected from outside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

use crate::workspace;

const NODE_SCRIPT: &str = r#"
const { spawnSync } = require("child_process");
for (const name of require("fs").readdirSync("src")) require("fs").readFileSync("src/" + name);
console.log(spawnSync("sh", ["-c", "cat README.md > /dev/null"]).pid);
require("net").connect(9, "127.0.0.1").on("error", () => {});
"#;
const PYTHON_SCRIPT: &str = r#"
import os, subprocess, socket
for name in os.listdir("src"): open("src/" + name).read()
child = subprocess.Popen(["sh", "-c", "cat README.md > /dev/null"]); child.wait(); print(child.pid)
socket.socket().connect_ex(("127.0.0.1", 9))
"#;

/// Running decoys.
pub struct Decoys {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<BTreeSet<u32>>>,
}

impl Decoys {
    /// Starts them in a project folder; `node` is run if given, or else left out.
    pub fn start(project: &Path, node: Option<PathBuf>) -> Result<Self> {
        let project = project.to_path_buf();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut pids = BTreeSet::new();
            loop {
                for mut command in commands(&project, node.as_deref()) {
                    pids.extend(run(&mut command)?);
                }
                if stopped.load(Ordering::Relaxed) {
                    return Ok(pids);
                }
            }
        });
        Ok(Self { stop, thread })
    }

    /// Stops them, after at least one round, and returns the pids they had.
    pub fn stop(self) -> Result<BTreeSet<u32>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the thread of the decoys panicked"))?
    }
}

fn commands(project: &Path, node: Option<&Path>) -> Vec<Command> {
    let mut commands = Vec::new();
    if let Some(node) = node {
        let mut script = Command::new(node);
        script.args(["-e", NODE_SCRIPT]);
        commands.push(script);
    }
    let mut script = Command::new("python3");
    script.args(["-c", PYTHON_SCRIPT]);
    commands.push(script);
    for command in &mut commands {
        command.current_dir(project);
    }
    let mut cargo = workspace::cargo();
    cargo.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    commands.push(cargo);
    commands
}

/// Runs a decoy to its end and returns its pid and those it printed.
fn run(command: &mut Command) -> Result<Vec<u32>> {
    let name = command.get_program().display().to_string();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start the decoy {name}"))?;
    let mut pids = vec![child.id()];
    let output = child.wait_with_output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    pids.extend(
        printed
            .lines()
            .filter_map(|line| line.trim().parse::<u32>().ok()),
    );
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pids_of_a_decoy_and_of_its_child_are_collected() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 4242"]);
        let pids = run(&mut command).unwrap();
        assert_eq!((pids.len(), pids[1]), (2, 4242));
    }
}
