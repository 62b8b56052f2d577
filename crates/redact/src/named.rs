//! Text that says `name = value`, `"name": "value"` or `Header: value`, by the name.
//!
//! Such text may be a program or prose, so bare values must convince. Values are judged by their first
//! [`JUDGED`] bytes; where a run of bare bytes ends is worked out once.

mod place;

use std::ops::Range;

use crate::{
    name::{Class, Names, maybe_telling},
    rules::{AUTHORIZATION, CREDENTIAL, PASSWORD},
    span::{Spans, is_placeholder},
    value::{is_path, is_reference, is_switch, looks_secret},
    work::Work,
};

/// How much of a value is looked at to see whether it is secret.
const JUDGED: usize = 256;

/// Quotes as they stand in text that is quoted itself, the longest first.
const QUOTES: &[&[u8]] = &[
    b"'\"'\"'",
    b"'\\''",
    b"\\\\\\\"",
    b"\\\"",
    b"\\'",
    b"\"",
    b"'",
];

/// Whether a value given to a name of `class` as a word of its own is to go.
pub fn is_secret_value(class: Class, value: &[u8]) -> bool {
    // `[PAD]` of a tokenizer
    let mark = matches!(value, [b'[', name @ .., b']'] if name.iter().all(u8::is_ascii_uppercase));
    if value.is_empty() || is_placeholder(value) || !has_content(value) || mark {
        return false;
    }
    let value = judged(value);
    match class {
        Class::Password => !is_switch(value) && !is_elsewhere(value),
        Class::Ambiguous => {
            let blank = value.iter().any(u8::is_ascii_whitespace);
            !is_switch(value) && !is_path(value) && !blank
        }
        Class::Certain => !is_switch(value) && !is_path(value),
        Class::Credential => looks_secret(value),
    }
}

/// The kind that stands in place of a value of `class`.
pub fn kind(class: Class) -> &'static str {
    match class {
        Class::Password | Class::Ambiguous => PASSWORD,
        Class::Certain | Class::Credential => CREDENTIAL,
    }
}

/// `file:/run/pw`, `env:PW`, `op://vault/item`: says where the password is. `1`: `-pass 1` of ffmpeg.
fn is_elsewhere(value: &[u8]) -> bool {
    let places: [&[u8]; 6] = [b"file:", b"env:", b"fd:", b"op://", b"keychain:", b"arn:"];
    places.iter().any(|place| value.starts_with(place))
        // A version of a secret in a store.
        || value.ends_with(b":latest")
        || (value.len() == 1 && value[0].is_ascii_digit())
}

fn judged(value: &[u8]) -> &[u8] {
    &value[..value.len().min(JUDGED)]
}

/// More than quotes and backslashes.
fn has_content(value: &[u8]) -> bool {
    value.iter().any(|b| !b"'\"\\`".contains(b))
}

/// A finder of named values in one text.
struct Text<'a> {
    text: &'a [u8],
    names: &'a Names,
    /// The text is cut off: a quote may close beyond its end.
    cut: bool,
    /// Where the run of bare bytes ends that was looked at last.
    bare: Range<usize>,
    work: u64,
}

/// Marks values in text that says `name = value`, `name: value`, `"name": "value"` or is a header. `cut`:
/// its end is missing.
pub fn find(text: &[u8], names: &Names, cut: bool, spans: &mut Spans, work: &mut Work) {
    let mut reader = Text {
        text,
        names,
        cut,
        bare: 0..0,
        work: text.len() as u64,
    };
    let mut at = 0;
    while at < text.len() {
        if !is_name(&text[at]) {
            at += 1;
            continue;
        }
        let end = at + text[at..].iter().take_while(|b| is_name(b)).count();
        if maybe_telling(&text[at..end]) {
            reader.assignment(at..end, spans);
        }
        at = end;
    }
    work.spend(reader.work);
}

fn is_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(byte)
}

// === impl Text ===

