//! `skep-sensor`: command line of the sensor.
//!
//! Exit codes: 0 done, 1 failed while running (or the daemon asked for is not there), 2 bad
//! configuration or usage, 3 this host cannot do it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use skep_sensor::{
    canary,
    config::{Config, ConfigError},
    daemon::{self, DaemonError},
    identify::Identifier,
    inspect::serve,
    logging::Logging,
    manifest::{self, Family},
    settings::Settings,
    start::{self, StartError},
    status,
    watch::{self, WatchError},
};

/// Where the daemon's configuration is looked for when none is named.
const DEFAULT_CONFIG: &str = "/etc/skep/sensor.toml";

/// Sees what AI coding agents on this machine execute, open and connect to.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print what agents do, here and now; needs no collector
    Watch {
        /// One JSON object a line (docs/events.md)
        #[arg(long)]
        json: bool,
        /// Configuration file; /etc/skep/sensor.toml if that exists
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Run as the daemon: spool events and send them to the collector
    Run {
        /// Configuration file; /etc/skep/sensor.toml if that exists
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Show the running daemon's hooks, counters and connection
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Configuration file; /etc/skep/sensor.toml if that exists
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Show exactly what is collected, what never is, and where it goes
    Explain {
        /// As JSON, every field with its meaning
        #[arg(long)]
        json: bool,
        /// Configuration file; /etc/skep/sensor.toml if that exists
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Check a configuration file and print what it amounts to
    CheckConfig { file: PathBuf },
}

/// What went wrong, by exit code.
enum Failure {
    Running(String),
    Configuration(String),
    Host(String),
}

fn main() -> ExitCode {
    // Many times an hour, so before anything else is set up.
    if canary::is_asked(std::env::args_os()) {
        canary::act().report();
        return ExitCode::SUCCESS;
    }
    if let Some(directory) = serve::is_asked(std::env::args_os()) {
        return be_inspector(Path::new(&directory));
    }
    let logging = Logging::start();
    let failure = match run(Cli::parse().command, &logging) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let (text, code) = match failure {
        Failure::Running(text) => (text, 1),
        Failure::Configuration(text) => (text, 2),
        Failure::Host(text) => (text, 3),
    };
    eprintln!("skep-sensor: {text}");
    ExitCode::from(code)
}

/// Nobody reads what it would say: that it ended tells the sensor.
fn be_inspector(directory: &Path) -> ExitCode {
    let served = start::catalogue(directory)
        .map(|catalogue| serve::serve(Identifier::new(Arc::new(catalogue))));
    match served {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(_)) | Err(_) => ExitCode::FAILURE,
    }
}

fn run(command: Command, logging: &Logging) -> Result<(), Failure> {
    match command {
        Command::Watch { json, config } => {
            let settings = load(config, logging)?;
            logging.apply(&settings);
            Ok(watch::run(&settings.config, json)?)
        }
        Command::Run { config } => Ok(daemon::run(load(config, logging)?, logging)?),
        Command::Status { json, config } => show_status(&load(config, logging)?.config, json),
        Command::Explain { json, config } => explain(&load(config, logging)?, json),
        Command::CheckConfig { file } => {
            let settings = Settings::load(&file)?;
            catalogue(&settings.config)?;
            print(&settings.report());
            Ok(())
        }
    }
}

fn load(file: Option<PathBuf>, logging: &Logging) -> Result<Settings, Failure> {
    let default = PathBuf::from(DEFAULT_CONFIG);
    let settings = match file {
        Some(file) => Settings::load(&file)?,
        None if default.exists() => Settings::load(&default)?,
        None => Settings::of_defaults(),
    };
    Ok(settings.with_log_directives(logging.directives()))
}

fn catalogue(config: &Config) -> Result<skep_catalogue::Catalogue, Failure> {
    start::catalogue(&config.catalogue.directory)
        .map_err(|error| Failure::Configuration(error.to_string()))
}

fn show_status(config: &Config, json: bool) -> Result<(), Failure> {
    let status = status::socket::fetch(&config.status.socket)
        .map_err(|error| Failure::Running(error.to_string()))?;
    if json {
        let text = serde_json::to_string_pretty(&status)
            .map_err(|error| Failure::Running(error.to_string()))?;
        print(&text);
    } else {
        print(&status::page::render(&status));
    }
    Ok(())
}

fn explain(settings: &Settings, json: bool) -> Result<(), Failure> {
    let families: Vec<_> = catalogue(&settings.config)?
        .families()
        .iter()
        .map(|family| Family {
            id: family.id.clone(),
            name: family.title.clone(),
        })
        .collect();
    print(&if json {
        manifest::json(settings, &families)
    } else {
        manifest::human(settings, &families)
    });
    Ok(())
}

/// To standard output; a reader that has gone away has what it wanted.
fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n'));
}

// === impl Failure ===

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Host(error) => Self::Host(error.to_string()),
            StartError::Catalogue(error) => Self::Configuration(error.to_string()),
            error @ (StartError::Accounts(_) | StartError::Inspector(_)) => {
                Self::Running(error.to_string())
            }
        }
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Start(error) => error.into(),
            error => Self::Running(error.to_string()),
        }
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Start(error) => error.into(),
            error => Self::Running(error.to_string()),
        }
    }
}
