//! The client `skep`.
//!
//! Exit codes: 0 answered, 1 failed or nothing found, 2 wrong usage.

mod arguments;

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{CommandFactory, Parser};
use jiff::Timestamp;
use skep_client::{
    Client, ClientError,
    commands::{Filter, Page, SessionPrefix},
    export::{self, Export, Exported},
    format::Format,
    lists::{self, List, Printing},
    output,
    place::Place,
    session,
};

use arguments::{Arguments, Command, Listing, Order, Rows, Times};

/// Between two words of how far an export is.
const TELL_EVERY: Duration = Duration::from_secs(2);

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
                | ClientError::NotASensor { .. }
                | ClientError::NotATime { .. }
                | ClientError::EmptyRange { .. }
                | ClientError::BinaryOnTerminal
                | ClientError::TableExport
                | ClientError::TreeAsRows { .. } => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), ClientError> {
    let Arguments {
        server,
        output,
        out,
        no_pager,
        command,
    } = arguments;
    let printing = Printing {
        format: output.unwrap_or(Format::Table),
        file: out,
        may_page: !no_pager,
    };
    printing.check()?;
    let mut client = Client::new(&server)?;
    let now = Timestamp::now();
    let (list, listing, mut filter) = match command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "skep", &mut script);
            return Ok(io::stdout().write_all(&script)?);
        }
        Command::Query { sql } => {
            let cut = lists::query(&mut client, &sql, &printing).await?;
            tell(cut);
            return Ok(());
        }
        Command::Sensor { id, order } => {
            let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            if id.is_empty() || id.len() > 32 || !id.bytes().all(is_digit) {
                return Err(ClientError::NotASensor { what: id });
            }
            let Order::Log { level } = order;
            let sensor = client.set_log_level(&id, level).await?;
            writeln!(io::stdout(), "sensor {sensor} logs at {}", level.name())?;
            return Ok(());
        }
        Command::Session { id, times } => {
            let prefix = SessionPrefix::parse(&id)?;
            if printing.format == Format::Parquet {
                return Err(ClientError::TreeAsRows { session: id });
            }
            let range = times.parse(now)?;
            let story = session::ask(&mut client, &prefix, &range).await?;
            let file = printing.file.as_deref();
            let mut place = match printing.format {
                Format::Table => Place::for_reading(file, printing.may_page)?,
                _ => Place::of(file)?,
            };
            output::story::print(&story, printing.format, output::width(), &mut place)?;
            return place.finish();
        }
        Command::Export {
            to,
            session,
            class,
            host,
            times,
        } => {
            let filter = Filter {
                range: times.parse(now)?,
                host,
                session: session.as_deref().map(SessionPrefix::parse).transpose()?,
                class,
                severity: None,
            };
            let (to, form) = arguments::target(to, output)?;
            let export = Export {
                filter,
                form,
                to,
                part: export::PART,
                asked: std::env::args().skip(1).collect(),
            };
            return run_export(&mut client, export).await;
        }
        Command::Agents { listing } => (List::Agents, listing, Filter::default()),
        Command::Hosts { rows } => {
            let times = Times::default();
            (List::Hosts, Listing { rows, times }, Filter::default())
        }
        Command::Sessions { listing } => (List::Sessions, listing, Filter::default()),
        Command::Events {
            session,
            class,
            listing,
        } => {
            let session = session.as_deref().map(SessionPrefix::parse).transpose()?;
            let filter = Filter {
                session,
                class,
                ..Filter::default()
            };
            (List::Events, listing, filter)
        }
        Command::Findings {
            session,
            severity,
            listing,
        } => {
            let session = session.as_deref().map(SessionPrefix::parse).transpose()?;
            let filter = Filter {
                session,
                severity,
                ..Filter::default()
            };
            (List::Findings, listing, filter)
        }
        Command::Coverage { session, listing } => {
            let session = session.as_deref().map(SessionPrefix::parse).transpose()?;
            let filter = Filter {
                session,
                ..Filter::default()
            };
            (List::Coverage, listing, filter)
        }
    };
    let Listing { rows, times } = listing;
    let Rows { host, limit, page } = rows;
    filter.range = times.parse(now)?;
    filter.host = host;
    let page = Page {
        limit,
        number: page,
    };
    tell(lists::list(&mut client, list, &filter, page, &printing).await?);
    Ok(())
}

async fn run_export(client: &mut Client, export: Export) -> Result<(), ClientError> {
    let is_watched = io::stderr().is_terminal();
    let mut told = Instant::now();
    let exported = export
        .run(client, |written, of| {
            if is_watched && told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                eprintln!("skep: {written} of {of} events");
            }
        })
        .await?;
    let Exported {
        events,
        files,
        until,
    } = exported;
    let s = if files == 1 { "" } else { "s" };
    eprintln!(
        "skep: {events} events in {files} file{s}: all that the collector has of the range, before {until}"
    );
    Ok(())
}

fn tell(hint: Option<String>) {
    if let Some(hint) = hint {
        eprintln!("skep: {hint}");
    }
}
