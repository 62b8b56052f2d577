//! Text from the kernel, and its escaped form.

use std::fmt;

use serde::{Serialize, Serializer};

/// Bytes from the kernel (paths, arguments, names), not necessarily UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text(pub Box<[u8]>);

// === impl Text ===

impl Text {
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Valid UTF-8 from which [`Text::unescape`] gives the same bytes back: a byte that is not part
    /// of valid UTF-8 becomes `\xNN`, a backslash `\\`, a control character (below 0x20, 0x7f)
    /// `\xNN` too.
    pub fn escaped(&self) -> String {
        let is_special = |c: char| c == '\\' || c.is_ascii_control();
        let mut out = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some((at, special)) = rest.match_indices(is_special).next() {
                out.push_str(&rest[..at]);
                match special {
                    "\\" => out.push_str("\\\\"),
                    control => control.bytes().for_each(|byte| push_hex(&mut out, byte)),
                }
                rest = &rest[at + special.len()..];
            }
            out.push_str(rest);
            for byte in chunk.invalid() {
                push_hex(&mut out, *byte);
            }
        }
        out
    }

    /// Turns the escaped form back; `None` when the text is not one.
    pub fn unescape(escaped: &str) -> Option<Self> {
        let mut out = Vec::with_capacity(escaped.len());
        let mut rest = escaped.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte != b'\\' {
                out.push(byte);
                continue;
            }
            match rest {
                [b'\\', tail @ ..] => {
                    out.push(b'\\');
                    rest = tail;
                }
                [b'x', high, low, tail @ ..] => {
                    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
                    out.push(digit(*high)? << 4 | digit(*low)?);
                    rest = tail;
                }
                _ => return None,
            }
        }
        Some(Self(out.into()))
    }
}

fn push_hex(out: &mut String, byte: u8) {
    use fmt::Write;
    // Writing to a `String` does not fail.
    let _ = write!(out, "\\x{byte:02x}");
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escaped())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.escaped())
    }
}
