//! What a simulated sensor has to send: batches that nobody has acknowledged yet, in memory.
//!
//! Invariants, those of a sensor: a batch is kept until it is acknowledged; sequences are dense; what
//! is sent again has the same sequence and the same bytes.

use std::{collections::VecDeque, io, sync::Arc};

use skep_proto::v1;

use crate::{
    batch::{Batch, FrameError, Gather},
    simulate::{Identity, Machine},
    tally::{Class, Tally},
};

/// Which of the two streams of a sensor.
pub const BULK: usize = 0;
pub const FINDINGS: usize = 1;

/// Why what the collector says of its store cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the collector has stored up to {theirs}, but acknowledged {ours} before")]
    Behind { theirs: u64, ours: u64 },
    #[error("the collector acknowledged {theirs}, but only {made} was ever made")]
    NeverMade { theirs: u64, made: u64 },
    #[error(
        "the event stored as {seq} is not the one that was sent: checksum {theirs:08x}, not {ours:08x}"
    )]
    OtherEvent { seq: u64, theirs: u32, ours: u32 },
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// One source: a lane of one sensor.
pub struct Lane {
    pub epoch: u64,
    pub lane: v1::Lane,
    acked: u64,
    /// What the collector acknowledged, counted.
    tally: Tally,
    queue: VecDeque<Batch>,
    /// How many of the queue are on their way.
    sent: usize,
    gather: Gather,
}

/// A sensor and its lanes.
pub struct Spool {
    pub identity: Arc<Identity>,
    machine: Machine,
    lanes: Vec<Lane>,
    /// Events that are still to be made.
    left: u64,
    batch_events: usize,
}

// === impl Spool ===

impl Spool {
    /// `epoch` is that of the first lane; the others follow it.
    pub fn new(
        machine: Machine,
        epoch: u64,
        lanes: &[v1::Lane],
        events: u64,
        batch_events: usize,
    ) -> io::Result<Self> {
        let lanes = lanes.iter().zip(epoch..).map(|(lane, epoch)| {
            Ok(Lane {
                epoch,
                lane: *lane,
                acked: 0,
                tally: Tally::default(),
                queue: VecDeque::new(),
                sent: 0,
                gather: Gather::new()?,
            })
        });
        Ok(Self {
            identity: Arc::clone(machine.identity()),
            lanes: lanes.collect::<io::Result<_>>()?,
            machine,
            left: events,
            batch_events,
        })
    }

    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    pub fn lane(&mut self, lane: usize) -> &mut Lane {
        &mut self.lanes[lane]
    }

    /// Whether everything that is to be made was made.
    pub fn is_made(&self) -> bool {
        self.left == 0
    }

    /// Makes no more.
    pub fn end(&mut self) {
        self.left = 0;
    }

    /// Makes events until a batch of the bulk is full, or there are no more; all lanes are cut then. But
    /// while a batch of another lane waits to be sent, what comes after gathers, as in a sensor's spool.
    pub fn make(&mut self) -> io::Result<()> {
        while self.left > 0 {
            self.left -= 1;
            let made = self.machine.make();
            let lane = match made.class {
                Class::Session | Class::Lost | Class::Coverage | Class::Finding => FINDINGS,
                Class::Exec | Class::Exit | Class::Open | Class::Connect | Class::Change => BULK,
            };
            let lane = lane.min(self.lanes.len() - 1);
            let gather = &mut self.lanes[lane].gather;
            gather.add(self.machine.bytes(), &made);
            if gather.is_full(self.batch_events) {
                break;
            }
        }
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let waits = index != BULK && lane.has_next() && self.left > 0;
            if waits && !lane.gather.is_full(self.batch_events) {
                continue;
            }
            if let Some(batch) = lane.gather.cut()? {
                lane.push(batch);
            }
        }
        Ok(())
    }
}

// === impl Lane ===

impl Lane {
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// What was acknowledged.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next batch that is not on its way; it is from now on.
    pub fn next(&mut self) -> Option<Batch> {
        let batch = self.queue.get(self.sent)?.clone();
        self.sent += 1;
        Some(batch)
    }

    /// Whether [`Self::next`] would give one.
    pub fn has_next(&self) -> bool {
        self.sent < self.queue.len()
    }

    /// A new stream begins after what the collector says that it has stored.
    pub fn resume(&mut self, seq: u64, crc32: Option<u32>) -> Result<(), Broken> {
        if seq < self.acked {
            return Err(Broken::Behind {
                theirs: seq,
                ours: self.acked,
            });
        }
        if let Some(theirs) = crc32
            && let Some(batch) = self.queue.iter().find(|batch| batch.last_seq >= seq)
            && let Some(ours) = batch.checksum(seq)?
            && ours != theirs
        {
            return Err(Broken::OtherEvent { seq, theirs, ours });
        }
        self.drop_stored(seq)?;
        // Stored by an earlier run of the same load: what comes next was not made yet.
        self.acked = seq;
        self.sent = 0;
        Ok(())
    }

    /// Everything up to `seq` is stored.
    pub fn acknowledged(&mut self, seq: u64) -> Result<(), Broken> {
        let on_its_way = self
            .queue
            .get(self.sent.wrapping_sub(1))
            .map_or(self.acked, |last| last.last_seq);
        if seq > on_its_way {
            return Err(Broken::NeverMade {
                theirs: seq,
                made: on_its_way,
            });
        }
        let before = self.queue.len();
        self.drop_stored(seq)?;
        self.sent -= before - self.queue.len();
        self.acked = self.acked.max(seq);
        Ok(())
    }

    fn drop_stored(&mut self, seq: u64) -> Result<(), FrameError> {
        while let Some(batch) = self.queue.front()
            && batch.first_seq <= seq
        {
            if batch.last_seq <= seq {
                self.tally.add(&batch.tally);
                self.queue.pop_front();
            } else {
                let (rest, off) = batch.after(seq)?;
                self.tally.add(&off);
                self.queue[0] = rest;
            }
        }
        Ok(())
    }

    fn push(&mut self, batch: Batch) {
        let first = batch.first_seq;
        self.queue.push_back(batch);
        if first <= self.acked {
            let acked = self.acked;
            self.drop_stored(acked)
                .expect("a frame that was just made can be read");
        }
    }
}

#[cfg(test)]
mod tests;
