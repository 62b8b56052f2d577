//! Times, and ids of sessions.

use std::fmt;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::time_text;

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

/// A session: 128 bits derived from boot id, pid and start time of its root process, so that it is
/// the same after a restart of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

// === impl UnixNanos ===

impl Serialize for UnixNanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time_text(*self))
    }
}

// === impl SessionId ===

impl SessionId {
    /// The first 128 bits of SHA-256 over what names the root process, so that a restarted sensor
    /// derives the same id. The family is part of it because a process can execute one agent after
    /// another.
    pub fn derive(boot_id: &str, tgid: u32, start_ns: u64, family: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(boot_id)
            .chain_update(tgid.to_le_bytes())
            .chain_update(start_ns.to_le_bytes())
            .chain_update(family)
            .finalize();
        let mut id = [0; 16];
        id.copy_from_slice(digest.get(..16).expect("a SHA-256 digest has 32 bytes"));
        Self(id)
    }

    /// The form kernel maps carry: the first eight bytes, never one of the ids that
    /// are the sensor's own.
    pub fn kernel(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(skep_abi::SESSION_FIRST)
    }

    /// From the 32 lower-case hexadecimal digits that [`fmt::Display`] writes.
    pub fn parse(hex: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 32 || !hex.bytes().all(is_digit) {
            return None;
        }
        u128::from_str_radix(hex, 16)
            .ok()
            .map(|id| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
