//! What can be typed after `skep`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, value_parser};
use clap_complete::Shell;
use jiff::Timestamp;
use skep_client::{
    ClientError,
    commands::{Class, Severity},
    export::Target,
    fleet::Level,
    format::{Form, Format},
    when::Range,
};

/// Asks a collector what AI coding agents did.
#[derive(Parser)]
#[command(name = "skep", version)]
pub struct Arguments {
    /// The collector.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:7317"
    )]
    pub server: String,
    /// How to print [default: table].
    #[arg(short, long, global = true, value_enum)]
    pub output: Option<Format>,
    /// Write to this file instead.
    #[arg(long, global = true, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Do not show long tables in $PAGER.
    #[arg(long, global = true)]
    pub no_pager: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Which agents are in use, by host, user, version and install path.
    Agents {
        #[command(flatten)]
        listing: Listing,
    },
    /// Sensors and their hosts: versions, last sign of life, and hooks that are not the best.
    Hosts {
        #[command(flatten)]
        rows: Rows,
    },
    /// Sessions of agents, the newest first.
    Sessions {
        #[command(flatten)]
        listing: Listing,
    },
    /// One session as a tree: processes, their files and their destinations, and what was found.
    Session {
        /// The session id, or as many of its first digits as make it unique.
        id: String,
        #[command(flatten)]
        times: Times,
    },
    /// Single events, the newest of them.
    Events {
        /// Of this session (the id, or its first digits).
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        #[arg(long, value_parser = class())]
        class: Option<Class>,
        #[command(flatten)]
        listing: Listing,
    },
    /// What a person should look at, the newest first.
    Findings {
        /// Of this session (the id, or its first digits).
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        /// Of this severity, or more severe.
        #[arg(long, value_enum)]
        severity: Option<Severity>,
        #[command(flatten)]
        listing: Listing,
    },
    /// What the sensors do not vouch for, losses included, the newest first.
    Coverage {
        /// Of this session alone (the id, or its first digits).
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Any read-only SQL. `SHOW TABLES` and `DESCRIBE events` say what there is.
    Query { sql: String },
    /// Events to a file, or to a directory of files, however many they are.
    ///
    /// As Parquet, NDJSON or CSV, by -o or the ending of the name; without either a directory of Parquet.
    /// An export into a directory that was interrupted goes on when the same command is given again.
    Export {
        /// FILE.parquet, FILE.ndjson, FILE.csv, FILE.json, or a directory.
        to: PathBuf,
        /// Of this session (the id, or its first digits).
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        #[arg(long, value_parser = class())]
        class: Option<Class>,
        /// Of this host.
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
        #[command(flatten)]
        times: Times,
    },
    /// Has one sensor do something, and says whether it did.
    Sensor {
        /// The sensor id, or as many of its first digits as make it unique; `skep hosts` lists them.
        id: String,
        #[command(subcommand)]
        order: Order,
    },
    /// Prints what makes a shell complete the words of this command.
    ///
    /// For bash: `skep completion bash > /etc/bash_completion.d/skep`.
    Completion { shell: Shell },
}

/// What a sensor can be told to do.
#[derive(Subcommand)]
pub enum Order {
    /// Log at this level until it is started again.
    Log {
        #[arg(value_enum)]
        level: Level,
    },
}

/// Which part of a list.
#[derive(Args)]
pub struct Rows {
    /// Of this host.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 100, value_name = "ROWS", value_parser = value_parser!(u32).range(1..))]
    pub limit: u32,
    /// The next so many: page 2 comes after the first.
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = value_parser!(u32).range(1..))]
    pub page: u32,
}

#[derive(Args, Default)]
pub struct Times {
    /// From this time on: 2026-11-20T08:30:00Z, 2026-11-20, yesterday, or before now (90s, 10m, 2h, 3d).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Args)]
pub struct Listing {
    #[command(flatten)]
    pub rows: Rows,
    #[command(flatten)]
    pub times: Times,
}

// === impl Times ===

impl Times {
    pub fn parse(&self, now: Timestamp) -> Result<Range, ClientError> {
        Range::parse(self.since.as_deref(), self.until.as_deref(), now)
    }
}

/// Where an export goes and in which form: by `-o`, else by the ending of the name.
pub fn target(to: PathBuf, format: Option<Format>) -> Result<(Target, Form), ClientError> {
    let ending = to.extension().and_then(|ending| ending.to_str());
    let named = match ending {
        Some("parquet") => Some(Form::Parquet),
        Some("ndjson" | "jsonl") => Some(Form::Ndjson),
        Some("csv") => Some(Form::Csv),
        Some("json") => Some(Form::Json),
        _ => None,
    };
    let asked = match format {
        None => None,
        Some(format) => Some(format.form().ok_or(ClientError::TableExport)?),
    };
    let form = asked.or(named).unwrap_or(Form::Parquet);
    match named.is_some() && !to.is_dir() {
        true => Ok((Target::File(to), form)),
        false => Ok((Target::Directory(to), form)),
    }
}

/// A class by its name; help and completion list the names.
fn class() -> impl TypedValueParser<Value = Class> {
    PossibleValuesParser::new(Class::ALL.map(Class::name)).map(|name| {
        let known = Class::ALL.into_iter().find(|class| class.name() == name);
        known.expect("the parser takes names of classes alone")
    })
}
