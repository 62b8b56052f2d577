//! Takes the counts of folded opens out of the kernel.
//!
//! Time is cut into epochs. The kernel programs enter and count under the current one only, so once
//! an epoch has been over for a whole further one, no program works on its entries any more (a program
//! runs for microseconds): they are final, and are read and deleted without a race. Every open that
//! was folded is thereby handed out exactly once.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::maps::{Array, MapData, MapError};
use skep_abi::{Control, FoldCount, FoldKey};

use super::batch::Batch;

/// The kernel's table of folded opens.
pub struct Folds {
    /// `FOLDS`.
    map: OwnedFd,
    control: Array<MapData, Control>,
    epoch: u32,
    batch: Batch<FoldKey, FoldCount>,
}

impl Folds {
    /// Nothing is folded until the first [`Folds::turn`].
    pub fn new(map: OwnedFd, control: Array<MapData, Control>) -> Self {
        Self {
            map,
            control,
            epoch: 0,
            batch: Batch::default(),
        }
    }

    /// Begins the next epoch and hands out the entries of every one before the last, with the kernel id of
    /// their session. Gives the newest
    /// epoch that is closed by that: no count of it, or of an older one, is still to come.
    pub fn turn(&mut self, sink: impl FnMut(u64, &FoldCount)) -> io::Result<u32> {
        // Skips 0, which means "do not fold"; the epochs of half a second last for 68 years.
        let next = self.epoch.checked_add(1).unwrap_or(1);
        self.set_epoch(next).map_err(io::Error::other)?;
        let closed = next.saturating_sub(2);
        self.take(closed, sink)?;
        Ok(closed)
    }

    /// Ends folding and hands out everything. To be called when the programs have had the time to
    /// notice: once they are detached, or a round after [`Folds::stop`].
    pub fn take_all(&mut self, sink: impl FnMut(u64, &FoldCount)) -> io::Result<u32> {
        self.take(u32::MAX, sink)?;
        Ok(u32::MAX)
    }

    /// From now on every open is sent.
    pub fn stop(&mut self) -> Result<(), MapError> {
        self.set_epoch(0)
    }

    fn set_epoch(&mut self, epoch: u32) -> Result<(), MapError> {
        self.control.set(0, Control { epoch, pad: 0 }, 0)?;
        self.epoch = epoch;
        Ok(())
    }

    fn take(&mut self, closed: u32, mut sink: impl FnMut(u64, &FoldCount)) -> io::Result<()> {
        let fd = self.map.as_fd();
        self.batch.read(fd)?;
        self.batch.retain_keys(|key, count| {
            let over = key.epoch <= closed;
            if over && count.count > 0 {
                sink(key.session, count);
            }
            over
        });
        self.batch.delete(fd)
    }
}
