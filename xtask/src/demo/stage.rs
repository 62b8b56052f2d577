//! The collector and the sensor of a demo, and the questions asked of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::service::Service;
use crate::agents;
use crate::command::{Run, quote};

const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// A running collector and sensor.
pub struct Stage {
    programs: PathBuf,
    configuration: PathBuf,
    server: String,
    /// Resident memory of the sensor before anything happened, in kibibytes.
    pub sensor_at_rest: u64,
    // In this order: the sensor is dropped, and thereby ended, first.
    sensor: Service,
    collector: Service,
}

impl Stage {
    /// Starts both, with all their files below `scratch`.
    pub fn start(programs: &Path, scratch: &Path) -> Result<Self> {
        let data = scratch.join("collector");
        let (collector, address) = Service::start(
            Command::new(programs.join("skep-collector"))
                .args([
                    "serve",
                    "--listen",
                    "127.0.0.1:0",
                    "--http",
                    "off",
                    "--postgres",
                    "off",
                    "--data",
                ])
                .arg(&data),
        )?;
        let server = format!("http://{address}");
        let configuration = scratch.join("sensor.toml");
        std::fs::write(&configuration, sensor_configuration(&server, scratch))
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        let (sensor, _) = Service::start(
            Command::new(programs.join("skep-sensor"))
                .args(["run", "--config"])
                .arg(&configuration),
        )?;
        let sensor_at_rest = sensor.resident_kib()?;
        Ok(Self {
            programs: programs.to_path_buf(),
            configuration,
            server,
            sensor_at_rest,
            sensor,
            collector,
        })
    }

    /// Resident memory of the sensor now, in kibibytes.
    pub fn sensor_now(&self) -> Result<u64> {
        self.sensor.resident_kib()
    }

    /// Stops the sensor, then the collector.
    pub fn stop(&mut self) -> Result<()> {
        self.sensor.stop()?;
        self.collector.stop()
    }

    /// The end of the sensor's log.
    pub fn sensor_log(&self) -> String {
        self.sensor.log()
    }

    /// Shows a command of the client and what it prints.
    pub fn show(&self, arguments: &[&str]) -> Result<()> {
        let (line, mut command) = client(&self.programs.join("skep"), &self.server, arguments);
        println!("{line}");
        let status = command.status().context("cannot run skep")?;
        ensure!(status.success(), "skep {}: {status}", arguments.join(" "));
        println!();
        Ok(())
    }

    /// Shows the state of the sensor.
    pub fn show_sensor_status(&self) -> Result<()> {
        println!("$ skep-sensor status");
        let status = self
            .sensor_command()
            .arg("status")
            .arg("--config")
            .arg(&self.configuration)
            .status()
            .context("cannot run skep-sensor")?;
        ensure!(status.success(), "skep-sensor status: {status}");
        Ok(())
    }

    /// The rows of a query.
    pub fn query(&self, sql: &str) -> Result<Vec<Value>> {
        let arguments = ["query", sql, "-o", "json"];
        let (_, mut command) = client(&self.programs.join("skep"), &self.server, &arguments);
        let text = command.quiet_output()?;
        serde_json::from_str(&text).with_context(|| format!("skep printed no JSON array: {text}"))
    }

