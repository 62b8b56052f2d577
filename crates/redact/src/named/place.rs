//! Values that stand behind their name otherwise than after a sign: in an element of XML, and as the next
//! argument of a call.

use std::ops::Range;

use super::{JUDGED, Text, blanks, is_secret_value, judged, kind};
use crate::{span::Spans, value::is_reference};

impl Text<'_> {
    /// `<password>X</password>`
    pub fn element(&mut self, name: &[u8], from: usize, spans: &mut Spans) {
        let Some(class) = self.names.class(name) else {
            return;
        };
        let rest = &self.text[from..];
        let rest = &rest[..rest.len().min(JUDGED)];
        self.work += rest.len() as u64;
        let Some(length) = memchr::memchr(b'<', rest) else {
            return;
        };
        let value = &rest[..length];
        if is_secret_value(class, value) && !is_reference(value) {
            spans.add(from..from + length, kind(class));
        }
    }

    /// `'name', 'value'`: the arguments of a call.
    pub fn argument(&mut self, name: &[u8], from: usize, spans: &mut Spans) {
        let Some(class) = self.names.class(name) else {
            return;
        };
        let value = self.value(from + blanks(self.text, from));
        let bytes = judged(&self.text[value.range.clone()]);
        let plain = bytes.iter().all(|b| b.is_ascii_lowercase() || *b == b'_');
        let blank = bytes.iter().any(u8::is_ascii_whitespace);
        if !value.quote.is_empty()
            && value.closes
            && !plain
            && !blank
            && is_secret_value(class, bytes)
            && !is_reference(bytes)
        {
            spans.add(value.range, kind(class));
        }
    }
}

/// Whether a quoted name is the first argument of a call.
pub fn is_argument(text: &[u8], name: usize) -> bool {
    // `fill('#password', …`, `type('input[name=password]', …`
    let of_selector = |b: &&u8| b.is_ascii_alphanumeric() || b"#.[=_-".contains(b);
    let head = &text[name.saturating_sub(40)..name];
    let selector = head.iter().rev().take_while(of_selector).count();
    let head = &head[..head.len() - selector];
    let quotes = |b: &&u8| b"\"'\\".contains(b);
    let quoted = head.iter().rev().take_while(quotes).count();
    quoted > 0 && head[..head.len() - quoted].last() == Some(&b'(')
}

/// Where the text of the element `<name>` or `<prefix:name attribute="…">` begins.
pub fn element(text: &[u8], name: &Range<usize>) -> Option<usize> {
    let head = &text[name.start.saturating_sub(24)..name.start];
    let prefix = match head.last()? {
        b':' => {
            let of_prefix = |b: &&u8| b.is_ascii_alphanumeric();
            1 + head[..head.len() - 1]
                .iter()
                .rev()
                .take_while(of_prefix)
                .count()
        }
        _ => 0,
    };
    if head[..head.len() - prefix].last() != Some(&b'<') {
        return None;
    }
    let rest = &text[name.end..text.len().min(name.end + 96)];
    if !matches!(rest.first(), Some(b'>' | b' ')) {
        return None;
    }
    let close = memchr::memchr(b'>', rest)?;
    (rest[..close].last() != Some(&b'/')).then_some(name.end + close + 1)
}
