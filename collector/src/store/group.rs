//! Requests that one transaction serves.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Opened, SensorFacts, Source, Tail, entry::Entry, readers::Standings};
use crate::{batch::Batch, error::Error, schema::Origin};

/// What one transaction stores, and what follows from it.
#[derive(Default)]
pub(super) struct Group {
    pub entries: Vec<Entry>,
    pub taken: Vec<Taken>,
    pub sensors: Vec<SensorFacts>,
    pub opened: Vec<(u64, oneshot::Sender<Result<Opened, Error>>)>,
    /// Where the sources of its entries are after it.
    pub tails: HashMap<Source, Tail>,
    /// Where the readers are after it, when one has changed.
    pub readers: Option<Standings>,
    /// Told once it is stored.
    pub told: Vec<Told>,
    pub memory: Vec<OwnedSemaphorePermit>,
    pub requests: usize,
    /// Bytes of its batches.
    pub size: usize,
    /// The thread ends after it.
    pub stop: bool,
}

/// An answer that waits for the transaction.
pub(super) type Told = Box<dyn FnOnce() + Send>;

/// The new events of one batch.
pub(super) struct Taken {
    pub origin: Arc<Origin>,
    pub batch: Batch,
    pub known: usize,
}

// === impl Group ===

impl Group {
    /// Answers once the group is stored; what was refused is answered then, too.
    pub fn tell<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        self.told.push(Box::new(move || {
            // Nobody waits any more: as good.
            let _ = reply.send(answer);
        }));
    }
}
