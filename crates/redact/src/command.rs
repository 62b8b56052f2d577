//! Reads arguments as a command line: flags and their values, assignments, headers, and command
//! lines inside arguments.
//!
//! Bounds: command lines inside one another four deep; each level reads its text once.

use std::ops::Range;

use super::{
    named::{self, Class, Header},
    rules::{AUTHORIZATION, CREDENTIAL, Carries, PASSWORD, PROGRAMS, ProgramFlag},
    span::{Spans, is_placeholder},
    value::{is_reference, looks_secret},
};
use skep_event::Text;

const DEPTH: usize = 4;

/// Words a shell does not join: after these a new command begins.
const OPERATORS: &[u8] = b";|&()<>\n`{}";

/// Options of curl that take no value and may stand before `-u` in a group.
const CURL_SWITCHES: &[u8] = b"sSkLfviIgGnNqROJjlaB0123467Z#p";

/// Marks what a command line gives away.
pub fn find(argv: &[Text], spans: &mut [Spans]) {
    let words: Vec<Word> = argv
        .iter()
        .enumerate()
        .map(|(index, text)| Word {
            text: index,
            range: 0..text.as_bytes().len(),
            quoted: Vec::new(),
            begins: false,
            inner: false,
        })
        .collect();
    read(argv, &words, spans);
    for (index, text) in argv.iter().enumerate() {
        nested(argv, index, 0..text.as_bytes().len(), 1, spans);
    }
}

/// A word of a command line: an argument, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    /// Which argument.
    text: usize,
    /// Without the quotes around it.
    range: Range<usize>,
    /// What stands in quotes within it.
    quoted: Vec<Range<usize>>,
    /// First of a command.
    begins: bool,
    /// Found inside an argument, where a shell would put values in place of `$NAME`.
    inner: bool,
}

/// What the word after a flag is.
#[derive(Clone, Copy)]
enum Expected {
    Named(Class),
    /// After a bare name such as `aws_secret_access_key`.
    AfterName,
    /// After `Authorization:`, and after a scheme that follows it.
    Header,
    Program(&'static ProgramFlag),
}

fn nested(argv: &[Text], text: usize, range: Range<usize>, depth: usize, spans: &mut [Spans]) {
    let bytes = &argv[text].as_bytes()[range.clone()];
    if depth > DEPTH
        || !bytes
            .iter()
            .any(|b| b.is_ascii_whitespace() || OPERATORS.contains(b))
    {
        return;
    }
    let words = split(bytes, text, range.start);
    read(argv, &words, spans);
    for quoted in words.into_iter().flat_map(|word| word.quoted) {
        nested(argv, text, quoted, depth + 1, spans);
    }
}

/// Splits text the way a shell does, but never fails: a quote that does not close is a character.
fn split(bytes: &[u8], text: usize, offset: usize) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    let mut begins = true;
    while at < bytes.len() {
        if OPERATORS.contains(&bytes[at]) {
            begins = true;
            at += 1;
            continue;
        }
        if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let start = at;
        let mut quoted = Vec::new();
        while at < bytes.len()
            && !bytes[at].is_ascii_whitespace()
            && !OPERATORS.contains(&bytes[at])
        {
            match bytes[at] {
                b'\\' => at += 2,
                quote @ (b'"' | b'\'') => match closing(&bytes[at + 1..], quote) {
                    Some(length) => {
                        quoted.push(offset + at + 1..offset + at + 1 + length);
                        at += length + 2;
                    }
                    None => at += 1,
                },
                _ => at += 1,
            }
        }
        at = at.min(bytes.len());
        let range = trimmed(bytes, start..at);
        let range = offset + range.start..offset + range.end;
        words.push(Word {
            text,
            range,
            quoted,
            begins,
            inner: true,
        });
        begins = false;
    }
    words
}

/// Distance to the closing quote; backslashes escape within `"`.
fn closing(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            byte if byte == quote => return Some(at),
            b'\\' if quote == b'"' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Quotes and backslashes around a word are not part of it.
fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let quote = |b: &u8| b"\\\"'".contains(b);
    let word = &bytes[range.clone()];
    let head = word.iter().take_while(|b| quote(b)).count();
    let tail = word[head..].iter().rev().take_while(|b| quote(b)).count();
    range.start + head..range.end - tail
}

/// A value that reaches to the end of its word. After a quoted one, punctuation of a program's text
/// (`f(password='x', …`) is not part of it.
fn value(bytes: &[u8], from: usize) -> Range<usize> {
    if let Some(quote @ (b'"' | b'\'')) = bytes.get(from)
        && let Some(length) = closing(&bytes[from + 1..], *quote)
        && bytes[from + length + 2..]
            .iter()
            .all(|b| b",;:.)]}".contains(b))
    {
        return from + 1..from + 1 + length;
    }
    trimmed(bytes, from..bytes.len())
}

