//! Where quotes, substitutions and here-documents of shell text end.
//!
//! Each function reads forward once and keeps what is open on a stack; `None`: it does not close.

use std::ops::Range;

/// What is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Parenthesis,
    Brace,
    Double,
    Backquote,
}

/// Bytes that an escape stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escaped {
    bytes: [u8; 4],
    length: usize,
}

/// The word that ends a here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiter {
    word: Vec<u8>,
    /// `<<-`: tabs in front of it do not count.
    tabs: bool,
}

/// The closing `"` of what begins at `at`.
pub fn double(text: &[u8], at: usize) -> Option<usize> {
    // Substitutions have quotes of their own; where they do not close, quotes are just paired.
    nested(text, at, Open::Double)
        .map(|end| end - 1)
        .or_else(|| {
            let mut at = at;
            while at < text.len() {
                match text[at] {
                    b'"' => return Some(at),
                    b'\\' => at += 2,
                    _ => at += 1,
                }
            }
            None
        })
}

/// The end of `$(…)`, `${…}`, `` `…` `` or `<(…)` that begins at `at`.
pub fn substitution(text: &[u8], at: usize) -> Option<usize> {
    match &text[at..] {
        [b'`', ..] => nested(text, at + 1, Open::Backquote),
        [b'$', b'{', ..] => nested(text, at + 2, Open::Brace),
        [_, b'(', ..] => nested(text, at + 2, Open::Parenthesis),
        _ => None,
    }
}

/// What is open, the innermost last, and how many of some kinds.
struct Stack {
    open: Vec<Open>,
    doubles: usize,
    backquotes: usize,
}

impl Stack {
    fn of(first: Open) -> Self {
        let mut stack = Self {
            open: Vec::new(),
            doubles: 0,
            backquotes: 0,
        };
        stack.push(first);
        stack
    }

    fn push(&mut self, open: Open) {
        self.doubles += usize::from(open == Open::Double);
        self.backquotes += usize::from(open == Open::Backquote);
        self.open.push(open);
    }

    fn pop(&mut self) -> Option<Open> {
        let open = self.open.pop()?;
        self.doubles -= usize::from(open == Open::Double);
        self.backquotes -= usize::from(open == Open::Backquote);
        Some(open)
    }
}

/// Where `first` closes, whose content begins at `at`.
fn nested(text: &[u8], mut at: usize, first: Open) -> Option<usize> {
    let mut stack = Stack::of(first);
    let mut pending: Vec<Delimiter> = Vec::new();
    while let Some(&innermost) = stack.open.last() {
        let rest = text.get(at..)?;
        let in_quotes =
            innermost == Open::Double || (innermost == Open::Brace && stack.doubles > 0);
        match rest {
            [] => return None,
            [b'\\', ..] => at += 2,
            [b'$', b'(', ..] => {
                stack.push(Open::Parenthesis);
                at += 2;
            }
            [b'$', b'{', ..] => {
                stack.push(Open::Brace);
                at += 2;
            }
            [b'`', ..] => {
                // Those inside one another are escaped: an open one closes here.
                if stack.backquotes > 0 {
                    while stack.pop().is_some_and(|open| open != Open::Backquote) {}
                } else {
                    stack.push(Open::Backquote);
                }
                at += 1;
            }
            [b'"', ..] => {
                match innermost {
                    Open::Double => drop(stack.pop()),
                    _ => stack.push(Open::Double),
                }
                at += 1;
            }
            [byte, ..] if in_quotes && !(*byte == b'}' && innermost == Open::Brace) => at += 1,
            [b'$', b'\'', ..] => at = ansi(text, at + 2)? + 1,
            [b'\'', rest @ ..] => at += 2 + memchr::memchr(b'\'', rest)?,
            [b'(', ..] if innermost == Open::Parenthesis => {
                stack.push(Open::Parenthesis);
                at += 1;
            }
            [b')', ..] if innermost == Open::Parenthesis => {
                stack.pop();
                at += 1;
            }
            [b'}', ..] if innermost == Open::Brace => {
                stack.pop();
                at += 1;
            }
            [b'<', b'<', b'<', ..] => at += 3,
            [b'<', b'<', ..] => match Delimiter::read(text, at) {
                Some((delimiter, end)) => {
                    pending.push(delimiter);
                    at = end;
                }
                None => at += 2,
            },
            [b'\n', ..] => {
                at += 1;
                for delimiter in std::mem::take(&mut pending) {
                    at = delimiter.body(text, at).1;
                }
            }
            [b'#', ..] if at > 0 && text[at - 1].is_ascii_whitespace() => {
                at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            }
            _ => at += 1,
        }
    }
    Some(at)
}

