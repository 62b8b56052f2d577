//! The vocabulary of these tests: a collector that can be stopped or lost, a sensor that talks to
//! it, and the events of a small session.

mod sent;
pub mod web;

use std::{net::SocketAddr, path::Path, time::Duration};

use prost::Message;
use serde_json::Value;
use skep_client::{Client, ClientError};
use skep_collector::{
    Error,
    serve::{Options, Server},
    store,
};
use skep_proto::v1::{
    Batch, CollectorMessage, Event, Hello, SensorMessage, Welcome, collector_message::Body as Down,
    ingest_client::IngestClient, sensor_message::Body as Up,
};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

pub use sent::{event, finding, hello, opens, session_with_gaps, small_session};

/// Longer than anything here takes; reached only by a hang.
pub const HANG: Duration = Duration::from_secs(60);
pub const SENSOR: &str = "0123456789abcdef0123456789abcdef";
pub const OTHER_SENSOR: &str = "fedcba9876543210fedcba9876543210";
pub const EPOCH: u64 = 1_763_627_400_000_000_000;
/// 2025-11-20T08:30:00Z
pub const NOON: u64 = 1_763_627_400_000_000_000;
pub const SESSION: &str = "aaaa0000000000000000000000000001";
pub const CHILD_SESSION: &str = "bbbb0000000000000000000000000002";

/// A collector on a runtime of its own, so that it can be lost with all its tasks.
pub struct Collector {
    runtime: Option<Runtime>,
    server: Option<Server>,
}

/// A stream to a collector.
pub struct Sensor {
    up: mpsc::Sender<SensorMessage>,
    down: Streaming<CollectorMessage>,
}

/// A batch as it is in a message.
pub fn encoded(first_seq: u64, events: Vec<Event>) -> bytes::Bytes {
    Batch { first_seq, events }.encode_to_vec().into()
}

// === impl Collector ===

impl Collector {
    pub fn start(data: &Path) -> Self {
        Self::with(data, |options| {
            options.store.flush_every = Duration::from_millis(10)
        })
    }

    /// With every front end.
    pub fn open(data: &Path) -> Self {
        Self::open_with(data, |_| {})
    }

    pub fn open_with(data: &Path, change: impl FnOnce(&mut Options)) -> Self {
        Self::with(data, |options| {
            options.store.flush_every = Duration::from_millis(10);
            options.http = Some("127.0.0.1:0".parse().unwrap());
            options.postgres = Some("127.0.0.1:0".parse().unwrap());
            change(options);
        })
    }

