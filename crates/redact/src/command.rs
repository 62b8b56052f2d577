//! One command: its words as options and their values, assignments, headers.
//!
//! What the programs of `rules/programs.txt` take is marked by [`crate::argument`]; here names decide.

use std::ops::Range;

use crate::{
    name::{Class, Names},
    named::{self, Header, is_header_value, is_secret_value},
    rules::AUTHORIZATION,
    span::Spans,
    url,
    value::{is_expansion, is_reference, looks_secret},
    word::Placed,
};

/// What the word after a flag is.
#[derive(Clone, Copy)]
enum Expected {
    Named(Class),
    /// After a bare name such as `aws_secret_access_key`.
    AfterName,
    /// After `Authorization:`, and after a scheme that follows it.
    Header,
}

/// A reader of one command.
pub struct Command<'r> {
    pub names: &'r Names,
    pub spans: &'r mut [Spans],
    /// A shell puts values in place of `$NAME` in its words.
    pub inner: bool,
}

// === impl Command ===

impl Command<'_> {
    /// Marks what the words of one command give away.
    pub fn read(&mut self, words: &[Placed<'_>]) {
        let mut expected = None;
        let mut previous: &[u8] = b"";
        // Names that are followed by their values, as words.
        let mut sets = false;
        self.formatted(words);
        for word in words {
            let bytes = word.bytes();
            if matches!(expected, Some(Expected::Header)) && self.names.is_scheme(bytes) {
                continue;
            }
            if let Some(expected) = expected.take()
                && self.takes(expected, word)
            {
                continue;
            }
            expected = if bytes.first() == Some(&b'-') {
                self.option(word)
            } else if is_program_text(previous, bytes) {
                None
            } else {
                let found = self.plain(word);
                found.or_else(|| self.set(word, sets, previous))
            };
            sets |= SETTERS.contains(&bytes);
            previous = bytes;
        }
    }

    /// `--arg NAME X`; `… set NAME X`, `… put path/NAME X` when the name is one of a password.
    fn set(&self, word: &Placed<'_>, sets: bool, previous: &[u8]) -> Option<Expected> {
        let bytes = word.bytes();
        let named = NAMERS.contains(&previous);
        if !(sets || named) || bytes.len() > 256 || !bytes.iter().all(is_name) {
            return None;
        }
        let class = self.names.class(bytes)?;
        match class {
            _ if named => Some(Expected::Named(class)),
            Class::Password => Some(Expected::AfterName),
            _ => None,
        }
    }

    /// `printf 'NAME=%s' X`
    fn formatted(&mut self, words: &[Placed<'_>]) {
        let Some(first) = words.iter().position(|word| word.bytes() == b"printf") else {
            return;
        };
        let Some(format) = words.get(first + 1) else {
            return;
        };
        let parts = format
            .bytes()
            .split(|b| *b == b'%')
            .zip(&words[first + 2..]);
        for (before, value) in parts.take(16) {
            let end = before.strip_suffix(b"\"").unwrap_or(before);
            let end = end.strip_suffix(b" ").unwrap_or(end);
            let signs = end.iter().rev().take_while(|b| b"=:".contains(b)).count();
            let name = &end[..end.len() - signs];
            let length = name.iter().rev().take_while(|b| is_name(b)).count();
            let name = &name[name.len() - length..];
            // `machine h login u password %s`
            let netrc = signs == 0 && format.bytes().starts_with(b"machine ");
            if (signs == 1 || netrc)
                && !name.is_empty()
                && let Some(class) = self.names.class(name)
            {
                self.mark(class, value, 0..value.bytes().len());
            }
        }
    }

    /// Whether the word was the expected value; then it is marked where that is due.
    fn takes(&mut self, expected: Expected, word: &Placed<'_>) -> bool {
        let value = word.bytes();
        // `--password -h host`: no value after all, unless it looks like one that begins with a dash.
        if value.first() == Some(&b'-') && !(value.len() >= 12 && looks_secret(value)) {
            return false;
        }
        let whole = 0..value.len();
        match expected {
            Expected::Named(class) => self.mark(class, word, whole),
            Expected::AfterName => {
                if !looks_secret(value) {
                    return false;
                }
                self.mark(Class::Credential, word, whole);
            }
            Expected::Header => {
                // `grep Authorization: docs/`
                if value.ends_with(b"/") {
                    return false;
                }
                if is_header_value(self.names, value) && !self.is_known(word, value) {
                    word.mark(whole, AUTHORIZATION, self.spans);
                }
            }
        }
        true
    }

    /// Whether a value says where the secret comes from.
    fn is_known(&self, word: &Placed<'_>, value: &[u8]) -> bool {
        let computed = value.starts_with(b"$(") || value.starts_with(b"\"$(");
        computed
            || self.inner && (is_reference(value) || (word.word.expands && is_expansion(value)))
    }

    fn mark(&mut self, class: Class, word: &Placed<'_>, range: Range<usize>) {
        let value = &word.bytes()[range.clone()];
        if !self.is_known(word, value) && is_secret_value(class, value) {
            word.mark(range, named::kind(class), self.spans);
        }
    }

    /// `--name`, `--name=value`, `-x`, `-xvalue`.
    fn option(&mut self, word: &Placed<'_>) -> Option<Expected> {
        let bytes = word.bytes();
        let equals = memchr::memchr(b'=', bytes);
        let name = &bytes[..equals.unwrap_or(bytes.len())];
        if let Some(class) = self.names.option_class(name) {
            let class = class_of_option(class, name);
            return match equals {
                Some(equals) => {
                    self.assigned(class, word, equals);
                    None
                }
                None => Some(Expected::Named(class)),
            };
        }
        let equals = equals?;
        // `-DNAME=value`, `-PdbPassword=value`: as an assignment, too.
        if !bytes.starts_with(b"--")
            && let Some(class) = self.names.class(&bytes[2.min(equals)..equals])
        {
            self.assigned(class, word, equals);
            return None;
        }
        // `--set=db.password=value`, `--env=NAME=value`, `-var=NAME=value`
        if let Some(second) = memchr::memchr(b'=', &bytes[equals + 1..]) {
            let second = equals + 1 + second;
            let inner = &bytes[equals + 1..second];
            if inner.iter().all(is_name)
                && let Some(class) = self.names.class(inner)
            {
                self.assigned(class, word, second);
            }
        }
        None
    }

    fn assigned(&mut self, class: Class, word: &Placed<'_>, equals: usize) {
        let range = value(word, equals + 1);
        self.mark(class, word, range);
    }

    /// A word that is no option: a program, `NAME=value`, a header, a bare name, `user:password@host`.
    fn plain(&mut self, word: &Placed<'_>) -> Option<Expected> {
        let bytes = word.bytes();
        match named::header(self.names, bytes) {
            Some(Header::WithValue(secret)) => {
                if let Some(secret) = secret
                    && !self.is_known(word, &bytes[secret.clone()])
                {
                    word.mark(secret, AUTHORIZATION, self.spans);
                }
                return None;
            }
            Some(Header::NameOnly) => return Some(Expected::Header),
            None => {}
        }
        let equals = memchr::memchr(b'=', bytes);
        let from = equals.map_or(0, |equals| equals + 1);
        // `user:X@host/?name=value`
        let from = match memchr::memchr(b'@', &bytes[..from]) {
            Some(_) => 0,
            None => from,
        };
        if let Some((secret, kind)) = url::bare(&bytes[from..]) {
            let secret = from + secret.start..from + secret.end;
            if !self.is_known(word, &bytes[secret.clone()]) {
                word.mark(secret, kind, self.spans);
            }
        }
        match equals {
            Some(equals) if equals > 0 && bytes[..equals].iter().all(is_name) => {
                // `NAME+=value`
                let name = bytes[..equals]
                    .strip_suffix(b"+")
                    .unwrap_or(&bytes[..equals]);
                if let Some(class) = self.names.class(name) {
                    self.assigned(class, word, equals);
                }
                None
            }
            Some(_) => None,
            // `aws configure set aws_secret_access_key X`, `npm config set //registry/:_authToken X`
            None => {
                let telling = bytes.len() <= 256
                    && bytes.iter().all(is_name)
                    && bytes
                        .iter()
                        .any(|b| b"_.:".contains(b) || b.is_ascii_uppercase())
                    && self.names.option_class(bytes).is_some();
                telling.then_some(Expected::AfterName)
            }
        }
    }
}

/// Options that a name and its value follow, each a word.
const NAMERS: &[&[u8]] = &[b"--arg", b"--argstr", b"--define", b"--set", b"--var"];

/// Words after which a name and its value may follow.
const SETTERS: &[&[u8]] = &[b"set", b"put", b"config", b"write", b"--set"];

fn is_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.-/:[]+".contains(byte)
}

