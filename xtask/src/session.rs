//! One agent session without a network: the agent and the stand-in model server in a network
//! namespace of their own, in a fresh home folder, in a small project that is a git repository.
//!
//! The namespace is made by `unshare`; inside it this program runs once more ([`inside`]) and
//! starts the agent. Everything is below one scratch folder.

mod inside;
mod plan;
mod project;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::agents::{self, Agent};
use crate::command::{Run, last_lines};
use crate::{build, setup, workspace};

pub use inside::run as run_inside;
pub use plan::Report;
pub use project::{BRANCH, REMOTE, TOOL_ARGV};

use plan::Plan;
use project::TOOL_FILE;

/// Arguments of `cargo xtask session`.
#[derive(clap::Args)]
pub struct Options {
    /// The agent, as FAMILY or FAMILY@VERSION
    #[arg(default_value = agents::DEMO)]
    agent: String,
}

/// A prepared session.
pub struct Session {
    pub agent: &'static Agent,
    plan: Plan,
    runtime: Option<PathBuf>,
}

impl Session {
    /// Prepares a session below `scratch`: fetches the agent if need be, lays out home and project.
    /// `demo_programs` is the folder of the built demo agent.
    pub fn prepare(agent: &'static Agent, demo_programs: &Path, scratch: &Path) -> Result<Self> {
        setup::require_root("a session in its own network namespace")?;
        let mut search_path = "/usr/local/bin:/usr/bin:/bin".to_owned();
        let mut runtime = None;
        let programs = if agent.is_demo() {
            demo_programs.to_path_buf()
        } else {
            let folder = agents::fetch_runtime()?;
            search_path.insert_str(0, &format!("{}:", folder.display()));
            runtime = Some(folder.join("node"));
            agents::fetch(agent)?.join("node_modules/.bin")
        };
        project::lay_out(scratch)?;
        let plan = Plan {
            agent: agent.name(),
            programs,
            search_path,
            command: project::tool_command(agent.is_demo()),
            scratch: scratch.to_path_buf(),
        };
        let file = scratch.join("plan.json");
        std::fs::write(&file, serde_json::to_vec(&plan)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self {
            agent,
            plan,
            runtime,
        })
    }

    /// The shell command the model will ask for.
    pub fn tool_command(&self) -> &str {
        &self.plan.command
    }

    /// The project folder, where the agent runs.
    pub fn project(&self) -> PathBuf {
        self.plan.scratch.join("project")
    }

    /// The agent's own configuration file.
    pub fn configuration_file(&self) -> PathBuf {
        self.plan
            .scratch
            .join("home")
            .join(self.agent.configuration.0)
    }

    /// The JavaScript runtime real agents run on.
    pub fn runtime(&self) -> Option<PathBuf> {
        self.runtime.clone()
    }

    /// The command that runs the session in its namespace.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new("unshare");
        command
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && exec \"$0\" \"$@\"",
            ])
            .arg(workspace::program()?)
            .arg("session-inside")
            .arg(self.plan.scratch.join("plan.json"))
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Waits for a started session and returns its report.
    pub fn finish(&self, mut child: Child) -> Result<Report> {
        let status = child.wait().context("cannot wait for the session")?;
        ensure!(status.success(), "the session could not be run: {status}");
        let file = self.plan.scratch.join("report.json");
        let text = std::fs::read(&file).with_context(|| format!("no {}", file.display()))?;
        let report: Report = serde_json::from_slice(&text)?;
        let log = self.log();
        ensure!(
            report.code == Some(0),
            "{} ended with {:?} after {} requests; it said:\n{}",
            self.agent.name(),
            report.code,
            report.requests.len(),
            last_lines(&log, 30)
        );
        ensure!(
            self.project().join(TOOL_FILE).exists(),
            "{} ended well but never ran the tool command; requests: {}; it said:\n{}",
            self.agent.name(),
            report.requests.join(", "),
            last_lines(&log, 30)
        );
        Ok(report)
    }

    /// What the agent printed.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.plan.scratch.join("agent.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// `cargo xtask session`: one session without a sensor, to see that an agent runs here at all.
pub fn run(options: &Options) -> Result<()> {
    let agent = Agent::named(&options.agent)?;
    setup::sessions()?;
    if !agent.is_demo() {
        setup::packages()?;
    }
    let programs = if agent.is_demo() {
        build::demo_agent()?
    } else {
        PathBuf::new()
    };
    let scratch = tempfile::tempdir()?;
    let session = Session::prepare(agent, &programs, &scratch.path().canonicalize()?)?;
    let mut command = session.command()?;
    println!("$ {}", command.line());
    let report = session.finish(command.spawn()?)?;
    print!("{}", session.log());
    println!("{} against the stand-in at {}:", agent.name(), report.model);
    for request in &report.requests {
        println!("  {request}");
    }
    println!("ran to the end in {:.1} s", report.seconds());
    Ok(())
}
