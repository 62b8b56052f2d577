//! The daemon `skep-collector`.
//!
//! Exit codes: 0 stopped by SIGTERM or SIGINT with everything written, 1 failed, 2 wrong usage.

use std::{
    net::{AddrParseError, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
};

use clap::{Parser, Subcommand};
use skep_collector::{
    Error,
    serve::{DEFAULT_ADDRESS, DEFAULT_HTTP, DEFAULT_POSTGRES, Options, Server, check_address},
    store,
};
use tokio::signal::unix::{SignalKind, signal};

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
        /// Address for queries over HTTP, or `off`.
        #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_HTTP)]
        http: Switch,
        /// Address for queries over PostgreSQL's protocol, or `off`.
        #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_POSTGRES)]
        postgres: Switch,
    },
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

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("SKEP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
    let Command::Serve {
        data,
        listen,
        http,
        postgres,
    } = arguments.command;
    let options = Options {
        http: http.0,
        postgres: postgres.0,
        ..Options::new(store::Options::new(data), listen)
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

async fn serve(options: Options) -> anyhow::Result<()> {
    let addresses = [Some(options.listen), options.http, options.postgres];
    for address in addresses.into_iter().flatten() {
        check_address(address)?;
    }
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
