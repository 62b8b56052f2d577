//! One socket with both services behind it, from start to orderly stop.
//!
//! Stopping, in order: no new connections; streams read no further, and end once what they sent is
//! durable and acknowledged; running queries get [`GRACE`]; what waits in the store is written.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use skep_proto::v1::{ingest_server::IngestServer, query_server::QueryServer};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tonic::codec::CompressionEncoding;

use crate::{
    counters::Counters,
    error::{Error, Result},
    ingest::{self, IngestService},
    query::{Limits, QueryService},
    store::{self, Store},
};

/// Where to listen when nothing else is said.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7317";
/// What is still running this long after a stop was asked for is cut off.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes that may be on their way up a connection, and up one stream of it: a lane that the collector
/// does not read, since it waits for the log, leaves room for the other.
const CONNECTION_WINDOW: u32 = 4 << 20;
const STREAM_WINDOW: u32 = 1 << 20;
/// A peer that does not answer a ping for this long is gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// What a collector needs to know to start.
#[derive(Clone, Debug)]
pub struct Options {
    pub store: store::Options,
    /// Port 0 lets the system choose.
    pub listen: SocketAddr,
    pub limits: Limits,
}

/// A running collector.
pub struct Server {
    address: SocketAddr,
    counters: Arc<Counters>,
    store: Store,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// Refuses an address that others could reach, since there is no TLS yet.
pub fn check_address(address: SocketAddr) -> Result<()> {
    match address.ip().to_canonical().is_loopback() {
        true => Ok(()),
        false => Err(Error::NotLoopback { address }),
    }
}

// === impl Options ===

impl Options {
    pub fn new(store: store::Options, listen: SocketAddr) -> Self {
        Self {
            store,
            listen,
            limits: Limits::default(),
        }
    }
}

// === impl Server ===

impl Server {
    /// Opens the data directory and listens; connections are served on return. Needs a runtime of
    /// several threads.
    pub async fn start(options: Options) -> Result<Self> {
        let listen = options.listen;
        check_address(listen)?;
        let counters = Arc::new(Counters::default());
        let store = Store::open(options.store, Arc::clone(&counters)).await?;
        let unusable = |source| Error::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;

        let (stop, stopping) = watch::channel(false);
        let ingest = IngestService::new(store.clone(), Arc::clone(&counters), stopping.clone());
        let ingest = IngestServer::new(ingest)
            .max_decoding_message_size(skep_proto::MAX_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd);
        let query = QueryService::new(store.clone(), Arc::clone(&counters), options.limits)?;
        let query = QueryServer::new(query)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd);
        let connections = ingest::connections(listener, Arc::clone(&counters));
        let served = tonic::transport::Server::builder()
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_EVERY))
            .add_service(ingest)
            .add_service(query)
            .serve_with_incoming_shutdown(connections, told(stopping));
        Ok(Self {
            address,
            counters,
            store,
            stop,
            task: tokio::spawn(served),
        })
    }

    /// The address it listens on, with the port the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is wrong now: the part, and the problem.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        self.store.health().problems()
    }

    /// Acknowledges and writes what was taken, then stops.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        match tokio::time::timeout(GRACE, &mut self.task).await {
            Ok(ended) => ended.expect("serving does not panic")?,
            Err(_) => {
                tracing::warn!(
                    grace_seconds = GRACE.as_secs(),
                    "cut off what was still running"
                );
                self.task.abort();
            }
        }
        self.store.close().await
    }
}

async fn told(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone is a server that was dropped: stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}
