//! What the command `skep` does: asks the collector in SQL and prints the answers.
//!
//! Invariants:
//! - JSON and CSV carry every value in full; only tables and trees shorten;
//! - tables and trees never pass a control character to the terminal, whatever a sensor sent;
//! - a result that the collector cut is said to be cut.
//!
//! Bound: an answer is held in memory; the collector limits its rows.

pub mod commands;
mod errno;
pub mod output;
pub mod session;
mod text;
mod tree;

use std::io::Cursor;

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::reader::StreamReader,
    json::{WriterBuilder, writer::JsonArray},
};
use serde::de::DeserializeOwned;
use skep_proto::v1::{SqlRequest, query_client::QueryClient};
use tonic::{
    Code, Status,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};

/// Why the client has nothing to print.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{server} is not the address of a server; it looks like http://127.0.0.1:7317")]
    BadAddress { server: String },
    #[error("cannot reach the collector at {server}; start it, or name another with --server")]
    Unreachable { server: String },
    #[error("{}", .0.message())]
    Refused(Status),
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
        "{text} is not a time; write 2026-11-20T08:30:00Z, or a time before now such as 90s, 10m, \
         2h or 3d"
    )]
    NotATime { text: String },
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
}

/// The answer to one statement.
pub struct Answer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// The collector's row limit cut it.
    pub truncated: bool,
}

/// A connection to one collector.
pub struct Client {
    server: String,
    query: QueryClient<Channel>,
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
        let query = QueryClient::new(endpoint.connect_lazy())
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(16 << 20);
        Ok(Self {
            server: server.to_owned(),
            query,
        })
    }

    /// Runs one statement.
    pub async fn ask(&mut self, sql: &str) -> Result<Answer, ClientError> {
        let request = SqlRequest {
            sql: sql.to_owned(),
            max_rows: 0,
        };
        let answer = self
            .query
            .sql(request)
            .await
            .map_err(|status| self.failed(status))?;
        let mut chunks = answer.into_inner();
        let mut bytes = Vec::new();
        let mut truncated = false;
        while let Some(chunk) = chunks
            .message()
            .await
            .map_err(|status| self.failed(status))?
        {
            bytes.extend(chunk.arrow_ipc);
            truncated |= chunk.truncated;
        }
        let reader = StreamReader::try_new(Cursor::new(bytes), None)?;
        Ok(Answer {
            schema: reader.schema(),
            batches: reader.collect::<Result<_, _>>()?,
            truncated,
        })
    }

    fn failed(&self, status: Status) -> ClientError {
        match status.code() {
            Code::Unavailable => ClientError::Unreachable {
                server: self.server.clone(),
            },
            _ => ClientError::Refused(status),
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
