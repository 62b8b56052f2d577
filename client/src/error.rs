//! Errors of the client, in words for the person at the terminal.

use std::{
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use parquet::errors::ParquetError;
use skep_human::span;
use tonic::Status;

use crate::columns::ColumnError;

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
    Columns(#[from] ColumnError),
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

/// Why there is no complete export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(
        "{} has files, but no export to go on with; name an empty directory, or another", .path.display()
    )]
    NotEmpty { path: PathBuf },
    #[error(
        "{} holds a complete export of {events} events; remove it, or name another directory",
        .path.display()
    )]
    Complete { path: PathBuf, events: u64 },
    #[error(
        "{} holds an export that was begun with other options ({}); go on with those, or name \
         another directory", .path.display(), .begun.join(" ")
    )]
    Other { path: PathBuf, begun: Vec<String> },
    #[error("{} cannot be read: {reason}; remove the directory and export again", .path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{written} events were written, but the collector now has {there} of that range: some arrived \
         late, or were dropped as too old, while the export ran; export again to have them all"
    )]
    Changed { written: u64, there: u64 },
    #[error("the collector could not give even {rows} events at {at} within its limits: {message}")]
    OverLimits {
        rows: u64,
        at: Timestamp,
        message: String,
    },
}

// === impl ClientError ===

impl ClientError {
    /// The error of a file that cannot be written.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}

/// JSON is only written here: what serialises always does, so that the output is what failed.
impl From<serde_json::Error> for ClientError {
    fn from(error: serde_json::Error) -> Self {
        Self::Write(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_reader_that_has_seen_enough_of_json_is_a_broken_pipe() {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = serde_json::to_writer(Closed, "text").unwrap_err();
        let ClientError::Write(error) = error.into() else {
            panic!("an error of writing");
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
