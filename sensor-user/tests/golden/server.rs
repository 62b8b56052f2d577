//! A collector made of recorded answers: it neither decodes nor encodes a message, so that what a sensor
//! sends and what it is answered are the bytes on the wire (but for compression).

use std::{
    convert::Infallible,
    net::TcpListener,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    thread::JoinHandle,
};

use prost::bytes::{Buf, BufMut};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, StreamingService},
};

use crate::files::Stream;

/// Given all that a stream has said when it has said something; `None` ends the stream.
type Answer = dyn FnMut(&Stream) -> Option<Vec<u8>> + Send;
/// Names a stream by its first message.
type Name = dyn FnMut(&[u8]) -> String + Send;

/// What was said so far, stream by stream in the order in which they began, and what answers.
struct Heard {
    streams: Vec<Stream>,
    answer: Box<Answer>,
    name: Box<Name>,
}

/// A server on a port of loopback until it is dropped.
pub struct Collector {
    heard: Arc<Mutex<Heard>>,
    pub port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Recorded(Arc<Mutex<Heard>>);

// === impl Collector ===

impl Collector {
    /// See [`Name`] and [`Answer`].
    pub fn start(
        name: impl FnMut(&[u8]) -> String + Send + 'static,
        answer: impl FnMut(&Stream) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        let heard = Arc::new(Mutex::new(Heard {
            streams: Vec::new(),
            answer: Box::new(answer),
            name: Box::new(name),
        }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = Recorded(Arc::clone(&heard));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                let server = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming);
                tokio::select! {
                    result = server => result.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self {
            heard,
            port,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// What was said, in the order of the streams' names.
    pub fn heard(&self) -> Vec<Stream> {
        let mut streams = self.heard.lock().unwrap().streams.clone();
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        streams
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

// === impl Recorded ===

impl NamedService for Recorded {
    const NAME: &'static str = "skep.v1.Ingest";
}

impl Service<http::Request<Body>> for Recorded {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        assert_eq!(request.uri().path(), "/skep.v1.Ingest/Stream");
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Bytes)
                .accept_compressed(CompressionEncoding::Zstd)
                .send_compressed(CompressionEncoding::Zstd);
            Ok(grpc.streaming(service, request).await)
        })
    }
}

impl StreamingService<Vec<u8>> for Recorded {
    type Response = Vec<u8>;
    type ResponseStream = ReceiverStream<Result<Vec<u8>, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let heard = Arc::clone(&self.0);
        let mut up = request.into_inner();
        Box::pin(async move {
            let (answers, stream) = mpsc::channel(16);
            tokio::spawn(async move {
                let mut place = None;
                while let Ok(Some(message)) = up.message().await {
                    let Some(answer) = heard.lock().unwrap().say(&mut place, message) else {
                        return;
                    };
                    if answers.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
            });
            Ok(Response::new(ReceiverStream::new(stream)))
        })
    }
}

impl Heard {
    fn say(&mut self, place: &mut Option<usize>, message: Vec<u8>) -> Option<Vec<u8>> {
        let place = *place.get_or_insert_with(|| {
            self.streams.push(Stream {
                name: (self.name)(&message),
                messages: Vec::new(),
            });
            self.streams.len() - 1
        });
        self.streams[place].messages.push(message);
        (self.answer)(&self.streams[place])
    }
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; bytes.remaining()];
        bytes.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
