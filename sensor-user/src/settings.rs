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
    log_level::UnknownLevel,
    stop::Waker,
};

pub use crate::log_level::Level;

/// The variable of the environment that says what is logged, above all else.
pub const LOG_VARIABLE: &str = "RUST_LOG";

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
    #[error(transparent)]
    UnknownLevel(#[from] UnknownLevel),
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

impl FromStr for Level {
    type Err = Refused;

    fn from_str(name: &str) -> Result<Self, Refused> {
        Ok(Self::named(name)?)
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
        let value = Log::Level(config.log.level);
        let mut settings = Self {
            config,
            file,
            stated,
            log: Setting {
                value,
                by: By::Default,
            },
        };
        settings.log.by = settings.by("log.level");
        settings
    }

    /// What the environment sets beats the file.
    #[must_use]
    pub fn with_log_directives(self, directives: Option<String>) -> Self {
        let Some(directives) = directives else {
            return self;
        };
        Self {
            log: Setting {
                value: Log::Directives(directives),
                by: By::Environment {
                    variable: LOG_VARIABLE,
                },
            },
            ..self
        }
    }

    /// The values as TOML, with who set each as a comment, for `check-config`.
    pub fn effective(&self) -> String {
        let mut table = String::new();
        let mut text = String::new();
        for line in self.config.effective().lines() {
            if let Some(name) = line.strip_prefix('[') {
                table = name.replace(']', ".");
            }
            text.push_str(line);
            if let Some((key, _)) = line.split_once(" = ") {
                text.push_str(&format!("  # {}", self.by(&format!("{table}{key}"))));
            }
            text.push('\n');
        }
        text
    }

    /// What `check-config FILE` prints when the file is good.
    pub fn report(&self) -> String {
        let file = self.file.as_deref().unwrap_or(Path::new("(no file)"));
        format!("{}: ok\n\n{}", file.display(), self.effective())
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

    #[test]
    fn check_config_shows_what_holds() {
        let settings = Settings {
            file: Some("/etc/skep/sensor.toml".into()),
            ..Settings::of_defaults()
        };
        let text = settings.report();
        assert!(text.starts_with("/etc/skep/sensor.toml: ok\n"), "{text}");
        assert!(text.contains("max_bytes = 268435456"), "{text}");
    }

    #[test]
    fn each_value_says_who_set_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sensor.toml");
        let text = "[log]\nlevel = 'warn'\n[spool]\nmax_bytes = 2_097_152\n\
                    [kernel]\nlog = 'debug'\n";
        std::fs::write(&file, text).unwrap();
        let settings = Settings::load(&file).unwrap();
        let report = settings.report();
        for line in [
            "state_directory = \"/var/lib/skep\"  # default",
            "max_bytes = 2097152  # file",
            // An eighth of what the file says, but nobody said it.
            "findings_bytes = 262144  # default",
            "level = \"warn\"  # file",
            "avoid = []  # default",
            "log = \"debug\"  # file",
        ] {
            assert!(
                report.lines().any(|have| have == line),
                "{line} not in\n{report}"
            );
        }
        // It is a configuration again, but for a directory that has to exist once it is named.
        let effective = settings.effective();
        let effective = effective.replace("/etc/skep/catalogue", "/etc");
        std::fs::write(&file, effective).unwrap();
        let mut same = settings.config.clone();
        same.catalogue.directory = "/etc".into();
        assert_eq!(Settings::load(&file).unwrap().config, same);
        assert_eq!(settings.log.by, By::File);
        let settings = settings.with_log_directives(Some("skep_sensor=trace".into()));
        assert_eq!(settings.log.by.to_string(), "environment RUST_LOG");
        assert_eq!(settings.log.value.to_string(), "skep_sensor=trace");
    }
}
