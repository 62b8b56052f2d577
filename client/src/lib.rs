//! What the command `skep` does: asks the collector in SQL and prints the answers.
//!
//! Invariants:
//! - JSON and CSV carry every value in full; only tables and trees shorten;
//! - tables and trees never pass a control character to the terminal, whatever a sensor sent;
//! - a result that the collector cut is said to be cut;
//! - a file that is written has its name only when it is complete.
//!
//! Bound: a table, a page of a list and a session are held in memory, all of which have a limit of
//! rows. Everything else is written as it arrives.

pub mod commands;
mod errno;
pub mod export;
pub mod fleet;
pub mod lists;
pub mod output;
pub mod place;
pub mod session;
mod table;
mod text;
mod tree;
pub mod when;

use std::{error::Error as _, io, path::PathBuf, sync::Arc};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::{Schema, SchemaRef},
    ipc::reader::StreamDecoder,
    json::{WriterBuilder, writer::JsonArray},
};
use jiff::Timestamp;
use parquet::errors::ParquetError;
use serde::de::DeserializeOwned;
use skep_proto::v1::{SqlChunk, SqlRequest, fleet_client::FleetClient, query_client::QueryClient};
use tonic::{
    Code, Status, Streaming,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};

use export::ExportError;
use skep_event::span;

/// Why the client has nothing to print.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{server} is not the address of a server; it looks like http://127.0.0.1:7317")]
    BadAddress { server: String },
    #[error("cannot reach the collector at {server}; start it, or name another with --server")]
    Unreachable { server: String },
    #[error("{}", .0.message())]
    Refused(Status),
    #[error("the collector at {server} gives no orders to sensors: update it")]
    NoOrders { server: String },
    #[error("{what} is not a sensor id; it is up to 32 hexadecimal digits")]
    NotASensor { what: String },
    #[error("the collector's answer cannot be read: {0}")]
    Answer(#[from] arrow::error::ArrowError),
    #[error("the collector's answer is not what was asked for: {0}")]
    Rows(#[from] serde_json::Error),
    #[error("{what} is not a session id; it is up to 32 hexadecimal digits")]
    NotASession { what: String },
    #[error("no session begins with {prefix}; `skep sessions` lists them")]
    NoSession { prefix: String },
    #[error("several sessions begin with {prefix}: {}; give more digits", .found.join(", "))]
    ManySessions { prefix: String, found: Vec<String> },
    #[error(
        "{text} is not a time; write 2026-11-20T08:30:00Z, 2026-11-20, today, yesterday, or how long \
         before now: {}",
        span::FORMS
    )]
    NotATime { text: String },
    #[error("nothing is between {since} and {until}: --since must be before --until")]
    EmptyRange { since: Timestamp, until: Timestamp },
    #[error("the collector's answer has no schema")]
    NoSchema,
    #[error("parquet is not for a terminal; name a file with --out, or redirect the output")]
    BinaryOnTerminal,
    #[error(
        "a session is a tree, and parquet has rows; `skep export --session {session}` writes its events"
    )]
    TreeAsRows { session: String },
    #[error("a table is for a screen; export as parquet, ndjson, csv or json")]
    TableExport,
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    #[error("cannot write {}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ParquetError),
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// The answer to one statement.
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// The collector's row limit, or the one asked for, cut it.
    pub truncated: bool,
}

/// An answer as it arrives.
pub struct Rows {
    server: String,
    chunks: Streaming<SqlChunk>,
    decoder: StreamDecoder,
    /// What the decoder has not seen of the last chunk.
    pending: Buffer,
    /// Read while looking for the schema.
    ready: Option<RecordBatch>,
    schema: SchemaRef,
    truncated: bool,
}

/// A connection to one collector.
pub struct Client {
    server: String,
    query: QueryClient<Channel>,
    fleet: FleetClient<Channel>,
}

// === impl Client ===

