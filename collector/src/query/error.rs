//! Why a query has no answer, told to the one who asked.

use std::time::Duration;

use datafusion::error::DataFusionError;
use tonic::{Code, Status};

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("the statement is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error(
        "the statement has more than {limit} operators and keywords; compare with IN (…) instead of \
         a chain of OR, or ask in several statements"
    )]
    TooComplex { limit: usize },
    #[error(
        "only one statement that reads is allowed (SELECT, EXPLAIN, SHOW TABLES, DESCRIBE): {what}"
    )]
    ReadOnly { what: String },
    #[error("{0}")]
    Sql(String),
    #[error(
        "stopped at the time limit of {} s: narrow the query with WHERE on time, session or class, \
         or select fewer columns", .limit.as_secs_f32()
    )]
    Time { limit: Duration },
    #[error(
        "stopped at the memory limit of {} MiB: narrow the query with WHERE on time, session or \
         class, select fewer columns, or group before sorting", .limit >> 20
    )]
    Memory { limit: usize },
    #[error(
        "stored data is damaged and was set aside ({}); the rest stays queryable, run the query again",
        .files.join(", ")
    )]
    Damaged { files: Vec<String> },
    #[error("a stored file could not be decoded: {0}")]
    Unreadable(String),
    #[error("the query engine failed: {0}")]
    Engine(String),
    #[error("the client went away")]
    ClientGone,
}

// === impl QueryError ===

impl QueryError {
    /// What an error of planning or running means; `memory` is the limit in force.
    pub(super) fn from_engine(error: &DataFusionError, memory: usize) -> Self {
        let text = error.strip_backtrace();
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Memory { limit: memory },
            DataFusionError::ParquetError(_)
            | DataFusionError::ObjectStore(_)
            | DataFusionError::IoError(_) => Self::Unreadable(text),
            DataFusionError::Internal(_) => Self::Engine(text),
            // What the SQL says cannot be done: parsing, planning, types, division by zero …
            _ => Self::Sql(text),
        }
    }
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        let code = match error {
            QueryError::TooLong { .. } | QueryError::TooComplex { .. } | QueryError::Sql(_) => {
                Code::InvalidArgument
            }
            QueryError::ReadOnly { .. } => Code::PermissionDenied,
            QueryError::Time { .. } => Code::DeadlineExceeded,
            QueryError::Memory { .. } => Code::ResourceExhausted,
            QueryError::Damaged { .. } => Code::DataLoss,
            QueryError::Unreadable(_) | QueryError::Engine(_) => Code::Internal,
            QueryError::ClientGone => Code::Cancelled,
        };
        Self::new(code, error.to_string())
    }
}
