//! Why a query has no answer, told to the one who asked.
//!
//! Each front end shows the same error in its own form: a gRPC status, a problem document (RFC 9457),
//! an error response of PostgreSQL. [`QueryError::kind`] is what the three derive theirs from.

use std::time::Duration;

use object_store::path::Path;
use tonic::{Code, Status};

use crate::audit::{Outcome, Unrecorded};

#[derive(Clone, Debug, thiserror::Error)]
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
    Sql(SqlError),
    #[error(
        "stopped at the time limit of {} s: narrow the query with WHERE on time, session or class, \
         or select fewer columns", .limit.as_secs_f32()
    )]
    Time { limit: Duration },
    #[error(
        "not begun within the time limit of {} s, because {concurrent} other queries were running \
         and no more run at the same time: ask again later, or narrow the others with WHERE on \
         time, session or class", .limit.as_secs_f32()
    )]
    Busy { concurrent: usize, limit: Duration },
    #[error(
        "stopped at the memory limit of {} MiB: narrow the query with WHERE on time, session or \
         class, select fewer columns, or group before sorting", .limit >> 20
    )]
    Memory { limit: usize },
    #[error("not begun, because no query may run unrecorded and {0}")]
    Unrecorded(#[from] Unrecorded),
    #[error(
        "stored data is damaged and was set aside ({}); the rest stays queryable, run the query again",
        .files.join(", ")
    )]
    Damaged { files: Vec<String> },
    #[error(
        "stored data is damaged: the file is looked for among {files} and will be set aside; the rest \
         stays queryable, run the query again later ({reason})"
    )]
    Searching { files: usize, reason: String },
    #[error("a stored file could not be decoded, run the query again: {reason}")]
    Unreadable {
        reason: String,
        /// It is one of these.
        files: Vec<Path>,
    },
    #[error("stored data cannot be read now: {0}")]
    Unreached(String),
    #[error("the query engine failed: {0}")]
    Engine(String),
    #[error("the client went away")]
    ClientGone,
    #[error("cancelled by the client")]
    Cancelled,
}

/// What is wrong with a statement, where, and what may have been meant.
#[derive(Clone, Debug)]
pub struct SqlError {
    pub message: String,
    /// Where in the text of the statement; unknown for what fails only when it runs.
    pub position: Option<Position>,
    /// One sentence, such as the nearest known name.
    pub hint: Option<String>,
    pub what: Wrong,
}

/// A place in the text of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
    /// In characters from the beginning of the statement, from 0.
    pub offset: u64,
}

/// What of a statement is wrong, as far as it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Syntax,
    UnknownColumn,
    UnknownTable,
    UnknownFunction,
    /// Anything else: types, values, what is not supported.
    Other,
}

/// Which end of the matter has to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The statement.
    Statement,
    /// The statement, which asks for something that is not allowed.
    Forbidden,
    /// The statement, which needs more time than there is.
    Time,
    /// The statement, which needs more memory than there is.
    Memory,
    /// Nothing: ask again later.
    Busy,
    /// Stored data.
    Data,
    /// The collector.
    Internal,
    /// The client does not wait for the answer.
    Cancelled,
}

// === impl QueryError ===

impl QueryError {
    pub fn kind(&self) -> Kind {
        match self {
            Self::TooLong { .. } | Self::TooComplex { .. } | Self::Sql(_) => Kind::Statement,
            Self::ReadOnly { .. } => Kind::Forbidden,
            Self::Time { .. } => Kind::Time,
            Self::Memory { .. } => Kind::Memory,
            Self::Busy { .. } | Self::Unrecorded(_) => Kind::Busy,
            Self::Damaged { .. } | Self::Searching { .. } => Kind::Data,
            Self::Unreadable { .. } | Self::Unreached(_) | Self::Engine(_) => Kind::Internal,
            Self::ClientGone | Self::Cancelled => Kind::Cancelled,
        }
    }

    /// The same, knowing which files were read.
    pub(super) fn among(self, read: &[Path]) -> Self {
        match self {
            Self::Unreadable { reason, .. } => Self::Unreadable {
                reason,
                files: read.to_vec(),
            },
            other => other,
        }
    }

    /// What is wrong with the statement, when that is it.
    pub fn sql(&self) -> Option<&SqlError> {
        match self {
            Self::Sql(error) => Some(error),
            _ => None,
        }
    }
}

/// What the record says of it.
impl From<&QueryError> for Outcome {
    fn from(error: &QueryError) -> Self {
        let text = error.to_string();
        match error.kind() {
            Kind::Statement | Kind::Forbidden => Self::Refused { error: text },
            Kind::Time | Kind::Memory | Kind::Busy => Self::Stopped { error: text },
            Kind::Data | Kind::Internal => Self::Failed { error: text },
            Kind::Cancelled => Self::Cancelled,
        }
    }
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        let code = match error.kind() {
            Kind::Statement => Code::InvalidArgument,
            Kind::Forbidden => Code::PermissionDenied,
            Kind::Time => Code::DeadlineExceeded,
            Kind::Memory => Code::ResourceExhausted,
            Kind::Busy => match error {
                QueryError::Busy { .. } => Code::DeadlineExceeded,
                _ => Code::Unavailable,
            },
            Kind::Data => Code::DataLoss,
            Kind::Internal => Code::Internal,
            Kind::Cancelled => Code::Cancelled,
        };
        Self::new(code, error.to_string())
    }
}

// === impl SqlError ===

impl SqlError {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position: None,
            hint: None,
            what: Wrong::Other,
        }
    }
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(at) = &self.position {
            write!(f, "line {}, column {}: ", at.line, at.column)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}
