//! The log: where it goes, and how its filter follows the settings while the sensor runs.

use std::io::IsTerminal;

use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::settings::{By, LOG_VARIABLE, Log, Setting, Settings};

/// The log of this process. It goes to standard error, with time stamps of its own on a terminal.
pub struct Logging {
    reload: Box<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error>>,
    /// Directives of the environment that can be read.
    directives: Option<String>,
}

/// A log that follows the settings.
pub struct Follower<'a> {
    logging: &'a Logging,
    settings: watch::Receiver<Settings>,
}

impl Logging {
    /// Takes the log over for the whole process, as the environment says. Call it once.
    pub fn start() -> Self {
        let directives = std::env::var(LOG_VARIABLE).ok();
        let directives = directives.filter(|directives| directives.parse::<EnvFilter>().is_ok());
        let first = match &directives {
            Some(directives) => EnvFilter::new(directives),
            None => EnvFilter::new("info"),
        };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(first)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter_reloading();
        let handle = subscriber.reload_handle();
        subscriber.init();
        Self {
            reload: Box::new(move |filter| handle.reload(filter)),
            directives,
        }
    }

    /// Directives of the environment, if there are any that can be read.
    pub fn directives(&self) -> Option<String> {
        self.directives.clone()
    }

    /// Logs as a setting says, from now on.
    pub fn apply(&self, Setting { value, by }: &Setting<Log>) {
        let filter = match value {
            Log::Level(level) => EnvFilter::new(level.name()),
            Log::Directives(directives) => EnvFilter::new(directives),
        };
        if let Err(error) = (self.reload)(filter) {
            tracing::error!(%error, "what is logged cannot be changed");
            return;
        }
        if !matches!(by, By::Default) {
            tracing::info!(log = %value, %by, "what is logged was set");
        }
    }

    /// Logs as the settings say, and as they will.
    pub fn follow(&self, mut settings: watch::Receiver<Settings>) -> Follower<'_> {
        self.apply(&settings.borrow_and_update().log);
        Follower {
            logging: self,
            settings,
        }
    }
}

impl Follower<'_> {
    /// Looks whether the settings have changed; to be called once a round.
    pub fn look(&mut self) {
        if self.settings.has_changed().unwrap_or(false) {
            self.logging.apply(&self.settings.borrow_and_update().log);
        }
    }
}