fn read(argv: &[Text], words: &[Word], spans: &mut [Spans]) {
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut expected = None;
    let mut previous: &[u8] = b"";
    for word in words {
        if word.begins {
            seen.clear();
            expected = None;
        }
        let bytes = &argv[word.text].as_bytes()[word.range.clone()];
        let spans = &mut spans[word.text];
        if matches!(expected, Some(Expected::Header)) && named::is_scheme(bytes) {
            continue;
        }
        if let Some(expected) = expected.take()
            && takes(expected, word, bytes, spans)
        {
            continue;
        }
        expected = if bytes.first() == Some(&b'-') {
            option(word, bytes, &seen, spans)
        } else if is_program_text(previous, bytes) {
            None
        } else {
            plain(word, bytes, &seen, spans)
        };
        previous = bytes;
        if seen.len() < 64 {
            seen.push(bytes);
        }
    }
}

/// `bash -c 'NAME=x command'`: a command line of its own, read one level deeper.
fn is_program_text(previous: &[u8], bytes: &[u8]) -> bool {
    let flag = matches!(previous, [b'-', letters @ .., b'c' | b'e']
        if letters.iter().all(u8::is_ascii_lowercase));
    flag && bytes.iter().any(u8::is_ascii_whitespace)
}

/// Whether the word was the expected value; then it is marked where that is due.
fn takes(expected: Expected, word: &Word, value: &[u8], spans: &mut Spans) -> bool {
    // `--password -h host`: no value after all, unless it looks like one that begins with a dash.
    if value.first() == Some(&b'-') && !(value.len() >= 12 && looks_secret(value)) {
        return false;
    }
    let range = word.range.clone();
    match expected {
        Expected::Named(class) => mark(class, word, value, range, spans),
        Expected::AfterName => {
            if !looks_secret(value) {
                return false;
            }
            mark(Class::Credential, word, value, range, spans);
        }
        Expected::Header => {
            if named::is_header_value(value) {
                spans.add(range, AUTHORIZATION);
            }
        }
        Expected::Program(flag) => program_value(flag.carries, word, value, range.start, spans),
    }
    true
}

fn mark(class: Class, word: &Word, value: &[u8], range: Range<usize>, spans: &mut Spans) {
    if word.inner && is_reference(value) {
        return;
    }
    if named::is_secret_value(class, value) {
        spans.add(range, named::kind(class));
    }
}

/// `--name`, `--name=value`, `-x`, `-xvalue`.
fn option(word: &Word, bytes: &[u8], seen: &[&[u8]], spans: &mut Spans) -> Option<Expected> {
    let equals = memchr::memchr(b'=', bytes);
    let name = &bytes[..equals.unwrap_or(bytes.len())];
    if let Some(flag) = program_flag(word, bytes, seen, spans) {
        return Some(Expected::Program(flag));
    }
    // `-DNAME=value`, `-PdbPassword=value`: as an assignment, too.
    let Some(class) = named::option_class(name) else {
        if let Some(equals) = equals
            && let Some(class) = named::class(&bytes[2.min(equals)..equals])
            && !bytes.starts_with(b"--")
        {
            assigned(class, word, bytes, equals, spans);
        }
        return None;
    };
    match equals {
        Some(equals) => {
            assigned(class_of_option(class, name), word, bytes, equals, spans);
            None
        }
        None => Some(Expected::Named(class_of_option(class, name))),
    }
}

/// `--token X` is a secret whatever X is, short of a path or a number; `--secret X` is often a name.
fn class_of_option(class: Class, name: &[u8]) -> Class {
    let certain = [
        &b"token"[..],
        b"api-key",
        b"apikey",
        b"api_key",
        b"access-key",
        b"client-secret",
    ]
    .iter()
    .any(|end| name.to_ascii_lowercase().ends_with(end));
    if class == Class::Credential && certain {
        Class::Certain
    } else {
        class
    }
}

fn assigned(class: Class, word: &Word, bytes: &[u8], equals: usize, spans: &mut Spans) {
    let value = value(bytes, equals + 1);
    let range = word.range.start + value.start..word.range.start + value.end;
    mark(class, word, &bytes[value], range, spans);
}

