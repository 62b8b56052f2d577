//! Between what the values of the configuration may be.

use std::ops::RangeInclusive;

/// Bounds of the kernel's ring buffer, bytes; a power of two, at least a page.
pub const RING_BYTES: RangeInclusive<u32> = 4096..=64 << 20;

/// Bounds of the memory the sensor may take, bytes. It takes about 15 MiB with nothing to do, and five
/// eighths of the memory are what its tables and its backlog may hold: less than the least would not do.
pub const MEMORY_BYTES: RangeInclusive<u64> = 48 << 20..=1 << 30;

/// Bounds of the spool, bytes.
pub const SPOOL_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// Least share of the findings, bytes; they take half of the spool at most.
pub const FINDINGS_BYTES: u64 = 128 << 10;

/// Bounds of the time between two self-tests of the hooks, seconds.
pub const LIVENESS_SECONDS: RangeInclusive<u64> = 0..=3600;

/// Bounds of what one question to the inspector may cost. A program that is not judged in time is no agent to
/// the kernel side, so the least is what an ordinary judgement takes on a busy machine.
pub const QUESTION_MILLISECONDS: RangeInclusive<u64> = 100..=60_000;
pub const QUESTION_BYTES: RangeInclusive<u64> = 16 << 20..=1 << 40;
pub const QUESTION_ENTRIES: RangeInclusive<u64> = 1000..=100_000_000;

/// Longest socket path: `sun_path` of unix(7) less the suffix of the name it is created under.
pub(super) const MAX_SOCKET_PATH: usize = 100;
