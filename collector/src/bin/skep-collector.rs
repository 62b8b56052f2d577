//! The daemon `skep-collector`.
//!
//! Exit codes: 0 stopped by SIGTERM or SIGINT with everything written, 1 failed, 2 wrong usage.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use skep_collector::{
    Error,
    serve::{DEFAULT_ADDRESS, Options, Server, check_address},
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
    /// Prints `ready ADDRESS` on standard error once it listens. Logs go to standard error; the
    /// environment variable SKEP_LOG sets what is logged (default: info).
    Serve {
        /// Where to keep what is received; made when it is not there.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Address to listen on. Loopback only: there is no TLS yet. Port 0 lets the system choose.
        #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_ADDRESS)]
        listen: SocketAddr,
    },
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
    let Command::Serve { data, listen } = arguments.command;
    match serve(data, listen).await {
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

async fn serve(data: PathBuf, listen: SocketAddr) -> anyhow::Result<()> {
    check_address(listen)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(Options::new(store::Options::new(data), listen)).await?;
    eprintln!("ready {}", server.address());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    server.stop().await?;
    Ok(())
}
