//! Tokens of code, as far as finding what it loads needs them.

use super::TOKENS_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a [u8]),
    /// A string and its value; `None` when that is not known before the code runs.
    Text(Option<Vec<u8>>),
    Sign(u8),
    /// The end of a line, where that ends a statement.
    End,
    /// A number, a regular expression: something that is neither of the others.
    Other,
}

/// The tokens of a piece of code.
#[derive(Debug, Default)]
pub(super) struct Tokens<'a> {
    pub all: Vec<Token<'a>>,
    /// Something in it was not understood, or there were too many.
    pub is_odd: bool,
}

// === impl Tokens ===

impl<'a> Tokens<'a> {
    pub(super) fn push(&mut self, token: Token<'a>) {
        if self.all.len() < TOKENS_MAX {
            self.all.push(token);
        } else {
            self.is_odd = true;
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&Token<'a>> {
        self.all.get(at)
    }

    pub(super) fn word(&self, at: usize) -> Option<&'a [u8]> {
        match self.all.get(at)? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn is_sign(&self, at: usize, sign: u8) -> bool {
        self.get(at) == Some(&Token::Sign(sign))
    }

    /// Whether a dot stands before the token.
    pub(super) fn is_member(&self, at: usize) -> bool {
        at > 0 && self.is_sign(at - 1, b'.')
    }

    /// The word before the dot before the token.
    pub(super) fn owner(&self, at: usize) -> Option<&'a [u8]> {
        self.is_member(at).then(|| self.word(at.checked_sub(2)?))?
    }

    /// The first argument of a call whose bracket is at `at`: a string with a known value and nothing joined
    /// to it.
    pub(super) fn literal_argument(&self, at: usize) -> Option<&[u8]> {
        let Some(Token::Text(Some(text))) = self.get(at + 1) else {
            return None;
        };
        let ends = self.is_sign(at + 2, b')') || self.is_sign(at + 2, b',');
        (self.is_sign(at, b'(') && ends).then_some(text)
    }

    /// Where the bracket that `at` opens is closed.
    pub(super) fn closing(&self, at: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (index, token) in self.all.iter().enumerate().skip(at) {
            match token {
                Token::Sign(b'(' | b'[' | b'{') => depth += 1,
                Token::Sign(b')' | b']' | b'}') => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(index);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

/// The end of a word that begins at `at`.
pub(super) fn word_end(code: &[u8], at: usize) -> usize {
    let rest = code.get(at..).unwrap_or_default();
    let len = rest.iter().position(|byte| !is_word(*byte));
    at + len.unwrap_or(rest.len())
}

/// The end of the line that `at` is in.
pub(super) fn line_end(code: &[u8], at: usize) -> usize {
    let rest = code.get(at..).unwrap_or_default();
    at + memchr::memchr(b'\n', rest).unwrap_or(rest.len())
}

/// Appends the character with this number, as UTF-8.
pub(super) fn push_character(value: &mut Vec<u8>, number: u32) {
    let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
    value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The number that `digits` hexadecimal digits at `at` make.
pub(super) fn hexadecimal(code: &[u8], at: usize, digits: usize) -> Option<u32> {
    let text = std::str::from_utf8(code.get(at..at.checked_add(digits)?)?).ok()?;
    text.bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then_some(())?;
    u32::from_str_radix(text, 16).ok()
}
