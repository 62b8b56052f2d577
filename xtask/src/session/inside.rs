//! Inside the network namespace: starts the stand-in, runs the agent against it, ends what the
//! agent left running, writes the report.

use std::fs::File;
use std::net::UdpSocket;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions};

use super::plan::{Plan, Report};
use crate::agents::Agent;
use skep_model::{Script, Server};

/// A session takes seconds; one that takes this long has hung.
const LIMIT: Duration = Duration::from_secs(150);

/// Runs the session a plan file describes.
pub fn run(plan: &Path) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(plan)?)?;
    let agent = Agent::named(&plan.agent)?;
    let home = plan.scratch.join("home");
    let project = plan.scratch.join("project");
    // What agents leave behind becomes a child of this process and is ended below.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;

    let script = Script {
        command: plan.command.clone(),
        directory: project.display().to_string(),
    };
    let server = Server::start(script)?;
    // Listeners an agent may meet on a workstation: a metrics daemon and an ssh-agent.
    let metrics =
        UdpSocket::bind("127.0.0.1:8125").context("port 8125 of a new namespace is free")?;
    let ssh_agent_path = plan.scratch.join("ssh-agent.sock");
    let ssh_agent = UnixListener::bind(&ssh_agent_path)?;

    agent.configure(&home, server.address)?;
    let launch = agent.launch(&plan.programs, server.address);
    let log = File::create(plan.scratch.join("agent.log"))?;
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.arguments)
        .current_dir(&project)
        .env_clear()
        .env("HOME", &home)
        .env("TMPDIR", plan.scratch.join("tmp"))
        .env("PATH", &plan.search_path)
        .env("USER", "root")
        .env("LOGNAME", "root")
        .env("SHELL", "/bin/bash")
        .env("TERM", "dumb")
        .env("SSH_AUTH_SOCK", &ssh_agent_path)
        .envs(launch.environment)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let begun = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("cannot start {}", launch.program.display()))?;
    let status = wait(child);
    let milliseconds = u64::try_from(begun.elapsed().as_millis())?;
    end_leftovers()?;
    drop((metrics, ssh_agent));

    let requests = server.notes();
    let requests = requests
        .iter()
        .map(|note| format!("{} {} {}", note.method, note.path, note.status));
    let report = Report {
        model: server.address,
        code: status?.code(),
        milliseconds,
        requests: requests.collect(),
    };
    std::fs::write(
        plan.scratch.join("report.json"),
        serde_json::to_vec(&report)?,
    )?;
    Ok(())
}

fn wait(mut child: Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!(
                "the agent was still running after {} s and was ended",
                LIMIT.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends every process that has become a child of this one, until there is none.
fn end_leftovers() -> Result<()> {
    loop {
        for pid in children_of(rustix::process::getpid())? {
            // It may have ended by itself in between.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) => {}
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The processes whose parent is `parent`, by `/proc/PID/stat`.
fn children_of(parent: Pid) -> Result<Vec<Pid>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name, in parentheses, may itself hold parentheses and spaces.
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let ppid: Option<i32> = after_name
            .split(' ')
            .nth(1)
            .and_then(|field| field.parse().ok());
        if ppid == Some(parent.as_raw_pid()) {
            children.extend(Pid::from_raw(pid));
        }
    }
    Ok(children)
}
