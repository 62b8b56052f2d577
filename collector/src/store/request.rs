//! Requests to the thread that writes the log.

use std::net::SocketAddr;

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::{
    Opened, SensorFacts, Source,
    entry::{Entry, Packed},
    own::Own,
    readers::Start,
};
use crate::{batch::Batch, error::Error};

/// What the thread is asked to do.
pub(super) enum Request {
    Open {
        source: Source,
        facts: Box<SensorFacts>,
        peer: Option<SocketAddr>,
        reply: oneshot::Sender<Result<Opened, Error>>,
        /// Among those that wait; nobody may wait for the answer any more.
        place: OwnedSemaphorePermit,
    },
    Append {
        stream: u64,
        batch: Batch,
        entry: Entry,
        memory: OwnedSemaphorePermit,
    },
    /// Events of the collector's own.
    Emit {
        events: Vec<Own>,
        reply: oneshot::Sender<Result<(), Error>>,
        /// Among those that wait.
        place: OwnedSemaphorePermit,
    },
    /// The stream is over.
    Close { stream: u64 },
    AddReader {
        reader: String,
        start: Start,
        /// Whether it is new.
        reply: oneshot::Sender<Result<bool, Error>>,
    },
    RemoveReader {
        reader: String,
        /// Whether there was one.
        reply: oneshot::Sender<Result<bool, Error>>,
    },
    /// Where a reader is, and what says how far the log is.
    OpenReader {
        reader: String,
        reply: oneshot::Sender<Result<(u64, watch::Receiver<u64>), Error>>,
    },
    /// So many bytes of entries after a position, and the position up to which they are gone.
    Read {
        after: u64,
        bytes: usize,
        reply: oneshot::Sender<Result<(u64, Vec<Packed>), Error>>,
    },
    /// A reader has everything up to this position.
    Commit {
        reader: String,
        position: u64,
        reply: Option<oneshot::Sender<Result<(), Error>>>,
    },
    /// Ends the thread once what came before is stored.
    Stop,
}