impl Text<'_> {
    fn assignment(&mut self, name: Range<usize>, spans: &mut Spans) {
        let text = self.text;
        let written = &text[name.clone()];
        let mut at = name.end;
        // `"name":`, `\"name\":`, `['name'] =`
        at += text[at..]
            .iter()
            .take_while(|b| b"\\\"']}".contains(b))
            .count();
        let quoted_name = at > name.end;
        let spaced = blanks(text, at);
        at += spaced;
        if let Some(from) = place::element(text, &name) {
            self.element(written, from, spans);
            return;
        }
        let colon = match &text[at..] {
            [b'=', b'=', ..] => return,
            [b':', b'=', ..] | [b'=', b'>', ..] => {
                at += 2;
                false
            }
            [b'=', ..] => {
                at += 1;
                false
            }
            [b':', ..] => {
                at += 1;
                true
            }
            // `set('name', 'value')`
            [b',', ..] if quoted_name && place::is_argument(text, name.start) => {
                self.argument(written, at + 1, spans);
                return;
            }
            _ => return,
        };
        self.work += (at - name.start) as u64;
        let header = self.names.is_header(written);
        let class = self.names.class(written);
        if !header && class.is_none() {
            return;
        }
        let space = blanks(text, at);
        let value = self.value(at + space);
        // A shell's `NAME= command` sets NAME to nothing.
        if !colon
            && space > 0
            && value.quote.is_empty()
            && !quoted_name
            && at_start(text, name.start)
        {
            // `name = value` of a file of settings has blanks on both sides, and digits in what is secret.
            let bytes = &text[value.range.clone()];
            let line = matches!(text.get(value.range.end), None | Some(b'\n' | b'\r'));
            let code = self.names.class(bytes).is_some();
            let setting = spaced > 0 && line && bytes.len() >= 6 && has_digit(bytes) && !code;
            let called = bytes.contains(&b'[') || text.get(value.range.end) == Some(&b'(');
            if !setting || called {
                return;
            }
        }
        // `expect "password:"; …`: the quote closes what the name began.
        let before = name.start.checked_sub(1).map(|at| text[at]);
        if colon && space == 0 && !quoted_name && value.quote.last().copied() == before {
            let opened = before.is_some_and(|b| b"\"'".contains(&b));
            if opened {
                return;
            }
        }
        // `read -p "Password: " name`: the quote closes what is in front of it.
        let opens = value.closes || self.cut;
        let blank = text[value.range.clone()]
            .first()
            .is_some_and(u8::is_ascii_whitespace);
        if !value.quote.is_empty() && (!opens || (colon && blank)) {
            return;
        }
        let bytes = &text[value.range.clone()];
        // `NAME=store-password:version` is none.
        let assigned = space == 0 && before == Some(b'=');
        if header && (colon || quoted_name) && !assigned {
            let skipped = scheme(self.names, bytes);
            let secret = &bytes[skipped..];
            if is_header_value(self.names, secret) {
                let from = value.range.start + skipped;
                spans.add(from..value.range.end, AUTHORIZATION);
                return;
            }
        }
        let Some(class) = class else { return };
        let bytes = judged(bytes);
        let elsewhere = is_reference(bytes) || bytes.ends_with(b":latest");
        if is_placeholder(bytes) || elsewhere || is_switch(bytes) || !has_content(bytes) {
            return;
        }
        let called = text.get(value.range.end) == Some(&b'(');
        let bare = value.quote.is_empty();
        let secret = match class {
            Class::Password if bare && colon => bytes.len() >= 6 && has_digit(bytes),
            Class::Password => !called,
            Class::Ambiguous => {
                !bare && !is_path(bytes) && !bytes.iter().any(u8::is_ascii_whitespace)
            }
            Class::Certain if bare && colon => looks_secret(bytes),
            Class::Certain => !called && !is_path(bytes),
            Class::Credential => !called && looks_secret(bytes),
        };
        if secret {
            spans.add(value.range, kind(class));
        }
    }

    fn value(&mut self, mut at: usize) -> Value {
        let text = self.text;
        // Prefixes of string literals: b"", f"", r"".
        if let [b'b' | b'f' | b'r' | b'N', b'"' | b'\'', ..] = &text[at..] {
            at += 1;
        }
        let quote = QUOTES
            .iter()
            .find(|quote| text[at..].starts_with(quote))
            .copied()
            .unwrap_or_default();
        let start = at + quote.len();
        let rest = &text[start..];
        let end = match quote {
            [] => self.bare_end(start),
            [quote] => start + closing(rest, *quote),
            _ => start + memchr::memmem::find(rest, quote).unwrap_or(rest.len()),
        };
        self.work += (end - start).min(JUDGED) as u64;
        let mut range = start..end;
        // `NAME: Bearer xyz`: a scheme, a blank, and the value.
        if quote.is_empty() && self.names.is_scheme(&text[range.clone()]) {
            let more = blanks(text, range.end);
            let next = self.bare_end(range.end + more);
            if more > 0 && next > range.end + more {
                range.end = next;
            }
        }
        let closes = range.end < text.len();
        Value {
            range,
            quote,
            closes,
        }
    }

    fn bare_end(&mut self, at: usize) -> usize {
        if !(self.bare.start <= at && at < self.bare.end) {
            let length = self.text[at..]
                .iter()
                .take_while(|b| !ends_bare(**b))
                .count();
            self.work += length as u64;
            self.bare = at..at + length;
        }
        self.bare.end.max(at)
    }
}

