//! A collector that stores nothing: acknowledges each batch as soon as it is there. What a load
//! reaches against it is the most that the load can do.

use std::{net::SocketAddr, pin::Pin};

use skep_proto::v1::{
    self,
    collector_message::Body as Down,
    ingest_server::{Ingest, IngestServer},
    sensor_message::Body as Up,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding};

use crate::encode::take_varint;

type Answer = Result<v1::CollectorMessage, Status>;

struct Null;

/// Serves on a loopback port until the future is dropped; `bound` is told the address.
pub async fn serve(bound: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    bound(listener.local_addr()?);
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = IngestServer::new(Null)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(skep_proto::MAX_MESSAGE_BYTES);
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

#[tonic::async_trait]
impl Ingest for Null {
    type StreamStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::SensorMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let mut up = request.into_inner();
        let (answers, stream) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok(Some(message)) = up.message().await {
                let body = match message.body {
                    Some(Up::Hello(_)) => Down::Welcome(v1::Welcome {
                        acked_seq: 0,
                        acked_crc32: None,
                    }),
                    Some(Up::Batch(batch)) => match last_seq(&batch) {
                        Some(seq) => Down::Ack(v1::Ack { seq }),
                        None => return,
                    },
                    Some(Up::Outcome(_)) | None => return,
                };
                if answers
                    .send(Ok(v1::CollectorMessage { body: Some(body) }))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// Sequence of the last event of an encoded `Batch`, without decoding the events.
fn last_seq(mut batch: &[u8]) -> Option<u64> {
    const FIRST_SEQ: u64 = 1 << 3;
    const EVENT: u64 = 2 << 3 | 2;
    let (mut first, mut events) = (0, 0);
    while !batch.is_empty() {
        let (tag, rest) = take_varint(batch)?;
        let (value, rest) = take_varint(rest)?;
        batch = match tag {
            FIRST_SEQ => {
                first = value;
                rest
            }
            EVENT => {
                events += 1;
                rest.get(usize::try_from(value).ok()?..)?
            }
            _ => return None,
        };
    }
    (first + events).checked_sub(1)
}
