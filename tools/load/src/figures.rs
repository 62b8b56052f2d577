//! What is counted while a load runs.

use std::{
    collections::BTreeMap,
    fmt::Display,
    time::{Duration, Instant},
};

use crate::{batch::Batch, histogram::Histogram};

/// Counted while it runs.
#[derive(Debug, Default)]
pub struct Figures {
    pub latency: Histogram,
    pub batches: u64,
    pub raw_bytes: u64,
    pub frame_bytes: u64,
    pub connected: u64,
    pub most_connected: u64,
    pub ends: BTreeMap<String, u64>,
    /// What the collector must never do, in words.
    pub broken: Vec<String>,
    pub last_ack: Option<Instant>,
    /// When all were connected.
    pub begun: Option<Instant>,
}

// === impl Figures ===

impl Figures {
    pub fn sent(&mut self, batch: &Batch) {
        self.batches += 1;
        self.raw_bytes += batch.raw_bytes as u64;
        self.frame_bytes += batch.frame.len() as u64;
    }

    pub fn acked(&mut self, took: Duration) {
        self.latency.record(took);
        self.last_ack = Some(Instant::now());
    }

    pub fn connected(&mut self, by: i64) {
        self.connected = self.connected.saturating_add_signed(by);
        self.most_connected = self.most_connected.max(self.connected);
    }

    /// A connection ended; what it `said` when it `is_final`.
    pub fn ended(&mut self, kind: String, said: &impl Display, is_final: bool) {
        *self.ends.entry(kind).or_default() += 1;
        if is_final && self.broken.len() < 20 {
            self.broken.push(said.to_string());
        }
    }
}
