//! Checks of a demo: what the collector has, against what is known from outside the sensor.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::stage::Stage;
use crate::session::{BRANCH, REMOTE, Report, Session, TOOL_ARGV};

/// The sensor's resident memory stays under these, in kibibytes.
const AT_REST_KIB: u64 = 30 * 1024;
const AFTER_SESSION_KIB: u64 = 45 * 1024;

/// Seconds from the kernel to a query: what is aimed at, and what fails however busy the machine is.
const VISIBLE_GOAL: f64 = 2.0;
const VISIBLE_AT_MOST: f64 = 20.0;

/// What is known.
pub struct Facts<'a> {
    pub stage: &'a Stage,
    pub session: &'a Session,
    pub report: &'a Report,
    /// The session, as the collector names it.
    pub id: &'a str,
    /// Pids of processes that have nothing to do with the session.
    pub unrelated: &'a BTreeSet<u32>,
}

/// The outcome of one check: what was seen, or what was seen instead.
type Outcome = std::result::Result<String, String>;

/// Runs and prints every check and returns how many failed.
pub fn run(facts: &Facts<'_>) -> Result<usize> {
    let checks = [
        ("agent family and version", agent(facts)?),
        ("repository of the session", repository(facts)?),
        ("shell of the tool call", shell(facts)?),
        ("exact argv of the tool's program", tool(facts)?),
        ("connection to the model", connection(facts)?),
        (
            "the agent's own configuration among the opens",
            configuration(facts)?,
        ),
        ("no event of an unrelated process", unrelated(facts)?),
        ("no record lost", losses(facts)?),
        ("resident memory of the sensor", memory(facts)?),
        ("an open is there for queries", visible(facts)?),
    ];
    for (name, outcome) in &checks {
        match outcome {
            Ok(seen) => println!("ok      {name}: {seen}"),
            Err(seen) => println!("FAILED  {name}: {seen}"),
        }
    }
    Ok(checks
        .iter()
        .filter(|(_, outcome)| outcome.is_err())
        .count())
}

/// From before a program is started that opens a file until a client that asks again and again is told.
fn visible(facts: &Facts<'_>) -> Result<Outcome> {
    let took = facts.stage.time_until_visible()?.as_secs_f64();
    let seen =
        format!("after {took:.1} s (goal {VISIBLE_GOAL} s, the start of two programs included)");
    Ok(if took <= VISIBLE_AT_MOST {
        Ok(seen)
    } else {
        Err(seen)
    })
}

fn agent(facts: &Facts<'_>) -> Result<Outcome> {
    let row = session_row(facts)?;
    let agent = facts.session.agent;
    let seen = format!(
        "{} {}",
        shown(&row["agent_family"]),
        shown(&row["agent_version"])
    );
    let right = row["agent_family"] == agent.family && row["agent_version"] == agent.version;
    let detail = format!("{seen}, confidence {}", shown(&row["agent_confidence"]));
    Ok(if right {
        Ok(detail)
    } else {
        Err(format!("{seen} instead of {}", agent.name()))
    })
}

fn repository(facts: &Facts<'_>) -> Result<Outcome> {
    let row = session_row(facts)?;
    let root = facts.session.project().display().to_string();
    let seen = [&row["repo_root"], &row["repo_remote"], &row["repo_branch"]].map(shown);
    let right = seen == [root, REMOTE.to_owned(), BRANCH.to_owned()];
    Ok(if right {
        Ok(seen.join(" "))
    } else {
        Err(format!("{seen:?}"))
    })
}

fn shell(facts: &Facts<'_>) -> Result<Outcome> {
    let command = facts.session.tool_command();
    let rows = execs(facts)?;
    let found = rows.iter().find(|row| {
        let is_shell = row["exe"].as_str().is_some_and(|exe| {
            ["sh", "bash", "dash", "busybox"].contains(&exe.rsplit('/').next().unwrap_or_default())
        });
        // Agents put the command between lines of their own, quoted as their way of running it
        // asks for; its parts stand in one argument all the same.
        is_shell
            && argv(row)
                .iter()
                .any(|word| command.split('\'').all(|part| word.contains(part)))
    });
    Ok(match found {
        Some(row) => Ok(format!("pid {} {}", shown(&row["pid"]), shown(&row["exe"]))),
        None => Err(format!(
            "none of {} programs is a shell with that command",
            rows.len()
        )),
    })
}

