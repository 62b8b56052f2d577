//! Times, and ids of sessions and boots.

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

/// A boot of the host, as `/proc/sys/kernel/random/boot_id` names it: a UUID (RFC 9562).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub [u8; 16]);

/// Places of the hyphens in the text of a UUID.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

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

// === impl BootId ===

impl BootId {
    /// From the 32 lower-case hexadecimal digits with four hyphens that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let is_right = |(at, byte): (usize, u8)| match byte {
            b'-' => HYPHENS.contains(&at),
            b'0'..=b'9' | b'a'..=b'f' => !HYPHENS.contains(&at),
            _ => false,
        };
        if text.len() != 36 || !text.bytes().enumerate().all(is_right) {
            return None;
        }
        let digits: String = text.chars().filter(|digit| *digit != '-').collect();
        u128::from_str_radix(&digits, 16)
            .ok()
            .map(|id| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_boot_id_is_the_text_of_the_kernel() {
        let text = "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001";
        assert_eq!(BootId::parse(text).unwrap().to_string(), text);
        for other in [
            "",
            "0e3a2f6e5c1b4d2a9a550d5d3ef0a001",
            "0E3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001",
            "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001\n",
            "0e3a2f6e-5c1b-4d2a-9a550-d5d3ef0a001",
            "+e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001",
        ] {
            assert_eq!(BootId::parse(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn a_boot_id_comes_back_from_its_text(id in any::<[u8; 16]>(), text in ".{0,40}") {
            prop_assert_eq!(BootId::parse(&BootId(id).to_string()), Some(BootId(id)));
            if let Some(id) = BootId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
