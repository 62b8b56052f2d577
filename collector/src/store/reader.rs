//! One reader of the log, as whoever passes events on to others sees it.
//!
//! Invariants: what a reader gets is durable, and in the order of the log; nothing is left out without a
//! [`Gap`]; what it has not committed comes again after a restart.
//!
//! Bound: [`READ_BYTES`] of entries ahead.

use std::{collections::VecDeque, sync::Weak};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::{
    Shared,
    entry::{self, Packed},
    hot::rows_of,
    request::Request,
};
use crate::{
    batch::Batch,
    error::{Error, Result},
    schema::{Origin, Row},
};

/// Bytes of entries that are read ahead, compressed; or one entry that alone has more.
const READ_BYTES: usize = 1 << 20;

/// One reader of the log. It waits while the log cannot be written.
pub struct Reader {
    name: String,
    /// Last position that was given out.
    cursor: u64,
    ahead: VecDeque<Packed>,
    /// Last durable position; ends with the thread that writes the log.
    durable: watch::Receiver<u64>,
    shared: Weak<Shared>,
}

/// What comes next in the log.
#[derive(Debug)]
pub enum Next {
    Batch(Box<Delivered>),
    Gap(Gap),
}

/// The new events of one batch.
#[derive(Debug)]
pub struct Delivered {
    pub position: u64,
    pub origin: Origin,
    batch: Batch,
    known: usize,
}

/// Entries that a reader does not get, both positions included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub from: u64,
    pub to: u64,
    pub why: Missed,
}

/// Why a reader does not get entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It stood still while the log had no more room on disk.
    Cut,
    /// They cannot be read.
    Damaged(String),
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(
        name: String,
        position: u64,
        durable: watch::Receiver<u64>,
        shared: Weak<Shared>,
    ) -> Self {
        Self {
            name,
            cursor: position,
            ahead: VecDeque::new(),
            durable,
            shared,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What follows what was given out last; waits for it. What was given out and not committed comes
    /// again after a restart.
    ///
    /// # Errors
    ///
    /// The log cannot be read now, or the store is closed.
    pub async fn next_batch(&mut self) -> Result<Next> {
        loop {
            if let Some((position, bytes)) = self.ahead.pop_front() {
                self.cursor = position;
                return Ok(delivered(position, &bytes));
            }
            let cursor = self.cursor;
            let more = self.durable.wait_for(|last| *last > cursor).await;
            more.map_err(|_| Error::Closed)?;
            let (cut, entries) = self
                .ask(|reply| Request::Read {
                    after: cursor,
                    bytes: READ_BYTES,
                    reply,
                })
                .await?;
            self.ahead = entries.into();
            if cut > cursor {
                self.cursor = cut;
                return Ok(Next::Gap(Gap {
                    from: cursor + 1,
                    to: cut,
                    why: Missed::Cut,
                }));
            }
        }
    }

    /// Everything up to a position, gaps included, is done with; durable on return. A position that was
    /// committed before changes nothing.
    ///
    /// # Errors
    ///
    /// The reader was removed, the log has no such position yet, or the store is closed.
    pub async fn commit(&self, position: u64) -> Result<()> {
        let name = self.name.clone();
        self.ask(|reply| Request::Commit {
            reader: name,
            position,
            reply: Some(reply),
        })
        .await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request,
    ) -> Result<T> {
        let shared = self.shared.upgrade().ok_or(Error::Closed)?;
        shared.answered(request).await
    }
}

fn delivered(position: u64, bytes: &[u8]) -> Next {
    let damaged = |reason: String| {
        Next::Gap(Gap {
            from: position,
            to: position,
            why: Missed::Damaged(reason),
        })
    };
    let logged = match entry::unpack(position, bytes) {
        Ok(logged) => logged,
        Err(damage) => return damaged(damage.reason),
    };
    match Batch::decode(Bytes::from(logged.batch)) {
        Ok(batch) => Next::Batch(Box::new(Delivered {
            position,
            origin: logged.origin,
            known: logged.known,
            batch,
        })),
        Err(error) => damaged(error.to_string()),
    }
}

// === impl Delivered ===

impl Delivered {
    /// Its events in the order of their sequence.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        rows_of(&self.batch, &self.origin, self.known)
    }
}
