//! What the collector counts of itself; queryable as the table `counters`.
//!
//! Invariant: a counter only grows, and starts at 0 with the process.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter),*
        }

        impl Counters {
            /// Name and value of each, in a fixed order.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get())),*]
            }
        }
    };
}

counters! {
    /// Streams that said `Hello` and were welcomed.
    streams,
    /// Events taken for the first time.
    events,
    /// Events of the collector's own.
    own_events,
    /// Events that had been taken before.
    duplicates,
    /// Streams and connections that were refused, by code.
    refused_malformed,
    refused_sequence_gap,
    refused_wrong_epoch,
    refused_too_large,
    refused_internal,
    refused_superseded,
    /// Streams whose peer did not read its answers, or did not finish a message, in time.
    streams_slow,
    /// Connections that did not speak HTTP/2.
    refused_not_http2,
    /// Batches taken.
    batches,
    /// Times that rows were moved from the log into the tables, how many, and how long it took.
    flushes,
    rows_flushed,
    flush_micros,
    /// Files written into the tables, and their bytes; those of merges are counted, too.
    files_written,
    bytes_written,
    /// Small files that became part of larger ones, their rows, and how long it took.
    files_merged,
    rows_merged,
    merge_micros,
    /// Files and rows that left the tables since they were too old, or the tables too large.
    files_expired,
    rows_expired,
    /// Files deleted some time after they left their table.
    files_deleted,
    /// Times that was looked for files and rows to expire, and for files to delete.
    expire_runs,
    vacuum_runs,
    /// Attempts to write the log or a table that failed; nothing is lost by them.
    write_failures,
    /// Stored files set aside as damaged, and the rows in them.
    files_damaged,
    rows_damaged,
    /// Entries of the log that could not be read.
    entries_damaged,
    /// Entries of the log that were cut before a reader other than the tables had read them.
    reader_entries_missed,
    /// Queries answered to the end.
    queries,
    /// Queries refused, failed or stopped at a limit.
    queries_failed,
}

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
