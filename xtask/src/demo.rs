//! `cargo xtask demo`: collector, sensor and one real agent session, and what the SOC sees of it.
//!
//! Everything runs for real and on this machine only: the sensor in this machine's kernel, the
//! agent in a network namespace whose only peer is the stand-in model server. Checks that what was
//! shown is what happened, against facts known from outside the sensor; one that fails makes the
//! command fail. All files are below one scratch folder, removed at the end.

mod checks;
mod decoy;
pub mod service;
pub mod stage;

use anyhow::{Context, Result, bail};

use crate::agents::{self, Agent};
use crate::build::{self, Profile};
use crate::command::Run;
use crate::laps::Laps;
use crate::session::Session;
use crate::setup;

use decoy::Decoys;
use stage::Stage;

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Options {
    /// The agent to run, as FAMILY or FAMILY@VERSION; without it the project's own demo agent
    #[arg(long, default_value = agents::DEMO)]
    agent: String,
    /// Which build to run
    #[arg(long, value_enum, default_value_t = Profile::Dev)]
    profile: Profile,
    /// Leave the scratch folder in place and print its name
    #[arg(long)]
    keep: bool,
}

/// The demo of one agent, as a test.
pub fn of(agent: &str, profile: Profile) -> Result<()> {
    run(&Options {
        agent: agent.to_owned(),
        profile,
        keep: false,
    })
}

/// Runs the demo.
pub fn run(options: &Options) -> Result<()> {
    let mut laps = Laps::start();
    setup::require_root("loading kernel programs")?;
    let agent = Agent::named(&options.agent)?;
    setup::sessions()?;
    if !agent.is_demo() {
        setup::packages()?;
    }
    laps.end("set-up");
    setup::toolchain()?;
    laps.end("kernel toolchain");
    let programs = build::programs(options.profile)?;
    laps.end("build");
    let scratch = tempfile::Builder::new().prefix("skep-demo-").tempdir()?;
    // The kernel reports paths without symbolic links.
    let folder = scratch.path().canonicalize()?;
    let session = Session::prepare(agent, &programs, &folder)?;

    let mut stage = Stage::start(&programs, &folder)?;
    let outcome = perform(&stage, &session);
    if outcome.is_err() {
        println!("the sensor's last words:\n{}", stage.sensor_log());
    }
    if options.keep {
        println!("left in place: {}", scratch.keep().display());
    }
    let stopped = stage.stop();
    outcome?;
    stopped?;
    laps.end("run");
    println!("demo of {} finished", agent.name());
    laps.print();
    Ok(())
}

fn perform(stage: &Stage, session: &Session) -> Result<()> {
    heading(&format!("a session of {}", session.agent.name()));
    let decoys = Decoys::start(&session.project(), session.runtime())?;
    let mut command = session.command()?;
    println!("$ {}", command.line());
    let child = command.spawn().context("cannot start the session")?;
    let report = session.finish(child)?;
    print!("{}", session.log());
    println!("(ended after {:.1} s)", report.seconds());
    let unrelated = decoys.stop()?;

    let id = stage.wait_for_session(&session.project())?;
    heading("what the SOC sees");
    stage.show(&["agents"])?;
    stage.show(&["session", &id])?;
    stage.show(&["query", &destinations(&id)])?;
    stage.show(&["query", &written(&id, session)])?;
    heading("how the sensor is doing");
    stage.show_sensor_status()?;

    heading("checks");
    let failed = checks::run(&checks::Facts {
        stage,
        session,
        report: &report,
        id: &id,
        unrelated: &unrelated,
    })?;
    if failed > 0 {
        bail!("{failed} of the checks failed");
    }
    Ok(())
}

/// Where data may have gone: every destination, with how often.
fn destinations(session: &str) -> String {
    format!(
        "SELECT destination, proto, sum(count) AS connections, min(time) AS first \
         FROM net WHERE session = '{session}' GROUP BY destination, proto ORDER BY first"
    )
}

/// What the agent and its tools changed in the project.
fn written(session: &str, of: &Session) -> String {
    format!(
        "SELECT path, access, exe FROM files WHERE session = '{session}' \
         AND access IN ('write', 'create') AND path LIKE '{}/%' ORDER BY time",
        of.project().display()
    )
}

fn heading(text: &str) {
    println!("\n== {text}");
}
