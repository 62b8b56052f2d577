//! Decoding, as the first step of the chain: counts what is read, by kind, and what is malformed.

use skep_abi::{Header, Kind};

use super::{Body, Malformed, Record, decode, fixed};
use crate::step::{About, Step};

/// The state of this step.
pub struct Decode {
    /// Records read, by kind.
    read: [u64; Kind::ALL.len()],
    /// Records that do not follow the ABI.
    malformed: u64,
    /// Newest folding epoch that a record named since it was asked for.
    newest_epoch: Option<u32>,
    /// Where paths are put together.
    room: Vec<u8>,
}

impl Decode {
    /// `read`: records that were read before, by kind.
    pub fn after(read: [u64; Kind::ALL.len()]) -> Self {
        Self {
            read,
            malformed: 0,
            newest_epoch: None,
            room: Vec::new(),
        }
    }

    /// Takes the bytes of one record; nothing when they are none.
    pub fn record<'a>(&'a mut self, bytes: &'a [u8]) -> Option<Record<'a>> {
        let kind = fixed::<Header>(bytes).and_then(|header| Kind::from_u16(header.kind));
        if let Some(kind) = kind {
            self.read[kind as usize - 1] += 1;
        }
        match decode(bytes, &mut self.room) {
            Ok(record) => {
                if let Body::Open(open) = &record.body {
                    self.newest_epoch = self.newest_epoch.max(open.epoch);
                }
                Some(record)
            }
            Err(Malformed(reason)) => {
                if self.malformed == 0 {
                    tracing::error!(reason, len = bytes.len(), "a kernel record is malformed");
                }
                self.malformed += 1;
                None
            }
        }
    }

    /// Records read, of one kind.
    pub fn read(&self, kind: Kind) -> u64 {
        self.read[kind as usize - 1]
    }

    /// Records read, of all kinds.
    pub fn read_in_all(&self) -> u64 {
        self.read.iter().sum()
    }

    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// The newest folding epoch that a record named since the last time.
    pub fn take_newest_epoch(&mut self) -> Option<u32> {
        self.newest_epoch.take()
    }
}

impl Step for Decode {
    const ABOUT: About = About {
        name: "decode",
        module: "`decode/`",
        takes: "bytes of a record",
        passes_on: "typed records; what is missing becomes unknown",
        bound: || "one record".to_owned(),
        counters: &["records", "malformed"],
    };

    fn count(&self) -> Vec<u64> {
        vec![self.read_in_all(), self.malformed]
    }
}
