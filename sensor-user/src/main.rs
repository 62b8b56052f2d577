//! `skep-sensor`: command line of the sensor.
//!
//! Exit codes: 0 done, 1 failed while running (or the daemon asked for is not there), 2 bad
//! configuration or usage, 3 this host cannot do it.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use skep_sensor::{
    config::{self, Config, ConfigError},
    daemon::{self, DaemonError},
    liveness::act,
    manifest::{self, Family},
    start::{self, StartError},
    status,
    watch::{self, WatchError},
};
use tracing_subscriber::EnvFilter;

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
    if act::is_asked(std::env::args_os()) {
        act::act().report();
        return ExitCode::SUCCESS;
    }
    // `RUST_LOG` as usual; the journal adds its own time stamps, a terminal gets ours.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let failure = match run(Cli::parse().command) {
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

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Watch { json, config } => Ok(watch::run(&load(config)?, json)?),
        Command::Run { config } => Ok(daemon::run(&load(config)?)?),
        Command::Status { json, config } => show_status(&load(config)?, json),
        Command::Explain { json, config } => explain(&load(config)?, json),
        Command::CheckConfig { file } => {
            let config = Config::load(&file)?;
            catalogue(&config)?;
            print(&config::report(&file, &config));
            Ok(())
        }
    }
}

fn load(file: Option<PathBuf>) -> Result<Config, Failure> {
    let default = PathBuf::from(DEFAULT_CONFIG);
    match file {
        Some(file) => Ok(Config::load(&file)?),
        None if default.exists() => Ok(Config::load(&default)?),
        None => Ok(Config::default()),
    }
}

fn catalogue(config: &Config) -> Result<skep_catalogue::Catalogue, Failure> {
    start::catalogue(&config.catalogue.directory)
        .map_err(|error| Failure::Configuration(error.to_string()))
}

fn show_status(config: &Config, json: bool) -> Result<(), Failure> {
    let status = status::fetch(&config.status.socket)
        .map_err(|error| Failure::Running(error.to_string()))?;
    if json {
        let text = serde_json::to_string_pretty(&status)
            .map_err(|error| Failure::Running(error.to_string()))?;
        print(&text);
    } else {
        print(&status::render(&status));
    }
    Ok(())
}

fn explain(config: &Config, json: bool) -> Result<(), Failure> {
    let families: Vec<_> = catalogue(config)?
        .families()
        .iter()
        .map(|family| Family {
            id: family.id.clone(),
            name: family.title.clone(),
        })
        .collect();
    print(&if json {
        manifest::json(config, &families)
    } else {
        manifest::human(config, &families)
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
            error @ StartError::Accounts(_) => Self::Running(error.to_string()),
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
