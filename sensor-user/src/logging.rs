//! The log: where it goes, and how its filter follows the settings while the sensor runs.

use std::io::{IsTerminal, stderr};

use tokio::sync::watch;
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, util::SubscriberInitExt};

use crate::{
    log_level::{KERNEL_TARGET, KernelLevel},
    settings::{By, LOG_VARIABLE, Log, Setting, Settings},
};

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
        let (subscriber, logging) = Self::to(stderr, stderr().is_terminal(), directives);
        subscriber.init();
        logging
    }

    fn to<W>(
        writer: W,
        ansi: bool,
        directives: Option<String>,
    ) -> (impl Subscriber + Send + Sync, Self)
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let first = match &directives {
            Some(directives) => EnvFilter::new(directives),
            None => EnvFilter::new("info"),
        };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(first)
            .with_writer(writer)
            .with_ansi(ansi)
            .with_filter_reloading();
        let handle = subscriber.reload_handle();
        let logging = Self {
            reload: Box::new(move |filter| handle.reload(filter)),
            directives,
        };
        (subscriber.finish(), logging)
    }

    /// Directives of the environment, if there are any that can be read.
    pub fn directives(&self) -> Option<String> {
        self.directives.clone()
    }

    /// Logs as the settings say, from now on. Lines of the kernel programs, which `[kernel] log` asks for,
    /// have its level and not that of the rest; directives of the environment have the last word.
    pub fn apply(&self, settings: &Settings) {
        let Setting { value, by } = &settings.log;
        let filter = match (value, settings.config.kernel.log) {
            (Log::Level(level), KernelLevel::Off) => EnvFilter::new(level.name()),
            (Log::Level(level), kernel) => {
                EnvFilter::new(format!("{level},{KERNEL_TARGET}={kernel}"))
            }
            (Log::Directives(directives), _) => EnvFilter::new(directives),
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
        self.apply(&settings.borrow_and_update());
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
            self.logging.apply(&self.settings.borrow_and_update());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::settings::{Change, Handle, Level};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_order_changes_what_is_logged_from_the_next_round_on() {
        let written = Written::default();
        let writer = written.clone();
        let (subscriber, logging) = Logging::to(move || writer.clone(), false, None);
        let handle = Handle::new(Settings::of_defaults());
        tracing::subscriber::with_default(subscriber, || {
            let mut follower = logging.follow(handle.subscribe());
            let mut round = |number: u32| {
                follower.look();
                tracing::debug!("round {number}");
                tracing::warn!("warned in round {number}");
            };
            let order = |level, id: &str| {
                let by = By::Order { id: id.into() };
                handle.apply(Change::LogLevel(level), by).unwrap();
            };
            round(1);
            order(Level::Debug, "7");
            round(2);
            order(Level::Error, "8");
            round(3);
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let has = |part: &str| text.contains(part);
        assert!(!has(": round 1") && has("warned in round 1"), "{text}");
        assert!(has(": round 2") && has("warned in round 2"), "{text}");
        assert!(!has("round 3"), "{text}");
        assert!(has("log=debug by=collector, order 7"), "{text}");
    }

    #[test]
    fn lines_of_the_kernel_programs_are_shown_at_their_own_level() {
        let written = Written::default();
        let writer = written.clone();
        let (subscriber, logging) = Logging::to(move || writer.clone(), false, None);
        let mut settings = Settings::of_defaults();
        let mut lines = |kernel, level| {
            settings.config.kernel.log = kernel;
            settings.log.value = Log::Level(level);
            logging.apply(&settings);
            written.0.lock().unwrap().clear();
            tracing::debug!(target: KERNEL_TARGET, "of the kernel");
            tracing::debug!("of the daemon");
            String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
        };
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(lines(KernelLevel::Off, Level::Info), "");
            assert_eq!(lines(KernelLevel::Warn, Level::Info), "");
            for level in [Level::Error, Level::Info] {
                let text = lines(KernelLevel::Debug, level);
                assert!(
                    text.contains("DEBUG skep_sensor::kernel: of the kernel"),
                    "{text}"
                );
                assert!(!text.contains("of the daemon"), "{text}");
            }
        });
    }
}
