//! Entries of the log: batches as they are kept.

use std::io;

use prost::Message;

use super::{Source, clock::unix_millis, readers::Added};
use crate::schema::Origin;

/// zstd's fastest level that is worth its time: the log is read once and cut.
const LEVEL: i32 = 1;

/// A batch on its way into the log.
pub(super) struct Entry {
    pub position: u64,
    /// As the log keeps it.
    pub bytes: Vec<u8>,
    /// Unix milliseconds.
    pub taken: u64,
}

/// The position of an entry, and the entry as the log keeps it.
pub(super) type Packed = (u64, Vec<u8>);

/// What the log keeps of a batch.
#[derive(Clone, PartialEq, Message)]
struct Kept {
    #[prost(string, tag = "1")]
    sensor_id: String,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(string, optional, tag = "3")]
    hostname: Option<String>,
    #[prost(string, optional, tag = "4")]
    kernel: Option<String>,
    /// So many events at the beginning of the batch were taken before.
    #[prost(uint64, tag = "5")]
    known: u64,
    /// The encoded `skep.v1.Batch`, zstd with a checksum.
    #[prost(bytes = "vec", tag = "6")]
    batch: Vec<u8>,
    /// When it was taken, Unix milliseconds; a log of before has none.
    #[prost(uint64, optional, tag = "7")]
    taken: Option<u64>,
}

/// Of [`Kept`], what can be read without copying the batch.
#[derive(Clone, PartialEq, Message)]
struct KeptTime {
    #[prost(uint64, optional, tag = "7")]
    taken: Option<u64>,
}

/// A batch as it comes back out of the log.
#[derive(Debug)]
pub(super) struct Logged {
    pub position: u64,
    pub origin: Origin,
    pub known: usize,
    /// The encoded `skep.v1.Batch`.
    pub batch: Vec<u8>,
}

/// An entry that cannot be read.
#[derive(Debug)]
pub(super) struct Damage {
    pub position: u64,
    /// Who sent it, as far as that can be read.
    pub source: Option<Source>,
    pub reason: String,
    /// As the log keeps it.
    pub bytes: Vec<u8>,
}

// === impl Entry ===

impl Entry {
    /// Compresses a batch; `known` events at its beginning were taken before.
    pub fn new(origin: &Origin, known: usize, batch: &[u8]) -> io::Result<Self> {
        let mut encoder = zstd::bulk::Compressor::new(LEVEL)?;
        encoder.include_checksum(true)?;
        let taken = unix_millis();
        let kept = Kept {
            sensor_id: origin.sensor_id.clone(),
            epoch: origin.epoch,
            hostname: origin.hostname.clone(),
            kernel: origin.kernel.clone(),
            known: known as u64,
            batch: encoder.compress(batch)?,
            taken: Some(taken),
        };
        Ok(Self {
            position: 0,
            bytes: kept.encode_to_vec(),
            taken,
        })
    }

    /// What the readers know of it.
    pub fn added(&self) -> Added {
        Added {
            position: self.position,
            bytes: self.bytes.len(),
            taken: self.taken,
        }
    }
}

// === impl Damage ===

impl From<Damage> for String {
    fn from(damage: Damage) -> Self {
        match damage.source {
            Some(source) => format!(
                "entry {} of the log (sensor {}, epoch {}): {}",
                damage.position, source.sensor_id, source.epoch, damage.reason
            ),
            None => format!("entry {} of the log: {}", damage.position, damage.reason),
        }
    }
}

/// An entry as it was before it was kept.
pub(super) fn unpack(position: u64, bytes: &[u8]) -> Result<Logged, Damage> {
    let damage = |source, reason: String| Damage {
        position,
        source,
        reason,
        bytes: bytes.to_vec(),
    };
    let kept = Kept::decode(bytes).map_err(|error| damage(None, error.to_string()))?;
    let source = Source {
        sensor_id: kept.sensor_id.clone(),
        epoch: kept.epoch,
    };
    let batch = zstd::bulk::decompress(&kept.batch, skep_proto::MAX_MESSAGE_BYTES);
    let batch = batch.map_err(|error| damage(Some(source.clone()), error.to_string()))?;
    let known = usize::try_from(kept.known).map_err(|_| {
        damage(
            Some(source),
            "it knows more events than there can be".to_owned(),
        )
    })?;
    Ok(Logged {
        position,
        origin: Origin {
            sensor_id: kept.sensor_id,
            epoch: kept.epoch,
            hostname: kept.hostname,
            kernel: kept.kernel,
        },
        known,
        batch,
    })
}

/// When an entry was taken, Unix milliseconds, if it says so.
pub(super) fn taken(bytes: &[u8]) -> Option<u64> {
    // What of it cannot be read is told where it is read.
    KeptTime::decode(bytes).ok()?.taken
}
