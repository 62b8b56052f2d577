//! Environment variables that are switches: whether they are on at an exec is looked up in the kernel.
//!
//! The table is a read-only global of the kernel programs, set before load. A variable is on when it has a
//! value other than nothing, `0` and `false` (as Bun 1.3 reads its own). Of the environment nothing else is
//! looked at, and nothing is kept.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words of a name with its `=`.
const WORDS: usize = 4;
/// Most bytes of a name with its `=`.
pub const SWITCH_NAME_MAX: usize = 8 * WORDS;
/// Most switches.
pub const SWITCHES_MAX: usize = 4;

/// The table; [`Exec::switches`](crate::Exec::switches) has a bit for each.
pub type Switches = [Switch; SWITCHES_MAX];

/// The name of one, in words, so that the beginning of a variable is compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Switch {
    pub name: [u64; WORDS],
    /// Which bits of the name count.
    pub mask: [u64; WORDS],
    /// Bytes of the name with its `=`; 0: there is no such switch.
    pub len: u64,
}

impl Switch {
    pub const NONE: Switch = Switch {
        name: [0; WORDS],
        mask: [0; WORDS],
        len: 0,
    };

    /// `None`: the name is empty, too long, or holds what no name of a variable does.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; SWITCH_NAME_MAX];
        let mut mask = [0; SWITCH_NAME_MAX];
        let len = name.len() + 1;
        if name.is_empty() || name.bytes().any(|byte| matches!(byte, b'=' | 0)) {
            return None;
        }
        bytes
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        *bytes.get_mut(name.len())? = b'=';
        mask.get_mut(..len)?.fill(0xff);
        Some(Self {
            name: words(&bytes),
            mask: words(&mask),
            len: len as u64,
        })
    }
}

fn words(bytes: &[u8; SWITCH_NAME_MAX]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut of_word = [0; 8];
        of_word.copy_from_slice(bytes);
        *word = u64::from_ne_bytes(of_word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_compared_with_its_sign_and_no_further() {
        let switch = Switch::new("BUN_BE_BUN").unwrap();
        assert_eq!(switch.len, 11);
        assert_eq!(switch.name[0].to_ne_bytes(), *b"BUN_BE_B");
        assert_eq!(switch.name[1].to_ne_bytes(), *b"UN=\0\0\0\0\0");
        assert_eq!(switch.mask[1].to_ne_bytes(), [255, 255, 255, 0, 0, 0, 0, 0]);
        assert_eq!(switch.mask[2], 0);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["", "A=B", "A\0", "A_NAME_THAT_IS_FAR_TOO_LONG_FOR_IT"] {
            assert_eq!(Switch::new(name), None, "{name}");
        }
        assert!(Switch::new("A_NAME_OF_EXACTLY_31_BYTES_LONG").is_some());
    }
}
