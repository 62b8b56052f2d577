//! What can go wrong in the collector, told with the place and the remedy.

use std::{io, net::SocketAddr, path::PathBuf};

/// One result type for the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {path}: {source}")]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "cannot write to the data directory {path}: {source}; make it writable for this user, or \
         name another one with --data"
    )]
    DataDirectory { path: PathBuf, source: io::Error },
    #[error(
        "data directory {path} is in use by another collector; stop that one, or name another \
         directory with --data"
    )]
    DataDirectoryInUse { path: PathBuf },
    #[error("stored file {path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "stored file {path} has format {found}, and this collector knows {known}; start the newer \
         collector that wrote it, or name another directory with --data"
    )]
    UnknownFormat {
        path: PathBuf,
        found: String,
        known: &'static str,
    },
    #[error(
        "cannot use the log {path}: {reason}; make room, or make it readable and writable for this user"
    )]
    Log { path: PathBuf, reason: String },
    #[error(
        "cannot use {url} as the place of the tables: {reason}; name a folder, or a URL such as \
         s3://bucket/prefix, with --table"
    )]
    Place { url: String, reason: String },
    #[error("cannot use the table {table}: {source}")]
    Table {
        table: String,
        // Large, and rare.
        source: Box<deltalake_core::DeltaTableError>,
    },
    #[error(
        "the table {table} cannot be read: {reason}; put its _delta_log back as it was, or move its \
         folder elsewhere so that a new one begins, and start the collector again"
    )]
    TableUnavailable { table: String, reason: String },
    #[error("cannot {action} {name}: {source}")]
    Store {
        action: &'static str,
        name: String,
        source: object_store::Error,
    },
    #[error(
        "merging files of {class} would have given {rows} rows instead of {known}; they stay as they \
         are"
    )]
    Merge {
        class: &'static str,
        known: u64,
        rows: u64,
    },
    #[error("cannot encode a file: {0}")]
    Parquet(parquet::errors::ParquetError),
    #[error("the system gives no random numbers: {reason}")]
    Random { reason: String },
    #[error("the collector is stopping")]
    Closed,
    #[error(
        "{name:?} is not the name of a reader of the log; it has 1 to 64 of a-z, 0-9, _, . and -"
    )]
    ReaderName { name: String },
    #[error("the log has no reader {name}; add it first")]
    NoReader { name: String },
    #[error("the log has {limit} readers already and takes no more; remove one first")]
    TooManyReaders { limit: usize },
    #[error("the reader of the tables cannot be removed")]
    TablesReader,
    #[error("reader {name} cannot have read up to {position}: the last entry of the log is {last}")]
    ReadAhead {
        name: String,
        position: u64,
        last: u64,
    },
    #[error(
        "cannot use the record of queries {path}: {reason}; make it readable and writable for this \
         user, or move it elsewhere"
    )]
    Audit { path: PathBuf, reason: String },
    #[error("cannot encode rows: {0}")]
    Rows(#[from] arrow::error::ArrowError),
    #[error(
        "cannot listen on {address}: without TLS the collector takes connections from this machine \
         only, since anybody on the network could read and write what it stores; use a loopback \
         address such as 127.0.0.1:7317"
    )]
    NotLoopback { address: SocketAddr },
    #[error(
        "cannot listen on {address}: {source}; stop what uses it, or name another with --listen"
    )]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the server stopped: {0}")]
    Serve(#[from] tonic::transport::Error),
    #[error("cannot prepare the query engine: {0}")]
    Engine(#[from] datafusion::error::DataFusionError),
    #[error("cannot start the threads of the query engine: {0}")]
    Threads(io::Error),
    #[error(
        "this collector knows {limit} sensors already and takes no more; send further ones to another \
         collector"
    )]
    TooManySensors { limit: usize },
}

impl Error {
    /// For `map_err` on a file operation.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
