//! A collector that keeps what it is sent, in memory, and knows what it has of each source.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
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
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding};

type Kept = Arc<Mutex<Store>>;

#[derive(Default)]
struct Store {
    events: Vec<v1::Event>,
    /// By epoch: the last sequence, and the CRC-32 of its event.
    last: BTreeMap<u64, (u64, u32)>,
}

/// An address at which nobody listens yet, and nobody but the one to come can.
pub struct Absent {
    pub address: SocketAddr,
    socket: TcpSocket,
}

/// Listens until dropped.
pub struct Collector {
    pub address: SocketAddr,
    kept: Kept,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

// === impl Absent ===

impl Absent {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a free port");
        let address = socket.local_addr().expect("bound");
        Self { address, socket }
    }

    /// From now on somebody listens.
    pub fn arrive(self) -> Collector {
        let Self { address, socket } = self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = {
            let _inside = runtime.enter();
            socket.listen(128).expect("a bound socket")
        };
        let kept = Kept::default();
        let (stop, stopped) = oneshot::channel();
        let service = IngestServer::new(Keeper { kept: kept.clone() })
            .accept_compressed(CompressionEncoding::Zstd);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
                let server = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming_shutdown(incoming, async {
                        let _ = stopped.await;
                    });
                // Streams of sensors do not end by themselves: leave them.
                tokio::select! {
                    result = server => result.expect("a server"),
                    () = async { std::future::pending().await } => {}
                }
            });
        });
        Collector {
            address,
            kept,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

// === impl Collector ===

impl Collector {
    pub fn start() -> Self {
        Absent::new().arrive()
    }

    /// The last sequence it has of an epoch: it has all up to that, each once.
    pub fn last(&self, epoch: u64) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last.get(&epoch).map_or(0, |(seq, _)| *seq)
    }

    pub fn events(&self) -> Vec<v1::Event> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .events
            .clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        // The thread ends when the sensor has hung up.
        drop(self.thread.take());
    }
}

struct Keeper {
    kept: Kept,
}

#[tonic::async_trait]
impl Ingest for Keeper {
    type StreamStream = ReceiverStream<Result<v1::CollectorMessage, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::SensorMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let mut up = request.into_inner();
        let (down, answers) = mpsc::channel(16);
        let kept = self.kept.clone();
        tokio::spawn(async move {
            let mut epoch = 0;
            while let Some(Ok(message)) = up.next().await {
                let store = || kept.lock().unwrap_or_else(PoisonError::into_inner);
                let answer = match message.body {
                    Some(Up::Hello(hello)) => {
                        epoch = hello.epoch;
                        let last = store().last.get(&epoch).copied();
                        Down::Welcome(v1::Welcome {
                            acked_seq: last.map_or(0, |(seq, _)| seq),
                            acked_crc32: last.map(|(_, crc32)| crc32),
                        })
                    }
                    Some(Up::Batch(batch)) => {
                        let batch = v1::Batch::decode(batch).expect("a batch");
                        let seq = batch.first_seq + batch.events.len() as u64 - 1;
                        let newest = batch.events.last().expect("no batch is empty");
                        let crc32 = crc32fast::hash(&newest.encode_to_vec());
                        let mut store = store();
                        let before = store.last.insert(epoch, (seq, crc32));
                        let expected = before.map_or(0, |(seq, _)| seq) + 1;
                        assert_eq!(batch.first_seq, expected, "sequences are dense");
                        store.events.extend(batch.events);
                        Down::Ack(v1::Ack { seq })
                    }
                    Some(Up::Outcome(_)) | None => break,
                };
                let answer = v1::CollectorMessage { body: Some(answer) };
                if down.send(Ok(answer)).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
