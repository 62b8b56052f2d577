//! The front end `skep.v1.Query`: rows as an Arrow IPC stream in chunks.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::Schema, ipc::writer::StreamWriter};
use skep_proto::v1::{SqlChunk, SqlRequest, query_server::Query};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::query::{Dialect, Engine, Origin, Part, QueryError, Question};

/// Payload of one message.
const CHUNK_BYTES: usize = 1 << 20;
/// Messages ahead of the client.
const CHUNKS_AHEAD: usize = 4;

/// The gRPC service.
#[derive(Clone)]
pub struct QueryService {
    engine: Arc<Engine>,
}

type Chunks = mpsc::Sender<Result<SqlChunk, Status>>;

struct Encoder<'a> {
    writer: StreamWriter<Vec<u8>>,
    chunks: &'a Chunks,
}

// === impl QueryService ===

impl QueryService {
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl Query for QueryService {
    type SqlStream = ReceiverStream<Result<SqlChunk, Status>>;

    async fn sql(&self, request: Request<SqlRequest>) -> Result<Response<Self::SqlStream>, Status> {
        let agent = request.metadata().get("user-agent");
        let origin = Origin {
            front_end: "grpc",
            peer: request.remote_addr(),
            user: None,
            application: agent
                .and_then(|agent| agent.to_str().ok())
                .map(str::to_owned),
        };
        let request = request.into_inner();
        let question = Question {
            sql: request.sql,
            dialect: Dialect::Generic,
            parameters: None,
            max_rows: request.max_rows,
            max_time: None,
            origin,
        };
        let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let engine = Arc::clone(&self.engine);
        self.engine.spawn(async move {
            if let Err(error) = answer(&engine, question, &chunks).await {
                // A client that is gone needs no answer.
                let _ = chunks.send(Err(error.into())).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn answer(
    engine: &Arc<Engine>,
    question: Question,
    chunks: &Chunks,
) -> Result<(), QueryError> {
    let asked = tokio::select! {
        asked = engine.ask(question) => asked,
        () = chunks.closed() => Err(QueryError::ClientGone),
    };
    let mut answer = asked?;
    let mut encoder = Encoder::start(&answer.schema, chunks)?;
    loop {
        let part = tokio::select! {
            part = answer.next() => part,
            () = chunks.closed() => return Err(QueryError::ClientGone),
        };
        match part {
            Some(part) => match part? {
                Part::Rows(batch) => encoder.rows(&batch).await?,
                Part::End { truncated, .. } => return encoder.finish(truncated).await,
            },
            None => return Err(QueryError::Engine("the answer has no end".into())),
        }
    }
}

// === impl Encoder ===

impl<'a> Encoder<'a> {
    fn start(schema: &Schema, chunks: &'a Chunks) -> Result<Self, QueryError> {
        let writer = StreamWriter::try_new(Vec::new(), schema).map_err(encoding)?;
        Ok(Self { writer, chunks })
    }

    async fn rows(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        self.writer.write(batch).map_err(encoding)?;
        let ready = std::mem::take(self.writer.get_mut());
        for part in ready.chunks(CHUNK_BYTES) {
            self.send(part, false).await?;
        }
        Ok(())
    }

    async fn finish(mut self, truncated: bool) -> Result<(), QueryError> {
        self.writer.finish().map_err(encoding)?;
        let end = std::mem::take(self.writer.get_mut());
        self.send(&end, truncated).await
    }

    async fn send(&self, part: &[u8], truncated: bool) -> Result<(), QueryError> {
        let chunk = SqlChunk {
            arrow_ipc: part.to_vec(),
            truncated,
        };
        self.chunks
            .send(Ok(chunk))
            .await
            .map_err(|_| QueryError::ClientGone)
    }
}

fn encoding(error: arrow::error::ArrowError) -> QueryError {
    QueryError::Engine(error.to_string())
}
