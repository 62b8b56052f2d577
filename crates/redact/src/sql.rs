//! Passwords in statements of SQL and other query languages: `rules/sql.txt`, matched word by word.

use std::{ops::Range, sync::OnceLock};

use crate::{
    rules::PASSWORD,
    span::{Spans, is_placeholder},
    table,
    value::is_reference,
    work::Work,
};

/// A clause: words, then the value.
#[derive(Debug)]
struct Clause {
    words: Vec<&'static [u8]>,
    /// The value may be bare.
    bare: bool,
}

fn clauses() -> &'static [Clause] {
    static CLAUSES: OnceLock<Vec<Clause>> = OnceLock::new();
    CLAUSES.get_or_init(|| {
        let mut clauses: Vec<Clause> = table::rows::<3>(table::SQL)
            .map(|[_, clause, _]| {
                let mut words: Vec<&[u8]> = clause.split(' ').map(str::as_bytes).collect();
                let bare = words.pop() == Some(b"x");
                Clause { words, bare }
            })
            .collect();
        // `identified by password 'x'` before `identified by x`.
        clauses.sort_by_key(|clause| usize::MAX - clause.words.len());
        clauses
    })
}

/// What must occur in a text, letter case ignored, before [`find`] is worth its cost: the first word of
/// each clause.
pub fn triggers() -> impl Iterator<Item = &'static [u8]> {
    clauses()
        .iter()
        .filter_map(|clause| clause.words.first().copied())
        .filter(|word| *word != b"set")
}

/// Marks what follows a clause.
pub fn find(text: &[u8], spans: &mut Spans, work: &mut Work) {
    let mut at = 0;
    while at < text.len() {
        if !is_word(&text[at]) {
            at += 1;
            continue;
        }
        let end = at + text[at..].iter().take_while(|b| is_word(b)).count();
        let first = &text[at..end];
        // `--password "…"` is an option.
        let of_word = at > 0
            && b"-/.".contains(&text[at - 1])
            // `ConvertTo-SecureString`
            && !first.eq_ignore_ascii_case(b"securestring");
        let found = clauses()
            .iter()
            .filter(|_| !of_word)
            .filter(|clause| clause.words[0].eq_ignore_ascii_case(first))
            .find_map(|clause| clause.values(text, end));
        match found {
            Some(values) => {
                for value in values.into_iter().flatten() {
                    at = value.end;
                    let secret = &text[value.clone()];
                    let content = secret.iter().any(|b| !b"'\"\\`$".contains(b));
                    if content && !is_placeholder(secret) && !is_reference(secret) {
                        spans.add(value, PASSWORD);
                    }
                }
            }
            None => at = end,
        }
    }
    work.spend(text.len() as u64 * 2);
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

// === impl Clause ===

impl Clause {
    /// The values, when the other words stand from `at` on; one of them may be in front of the last.
    fn values(&self, text: &[u8], mut at: usize) -> Option<[Option<Range<usize>>; 2]> {
        let mut first = None;
        for word in &self.words[1..] {
            let space = between(text, at);
            if *word == b"X" {
                let (value, end) = self.value(text, at)?;
                (first, at) = (Some(value), end);
                continue;
            }
            let rest = &text[at + space..];
            let length = match *word {
                b"_" => rest
                    .iter()
                    .take(64)
                    .take_while(|b| !b.is_ascii_whitespace() && !b"=\\".contains(b))
                    .count(),
                word => rest
                    .iter()
                    .take(word.len() + 1)
                    .take_while(|b| is_word(b))
                    .count(),
            };
            let same = *word == b"_" || rest[..length].eq_ignore_ascii_case(word);
            if space == 0 || length == 0 || !same {
                return None;
            }
            at += space + length;
        }
        let (value, _) = self.value(text, at)?;
        Some([first, Some(value)])
    }

    /// The value that stands at `at`, and where its quotes end.
    fn value(&self, text: &[u8], mut at: usize) -> Option<(Range<usize>, usize)> {
        let space = between(text, at);
        at += space;
        let rest = &text[at..];
        // `"password":"…"` is no clause.
        if space == 0 {
            return None;
        }
        let (open, close): (usize, &[u8]) = match rest {
            [b'N' | b'n' | b'E' | b'e', b'\'', ..] => (2, b"'"),
            [b'\\', b'\'', ..] => (2, b"\\'"),
            [b'\\', b'"', ..] => (2, b"\\\""),
            _ if rest.starts_with(b"'\\''") => (4, b"'\\''"),
            _ if rest.starts_with(b"'\"'\"'") => (5, b"'\"'\"'"),
            [b'\'', ..] => (1, b"'"),
            [b'"', ..] => (1, b"\""),
            [b'`', ..] => (1, b"`"),
            [b'$', b'$', ..] => (2, b"$$"),
            _ if self.bare => return bare(text, at).map(|value| (value.clone(), value.end)),
            _ => return None,
        };
        let start = at + open;
        let mut end = start;
        loop {
            end += memchr::memmem::find(&text[end..], close)?;
            // A quote that stands twice is in the value.
            let twice = close.len() == 1 && text.get(end + 1) == Some(&close[0]) && end > start;
            if !twice {
                return Some((start..end, end + close.len()));
            }
            end += 2;
        }
    }
}

/// Blanks, `=`, `:`, `(` and commas in front of a value.
fn between(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let mut length = 0;
    while length < 16 {
        length += match &rest[length..] {
            [b'\\', b'n' | b't' | b'r', ..] => 2,
            [b'=' | b'(', ..] => 1,
            [byte, ..] if byte.is_ascii_whitespace() => 1,
            _ => break,
        };
    }
    // `==` compares.
    match memchr::memmem::find(&rest[..length], b"==") {
        Some(_) => 0,
        None => length,
    }
}

fn bare(text: &[u8], at: usize) -> Option<Range<usize>> {
    let ends = |b: &&u8| !b.is_ascii_whitespace() && !b"'\"`;,()|&<>\\".contains(b);
    let length = text[at..].iter().take_while(ends).count();
    (length > 0).then_some(at..at + length)
}