/// `bash -c 'NAME=x command'`: a command line of its own, read one level deeper.
fn is_program_text(previous: &[u8], bytes: &[u8]) -> bool {
    let flag = matches!(previous, [b'-', letters @ .., b'c' | b'e']
        if letters.iter().all(u8::is_ascii_lowercase));
    flag && bytes.iter().any(u8::is_ascii_whitespace)
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

/// A value that reaches to the end of its word. After a quoted one, punctuation of a program's text
/// (`f(password='x', …`) is not part of it.
pub fn value(word: &Placed<'_>, from: usize) -> Range<usize> {
    let bytes = word.bytes();
    let punctuation = |from: usize| bytes[from..].iter().all(|b| b",;:.)]}".contains(b));
    if let Some(end) = word.word.quoted_from(from)
        && end < bytes.len()
        && punctuation(end)
    {
        return from..end;
    }
    if let Some(quote @ (b'"' | b'\'')) = bytes.get(from) {
        let length = memchr::memrchr(*quote, &bytes[from + 1..]);
        if let Some(length) = length
            && punctuation(from + length + 2)
        {
            return from + 1..from + 1 + length;
        }
    }
    trimmed(bytes, from..bytes.len())
}

/// Quotes and backslashes around a value are not part of it.
pub fn trimmed(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let quote = |b: &u8| b"\\\"'".contains(b);
    let word = &bytes[range.clone()];
    let head = word.iter().take_while(|b| quote(b)).count();
    let tail = word[head..].iter().rev().take_while(|b| quote(b)).count();
    range.start + head..range.end - tail
}
