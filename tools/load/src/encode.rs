//! Events written straight into bytes.
//!
//! The numbers of fields are those of `proto/skep/v1/skep.proto` ([`skep_proto::tag`]); the test `simulate::tests::
//! events_are_the_bytes_that_prost_makes` holds them to it. Fields are written in the order of their
//! numbers, zeros of proto3 are left out, so the bytes are those that a sensor sends.

/// Bytes of one message, field after field.
#[derive(Clone, Debug, Default)]
pub struct Fields(pub Vec<u8>);

/// Wire types of protobuf.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;

pub fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The number at the beginning, and what follows it; `None` when it has no end.
pub fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

impl Fields {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn tag(&mut self, field: u32, wire: u32) {
        put_varint(&mut self.0, u64::from(field << 3 | wire));
    }

    /// A field that is written whatever its value (`optional`).
    pub fn number(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        put_varint(&mut self.0, value);
    }

    /// A field whose zero is not written.
    pub fn plain(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.number(field, value);
        }
    }

    pub fn flag(&mut self, field: u32, value: bool) {
        self.plain(field, u64::from(value));
    }

    pub fn signed(&mut self, field: u32, value: i32) {
        let zigzag = (value << 1) ^ (value >> 31);
        self.number(field, u64::from(zigzag.cast_unsigned()));
    }

    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn text(&mut self, field: u32, text: &str) {
        self.message(field, text.as_bytes());
    }

    /// One text of several parts; returns its length.
    pub fn joined(&mut self, field: u32, parts: &[&str]) -> usize {
        let len = parts.iter().map(|part| part.len()).sum();
        self.tag(field, LENGTH);
        put_varint(&mut self.0, len as u64);
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
        len
    }

    pub fn message(&mut self, field: u32, message: &[u8]) {
        self.tag(field, LENGTH);
        put_varint(&mut self.0, message.len() as u64);
        self.0.extend_from_slice(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_comes_back_and_one_without_an_end_does_not() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            bytes.push(7);
            assert_eq!(take_varint(&bytes), Some((number, &[7][..])));
        }
        assert_eq!(take_varint(&[0x80, 0x80]), None);
        assert_eq!(take_varint(&[0xff; 11]), None);
    }
}