impl Client {
    /// Does not fail when the collector is down; the first question does.
    pub fn new(server: &str) -> Result<Self, ClientError> {
        let endpoint = Endpoint::from_shared(server.to_owned());
        let endpoint = endpoint
            .ok()
            .filter(|endpoint| endpoint.uri().scheme_str() == Some("http"));
        let endpoint = endpoint.ok_or_else(|| ClientError::BadAddress {
            server: server.to_owned(),
        })?;
        let channel = endpoint.connect_lazy();
        let fleet = FleetClient::new(channel.clone());
        let query = QueryClient::new(channel)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(16 << 20);
        Ok(Self {
            server: server.to_owned(),
            query,
            fleet,
        })
    }

    /// Runs one statement, and gives the rows as they arrive; at most `max_rows`, or as many as the
    /// collector lets through when that is 0.
    pub async fn stream(&mut self, sql: &str, max_rows: u64) -> Result<Rows, ClientError> {
        let request = SqlRequest {
            sql: sql.to_owned(),
            max_rows,
        };
        let answer = self.query.sql(request).await;
        let answer = answer.map_err(|status| failed(&self.server, status))?;
        let mut rows = Rows {
            server: self.server.clone(),
            chunks: answer.into_inner(),
            decoder: StreamDecoder::new(),
            pending: Buffer::default(),
            ready: None,
            schema: Arc::new(Schema::empty()),
            truncated: false,
        };
        rows.ready = rows.advance().await?;
        rows.schema = rows.decoder.schema().ok_or(ClientError::NoSchema)?;
        Ok(rows)
    }

    /// Runs one statement, and holds the whole answer.
    pub async fn ask(&mut self, sql: &str) -> Result<Answer, ClientError> {
        self.stream(sql, 0).await?.collect().await
    }
}

fn failed(server: &str, status: Status) -> ClientError {
    // A connection that cannot be made is the status's cause; one that a collector sent has none.
    match status.code() {
        Code::Unavailable if status.source().is_some() => ClientError::Unreachable {
            server: server.to_owned(),
        },
        _ => ClientError::Refused(status),
    }
}

// === impl Rows ===

impl Rows {
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows; `None` at the end of the answer.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, ClientError> {
        match self.ready.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.advance().await,
        }
    }

    /// A row limit cut the answer; known at its end.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    pub async fn collect(mut self) -> Result<Answer, ClientError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(Answer {
            schema: self.schema,
            batches,
            truncated: self.truncated,
        })
    }

    async fn advance(&mut self) -> Result<Option<RecordBatch>, ClientError> {
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.pending)? {
                return Ok(Some(batch));
            }
            let chunk = self.chunks.message().await;
            match chunk.map_err(|status| failed(&self.server, status))? {
                Some(chunk) => {
                    self.truncated |= chunk.truncated;
                    self.pending = Buffer::from(chunk.arrow_ipc);
                }
                None => {
                    self.decoder.finish()?;
                    return Ok(None);
                }
            }
        }
    }
}

// === impl Answer ===

impl Answer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// One JSON array with an object a row; every column is present, null when unknown.
    pub fn json(&self) -> Result<Vec<u8>, ClientError> {
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, JsonArray>(Vec::new());
        writer.write_batches(&self.batches.iter().collect::<Vec<_>>())?;
        writer.finish()?;
        Ok(writer.into_inner())
    }

    /// The rows as a type that has the columns as fields.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<Vec<T>, ClientError> {
        Ok(serde_json::from_slice(&self.json()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_cannot_answer_now_is_not_one_that_cannot_be_reached() {
        let reason = "not begun, because the record of queries cannot be written";
        let error = failed("http://127.0.0.1:7317", Status::unavailable(reason));
        assert!(matches!(error, ClientError::Refused(_)));
        assert_eq!(error.to_string(), reason);
    }

    #[tokio::test]
    async fn a_collector_that_is_not_there_cannot_be_reached() {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let mut client = Client::new(&server).unwrap();
        let error = client.ask("SELECT 1").await.err().unwrap();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }
}