    pub fn with(data: &Path, change: impl FnOnce(&mut Options)) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut options = Options::new(store::Options::new(data), listen);
        change(&mut options);
        apart(|| {
            let runtime = Runtime::new().unwrap();
            let server = runtime.block_on(start(options));
            Self {
                runtime: Some(runtime),
                server: Some(server),
            }
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn http(&self) -> SocketAddr {
        self.server.as_ref().unwrap().http().unwrap()
    }

    pub fn postgres(&self) -> SocketAddr {
        self.server.as_ref().unwrap().postgres().unwrap()
    }

    pub fn counter(&self, name: &str) -> u64 {
        let all = self.server.as_ref().unwrap().counters().all();
        all.into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// What is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.server.as_ref().unwrap().problems();
        problems.into_iter().map(|(_, problem)| problem).collect()
    }

    /// Tasks of its runtime: a few of its own, and those of its connections, streams and queries.
    pub fn tasks(&self) -> usize {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.metrics().num_alive_tasks()
    }

    /// Waits until so many rows were moved into the tables.
    pub async fn flushed(&self, rows: u64) {
        let reached = async {
            while self.counter("rows_flushed") < rows {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(HANG, reached).await.expect("a flush");
    }

    /// Waits until a counter has the value; what is counted follows what a peer sees.
    pub async fn counted(&self, name: &str, value: u64) {
        let reached = async {
            while self.counter(name) != value {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = tokio::time::timeout(HANG, reached).await;
        reached.unwrap_or_else(|_| panic!("{name} is {} and not {value}", self.counter(name)));
    }

    /// An orderly stop.
    pub fn stop(mut self) {
        let server = self.server.take().unwrap();
        let runtime = self.runtime.take().unwrap();
        apart(|| {
            runtime.block_on(server.stop()).unwrap();
            runtime.shutdown_timeout(HANG);
        });
    }

    /// Drops every task where it stands: nothing more is written.
    pub fn lose(mut self) {
        let runtime = self.runtime.take().unwrap();
        apart(|| runtime.shutdown_timeout(HANG));
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A collector that was lost lets go of its directory a moment later.
async fn start(options: Options) -> Server {
    let started = async {
        loop {
            match Server::start(options.clone()).await {
                Ok(server) => return server,
                Err(Error::DataDirectoryInUse { .. }) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(HANG, started)
        .await
        .expect("the directory is free")
}

/// Runs what may not run on a thread of the test's own runtime.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

// === impl Sensor ===

impl Sensor {
    /// A stream that has not said anything.
    pub async fn silent(url: &str) -> Self {
        Self::over(Endpoint::from_shared(url.to_owned()).unwrap()).await
    }

    /// A stream whose peer says hello and takes no byte of any answer.
    pub async fn deaf(url: &str, sensor_id: &str) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
        let sensor = Self::over(endpoint.initial_stream_window_size(0_u32)).await;
        sensor.say(Up::Hello(hello(sensor_id))).await;
        sensor
    }

    async fn over(endpoint: Endpoint) -> Self {
        let mut ingest = IngestClient::new(endpoint.connect().await.unwrap());
        let (up, messages) = mpsc::channel(64);
        let down = ingest
            .stream(ReceiverStream::new(messages))
            .await
            .unwrap()
            .into_inner();
        Self { up, down }
    }

    /// Says hello; the stream and what the collector has acknowledged before.
    pub async fn connect(url: &str, sensor_id: &str) -> (Self, u64) {
        let (sensor, welcome) = Self::welcome(url, hello(sensor_id)).await;
        (sensor, welcome.acked_seq)
    }

    pub async fn say(&self, body: Up) {
        self.say_message(SensorMessage { body: Some(body) }).await;
    }

    pub async fn say_message(&self, message: SensorMessage) {
        // A refused stream has no reader; what matters then is what is heard.
        let _ = self.up.send(message).await;
    }

    pub async fn send(&self, first_seq: u64, events: Vec<Event>) {
        self.say(Up::Batch(encoded(first_seq, events))).await;
    }

    /// Sends batches without waiting, as long as the stream lives.
    pub fn pour(&self, first_seq: u64, mut batch: impl FnMut(u64) -> Vec<Event> + Send + 'static) {
        let up = self.up.clone();
        tokio::spawn(async move {
            let mut first_seq = first_seq;
            loop {
                let events = batch(first_seq);
                let count = events.len() as u64;
                let body = Some(Up::Batch(encoded(first_seq, events)));
                if up.send(SensorMessage { body }).await.is_err() {
                    return;
                }
                first_seq += count;
            }
        });
    }

    /// What a hello is answered with.
    pub async fn welcome(url: &str, hello: Hello) -> (Self, Welcome) {
        let mut sensor = Self::silent(url).await;
        sensor.say(Up::Hello(hello)).await;
        match sensor.hear().await {
            Some(Down::Welcome(welcome)) => (sensor, welcome),
            other => panic!("not welcomed but {other:?}"),
        }
    }

    /// The next message; `None` at the end of the stream.
    pub async fn hear(&mut self) -> Option<Down> {
        let message = tokio::time::timeout(HANG, self.down.message())
            .await
            .expect("no answer");
        message.ok().flatten().and_then(|message| message.body)
    }

    /// Waits until `seq` is acknowledged.
    pub async fn acked(&mut self, seq: u64) {
        loop {
            match self.hear().await {
                Some(Down::Ack(ack)) if ack.seq >= seq => return,
                Some(Down::Ack(_)) => {}
                other => panic!("not acknowledged but {other:?}"),
            }
        }
    }

    /// The code and the reason with which the stream is refused.
    pub async fn refused(&mut self) -> (String, String) {
        loop {
            match self.hear().await {
                Some(Down::Ack(_) | Down::Welcome(_)) => {}
                Some(Down::Refusal(refusal)) => {
                    assert!(self.hear().await.is_none(), "a refusal ends the stream");
                    return (refusal.code, refusal.reason);
                }
                Some(Down::Order(order)) => panic!("not refused but {order:?}"),
                None => panic!("ended without a refusal"),
            }
        }
    }
}

// === what is asked ===

pub async fn ask(url: &str, sql: &str) -> Result<Value, ClientError> {
    let answer = Client::new(url)?.ask(sql).await?;
    Ok(serde_json::from_slice(&answer.json()?)?)
}

/// The single value of a query.
pub async fn value(url: &str, sql: &str) -> Value {
    let rows = ask(url, sql).await.unwrap();
    rows[0]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .clone()
}

/// Waits until a query that gives one value gives this one.
pub async fn until(url: &str, sql: &str, expected: impl Into<Value>) {
    let expected = expected.into();
    let reached = async {
        while value(url, sql).await != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(HANG, reached)
        .await
        .unwrap_or_else(|_| panic!("{sql}: not {expected}"));
}
