//! Records taken out of the ring before it is their turn.
//!
//! Judging a file that nobody has judged yet means reading it: microseconds as a rule, most of a
//! second for the largest. Meanwhile the ring must not fill up, so it is emptied into here, in order,
//! and what is here is handled before what is in the ring. Bounded by an eighth of the sensor's memory, at most
//! [`BYTES_MAX`]: beyond it records stay in the ring, and the kernel side accounts for what finds no room there. Empty, it holds no memory.

use std::collections::VecDeque;

use aya::maps::{MapData, RingBuf};

/// Room for some fifty thousand records.
const BYTES_MAX: usize = 16 << 20;
/// What a record costs besides its bytes: its place, and what the allocator adds.
const OVERHEAD: usize = 32;

#[derive(Debug)]
pub struct Backlog {
    records: VecDeque<Box<[u8]>>,
    bytes: usize,
    max: usize,
}

impl Backlog {
    /// For a sensor that may take so many bytes in all.
    pub fn within(memory_bytes: usize) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            max: (memory_bytes / 8).min(BYTES_MAX),
        }
    }

    fn has_room(&self) -> bool {
        self.bytes < self.max
    }

    /// Takes what waits in the ring, as far as there is room.
    pub fn fill(&mut self, ring: &mut RingBuf<MapData>) {
        while self.has_room() {
            let Some(record) = ring.next() else { return };
            self.push(&record);
        }
    }

    fn push(&mut self, record: &[u8]) {
        self.bytes += record.len() + OVERHEAD;
        self.records.push_back(record.into());
    }

    /// The record whose turn it is.
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        let record = self.records.pop_front();
        match &record {
            Some(record) => self.bytes -= record.len() + OVERHEAD,
            None => self.records = VecDeque::new(),
        }
        record
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_in_their_order_and_leave_no_memory_behind() {
        let mut backlog = Backlog::within(1 << 20);
        for record in [&b"one"[..], b"two", b"three"] {
            backlog.push(record);
        }
        assert_eq!(backlog.bytes, 11 + 3 * OVERHEAD);
        let order: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(order, [&b"one"[..], b"two", b"three"].map(Box::from));
        assert!(backlog.is_empty() && backlog.bytes == 0 && backlog.records.capacity() == 0);
    }
    #[test]
    fn an_eighth_of_the_memory_is_its_bound_and_never_more_than_it_needs() {
        let mut backlog = Backlog::within(64 << 10);
        let mut records = 0;
        while backlog.has_room() {
            backlog.push(&[0; 100]);
            records += 1;
        }
        assert_eq!(records, (8usize << 10).div_ceil(100 + OVERHEAD));
        assert_eq!(Backlog::within(1 << 30).max, BYTES_MAX);
    }
}
