//! Private keys in PEM, and what follows `Bearer`.

use std::ops::Range;

use memchr::memmem;
use skep_event::Text;

use crate::{
    rules::{AUTHORIZATION, PRIVATE_KEY},
    span::Spans,
    value::is_reference,
};

/// How long the words between `BEGIN` and `-----` may be.
const LABEL: usize = 60;

/// Private keys in PEM: all from `-----BEGIN` to the end of the `-----END` line, or of the text.
pub fn private_keys(text: &[u8], spans: &mut Spans) {
    let mut at = 0;
    while let Some(found) = memmem::find(&text[at..], b"-----BEGIN ") {
        let begin = at + found;
        let body = begin + 11;
        at = body;
        let label = &text[body..text.len().min(body + LABEL)];
        let Some(dashes) = memmem::find(label, b"-----") else {
            continue;
        };
        if memmem::find(&label[..dashes], b"PRIVATE KEY").is_none() {
            continue;
        }
        let rest = &text[body + dashes + 5..];
        let end = memmem::find(rest, b"-----END ").map_or(text.len(), |end| {
            let from = body + dashes + 5 + end + 9;
            let label = &text[from..text.len().min(from + LABEL)];
            memmem::find(label, b"-----").map_or(from + label.len(), |dashes| from + dashes + 5)
        });
        spans.add(begin..end, PRIVATE_KEY);
        at = end;
    }
}

/// What follows `Bearer`, when there is a digit in it.
pub fn bearers(text: &[u8], spans: &mut Spans) {
    let mut at = 0;
    while at + 6 < text.len() {
        let Some(found) = memchr::memchr2(b'b', b'B', &text[at..]) else {
            return;
        };
        let start = at + found;
        at = start + 1;
        let word = text.get(start..start + 6).unwrap_or_default();
        let inside = start > 0 && text[start - 1].is_ascii_alphanumeric();
        if inside || !word.eq_ignore_ascii_case(b"bearer") {
            continue;
        }
        let token = bearer(text, start + 6);
        if !token.is_empty() {
            at = token.end;
            if text[token.clone()].iter().any(u8::is_ascii_digit)
                && !is_reference(&text[token.clone()])
            {
                spans.add(token, AUTHORIZATION);
            }
        }
    }
}

/// The token after the scheme that ends at `at`; empty when there is none.
fn bearer(text: &[u8], at: usize) -> Range<usize> {
    let between = |b: &&u8| b.is_ascii_whitespace() || b":=".contains(b);
    let space = text[at..].iter().take(8).take_while(between).count();
    let from = at + space;
    let token = |b: &&u8| b.is_ascii_alphanumeric() || b"._~+/=-".contains(b);
    match space {
        0 => from..from,
        _ => from..from + text[from..].iter().take_while(token).count(),
    }
}

/// A PEM block that a shell split into several arguments at its blanks.
pub fn split_private_keys(argv: &[Text], spans: &mut [Spans]) {
    let find = |text: &Text, what: &[u8]| memmem::find(text.as_bytes(), what);
    let mut index = 0;
    while index < argv.len() {
        let start = index;
        index += 1;
        let Some(begin) = find(&argv[start], b"-----BEGIN") else {
            continue;
        };
        let head = &argv[start..argv.len().min(start + 5)];
        if find(&argv[start], b"-----END").is_some()
            || !head.iter().any(|text| find(text, b"PRIVATE").is_some())
        {
            continue;
        }
        let end = (start + 1..argv.len())
            .find(|at| find(&argv[*at], b"-----END").is_some())
            .map_or(argv.len(), |end| {
                let closes = |at: &usize| argv[*at].as_bytes().ends_with(b"KEY-----");
                (end..argv.len().min(end + 5))
                    .find(closes)
                    .map_or(end + 1, |at| at + 1)
            });
        for at in start..end {
            let from = if at == start { begin } else { 0 };
            spans[at].add(from..argv[at].as_bytes().len(), PRIVATE_KEY);
        }
        index = end;
    }
}
