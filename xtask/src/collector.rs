//! The collector as a program under test: started, loaded by simulated sensors, asked, killed.

pub mod readers;
pub mod s3;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::command::Run;
use crate::demo::service::Service;
use crate::workspace;

/// The only listener is that for sensors and clients: several collectors run beside one another.
const ONE_LISTENER: [&str; 4] = ["--http", "off", "--postgres", "off"];

/// A row of an answer.
pub type Row = Map<String, Value>;

/// A collector and where its data is.
pub struct Collector {
    pub service: Service,
    /// `http://HOST:PORT`
    pub server: String,
    programs: PathBuf,
}

/// How to start one.
pub struct Start<'a> {
    /// The folder with the programs.
    pub programs: &'a Path,
    pub data: &'a Path,
    /// Port 0: one that is free.
    pub port: u16,
    /// Further arguments of `serve`.
    pub arguments: &'a [&'a str],
    pub environment: &'a [(String, String)],
}

/// `skep-load`'s report, as far as it is used here.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    pub events_per_second: f64,
    pub batches_per_second: f64,
    pub raw_bytes: u64,
    pub frame_bytes: u64,
    pub ack_p50_micros: u64,
    pub ack_p99_micros: u64,
    pub broken: Vec<String>,
    pub classes: BTreeMap<String, Sums>,
}

/// Sums over events of one class.
#[derive(Clone, Debug, Deserialize)]
pub struct Sums {
    pub rows: u64,
    pub count: u64,
    pub pid: u64,
    pub path_bytes: u64,
}

/// What was acknowledged of one lane of one sensor.
#[derive(Debug, Deserialize)]
pub struct Source {
    pub sensor_id: String,
    pub epoch: u64,
    pub acked_seq: u64,
}

#[derive(Debug, Deserialize)]
pub struct Account {
    pub sources: Vec<Source>,
}

