//! The client `skep`.
//!
//! Exit codes: 0 answered, 1 failed or nothing found, 2 wrong usage.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use skep_collector::client::{
    Answer, Client, ClientError,
    commands::{self, Class, EventFilter, SessionPrefix},
    output::{self, Format},
    session,
};

/// Asks a collector what AI coding agents did.
#[derive(Parser)]
#[command(name = "skep", version)]
struct Arguments {
    /// The collector.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:7317"
    )]
    server: String,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Which agents are in use, by host, user, version and install path.
    Agents,
    /// Sessions of agents, the newest first.
    Sessions,
    /// One session as a tree: processes, their files and their destinations.
    Session {
        /// The session id, or as many of its first digits as make it unique.
        id: String,
    },
    /// Single events, the newest of them.
    Events {
        /// Of this session (the id, or its first digits).
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        #[arg(long, value_enum)]
        class: Option<Class>,
        /// From this time on: RFC 3339, or before now (90s, 10m, 2h, 3d).
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Before this time.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Any read-only SQL. `SHOW TABLES` and `DESCRIBE events` say what there is.
    Query { sql: String },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        // The reader, `head` for example, has seen enough.
        Err(ClientError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("skep: {error}");
            match error {
                ClientError::BadAddress { .. }
                | ClientError::NotASession { .. }
                | ClientError::NotATime { .. } => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), ClientError> {
    let format = arguments.output;
    let mut client = Client::new(&arguments.server)?;
    let sql = match arguments.command {
        Command::Agents => commands::agents(format),
        Command::Sessions => commands::sessions(format),
        Command::Query { sql } => sql,
        Command::Session { id } => {
            let prefix = SessionPrefix::parse(&id)?;
            let story = session::Story::ask(&mut client, &prefix).await?;
            return story.print(format, output::width(), &mut io::stdout().lock());
        }
        Command::Events {
            session,
            class,
            since,
            until,
            limit,
        } => {
            let now = Timestamp::now();
            let time =
                |text: Option<String>| text.map(|t| commands::parse_time(&t, now)).transpose();
            let filter = EventFilter {
                session: session.as_deref().map(SessionPrefix::parse).transpose()?,
                class,
                since: time(since)?,
                until: time(until)?,
                limit,
            };
            let answer = client.ask(&commands::events(&filter, format)).await?;
            print(&answer, format)?;
            if answer.rows() == limit as usize {
                eprintln!("skep: the newest {limit} events are shown; --limit shows more");
            }
            return Ok(());
        }
    };
    let answer = client.ask(&sql).await?;
    print(&answer, format)
}

fn print(answer: &Answer, format: Format) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    output::print(answer, format, output::width(), &mut out)?;
    out.flush()?;
    if answer.truncated {
        eprintln!(
            "skep: the collector's row limit cut the answer at {} rows; narrow it with WHERE, or \
             page with ORDER BY and LIMIT … OFFSET",
            answer.rows()
        );
    }
    Ok(())
}
