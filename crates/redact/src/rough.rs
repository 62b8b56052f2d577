//! Which kinds of rules may find something in a text.

use std::ops::BitOr;

/// Which rules may find something in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rough(u16);

// === impl Rough ===

impl Rough {
    pub const URL: Self = Self(1);
    pub const NAME: Self = Self(1 << 1);
    pub const PROGRAM: Self = Self(1 << 2);
    /// A program that reads a password, and something that it may be read from.
    pub const INPUT: Self = Self(1 << 3);
    pub const CLAUSE: Self = Self(1 << 4);
    /// `user:password@host`
    pub const AT: Self = Self(1 << 5);
    pub const BEARER: Self = Self(1 << 6);
    pub const PRIVATE_KEY: Self = Self(1 << 7);
    pub const SHAPE: Self = Self(1 << 8);
    /// Quotes inside a word: what it is without them is to be seen.
    pub const SPLICED: Self = Self(1 << 9);

    /// A function that takes a password by its place.
    pub const CALL: Self = Self(1 << 10);
    /// A script of expect(1).
    pub const DIALOGUE: Self = Self(1 << 11);
    /// A manifest of a Kubernetes secret.
    pub const MANIFEST: Self = Self(1 << 12);
    /// `value`, which a name beside it may say something of; nothing by itself.
    pub const PAIR: Self = Self(1 << 13);

    pub fn nothing(self) -> bool {
        self.0 & !Self::PAIR.0 == 0
    }

    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether reading the text as a command line may find something.
    pub fn as_command(self) -> bool {
        self.has(Self::NAME | Self::PROGRAM | Self::INPUT | Self::CLAUSE | Self::AT | Self::SPLICED)
            || self.has(Self::CALL | Self::DIALOGUE | Self::MANIFEST)
    }
}

impl BitOr for Rough {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
