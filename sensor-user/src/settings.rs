//! Settings of a running sensor: each value, and who set it.
//!
//! [`Settings`] is one value. [`Handle::apply`] changes it; [`Handle::subscribe`] hands out a
//! [`watch::Receiver`] of it, for a thread that looks once a round (`has_changed`) as well as for a task
//! that waits (`changed`).
//!
//! Invariants:
//! - a change is applied whole, or refused with the reason and changes nothing;
//! - [`Change`] lists the settings that can change at run time; all others hold for the life of the process;
//! - a change lives as long as the process: the next start reads the file again.
//!
//! An order from the collector is applied like this:
//!
//! ```
//! # use skep_sensor::{config::Config, settings::{By, Change, Handle, Settings}};
//! # let handle = Handle::new(Settings::of_defaults());
//! # let _follower = handle.subscribe();
//! let level = "debug".parse()?; // `Refused` names a level that does not exist
//! handle.apply(Change::LogLevel(level), By::Order { id: "7".into() })?;
//! # Ok::<(), skep_sensor::settings::Refused>(())
//! ```

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    config::{Config, ConfigError},
    stop::Waker,
};

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Default,
    /// The configuration file.
    File,
    /// A variable of the environment.
    Environment {
        variable: &'static str,
    },
    /// An order from the collector.
    Order {
        id: String,
    },
}

/// A value and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    pub by: By,
}

/// How much the sensor logs, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// What the sensor logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    Level(Level),
    /// Directives of `RUST_LOG`, as `tracing_subscriber::EnvFilter` reads them.
    Directives(String),
}

/// What the sensor was configured with, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Holds for the life of the process.
    pub config: Config,
    /// Where `config` was read from, if anywhere.
    pub file: Option<PathBuf>,
    /// Keys that the file states, such as `spool.max_bytes`.
    stated: BTreeSet<String>,
    pub log: Setting<Log>,
}

/// A change of a setting at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    LogLevel(Level),
}

/// Why a change was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no log level `{level}`: expected error, warn, info, debug or trace")]
    UnknownLevel { level: String },
    #[error("nothing in this process follows its settings")]
    NotFollowed,
}

/// The right to change the settings. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct Handle {
    settings: Arc<watch::Sender<Settings>>,
    /// Wakes the thread that looks once a round.
    waker: Option<Waker>,
}

// === impl By ===

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Order { id } => write!(f, "collector, order {id}"),
        }
    }
}

// === impl Level ===

impl Level {
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let found = Self::ALL.into_iter().find(|level| level.name() == text);
        found.ok_or_else(|| Refused::UnknownLevel {
            level: text.chars().take(32).collect(),
        })
    }
}

// === impl Log ===

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(level) => level.fmt(f),
            Self::Directives(directives) => f.write_str(directives),
        }
    }
}

// === impl Settings ===

impl Settings {
    /// Without a file.
    pub fn of_defaults() -> Self {
        Self::of(Config::default(), None, BTreeSet::new())
    }

    /// Reads and checks a file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let (config, stated) = Config::load_stated(file)?;
        Ok(Self::of(config, Some(file.to_owned()), stated))
    }

    fn of(config: Config, file: Option<PathBuf>, stated: BTreeSet<String>) -> Self {
        Self {
            config,
            file,
            stated,
            log: Setting {
                value: Log::Level(Level::Info),
                by: By::Default,
            },
        }
    }

    /// Who set a value of the configuration, by its key, such as `spool.max_bytes`.
    pub fn by(&self, key: &str) -> By {
        if self.stated.contains(key) {
            By::File
        } else {
            By::Default
        }
    }
}

// === impl Handle ===

impl Handle {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(watch::Sender::new(settings)),
            waker: None,
        }
    }

    /// A handle whose changes wake the thread that looks once a round.
    #[must_use]
    pub fn waking(self, waker: Waker) -> Self {
        Self {
            waker: Some(waker),
            ..self
        }
    }

    /// The settings as they are.
    pub fn current(&self) -> Settings {
        self.settings.borrow().clone()
    }

    /// Sees the settings change.
    pub fn subscribe(&self) -> watch::Receiver<Settings> {
        self.settings.subscribe()
    }

    /// Changes a setting for every subscriber. Refused when there is none: then nobody would act on it.
    pub fn apply(&self, change: Change, by: By) -> Result<(), Refused> {
        if self.settings.receiver_count() == 0 {
            return Err(Refused::NotFollowed);
        }
        self.settings.send_modify(|settings| match change {
            Change::LogLevel(level) => {
                settings.log = Setting {
                    value: Log::Level(level),
                    by,
                };
            }
        });
        if let Some(waker) = &self.waker {
            waker.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_a_subscriber_and_names_who_made_it() {
        let handle = Handle::new(Settings::of_defaults());
        let mut follower = handle.subscribe();
        assert_eq!(follower.borrow_and_update().log.by, By::Default);
        let by = By::Order { id: "7".into() };
        handle
            .apply(Change::LogLevel(Level::Debug), by.clone())
            .unwrap();
        assert!(follower.has_changed().unwrap());
        let log = follower.borrow_and_update().log.clone();
        let changed = Setting {
            value: Log::Level(Level::Debug),
            by,
        };
        assert_eq!(log, changed);
        assert_eq!(log.by.to_string(), "collector, order 7");
        assert!(!follower.has_changed().unwrap());
    }

    #[test]
    fn a_change_that_nobody_follows_is_refused_and_changes_nothing() {
        let handle = Handle::new(Settings::of_defaults());
        let applied = handle.apply(Change::LogLevel(Level::Trace), By::File);
        assert_eq!(applied, Err(Refused::NotFollowed));
        assert_eq!(handle.current(), Settings::of_defaults());
    }

    #[test]
    fn a_level_that_does_not_exist_is_refused_by_name() {
        let refused = "verbose".parse::<Level>().unwrap_err().to_string();
        assert!(refused.starts_with("no log level `verbose`"), "{refused}");
        for level in Level::ALL {
            assert_eq!(level.name().parse(), Ok(level));
        }
    }
}
