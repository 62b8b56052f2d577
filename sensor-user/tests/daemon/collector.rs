//! A collector that keeps what it is sent: the bytes as decoded, in memory.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
};

use prost::Message;
use skep_proto::v1::{
    self,
    collector_message::Body as Down,
    ingest_server::{Ingest, IngestServer},
    sensor_message::Body as Up,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding};

type Kept = Arc<Mutex<Vec<v1::Event>>>;

/// Listens until dropped.
pub struct Collector {
    pub address: SocketAddr,
    kept: Kept,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Collector {
    /// On a port of its own, or the one given.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let kept = Kept::default();
        let (stop, stopped) = oneshot::channel();
        let service = IngestServer::new(Keeper { kept: kept.clone() })
            .accept_compressed(CompressionEncoding::Zstd);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
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
        Self {
            address,
            kept,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn events(&self) -> Vec<v1::Event> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
            while let Some(Ok(message)) = up.next().await {
                let answer = match message.body {
                    Some(Up::Hello(_)) => Down::Welcome(v1::Welcome::default()),
                    Some(Up::Batch(batch)) => {
                        let batch = v1::Batch::decode(batch).expect("a batch");
                        let seq = batch.first_seq + batch.events.len() as u64 - 1;
                        kept.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .extend(batch.events);
                        Down::Ack(v1::Ack { seq })
                    }
                    None => break,
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
