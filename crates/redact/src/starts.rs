//! Words that only count where a word of a command begins: programs, sub-commands, options.
//!
//! At the beginning of a word its first four bytes are looked up in a set of bits, and then those with
//! its length; few words get further.

/// Bits of a set.
const BITS: usize = 1 << 14;

/// The first four letters and digits of a word, fewer of a shorter one.
type Key = u32;

/// Literals by what they begin with.
#[derive(Debug)]
pub struct Starts<T> {
    beginnings: Set,
    /// With the length of the first run of letters and digits.
    runs: Set,
    /// By key, and then as they were added.
    entries: Vec<(Key, T)>,
}

#[derive(Debug)]
struct Set(Box<[u64; BITS / 64]>);

static IS_LETTER: [bool; 256] = {
    let mut letters = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        letters[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    letters
};

/// What words of a command stand behind.
static ENDS_WORD: [bool; 256] = {
    let mut ends = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        ends[byte] = (byte as u8).is_ascii_whitespace()
            || matches!(byte as u8, b'/' | b'\'' | b'"' | b'`' | b'(' | b'{' | b'=')
            || matches!(byte as u8, b'|' | b';' | b'&' | b'<');
        byte += 1;
    }
    ends
};

fn is_letter(byte: u8) -> bool {
    IS_LETTER[usize::from(byte)]
}

// === impl Set ===

impl Set {
    fn new() -> Self {
        Self(Box::new([0; BITS / 64]))
    }

    fn add(&mut self, key: u32) {
        let bit = Self::bit(key);
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    #[inline(always)]
    fn has(&self, key: u32) -> bool {
        let bit = Self::bit(key);
        self.0[bit / 64] & 1 << (bit % 64) != 0
    }

    #[inline(always)]
    fn bit(key: u32) -> usize {
        (key.wrapping_mul(0x9e37_79b1) >> (32 - BITS.trailing_zeros())) as usize
    }
}

// === impl Starts ===

impl<T> Starts<T> {
    /// Literals that begin with a letter or a digit.
    pub fn of(literals: impl Iterator<Item = (&'static [u8], T)>) -> Self {
        let mut starts = Self {
            beginnings: Set::new(),
            runs: Set::new(),
            entries: Vec::new(),
        };
        for (text, of) in literals {
            let key = key(text);
            starts.beginnings.add(key);
            starts.runs.add(with_length(key, text));
            starts.entries.push((key, of));
        }
        starts.entries.sort_by_key(|(key, _)| *key);
        starts
    }

    /// Calls `each` for what an argument without blanks may be, with where: the whole of it, without dashes,
    /// or the last part of a path.
    pub fn argument(&self, text: &[u8], mut each: impl FnMut(&T, usize)) {
        let dashes = text.iter().take_while(|b| **b == b'-').count();
        self.at(text, dashes, &mut each);
        if let Some(slash) = memchr::memrchr(b'/', text) {
            self.at(text, slash + 1, &mut each);
        }
    }

    /// Calls `each` for what the words of a text may be, with where.
    pub fn words(&self, text: &[u8], mut each: impl FnMut(&T, usize)) {
        self.word(text, 0, &mut each);
        let mut at = 0;
        while let Some(next) = text[at..].iter().position(|b| ENDS_WORD[usize::from(*b)]) {
            at += next + 1;
            self.word(text, at, &mut each);
        }
    }

    #[inline(always)]
    fn word(&self, text: &[u8], at: usize, each: &mut impl FnMut(&T, usize)) {
        match text.get(at..) {
            Some([first, ..]) if is_letter(*first) => self.at(text, at, each),
            Some(rest @ [b'-' | b'\\', ..]) => {
                let signs = rest.iter().take_while(|b| b"-\\".contains(b)).count();
                self.at(text, at + signs, each);
            }
            _ => {}
        }
    }

    #[inline(always)]
    fn at(&self, text: &[u8], at: usize, each: &mut impl FnMut(&T, usize)) {
        let rest = &text[at..];
        let key = key(rest);
        if self.beginnings.has(key) && self.runs.has(with_length(key, rest)) {
            self.entries(key, at, each);
        }
    }

    #[cold]
    fn entries(&self, key: Key, at: usize, each: &mut impl FnMut(&T, usize)) {
        let from = self.entries.partition_point(|(other, _)| *other < key);
        let same = self.entries[from..]
            .iter()
            .take_while(|(other, _)| *other == key);
        for (_, of) in same {
            each(of, at);
        }
    }
}

#[inline(always)]
fn key(word: &[u8]) -> Key {
    match word {
        [a, b, c, d, ..] if is_letter(*b) && is_letter(*c) && is_letter(*d) => {
            Key::from_le_bytes([*a, *b, *c, *d])
        }
        [a, b, c, ..] if is_letter(*b) && is_letter(*c) => Key::from_le_bytes([*a, *b, *c, 0]),
        [a, b, ..] if is_letter(*b) => Key::from_le_bytes([*a, *b, 0, 0]),
        [a, ..] => Key::from_le_bytes([*a, 0, 0, 0]),
        [] => 0,
    }
}

/// A key with the length of the word's first run of letters and digits.
fn with_length(key: Key, word: &[u8]) -> u32 {
    let length = word.iter().take(32).take_while(|b| is_letter(**b)).count();
    key ^ (length as u32).wrapping_mul(0x0100_0193)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts() -> Starts<u8> {
        let literals: [(&[u8], u8); 4] =
            [(b"mysql", 1), (b"su", 2), (b"redis-cli", 3), (b"login", 4)];
        Starts::of(literals.into_iter())
    }

    #[test]
    fn a_literal_may_stand_where_a_word_begins() {
        let find = |text: &str| {
            let mut found = Vec::new();
            starts().words(text.as_bytes(), |of, at| found.push((*of, at)));
            found
        };
        assert_eq!(find("a mysql -p"), [(1, 2)]);
        assert_eq!(find("/bin/mysql x"), [(1, 5)]);
        assert_eq!(find("amysql"), []);
        assert_eq!(find("x --login"), [(4, 4)]);
        assert_eq!(find("sudo su"), [(2, 5)]);
        assert_eq!(find("redis-cli"), [(3, 0)]);
        assert_eq!(find("'su'"), [(2, 1)]);
        assert_eq!(find(""), []);
    }

    #[test]
    fn an_argument_is_a_program_or_the_path_of_one() {
        let find = |text: &str| {
            let mut found = Vec::new();
            starts().argument(text.as_bytes(), |of, at| found.push((*of, at)));
            found
        };
        assert_eq!(find("mysql"), [(1, 0)]);
        assert_eq!(find("/usr/bin/su"), [(2, 9)]);
        assert_eq!(find("--login"), [(4, 2)]);
        assert_eq!(find("x"), []);
        assert_eq!(find("a/"), []);
        assert_eq!(find(""), []);
    }
}