fn tool(facts: &Facts<'_>) -> Result<Outcome> {
    let rows = execs(facts)?;
    let found = rows.iter().find(|row| argv(row) == TOOL_ARGV);
    Ok(match found {
        Some(row) => Ok(format!("pid {} {:?}", shown(&row["pid"]), argv(row))),
        None => Err(format!(
            "none of {} programs has argv {TOOL_ARGV:?}",
            rows.len()
        )),
    })
}

fn connection(facts: &Facts<'_>) -> Result<Outcome> {
    let model = facts.report.model;
    let rows = facts.stage.query(&format!(
        "SELECT pid, exe, sum(count) AS connections FROM net WHERE session = '{}' \
         AND addr = '{}' AND port = {} AND proto = 'tcp' GROUP BY pid, exe",
        facts.id,
        model.ip(),
        model.port()
    ))?;
    Ok(match rows.first() {
        Some(row) => Ok(format!(
            "{model} by pid {} {}",
            shown(&row["pid"]),
            shown(&row["exe"])
        )),
        None => Err(format!("no connection to {model}")),
    })
}

fn configuration(facts: &Facts<'_>) -> Result<Outcome> {
    let path = facts.session.configuration_file();
    let rows = facts.stage.query(&format!(
        "SELECT path, access, sum(count) AS opens FROM files WHERE session = '{}' \
         AND path = '{}' GROUP BY path, access",
        facts.id,
        path.display()
    ))?;
    Ok(match rows.first() {
        Some(row) => Ok(format!(
            "{} ({} opens)",
            shown(&row["path"]),
            shown(&row["opens"])
        )),
        None => Err(format!("{} was not seen to be opened", path.display())),
    })
}

fn unrelated(facts: &Facts<'_>) -> Result<Outcome> {
    let rows = facts
        .stage
        .query("SELECT DISTINCT pid FROM events WHERE pid IS NOT NULL")?;
    let pids: BTreeSet<u32> = rows
        .iter()
        .filter_map(|row| row["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()))
        .collect();
    let seen: Vec<_> = pids.intersection(facts.unrelated).collect();
    // What is told of the machine (losses, self-tests) belongs to no process.
    let stray = "SELECT pid, class, exe FROM events WHERE session IS NULL \
                 AND class NOT IN ('lost', 'coverage')";
    let stray = facts.stage.query(stray)?;
    if !stray.is_empty() {
        return Ok(Err(format!(
            "events outside any session: {}",
            Value::from(stray)
        )));
    }
    Ok(if seen.is_empty() {
        Ok(format!(
            "{} decoys ran, {} processes were reported",
            facts.unrelated.len(),
            pids.len()
        ))
    } else {
        Err(format!("events of the decoys {seen:?}"))
    })
}

fn losses(facts: &Facts<'_>) -> Result<Outcome> {
    let rows = facts
        .stage
        .query("SELECT hop, record, cause, count FROM lost")?;
    Ok(if rows.is_empty() {
        Ok("none".to_owned())
    } else {
        Err(Value::from(rows).to_string())
    })
}

fn memory(facts: &Facts<'_>) -> Result<Outcome> {
    let (at_rest, now) = (facts.stage.sensor_at_rest, facts.stage.sensor_now()?);
    let mib = |kib: u64| format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024);
    let seen = format!("{} at rest, {} after the session", mib(at_rest), mib(now));
    Ok(if at_rest < AT_REST_KIB && now < AFTER_SESSION_KIB {
        Ok(seen)
    } else {
        Err(seen)
    })
}

fn session_row(facts: &Facts<'_>) -> Result<Value> {
    let sql = format!("SELECT * FROM sessions WHERE session = '{}'", facts.id);
    facts
        .stage
        .query(&sql)?
        .into_iter()
        .next()
        .context("the session has vanished")
}

fn execs(facts: &Facts<'_>) -> Result<Vec<Value>> {
    let sql = format!(
        "SELECT pid, exe, argv FROM exec WHERE session = '{}'",
        facts.id
    );
    facts.stage.query(&sql)
}

fn argv(row: &Value) -> Vec<&str> {
    row["argv"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// A JSON value for people: text without quotes, null as `unknown`.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
