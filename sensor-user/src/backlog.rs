//! Records taken out of the ring before it is their turn.
//!
//! Judging a file that nobody has judged yet means reading it: microseconds as a rule, most of a
//! second for the largest. Meanwhile the ring must not fill up, so it is emptied into here, in order,
//! and what is here is handled before what is in the ring. Bounded: beyond [`BYTES`] records stay in
//! the ring, and the kernel side accounts for what finds no room there. Empty, it holds no memory.

use std::collections::VecDeque;

use aya::maps::{MapData, RingBuf};

/// Room for some fifty thousand records.
pub const BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub struct Backlog {
    records: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Backlog {
    /// Takes what waits in the ring, as far as there is room.
    pub fn fill(&mut self, ring: &mut RingBuf<MapData>) {
        while self.bytes < BYTES {
            let Some(record) = ring.next() else { return };
            self.push(&record);
        }
    }

    fn push(&mut self, record: &[u8]) {
        self.bytes += record.len();
        self.records.push_back(record.into());
    }

    /// The record whose turn it is.
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        let record = self.records.pop_front();
        match &record {
            Some(record) => self.bytes -= record.len(),
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
        let mut backlog = Backlog::default();
        for record in [&b"one"[..], b"two", b"three"] {
            backlog.push(record);
        }
        assert_eq!(backlog.bytes, 11);
        let order: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(order, [&b"one"[..], b"two", b"three"].map(Box::from));
        assert!(backlog.is_empty() && backlog.bytes == 0 && backlog.records.capacity() == 0);
    }
}
