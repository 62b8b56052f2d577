//! A collector on a real socket that keeps what it is sent, in memory, and behaves like the real one
//! where it matters to a sensor: sequences are dense, the newest stream of a source wins, and a welcome
//! says what was stored last. It can be told to behave badly.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use prost::Message;
use skep_proto::v1::{
    self,
    collector_message::Body as Down,
    ingest_server::{Ingest, IngestServer},
    sensor_message::Body as Up,
};
use tokio::{
    net::TcpSocket,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding};

/// What the collector has stored, by epoch, and how it behaves.
#[derive(Debug, Default)]
pub struct Store {
    pub events: BTreeMap<u64, Vec<v1::Event>>,
    pub hellos: Vec<v1::Hello>,
    /// Where streams came from.
    pub connections: BTreeSet<SocketAddr>,
    /// Codes of the refusals that were sent.
    pub refusals: Vec<String>,
    /// Refuse every stream at its start.
    pub closed: bool,
    /// Refuse a batch with a file of this path.
    pub poison: Option<String>,
    /// End the stream, unacknowledged, after storing a batch, this many times.
    pub break_after_store: u32,
    /// And from then on refuse every stream.
    pub closes_when_it_breaks: bool,
    /// Never read a batch of the bulk.
    pub ignores_bulk: bool,
    /// Given to each stream that takes orders.
    pub orders: Vec<v1::Order>,
    /// What the orders became.
    pub outcomes: Vec<v1::Outcome>,
    /// Streams that take orders.
    pub takers: Vec<oneshot::Sender<()>>,
    /// Largest batch seen.
    pub largest: usize,
    /// The newest stream of each source, and how it is told that it is not any more.
    pub newest: BTreeMap<u64, oneshot::Sender<()>>,
}

/// Handles of one store; a collector that is started with it has what it holds.
pub type SharedStore = Arc<Mutex<Store>>;

/// Listens until dropped; with its store it can be started again.
#[derive(Debug)]
pub struct Collector {
    pub store: SharedStore,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An address at which nobody listens yet, and nobody but the collector to come can.
#[derive(Debug)]
pub struct Absent {
    pub address: SocketAddr,
    socket: TcpSocket,
}

// === impl Absent ===

impl Absent {
    #[expect(clippy::new_without_default, reason = "it takes a port of the machine")]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a free port");
        let address = socket.local_addr().expect("bound");
        Self { address, socket }
    }

    /// From now on somebody listens.
    pub fn arrive(self) -> Collector {
        let runtime = runtime();
        let listener = {
            let _inside = runtime.enter();
            self.socket.listen(128).expect("a bound socket")
        };
        Collector::serve(SharedStore::default(), self.address, runtime, listener)
    }
}

// === impl Collector ===

impl Collector {
    /// An empty one, on a port that is free.
    pub fn new() -> Self {
        Self::start(SharedStore::default(), 0)
    }

