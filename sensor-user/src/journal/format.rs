//! Format of the journal's file: its header, its bounds, and what a reading of it gives.

use crate::track::kept::Kept;

/// A longer file is never written, and not read.
pub const MAX_BYTES: u64 = 8 << 20;

pub const MAGIC: [u8; 8] = *b"SKEPJNL1";
/// What every version of the format begins with; its last byte is the version.
pub const ANY_VERSION: &[u8] = MAGIC.split_at(7).0;
/// Magic, boot (16), begun (8), CRC of these (4); at 40 the heartbeat (8) and its CRC (4).
pub const HEADER: usize = 64;
pub const BOOT_AT: usize = 8;
pub const BEGUN_AT: usize = 24;
pub const HEADER_CRC_AT: usize = 32;
pub const HEARTBEAT_AT: usize = 40;
pub const FRAME: usize = 8;

/// What the journal of an earlier life of the sensor held.
#[derive(Debug, Default)]
pub struct Found {
    /// `None` when there was none of this boot.
    pub kept: Option<Kept>,
    /// What was wrong with it.
    pub damage: Option<String>,
}