impl Collector {
    pub fn start(start: &Start<'_>) -> Result<Self> {
        let Start {
            programs,
            data,
            port,
            arguments,
            environment,
        } = start;
        let mut command = Command::new(programs.join("skep-collector"));
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(data)
            .args(ONE_LISTENER)
            .args(*arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("SKEP_LOG", "warn");
        let (service, address) = Service::start(&mut command)?;
        Ok(Self {
            service,
            server: format!("http://{address}"),
            programs: programs.to_path_buf(),
        })
    }

    /// The port it listens on.
    pub fn port(&self) -> Result<u16> {
        let port = self
            .server
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        port.with_context(|| format!("{} has no port", self.server))
    }

    /// The answer to a statement, as the client `skep` gives it.
    pub fn query(&self, sql: &str) -> Result<Vec<Row>> {
        let text = Command::new(self.programs.join("skep"))
            .args(["query", "--server", &self.server, "-o", "json", sql])
            .quiet_output()?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// One of its counters.
    pub fn counter(&self, name: &str) -> Result<u64> {
        Ok(self.counters()?.get(name).copied().unwrap_or_default())
    }

    pub fn counters(&self) -> Result<BTreeMap<String, u64>> {
        let rows = self.query("SELECT name, value FROM counters")?;
        let pair = |row: &Row| {
            Some((
                row.get("name")?.as_str()?.to_owned(),
                row.get("value")?.as_u64()?,
            ))
        };
        Ok(rows.iter().filter_map(pair).collect())
    }
}

/// A load that runs.
pub struct Load {
    child: Child,
    folder: tempfile::TempDir,
}

impl Load {
    /// Starts `skep-load run`.
    pub fn start(programs: &Path, server: &str, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(programs.join("skep-load"));
        command
            .args(["run", "--server", server])
            .args(arguments)
            .arg("--report")
            .arg(folder.path().join("report.json"))
            .arg("--account")
            .arg(folder.path().join("account.json"))
            .stdin(Stdio::null());
        println!("$ {}", command.line());
        let child = command.spawn().context("cannot start skep-load")?;
        Ok(Self { child, folder })
    }

    /// Waits until it has ended, and requires that all of it was acknowledged.
    pub fn finish(mut self) -> Result<(Report, Account)> {
        let status = self.child.wait()?;
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name));
        let report: Report =
            serde_json::from_str(&read("report.json").context("no report of the load")?)?;
        ensure!(
            report.broken.is_empty(),
            "the collector broke its word: {:?}",
            report.broken
        );
        ensure!(status.success(), "the load ended with {status}");
        Ok((report, serde_json::from_str(&read("account.json")?)?))
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A script of `xtask/python`.
pub fn script(name: &str) -> PathBuf {
    workspace::root().join("xtask/python").join(name)
}

/// A whole number, which may stand as a text where it would not fit a double.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.split('.').next().unwrap_or_default().to_owned()
}

/// What was acknowledged is stored, once, and nothing else is: by class and by source.
pub fn reconcile(collector: &Collector, loads: &[(Report, Account)]) -> Result<()> {
    let mut differences = Vec::new();
    let mut expected: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
    for (report, _) in loads {
        for (
            class,
            Sums {
                rows,
                count,
                pid,
                path_bytes,
            },
        ) in &report.classes
        {
            let sums = expected.entry(class).or_default();
            for (sum, part) in sums.iter_mut().zip([rows, count, pid, path_bytes]) {
                *sum += part;
            }
        }
    }
    let columns = ["rows", "counted", "pids", "path_bytes"];
    let found = collector.query(
        "SELECT class, count(*) AS rows, coalesce(sum(count), 0) AS counted, \
         coalesce(sum(pid), 0) AS pids, coalesce(sum(octet_length(file_path)), 0) AS path_bytes \
         FROM events GROUP BY class",
    )?;
    ensure!(
        found.len() == expected.len(),
        "{} classes stored, {} sent",
        found.len(),
        expected.len()
    );
    for row in &found {
        let class = row["class"].as_str().unwrap_or_default();
        let wanted = expected.get(class).copied().unwrap_or_default();
        for (column, wanted) in columns.iter().zip(wanted) {
            if plain(&row[*column]) != wanted.to_string() {
                differences.push(format!(
                    "{class}.{column}: {} stored, {wanted} acknowledged",
                    row[*column]
                ));
            }
        }
    }
    let sources = collector.query(
        "SELECT sensor_id, epoch, count(*) AS rows, count(DISTINCT seq) AS different, min(seq) AS first, \
         max(seq) AS last FROM events GROUP BY sensor_id, epoch",
    )?;
    let mut stored: BTreeMap<(String, u64), [u64; 4]> = BTreeMap::new();
    for row in &sources {
        let number = |name: &str| plain(&row[name]).parse().unwrap_or_default();
        let key = (
            row["sensor_id"].as_str().unwrap_or_default().to_owned(),
            number("epoch"),
        );
        stored.insert(key, ["rows", "different", "first", "last"].map(number));
    }
    for source in loads.iter().flat_map(|(_, account)| &account.sources) {
        let Source {
            sensor_id,
            epoch,
            acked_seq,
        } = source;
        let found = stored
            .remove(&(sensor_id.clone(), *epoch))
            .unwrap_or_default();
        let wanted = [
            *acked_seq,
            *acked_seq,
            u64::from(*acked_seq > 0),
            *acked_seq,
        ];
        if found != wanted {
            differences.push(format!(
                "{sensor_id}/{epoch}: rows, different sequences, first and last are {found:?}, not {wanted:?}"
            ));
        }
    }
    for source in stored.keys() {
        differences.push(format!("{source:?} is stored, and nobody sent it"));
    }
    if !differences.is_empty() {
        bail!(
            "stored and acknowledged differ:\n{}",
            differences.join("\n")
        );
    }
    Ok(())
}
