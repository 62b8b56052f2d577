//! The daemon `skep-collector`.
//!
//! Exit codes: 0 stopped by SIGTERM or SIGINT with everything written, 1 failed, 2 wrong usage.

use std::{
    io::IsTerminal,
    net::{AddrParseError, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use clap::{Parser, Subcommand};
use skep_collector::{
    Error,
    schema::Class,
    serve::{DEFAULT_ADDRESS, DEFAULT_HTTP, DEFAULT_POSTGRES, Options, Server, check_address},
    store,
};
use tokio::signal::unix::{SignalKind, signal};

/// What is logged unless `SKEP_LOG` says otherwise: of the library that reads the tables' logs, what is
/// wrong alone, for it tells of every commit.
const DEFAULT_LOG: &str = "info,buoyant_kernel=warn,deltalake_core=warn";

/// A collector allocates in one thread what it frees in another, by the million: the C library's
/// allocator spends half of all time on that, and keeps what it was given.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives back what the allocator keeps for later, of which a flush or a merge leaves much.
#[expect(
    unsafe_code,
    reason = "a call of the allocator's own, which has no safe form"
)]
fn tidy() {
    // SAFETY: no arguments that could be wrong; it may be called at any time, from any thread.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// Takes what the sensors of many hosts saw, keeps it, and answers queries over it.
#[derive(Parser)]
#[command(name = "skep-collector", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Listens for sensors and clients until SIGTERM.
    ///
    /// Prints `ready ADDRESS` on standard error once it listens, and then a line each for the other
    /// two: `http ADDRESS` and `postgres ADDRESS`. Logs go to standard error; the environment variable
    /// SKEP_LOG sets what is logged (default: info).
    Serve {
        /// Where to keep what is received; made when it is not there.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Address for sensors and the client (gRPC). Loopback only, as the others: there is no TLS
        /// yet. Port 0 lets the system choose.
        #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_ADDRESS)]
        listen: SocketAddr,
        /// Where to keep the tables: a folder, or s3://bucket/prefix, gs://… or az://…, with settings
        /// and secrets in the environment (AWS_ACCESS_KEY_ID …). Default: `table` in the data
        /// directory.
        #[arg(long, value_name = "URL")]
        table: Option<String>,
        /// How long an event waits at most for its table, in seconds or as 500ms, 10s, 2m.
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
        flush_every: Duration,
        /// Keep events of a class so long, e.g. open=30d; several times for several classes. Default:
        /// for ever.
        #[arg(long, value_name = "CLASS=TIME", value_parser = kept)]
        keep: Vec<(Class, Duration)>,
        /// Keep at most so many GiB in the tables; the oldest events go first.
        #[arg(long, value_name = "GIB")]
        keep_gib: Option<u64>,
        /// Keep at most so many GiB of the log for a reader of it that stands still; what is older is cut,
        /// and the reader is told what it missed.
        #[arg(long, value_name = "GIB", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
        log_max_gib: u64,
        /// How often is looked for events that are not to be kept.
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, hide = true)]
        expire_every: Duration,
        /// How often is looked for files to delete.
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration, hide = true)]
        vacuum_every: Duration,
        /// A file that left a table is deleted so much later.
        #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration, hide = true)]
        vacuum_after: Duration,
        /// Address for queries over HTTP, or `off`.
        #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_HTTP)]
        http: Switch,
        /// Address for queries over PostgreSQL's protocol, or `off`.
        #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_POSTGRES)]
        postgres: Switch,
    },
}

/// `500ms`, `10s`, `2m`, `3h`, `30d`; without a unit, seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text} is not a time such as 500ms, 10s, 2m, 3h or 30d"))?;
    let millis = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit => {
            return Err(format!(
                "{unit} is not a unit of time; take ms, s, m, h or d"
            ));
        }
    };
    let millis = number
        .checked_mul(millis)
        .ok_or("a time that is too long")?;
    Ok(Duration::from_millis(millis))
}

fn kept(text: &str) -> Result<(Class, Duration), String> {
    let (class, time) = text
        .split_once('=')
        .ok_or("write the class and how long, e.g. open=30d")?;
    let known = Class::ALL.into_iter().find(|known| known.name() == class);
    let known = known.ok_or_else(|| {
        let names = Class::ALL.map(Class::name);
        format!(
            "{class} is not a class of events; take one of {}",
            names.join(", ")
        )
    })?;
    Ok((known, duration(time)?))
}

/// An address, or none.
#[derive(Clone, Copy)]
struct Switch(Option<SocketAddr>);

impl FromStr for Switch {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self(None)),
            address => Ok(Self(Some(address.parse()?))),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    small_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => {
            eprintln!("skep-collector: cannot start threads: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Huge pages would be a third more memory, most of it not used: the allocator asks for them.
fn small_pages() {
    // A kernel that has none is as good.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

async fn run(arguments: Arguments) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SKEP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
    let Command::Serve {
        data,
        listen,
        table,
        flush_every,
        keep,
        keep_gib,
        log_max_gib,
        expire_every,
        vacuum_every,
        vacuum_after,
        http,
        postgres,
    } = arguments.command;
    let store = store::Options {
        table,
        flush_every,
        retention: store::Retention {
            ages: keep,
            bytes: keep_gib.map(|gib| gib.saturating_mul(1 << 30)),
        },
        log_bytes: log_max_gib.saturating_mul(1 << 30),
        expire_every,
        vacuum_every,
        vacuum_after,
        tidy,
        ..store::Options::new(data)
    };
    let options = Options {
        http: http.0,
        postgres: postgres.0,
        ..Options::new(store, listen)
    };
    match serve(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skep-collector: {error:#}");
            match error.downcast_ref() {
                Some(Error::NotLoopback { .. }) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Each sensor is an open file: as many as the system lets this process have.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, files = limit.current, "cannot open more files than this");
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let addresses = [Some(options.listen), options.http, options.postgres];
    for address in addresses.into_iter().flatten() {
        check_address(address)?;
    }
    allow_many_files();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(options).await?;
    eprintln!("ready {}", server.address());
    if let Some(address) = server.http() {
        eprintln!("http {address}");
    }
    if let Some(address) = server.postgres() {
        eprintln!("postgres {address}");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    server.stop().await?;
    Ok(())
}
