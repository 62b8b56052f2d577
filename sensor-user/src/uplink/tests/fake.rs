//! A collector on a real socket that keeps what it is sent, in memory, and behaves like the real one
//! where it matters to a sensor: sequences are dense, the newest stream of a source wins, and a welcome
//! says what was stored last.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
};

use prost::Message;
use skep_proto::v1::{
    self,
    collector_message::Body as Down,
    ingest_server::{Ingest, IngestServer},
    sensor_message::Body as Up,
};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding};

/// What the collector has stored, by epoch, and how it behaves.
#[derive(Default)]
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

struct Fake {
    store: Arc<Mutex<Store>>,
}

type Answer = Result<v1::CollectorMessage, Status>;

fn down(body: Down) -> Answer {
    Ok(v1::CollectorMessage { body: Some(body) })
}

#[tonic::async_trait]
impl Ingest for Fake {
    type StreamStream = ReceiverStream<Answer>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::SensorMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        assert_eq!(request.metadata().get("grpc-encoding").unwrap(), "zstd");
        let store = Arc::clone(&self.store);
        store
            .lock()
            .unwrap()
            .connections
            .extend(request.remote_addr());
        let up = request.into_inner();
        let (answers, stream) = tokio::sync::mpsc::channel(4);
        tokio::spawn(serve(up, store, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn serve(
    mut up: Streaming<v1::SensorMessage>,
    store: Arc<Mutex<Store>>,
    answers: tokio::sync::mpsc::Sender<Answer>,
) {
    let (_unused, mut superseded) = oneshot::channel();
    let mut epoch = 0;
    let (_unused_too, mut dropped) = oneshot::channel();
    loop {
        let message = tokio::select! {
            biased;
            Ok(()) = &mut superseded => {
                let refusal = store.lock().unwrap().refuse("superseded");
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
        let answer = match message.body.unwrap() {
            Up::Hello(hello) => {
                epoch = hello.epoch;
                let (newer, told) = oneshot::channel();
                superseded = told;
                let mut store = store.lock().unwrap();
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
                let stored = store.events.entry(epoch).or_default();
                let welcome = v1::Welcome {
                    acked_seq: stored.len() as u64,
                    acked_crc32: stored
                        .last()
                        .map(|event| crc32fast::hash(&event.encode_to_vec())),
                };
                match store.closed {
                    true => store.refuse("internal"),
                    false => down(Down::Welcome(welcome)),
                }
            }
            Up::Outcome(outcome) => {
                store.lock().unwrap().outcomes.push(outcome);
                continue;
            }
            Up::Batch(batch) => {
                let batch = v1::Batch::decode(batch).unwrap();
                match store.lock().unwrap().take(epoch, batch) {
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

impl Store {
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

/// A collector that can be stopped and started again on the same port.
pub struct Collector {
    pub store: Arc<Mutex<Store>>,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    pub fn start(store: Arc<Mutex<Store>>, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, started) = mpsc::channel();
        let served = Arc::clone(&store);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                let service = IngestServer::new(Fake { store: served })
                    .accept_compressed(CompressionEncoding::Zstd)
                    .send_compressed(CompressionEncoding::Zstd)
                    .max_decoding_message_size(skep_proto::MAX_MESSAGE_BYTES);
                let server = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming);
                ready.send(()).unwrap();
                tokio::select! {
                    result = server => result.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        started.recv().unwrap();
        Self {
            store,
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn events(&self) -> Vec<v1::Event> {
        let store = self.store.lock().unwrap();
        store.events.values().flatten().cloned().collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}