struct Value {
    range: Range<usize>,
    /// What it is quoted with; empty when it is bare.
    quote: &'static [u8],
    /// Something follows it.
    closes: bool,
}

fn at_start(text: &[u8], at: usize) -> bool {
    at == 0 || b" \t\n;&|(".contains(&text[at - 1])
}

fn has_digit(bytes: &[u8]) -> bool {
    bytes.iter().any(u8::is_ascii_digit)
}

fn blanks(text: &[u8], at: usize) -> usize {
    let blank = |b: &&u8| matches!(b, b' ' | b'\t');
    text.get(at..)
        .map_or(0, |rest| rest.iter().take_while(blank).count())
}

fn ends_bare(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'`,;&|<>(){}\\".contains(&byte)
}

fn closing(text: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < text.len() && text[at] != quote {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at.min(text.len())
}

// === headers ===

pub fn is_header_value(names: &Names, secret: &[u8]) -> bool {
    let secret = judged(secret);
    secret.len() >= 4
        && has_content(secret)
        && !is_placeholder(secret)
        && !is_reference(secret)
        && !is_switch(secret)
        && scheme(names, secret) == 0
        && !names.is_scheme(secret)
}

/// Length of `Bearer ` or another scheme at the start of a header's value, blanks included.
fn scheme(names: &Names, value: &[u8]) -> usize {
    let word = value
        .iter()
        .take(32)
        .take_while(|b| !b.is_ascii_whitespace())
        .count();
    let space = value[word..]
        .iter()
        .take_while(|b| b.is_ascii_whitespace())
        .count();
    match space > 0 && names.is_scheme(&value[..word]) {
        true => word + space,
        false => 0,
    }
}

/// What an argument that is a header holds of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// With its value, which may be secret.
    WithValue(Option<Range<usize>>),
    /// Its value is in the next argument.
    NameOnly,
}

/// A whole argument that is a header (`Authorization: Basic …`): all of the value goes.
pub fn header(names: &Names, word: &[u8]) -> Option<Header> {
    let colon = memchr::memchr2(b':', b'=', word)?;
    let name = &word[..colon];
    let plain = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    if !plain || !names.is_header(name) {
        return None;
    }
    let rest = word[colon + 1..].trim_ascii();
    if word[colon] == b':' && (rest.is_empty() || names.is_scheme(rest)) {
        return Some(Header::NameOnly);
    }
    let space = word[colon + 1..]
        .iter()
        .take_while(|b| b.is_ascii_whitespace())
        .count();
    let from = colon + 1 + space;
    let from = from + scheme(names, &word[from..]);
    let secret = is_header_value(names, &word[from..]);
    Some(Header::WithValue(secret.then_some(from..word.len())))
}
