//! A connection to one collector: asks in SQL, and gives the rows as they arrive.
//!
//! Bound: one chunk of the answer is in memory, or the whole answer where it is collected; the
//! collector limits both.

use std::{error::Error as _, sync::Arc};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::{Schema, SchemaRef},
    ipc::reader::StreamDecoder,
};
use skep_proto::v1::{SqlChunk, SqlRequest, fleet_client::FleetClient, query_client::QueryClient};
use tonic::{
    Code, Status, Streaming,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};

use crate::{answer::Answer, error::ClientError};

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
    pub(crate) server: String,
    query: QueryClient<Channel>,
    pub(crate) fleet: FleetClient<Channel>,
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

pub(crate) fn failed(server: &str, status: Status) -> ClientError {
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
