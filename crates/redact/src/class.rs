//! Classes of characters, as the notation of `rules/shapes.txt` names them.

/// Which characters a run is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Alphanumeric,
    Word,
    Name,
    Base64,
    LowerHex,
    Hex,
    Digit,
    Upper,
    Lower,
    Token,
    Segment,
    Signature,
    Query,
}

/// How many there are.
pub const CLASSES: usize = 13;

// === impl Class ===

impl Class {
    pub fn read(letter: u8) -> Option<Self> {
        Some(match letter {
            b'a' => Self::Alphanumeric,
            b'w' => Self::Word,
            b'n' => Self::Name,
            b'b' => Self::Base64,
            b'x' => Self::LowerHex,
            b'h' => Self::Hex,
            b'd' => Self::Digit,
            b'U' => Self::Upper,
            b'l' => Self::Lower,
            b't' => Self::Token,
            b'p' | b'c' => Self::Segment,
            b's' => Self::Signature,
            b'q' => Self::Query,
            _ => return None,
        })
    }

    pub fn has(self, byte: u8) -> bool {
        let more: &[u8] = match self {
            Self::LowerHex => return matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Hex => return byte.is_ascii_hexdigit(),
            Self::Digit => return byte.is_ascii_digit(),
            Self::Upper => return byte.is_ascii_digit() || byte.is_ascii_uppercase(),
            Self::Lower => return byte.is_ascii_digit() || byte.is_ascii_lowercase(),
            Self::Alphanumeric => b"",
            Self::Word => b"_-",
            Self::Name => b"_-.",
            Self::Base64 => b"+/=_-",
            Self::Token => b"._~+/=-",
            Self::Segment => b"_.~%@:+=-",
            Self::Signature => b"_.~%@:+=-&/",
            Self::Query => b"_.~%@:+=-&,;/?",
        };
        byte.is_ascii_alphanumeric() || more.contains(&byte)
    }

    /// A made-up run.
    #[cfg(test)]
    pub fn example(self, length: usize, seed: usize) -> String {
        let letters: &[u8] = match self {
            Self::LowerHex | Self::Hex => b"0a1b2c3d4e5f6978",
            Self::Digit => b"4829173650",
            Self::Upper => b"Q7W3E9R1T5Y2U8",
            Self::Lower => b"q7w3e9r1t5y2u8",
            _ => b"qZ7wX3eC9rV1tB5yN2u",
        };
        (0..length)
            .map(|at| letters[(at * 7 + seed) % letters.len()] as char)
            .collect()
    }
}
