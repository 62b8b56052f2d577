//! A daemon for the benchmark: `skep-sensor run` with folders of its own and a collector that is
//! not there, so that what it takes is its own and not a receiver's.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::command::Run;

/// How long it may take to attach.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often its log is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running daemon; ended when dropped.
pub struct Daemon {
    child: Child,
    program: PathBuf,
    folder: TempDir,
}

/// Records of the kernel side, of all kinds together, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Records {
    pub sent: u64,
    /// Counted in the kernel instead of sent; `None` if this sensor does not say.
    pub folded: Option<u64>,
    pub lost: u64,
    /// Programs started by whoever is watched or not yet judged.
    pub execs: u64,
}

impl Daemon {
    /// Starts it and waits until it watches.
    pub fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let configuration = format!(
            "state_directory = \"{0}/state\"\n[collector]\naddress = \"http://127.0.0.1:9\"\n\
             [status]\nsocket = \"{0}/run/sensor.sock\"\n",
            folder.path().display()
        );
        std::fs::write(path("sensor.toml"), configuration)?;
        let log = path("log");
        let child = Command::new(program)
            .args(["run", "--config"])
            .arg(path("sensor.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut daemon = Self {
            child,
            program: program.to_owned(),
            folder,
        };
        let begun = Instant::now();
        loop {
            let said = std::fs::read_to_string(&log)?;
            if said.lines().any(|line| line == "ready") {
                return Ok(daemon);
            }
            if daemon.child.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                bail!("the sensor did not start: {}", said.trim());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What a shell has to run for the daemon's status.
    pub fn status_command(&self) -> String {
        format!(
            "{} status --json --config {}",
            self.program.display(),
            self.folder.path().join("sensor.toml").display()
        )
    }

    /// What `status --json` says.
    pub fn status(&self) -> Result<Value> {
        let text = Command::new("sh")
            .args(["-c", &self.status_command()])
            .quiet_output()?;
        serde_json::from_str(&text).context("cannot read the daemon's status")
    }

    /// CPU time of all its threads, seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += scheduled(&text)?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = line
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
            .context("/proc does not say how much memory the daemon has")?;
        Ok(kilobytes * 1024)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Ended already, or ended now: either way it is waited for.
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// Nanoseconds on a processor: the first number of `/proc/PID/task/TID/schedstat`.
pub fn scheduled(text: &str) -> Result<u64> {
    text.split_ascii_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .context("the kernel does not say how long a thread ran")
}

impl Records {
    /// Of a daemon's status.
    pub fn of(status: &Value) -> Result<Self> {
        let kinds = status["kernel"]
            .as_object()
            .context("the daemon's status says nothing of the kernel side")?;
        let mut records = Self {
            execs: kinds["exec"]["sent"].as_u64().unwrap_or_default(),
            ..Self::default()
        };
        for counters in kinds.values() {
            records.sent += counters["sent"]
                .as_u64()
                .context("no count of records sent")?;
            if let Some(folded) = counters["folded"].as_u64() {
                records.folded = Some(records.folded.unwrap_or_default() + folded);
            }
            let lost = counters["lost"]
                .as_object()
                .context("no counts of lost records")?;
            records.lost += lost.values().filter_map(Value::as_u64).sum::<u64>();
        }
        Ok(records)
    }

    /// What came after an earlier count.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            folded: self
                .folded
                .map(|folded| folded - earlier.folded.unwrap_or_default()),
            lost: self.lost - earlier.lost,
            execs: self.execs - earlier.execs,
        }
    }

    /// The folded ones, for people.
    pub fn folded_text(self) -> String {
        self.folded
            .map_or_else(|| "not counted".to_owned(), |folded| folded.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_summed_over_kinds_and_causes() {
        let status = serde_json::json!({"kernel": {
            "exec": {"sent": 2, "folded": 0, "lost": {}},
            "open": {"sent": 5, "folded": 7, "lost": {"ring_full": 1, "throttled": 2}},
        }});
        let expected = Records {
            sent: 7,
            folded: Some(7),
            lost: 3,
            execs: 2,
        };
        assert_eq!(Records::of(&status).unwrap(), expected);
    }
}