/// The closing `'` of `$'…'` whose content begins at `at`.
pub fn ansi(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let next = at + memchr::memchr2(b'\'', b'\\', text.get(at..)?)?;
        match text[next] {
            b'\'' => return Some(next),
            _ => at = next + 2,
        }
    }
}

/// What an escape in `$'…'` stands for, and its length. `rest` begins with the backslash.
pub fn ansi_escape(rest: &[u8]) -> (Escaped, usize) {
    let number = |from: usize, most: usize, radix: u32| {
        let digits = rest[from..]
            .iter()
            .take(most)
            .map_while(|b| char::from(*b).to_digit(radix));
        let mut length = from;
        let value = digits.fold(0u32, |value, digit| {
            length += 1;
            value * radix + digit
        });
        (value, length)
    };
    let byte = |value: u32| (value & 0xff) as u8;
    match rest.get(1) {
        None => (Escaped::of(b"\\"), 1),
        Some(b'x') => match number(2, 2, 16) {
            (_, 2) => (Escaped::of(b"x"), 2),
            (value, length) => (Escaped::of(&[byte(value)]), length),
        },
        Some(b'0'..=b'7') => {
            let (value, length) = number(1, 3, 8);
            (Escaped::of(&[byte(value)]), length)
        }
        Some(letter @ (b'u' | b'U')) => {
            let most = if *letter == b'u' { 4 } else { 8 };
            let (value, length) = number(2, most, 16);
            let mut room = [0; 4];
            let character = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
            (
                Escaped::of(character.encode_utf8(&mut room).as_bytes()),
                length,
            )
        }
        Some(b'c') if rest.len() > 2 => (Escaped::of(&[rest[2] & 0x1f]), 3),
        Some(letter) => {
            let stands_for = match letter {
                b'a' => 7,
                b'b' => 8,
                b'e' | b'E' => 27,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                other => *other,
            };
            (Escaped::of(&[stands_for]), 2)
        }
    }
}

// === impl Escaped ===

impl Escaped {
    fn of(of: &[u8]) -> Self {
        let mut bytes = [0; 4];
        let length = of.len().min(4);
        bytes[..length].copy_from_slice(&of[..length]);
        Self { bytes, length }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

// === impl Delimiter ===

impl Delimiter {
    /// Reads `<<WORD` or `<<-WORD` at `at`; its end.
    pub fn read(text: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut at = at + 2;
        let tabs = text.get(at) == Some(&b'-');
        at += usize::from(tabs);
        at += text[at..].iter().take_while(|b| **b == b' ').count();
        let first = text.get(at)?;
        if !first.is_ascii_alphabetic() && !b"_'\"\\".contains(first) {
            return None;
        }
        let rest = &text[at..];
        let (word, length) = match first {
            quote @ (b'\'' | b'"') => {
                let length = memchr::memchr2(*quote, b'\n', &rest[1..])?;
                (rest[1..=length].to_vec(), length + 2)
            }
            _ => {
                let length = rest
                    .iter()
                    .take_while(|b| !b.is_ascii_whitespace() && !b";|&<>()".contains(b))
                    .count();
                let word = rest[..length].iter().filter(|b| !b"\\\"'".contains(b));
                (word.copied().collect(), length)
            }
        };
        (!word.is_empty()).then_some((Self { word, tabs }, at + length))
    }

    /// The body that begins at `at`, and where the line of the delimiter ends. Without one the body is
    /// the rest of the text.
    pub fn body(&self, text: &[u8], at: usize) -> (Range<usize>, usize) {
        let mut line = at;
        while line < text.len() {
            let rest = &text[line..];
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let mut content = &rest[..length];
            if self.tabs {
                let tabs = content.iter().take_while(|b| **b == b'\t').count();
                content = &content[tabs..];
            }
            if content == self.word {
                return (at..line, line + length);
            }
            line += length + 1;
        }
        let at = at.min(text.len());
        (at..text.len(), text.len())
    }
}
