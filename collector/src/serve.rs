//! The sockets and what is behind them, from start to orderly stop: gRPC for sensors and clients,
//! HTTP and PostgreSQL for queries only.
//!
//! Stopping, in order: no new connections; streams read no further, and end once what they sent is
//! durable and acknowledged; running queries get [`GRACE`]; what waits in the record of queries and in
//! the store is written.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use skep_framing::messages::Apart;
use skep_proto::v1::{
    fleet_server::FleetServer, ingest_server::IngestServer, query_server::QueryServer,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tonic::codec::CompressionEncoding;

use crate::{
    audit::Audit,
    counters::Counters,
    error::{Error, Result},
    fronts::{fleet::FleetService, grpc::QueryService, http, postgres},
    health::Vitals,
    ingest::{self, IngestService},
    orders::Orders,
    query::{Engine, Limits},
    store::{self, Store},
};

/// Where to listen for gRPC when nothing else is said.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7317";
/// Where to listen for HTTP when nothing else is said.
pub const DEFAULT_HTTP: &str = "127.0.0.1:7318";
/// Where to listen for PostgreSQL's protocol when nothing else is said.
pub const DEFAULT_POSTGRES: &str = "127.0.0.1:7319";
/// What is still running this long after a stop was asked for is cut off.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes that may be on their way up a connection, and up one stream of it: a lane that the collector
/// does not read, since it waits for the log, leaves room for the other. All of it is memory when
/// thousands of sensors send at once. 16 KiB are some 600 events, compressed: over a line of 50 ms a
/// sensor that was away still sends 12,000 events a second.
const CONNECTION_WINDOW: u32 = 64 << 10;
const STREAM_WINDOW: u32 = 16 << 10;
/// A peer that does not answer a ping for this long is gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// What a collector needs to know to start.
#[derive(Clone, Debug)]
pub struct Options {
    pub store: store::Options,
    /// gRPC. Port 0 lets the system choose, here and below.
    pub listen: SocketAddr,
    /// None: not served.
    pub http: Option<SocketAddr>,
    pub postgres: Option<SocketAddr>,
    pub limits: Limits,
}

/// A running collector.
pub struct Server {
    address: SocketAddr,
    http: Option<SocketAddr>,
    postgres: Option<SocketAddr>,
    counters: Arc<Counters>,
    store: Store,
    audit: Audit,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    /// The front ends for queries only, and what emits findings.
    others: JoinSet<()>,
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
    /// gRPC alone.
    pub fn new(store: store::Options, listen: SocketAddr) -> Self {
        Self {
            store,
            listen,
            http: None,
            postgres: None,
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
        for address in [Some(listen), options.http, options.postgres]
            .into_iter()
            .flatten()
        {
            check_address(address)?;
        }
        let counters = Arc::new(Counters::default());
        let record = options.store.directory.join("audit.redb");
        let store = Store::open(options.store, Arc::clone(&counters)).await?;
        let audit = tokio::task::block_in_place(|| Audit::open(&record))?;
        let (listener, address) = bind(listen).await?;
        let http = match options.http {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let postgres = match options.postgres {
            Some(address) => Some(bind(address).await?),
            None => None,
        };

        let (stop, stopping) = watch::channel(false);
        let orders = Arc::new(Orders::default());
        let fleet = FleetService::new(store.clone(), audit.clone(), Arc::clone(&orders));
        let ingest = IngestService::new(
            store.clone(),
            Arc::clone(&counters),
            orders,
            stopping.clone(),
        );
        let mut others = JoinSet::new();
        others.spawn(ingest.findings());
        // What goes down is a few bytes, and a buffer to compress it in would be many for each stream.
        let ingest = IngestServer::new(ingest).accept_compressed(CompressionEncoding::Zstd);
        let ingest = Apart(ingest);
        let engine = Engine::new(
            store.clone(),
            Arc::clone(&counters),
            audit.clone(),
            options.limits,
        )?;
        let query = QueryServer::new(QueryService::new(Arc::clone(&engine)))
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
            .add_service(FleetServer::new(fleet))
            .serve_with_incoming_shutdown(connections, told(stopping));
        let http = match http {
            Some((listener, address)) => {
                tracing::info!(%address, "HTTP");
                let vitals = Vitals {
                    store: store.clone(),
                    audit: audit.clone(),
                };
                let stop = told(stop.subscribe());
                others.spawn(http::serve(listener, Arc::clone(&engine), vitals, stop));
                Some(address)
            }
            None => None,
        };
        let postgres = postgres.map(|(listener, address)| {
            tracing::info!(%address, "PostgreSQL");
            others.spawn(postgres::serve(listener, engine, stop.subscribe()));
            address
        });
        Ok(Self {
            address,
            http,
            postgres,
            counters,
            store,
            audit,
            stop,
            task: tokio::spawn(served),
            others,
        })
    }

    /// The address it listens on, with the port the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for HTTP.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where it listens for PostgreSQL's protocol.
    pub fn postgres(&self) -> Option<SocketAddr> {
        self.postgres
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
        let ended = async {
            let ended = (&mut self.task).await.expect("serving does not panic");
            while self.others.join_next().await.is_some() {}
            ended
        };
        match tokio::time::timeout(GRACE, ended).await {
            Ok(ended) => ended?,
            Err(_) => {
                tracing::warn!(
                    grace_seconds = GRACE.as_secs(),
                    "cut off what was still running"
                );
                self.task.abort();
                self.others.abort_all();
            }
        }
        self.audit.close().await;
        self.store.close().await
    }
}

/// A listener, and its address with the port that the system chose.
async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let unusable = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    Ok((listener, address))
}

async fn told(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone is a server that was dropped: stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}
