//! The sensor's configuration file (TOML; a commented sample is `deploy/sensor.toml`).
//!
//! Invariants: an unknown key, a wrong type or a value out of range refuses the whole file, with
//! file, line, column and what was expected; every key is optional and has the default printed by
//! `skep-sensor check-config`.

mod bounds;
mod check;

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::log_level::{KernelLevel, Level};
pub use bounds::{
    FINDINGS_BYTES, LIVENESS_SECONDS, MEMORY_BYTES, QUESTION_BYTES, QUESTION_ENTRIES,
    QUESTION_MILLISECONDS, RING_BYTES, SPOOL_BYTES,
};
use check::{
    absolute, avoidable, collector_address, existing_directory, findings_share, liveness_interval,
    memory_size, ring_size, socket_path, spool_bytes, within,
};

/// A larger file is no configuration.
const MAX_FILE: u64 = 1 << 20;

/// Without a word of the file, the findings have this part of the spool.
const FINDINGS_SHARE: u64 = 8;

/// Effective configuration: what the file says, else the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Holds the install id, the boot clock and the journal of sessions.
    pub state_directory: PathBuf,
    pub collector: Collector,
    pub spool: Spool,
    pub status: Status,
    pub kernel: Kernel,
    pub liveness: Liveness,
    pub limits: Limits,
    pub inspector: Inspector,
    pub catalogue: Catalogue,
    pub log: Log,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Collector {
    /// `http://` and a loopback host and port.
    pub address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spool {
    pub directory: PathBuf,
    /// What waits for the collector takes at most this much disk.
    pub max_bytes: u64,
    /// How much of that is kept for findings and what says how complete the rest is.
    pub findings_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Unix socket the daemon answers `skep-sensor status` on.
    pub socket: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Size of the ring buffer between kernel and daemon.
    pub ring_bytes: u32,
    /// Hooks that are not to be used, by the start of their names; the next best is taken.
    pub avoid: Vec<String>,
    /// What the kernel programs log, for whoever develops them.
    pub log: KernelLevel,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Liveness {
    /// How often a canary goes through the hooks; 0: never.
    pub interval_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// The tables of the sensor are bounded so that it takes no more memory than this.
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspector {
    /// How long one question about a foreign process or file may take.
    pub question_milliseconds: u64,
    /// How much of files may be read for it.
    pub question_bytes: u64,
    /// How many paths and names in directories may be looked at for it.
    pub question_entries: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Catalogue {
    /// Families here add to or replace the embedded ones; need not exist unless the file names it.
    pub directory: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// At the start; the collector can order another.
    pub level: Level,
}

/// A configuration that was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{file}: {source}", file = .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("{file}: not a configuration: {reason}", file = .file.display())]
    NotText { file: PathBuf, reason: &'static str },
    #[error("{file}:{place}: {reason}", file = .file.display())]
    Invalid {
        file: PathBuf,
        place: Place,
        reason: String,
    },
}

/// Line and column, from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

// What the file may hold. Values that are checked carry their place.

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct RawConfig {
    state_directory: Option<Spanned<String>>,
    #[serde(default)]
    collector: RawCollector,
    #[serde(default)]
    spool: RawSpool,
    #[serde(default)]
    status: RawStatus,
    #[serde(default)]
    kernel: RawKernel,
    #[serde(default)]
    liveness: RawLiveness,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    inspector: RawInspector,
    #[serde(default)]
    catalogue: RawCatalogue,
    #[serde(default)]
    log: RawLog,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table [collector]")]
struct RawCollector {
    address: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table [spool]")]
struct RawSpool {
    directory: Option<Spanned<String>>,
    max_bytes: Option<Spanned<i64>>,
    findings_bytes: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table [status]")]
struct RawStatus {
    socket: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table [kernel]")]
struct RawKernel {
    ring_bytes: Option<Spanned<i64>>,
    avoid: Option<Vec<Spanned<String>>>,
    log: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table [liveness]")]
struct RawLiveness {
    interval_seconds: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table [limits]")]
struct RawLimits {
    memory_bytes: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table [inspector]")]
struct RawInspector {
    question_milliseconds: Option<Spanned<i64>>,
    question_bytes: Option<Spanned<i64>>,
    question_entries: Option<Spanned<i64>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table [catalogue]")]
struct RawCatalogue {
    directory: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, expecting = "a table [log]")]
struct RawLog {
    level: Option<Spanned<String>>,
}

/// What is wrong, and where in the text.
struct Refused {
    span: Range<usize>,
    reason: String,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            state_directory: "/var/lib/skep".into(),
            collector: Collector {
                address: "http://127.0.0.1:7317".into(),
            },
            spool: Spool {
                directory: "/var/lib/skep/spool".into(),
                max_bytes: 256 << 20,
                findings_bytes: (256 << 20) / FINDINGS_SHARE,
            },
            status: Status {
                socket: "/run/skep/sensor.sock".into(),
            },
            kernel: Kernel {
                ring_bytes: 2 << 20,
                avoid: Vec::new(),
                log: KernelLevel::Off,
            },
            liveness: Liveness {
                interval_seconds: 10,
            },
            limits: Limits {
                memory_bytes: 64 << 20,
            },
            inspector: Inspector {
                question_milliseconds: 2000,
                question_bytes: 1 << 30,
                question_entries: 200_000,
            },
            catalogue: Catalogue {
                directory: "/etc/skep/catalogue".into(),
            },
            log: Log { level: Level::Info },
        }
    }
}

impl Limits {
    /// As a size in this process.
    pub fn memory(&self) -> usize {
        usize::try_from(self.memory_bytes).unwrap_or(usize::MAX)
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::load_stated(file).map(|(config, _)| config)
    }

    /// Reads and checks a file; gives the keys that it states as well, such as `spool.max_bytes`.
    pub fn load_stated(file: &Path) -> Result<(Self, BTreeSet<String>), ConfigError> {
        let read = |source| ConfigError::Read {
            file: file.to_owned(),
            source,
        };
        let not_text = |reason| ConfigError::NotText {
            file: file.to_owned(),
            reason,
        };
        let meta = fs::metadata(file).map_err(read)?;
        if !meta.is_file() {
            return Err(not_text("it is not a regular file"));
        }
        if meta.len() > MAX_FILE {
            return Err(not_text("it is larger than 1 MiB"));
        }
        let bytes = fs::read(file).map_err(read)?;
        let text = String::from_utf8(bytes).map_err(|_| not_text("it is not UTF-8"))?;
        Self::of_text(file, &text).map(|config| (config, stated_keys(&text)))
    }

    /// Checks the text of a file, whose name is for errors.
    pub fn of_text(file: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::parse(text).map_err(|refused| ConfigError::Invalid {
            file: file.to_owned(),
            place: Place::of(text, refused.span.start),
            reason: refused.reason,
        })
    }

    fn parse(text: &str) -> Result<Self, Refused> {
        let raw: RawConfig = toml::from_str(text).map_err(|error| Refused {
            span: error.span().unwrap_or(0..0),
            reason: error.message().trim().replace('\n', ", "),
        })?;
        let RawConfig {
            state_directory,
            collector,
            spool,
            status,
            kernel,
            liveness,
            limits,
            inspector,
            catalogue,
            log,
        } = raw;
        let RawCollector { address } = collector;
        let RawSpool {
            directory: spool_directory,
            max_bytes,
            findings_bytes,
        } = spool;
        let RawStatus { socket } = status;
        let RawKernel {
            ring_bytes,
            avoid,
            log: kernel_log,
        } = kernel;
        let RawLiveness { interval_seconds } = liveness;
        let RawLimits { memory_bytes } = limits;
        let RawInspector {
            question_milliseconds,
            question_bytes,
            question_entries,
        } = inspector;
        let RawCatalogue {
            directory: catalogue_directory,
        } = catalogue;
        let RawLog { level } = log;

        let mut config = Self::default();
        if let Some(value) = state_directory {
            config.state_directory = checked(value, absolute)?;
            config.spool.directory = config.state_directory.join("spool");
        }
        if let Some(value) = address {
            config.collector.address = checked(value, collector_address)?;
        }
        if let Some(value) = spool_directory {
            config.spool.directory = checked(value, absolute)?;
        }
        if let Some(value) = max_bytes {
            config.spool.max_bytes = checked(value, spool_bytes)?;
            config.spool.findings_bytes = config.spool.max_bytes / FINDINGS_SHARE;
        }
        if let Some(value) = findings_bytes {
            let all = config.spool.max_bytes;
            config.spool.findings_bytes = checked(value, |value| findings_share(value, all))?;
        }
        if let Some(value) = socket {
            config.status.socket = checked(value, socket_path)?;
        }
        if let Some(value) = ring_bytes {
            config.kernel.ring_bytes = checked(value, ring_size)?;
        }
        for value in avoid.unwrap_or_default() {
            config.kernel.avoid.push(checked(value, avoidable)?);
        }
        if let Some(value) = kernel_log {
            config.kernel.log = checked(value, |name| {
                KernelLevel::named(&name).map_err(|unknown| unknown.to_string())
            })?;
        }
        if let Some(value) = interval_seconds {
            config.liveness.interval_seconds = checked(value, liveness_interval)?;
        }
        if let Some(value) = memory_bytes {
            config.limits.memory_bytes = checked(value, memory_size)?;
        }
        if let Some(value) = question_milliseconds {
            let between = |value| within(value, &QUESTION_MILLISECONDS, "milliseconds");
            config.inspector.question_milliseconds = checked(value, between)?;
        }
        if let Some(value) = question_bytes {
            let between = |value| within(value, &QUESTION_BYTES, "bytes");
            config.inspector.question_bytes = checked(value, between)?;
        }
        if let Some(value) = question_entries {
            let between = |value| within(value, &QUESTION_ENTRIES, "entries");
            config.inspector.question_entries = checked(value, between)?;
        }
        if let Some(value) = catalogue_directory {
            config.catalogue.directory = checked(value, existing_directory)?;
        }
        if let Some(value) = level {
            config.log.level = checked(value, |name| {
                Level::named(&name).map_err(|unknown| unknown.to_string())
            })?;
        }
        Ok(config)
    }

    /// The effective values as TOML.
    pub fn effective(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}

/// The keys of a text that was parsed, with the names of their tables.
fn stated_keys(text: &str) -> BTreeSet<String> {
    fn add(keys: &mut BTreeSet<String>, prefix: &str, table: &toml::Table) {
        for (key, value) in table {
            match value {
                toml::Value::Table(table) => add(keys, &format!("{prefix}{key}."), table),
                _ => {
                    keys.insert(format!("{prefix}{key}"));
                }
            }
        }
    }
    let mut keys = BTreeSet::new();
    if let Ok(table) = text.parse() {
        add(&mut keys, "", &table);
    }
    keys
}

fn checked<T, U>(
    value: Spanned<T>,
    check: impl FnOnce(T) -> Result<U, String>,
) -> Result<U, Refused> {
    let span = value.span();
    check(value.into_inner()).map_err(|reason| Refused { span, reason })
}

// === impl Place ===

impl Place {
    fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Self { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests;
