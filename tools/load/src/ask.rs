//! Questions to a collector over one warm connection, timed.

use std::time::Instant;

use serde::Serialize;
use skep_proto::v1::{SqlRequest, query_client::QueryClient};
use tonic::{
    Status,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};

/// A connection for questions.
pub struct Asker(QueryClient<Channel>);

/// How an answer came.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Rows {
        /// From asking to the last byte of the answer.
        micros: u64,
        /// Of the answer, as Arrow's stream format.
        bytes: usize,
        truncated: bool,
    },
    Error {
        error: String,
    },
}

impl Asker {
    pub fn new(server: &str) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(server.to_owned())?.connect_lazy();
        // As the client `skep` asks.
        let client = QueryClient::new(channel)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(16 << 20);
        Ok(Self(client))
    }

    pub async fn ask(&mut self, sql: &str) -> Answer {
        match self.rows(sql).await {
            Ok(answer) => answer,
            Err(status) => Answer::Error {
                error: status.message().to_owned(),
            },
        }
    }

    async fn rows(&mut self, sql: &str) -> Result<Answer, Status> {
        let request = SqlRequest {
            sql: sql.to_owned(),
            max_rows: 0,
        };
        let begun = Instant::now();
        let mut chunks = self.0.sql(request).await?.into_inner();
        let (mut bytes, mut truncated) = (0, false);
        while let Some(chunk) = chunks.message().await? {
            bytes += chunk.arrow_ipc.len();
            truncated |= chunk.truncated;
        }
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Answer::Rows {
            micros,
            bytes,
            truncated,
        })
    }
}