/// A word that is no option: a program, `NAME=value`, a header, a bare name.
fn plain(word: &Word, bytes: &[u8], seen: &[&[u8]], spans: &mut Spans) -> Option<Expected> {
    match named::find_header(bytes, word.range.start, spans) {
        Some(Header::WithValue) => return None,
        Some(Header::NameOnly) => return Some(Expected::Header),
        None => {}
    }
    if let Some(flag) = positional(bytes, seen) {
        return Some(Expected::Program(flag));
    }
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || b"_.-/:[]".contains(b);
    match memchr::memchr(b'=', bytes) {
        Some(equals) if equals > 0 && bytes[..equals].iter().all(is_name) => {
            if let Some(class) = named::class(&bytes[..equals]) {
                assigned(class, word, bytes, equals, spans);
            }
            None
        }
        Some(_) => None,
        // `aws configure set aws_secret_access_key X`, `npm config set //registry/:_authToken X`
        None => {
            let telling = bytes.iter().all(is_name)
                && bytes
                    .iter()
                    .any(|b| b"_.:".contains(b) || b.is_ascii_uppercase())
                && named::class(bytes).is_some();
            telling.then_some(Expected::AfterName)
        }
    }
}

// === flags of particular programs ===

fn is_program(word: &[u8], flag: &ProgramFlag) -> bool {
    let base = word.rsplit(|b| *b == b'/').next().unwrap_or(word);
    flag.programs.iter().any(|name| name.as_bytes() == base)
}

fn applies(flag: &ProgramFlag, seen: &[&[u8]]) -> bool {
    let Some(at) = seen.iter().position(|word| is_program(word, flag)) else {
        return false;
    };
    flag.command
        .is_none_or(|command| seen[at..].contains(&command.as_bytes()))
}

fn positional(bytes: &[u8], seen: &[&[u8]]) -> Option<&'static ProgramFlag> {
    PROGRAMS.iter().find(|flag| {
        flag.carries == Carries::Positional && flag.flag.as_bytes() == bytes && applies(flag, seen)
    })
}

/// Marks a value in the same word; gives the flag when the value is the next word.
fn program_flag(
    word: &Word,
    bytes: &[u8],
    seen: &[&[u8]],
    spans: &mut Spans,
) -> Option<&'static ProgramFlag> {
    for flag in PROGRAMS {
        let name = flag.flag.as_bytes();
        let Some(rest) = after_flag(flag, bytes) else {
            continue;
        };
        if !applies(flag, seen) {
            continue;
        }
        if rest == bytes.len() {
            return (flag.carries != Carries::Attached).then_some(flag);
        }
        if flag.carries == Carries::Next {
            continue;
        }
        let long = name.starts_with(b"--");
        let from = match (long, bytes[rest]) {
            (_, b'=') => rest + 1,
            (true, _) => continue,
            (false, _) => rest,
        };
        let value = trimmed(bytes, from..bytes.len());
        program_value(
            flag.carries,
            word,
            &bytes[value.clone()],
            word.range.start + value.start,
            spans,
        );
    }
    None
}

/// Where the flag ends in the word; also in a group of curl's switches (`-sSu`).
fn after_flag(flag: &ProgramFlag, bytes: &[u8]) -> Option<usize> {
    let name = flag.flag.as_bytes();
    if bytes.starts_with(name) {
        return Some(name.len());
    }
    let (&letter, &[b'-']) = name.split_last()? else {
        return None;
    };
    if flag.carries != Carries::UserColon || bytes.starts_with(b"--") {
        return None;
    }
    let at = bytes.iter().position(|b| *b == letter)?;
    bytes[1..at]
        .iter()
        .all(|b| CURL_SWITCHES.contains(b))
        .then_some(at + 1)
}

fn program_value(carries: Carries, word: &Word, value: &[u8], start: usize, spans: &mut Spans) {
    let end = start + value.len();
    let secret = |from: usize| {
        let secret = &value[from..];
        let known = word.inner && is_reference(secret);
        (!known && !is_placeholder(secret)).then_some(start + from..end)
    };
    match carries {
        Carries::Attached
        | Carries::Either
        | Carries::Next
        | Carries::Long
        | Carries::Positional => {
            if let Some(range) = secret(0) {
                spans.add(range, PASSWORD);
            }
        }
        Carries::UserColon | Carries::LongUserColon => {
            let Some(colon) = memchr::memchr(b':', value) else {
                return;
            };
            // `-u TOKEN:`: the user is the secret.
            if colon + 1 == value.len() && looks_secret(&value[..colon]) {
                spans.add(start..start + colon, CREDENTIAL);
            } else if let Some(range) = secret(colon + 1) {
                spans.add(range, PASSWORD);
            }
        }
        Carries::UserPercent => {
            if let Some(percent) = memchr::memchr(b'%', value)
                && let Some(range) = secret(percent + 1)
            {
                spans.add(range, PASSWORD);
            }
        }
        Carries::PassColon => {
            if value.starts_with(b"pass:")
                && let Some(range) = secret(5)
            {
                spans.add(range, PASSWORD);
            }
        }
        Carries::Cookie => {
            if value.contains(&b'=')
                && let Some(range) = secret(0)
            {
                spans.add(range, CREDENTIAL);
            }
        }
    }
}