    /// One that has what is in the store, on this port; on one that is free for 0.
    pub fn start(store: SharedStore, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let runtime = runtime();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).expect("a listener")
        };
        Self::serve(store, address, runtime, listener)
    }

    fn serve(
        store: SharedStore,
        address: SocketAddr,
        runtime: tokio::runtime::Runtime,
        listener: tokio::net::TcpListener,
    ) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let service = Service {
            store: Arc::clone(&store),
        };
        let service = IngestServer::new(service)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(skep_proto::MAX_MESSAGE_BYTES);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let server = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener));
                // Streams of sensors do not end by themselves: they end with the runtime.
                tokio::select! {
                    result = server => result.expect("a server"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            store,
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Everything it has: each epoch in its order, the epochs in theirs.
    pub fn events(&self) -> Vec<v1::Event> {
        self.store().events.values().flatten().cloned().collect()
    }

    /// The last sequence it has of an epoch: it has all up to that, each once.
    pub fn last(&self, epoch: u64) -> u64 {
        let store = self.store();
        store.events.get(&epoch).map_or(0, |of| of.len() as u64)
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // No receiver: it has ended.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the fake panicked"
            );
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A test that failed while it had the store left nothing half-done.
fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Service {
    store: SharedStore,
}

type Answer = Result<v1::CollectorMessage, Status>;

fn down(body: Down) -> Answer {
    Ok(v1::CollectorMessage { body: Some(body) })
}

#[tonic::async_trait]
impl Ingest for Service {
    type StreamStream = ReceiverStream<Answer>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::SensorMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let encoding = request.metadata().get("grpc-encoding");
        assert!(encoding.is_some_and(|encoding| encoding == "zstd"));
        let store = Arc::clone(&self.store);
        lock(&store).connections.extend(request.remote_addr());
        let up = request.into_inner();
        let (answers, stream) = mpsc::channel(4);
        tokio::spawn(serve(up, store, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn serve(
    mut up: Streaming<v1::SensorMessage>,
    store: SharedStore,
    answers: mpsc::Sender<Answer>,
) {
    let (_unused, mut superseded) = oneshot::channel();
    let mut epoch = 0;
    let (_unused_too, mut dropped) = oneshot::channel();
    loop {
        let message = tokio::select! {
            biased;
            Ok(()) = &mut superseded => {
                let refusal = lock(&store).refuse("superseded");
                let _ = answers.send(refusal).await;
                return;
            }
            Ok(()) = &mut dropped => return,
            message = up.message() => match message {
                Ok(Some(message)) => message,
                _ => return,
            },
        };
        let mut ignore = false;
        let mut orders = Vec::new();
        let answer = match message.body.expect("a message says something") {
            Up::Hello(hello) => {
                epoch = hello.epoch;
                let (newer, told) = oneshot::channel();
                superseded = told;
                let mut store = lock(&store);
                if let Some(older) = store.newest.insert(epoch, newer) {
                    // No receiver: it has ended.
                    let _ = older.send(());
                }
                ignore = store.ignores_bulk && hello.lane() == v1::Lane::Unspecified;
                if hello.takes_orders {
                    orders.clone_from(&store.orders);
                    let (taker, told) = oneshot::channel();
                    store.takers.push(taker);
                    dropped = told;
                }
                store.hellos.push(hello);
                store.welcome(epoch)
            }
            Up::Outcome(outcome) => {
                lock(&store).outcomes.push(outcome);
                continue;
            }
            Up::Batch(batch) => {
                let batch = v1::Batch::decode(batch).expect("a batch");
                match lock(&store).take(epoch, batch) {
                    Some(answer) => answer,
                    None => return,
                }
            }
        };
        let refused = matches!(&answer, Ok(m) if matches!(m.body, Some(Down::Refusal(_))));
        if answers.send(answer).await.is_err() || refused {
            return;
        }
        for next in orders {
            if answers.send(down(Down::Order(next))).await.is_err() {
                return;
            }
        }
        if ignore {
            // The stream stays open, and nothing is read from it.
            answers.closed().await;
        }
    }
}

// === impl Store ===

impl Store {
    fn welcome(&mut self, epoch: u64) -> Answer {
        if self.closed {
            return self.refuse("internal");
        }
        let stored = self.events.entry(epoch).or_default();
        down(Down::Welcome(v1::Welcome {
            acked_seq: stored.len() as u64,
            acked_crc32: stored
                .last()
                .map(|event| crc32fast::hash(&event.encode_to_vec())),
        }))
    }

    fn refuse(&mut self, code: &str) -> Answer {
        self.refusals.push(code.to_owned());
        down(Down::Refusal(v1::Refusal {
            code: code.into(),
            reason: "because".into(),
        }))
    }

    fn take(&mut self, epoch: u64, batch: v1::Batch) -> Option<Answer> {
        self.largest = self.largest.max(batch.events.len());
        let poisoned = |event: &v1::Event| match &event.detail {
            Some(v1::event::Detail::Open(file)) => {
                file.path == self.poison && self.poison.is_some()
            }
            _ => false,
        };
        if batch.events.iter().any(poisoned) {
            return Some(self.refuse("malformed"));
        }
        let events = self.events.entry(epoch).or_default();
        if batch.first_seq != events.len() as u64 + 1 {
            return Some(self.refuse("sequence_gap"));
        }
        events.extend(batch.events);
        let seq = events.len() as u64;
        if self.break_after_store > 0 {
            self.break_after_store -= 1;
            self.closed |= self.closes_when_it_breaks;
            return None;
        }
        Some(down(Down::Ack(v1::Ack { seq })))
    }

    /// Ends the streams that take orders.
    pub fn drop_findings(&mut self) {
        for taker in self.takers.drain(..) {
            // No receiver: it has ended.
            let _ = taker.send(());
        }
    }

    /// Hellos of one lane.
    pub fn hellos_of(&self, lane: v1::Lane) -> Vec<v1::Hello> {
        let of_lane = self.hellos.iter().filter(|hello| hello.lane() == lane);
        of_lane.cloned().collect()
    }
}