    /// Waits until the collector has the end of the session that began in `project`, and returns
    /// its id. There must be one such session, not counting those started within it.
    pub fn wait_for_session(&self, project: &Path) -> Result<String> {
        let sql = format!(
            "SELECT session, ended IS NOT NULL AS has_ended FROM sessions \
             WHERE cwd = '{}' AND parent IS NULL ORDER BY first_seen",
            project.display()
        );
        let deadline = Instant::now() + ARRIVES_WITHIN;
        loop {
            let rows = self.query(&sql)?;
            let has_ended = |row: &Value| row["has_ended"] == true;
            if !rows.is_empty() && rows.iter().all(has_ended) {
                ensure!(
                    rows.len() == 1,
                    "one session was run, but {} were reported",
                    rows.len()
                );
                let id = rows[0]["session"]
                    .as_str()
                    .context("a session without an id")?;
                self.wait_for_the_rest(deadline)?;
                return Ok(id.to_owned());
            }
            if Instant::now() > deadline {
                bail!(
                    "after {} s the collector still has no ended session of {}; it has {rows:?}",
                    ARRIVES_WITHIN.as_secs(),
                    project.display()
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until the collector has all that the sensor has: the end of a session goes in a lane of its
    /// own, and may be there before what the session did.
    fn wait_for_the_rest(&self, deadline: Instant) -> Result<()> {
        loop {
            let status = self.sensor_status()?;
            let waiting = |lane: &str| status["spool"][lane]["records"].as_u64();
            let lanes = [waiting("bulk"), waiting("findings")];
            if lanes == [Some(0), Some(0)] {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the sensor still has events that the collector has not acknowledged: {lanes:?}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Events that the sensor has put into its spool, by class.
    pub fn events_of_sensor(&self) -> Result<BTreeMap<String, u64>> {
        let status = self.sensor_status()?;
        serde_json::from_value(status["events"].clone())
            .with_context(|| format!("skep-sensor counts no events: {status}"))
    }

    fn sensor_status(&self) -> Result<Value> {
        let text = self
            .sensor_command()
            .args(["status", "--json", "--config"])
            .arg(&self.configuration)
            .quiet_output()?;
        serde_json::from_str(&text).with_context(|| format!("skep-sensor printed no JSON: {text}"))
    }

    /// How long it takes from an agent's open to its row in an answer.
    pub fn time_until_visible(&self) -> Result<Duration> {
        let file = self.configuration.with_file_name("opened to be seen");
        let sql = format!(
            "SELECT 1 FROM files WHERE path = '{}' LIMIT 1",
            file.display()
        );
        let folder = self.configuration.parent().context("a file in a folder")?;
        let begun = Instant::now();
        let mut agent = Command::new(self.programs.join(agents::DEMO));
        agent
            .args(["do", "create"])
            .arg(&file)
            .current_dir(folder)
            .run()?;
        while self.query(&sql)?.is_empty() {
            ensure!(
                begun.elapsed() < ARRIVES_WITHIN,
                "an open is not there for queries after {} s",
                ARRIVES_WITHIN.as_secs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(begun.elapsed())
    }

    fn sensor_command(&self) -> Command {
        Command::new(self.programs.join("skep-sensor"))
    }
}

/// A configuration whose every path is below the scratch folder.
fn sensor_configuration(server: &str, scratch: &Path) -> String {
    let path = |name: &str| Value::from(scratch.join(name).display().to_string());
    format!(
        "state_directory = {}\n\n[collector]\naddress = \"{server}\"\n\n[spool]\ndirectory = {}\n\n\
         [status]\nsocket = {}\n",
        path("sensor"),
        path("spool"),
        path("sensor.sock")
    )
}

/// The `skep` client, as one would type it, and the command to run.
fn client(program: &Path, server: &str, arguments: &[&str]) -> (String, Command) {
    let mut command = Command::new(program);
    command.args(["--server", server]).args(arguments);
    let words: Vec<_> = arguments.iter().map(|word| quote(word)).collect();
    (format!("$ skep {}", words.join(" ")), command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_sensor_is_below_the_scratch_folder() {
        let text = sensor_configuration("http://127.0.0.1:1", Path::new("/scratch of/demo"));
        let parsed: toml::Table = toml::from_str(&text).unwrap();
        let paths = [
            &parsed["state_directory"],
            &parsed["spool"]["directory"],
            &parsed["status"]["socket"],
        ];
        for path in paths {
            assert!(
                path.as_str().unwrap().starts_with("/scratch of/demo/"),
                "{path}"
            );
        }
        assert_eq!(
            parsed["collector"]["address"].as_str(),
            Some("http://127.0.0.1:1")
        );
    }
}
