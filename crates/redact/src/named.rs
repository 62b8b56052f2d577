//! Secrets by the name they are given: which names tell of one, and where text says `name = value` or `Header: value`.

use std::ops::Range;

use super::{
    rules::{AUTHORIZATION, CREDENTIAL, PASSWORD},
    span::{OPENING, Spans, is_placeholder},
    value::{is_path, is_reference, is_switch, looks_secret},
};

/// What a telling name contains, lower case; the prefilter looks for these.
pub const WORDS: &[&str] = &[
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "credential",
    "auth",
    "cookie",
    "bearer",
];

/// What a name promises of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Whatever the value is, it is secret.
    Password,
    /// `PWD` is the working directory as often as a password.
    Ambiguous,
    /// A key or token for certain: secret unless it is a file or a switch.
    Certain,
    /// A key, token, …: secret when it is long or random.
    Credential,
}

// === names ===

/// What a name of a variable, field or option says; `None` when nothing.
pub fn class(name: &[u8]) -> Option<Class> {
    // `-p[redacted:password]` is no name.
    if memchr::memmem::find(name, OPENING).is_some() {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let bare = name.trim_ascii_end();
    let bare = bare.strip_suffix(b"]").unwrap_or(bare);
    // `password2`, `PGPASSWORD_1`
    let bare = trim_end(bare, |b| b.is_ascii_digit() || b"_-.".contains(&b));
    if [
        "password",
        "passwd",
        "passphrase",
        "passwort",
        "userpass",
        "dbpass",
    ]
    .iter()
    .any(|end| bare.ends_with(end.as_bytes()))
        || ends_with_part(bare, b"pass")
        || ends_with_part(bare, b"pw")
    {
        return Some(Class::Password);
    }
    if ends_with_part(bare, b"pwd") || bare.ends_with(b"passwrd") {
        return Some(Class::Ambiguous);
    }
    if memchr::memmem::find(bare, b"tokeniz").is_some() || bare.ends_with(b"oldpwd") {
        return None;
    }
    [
        "key",
        "token",
        "secret",
        "passw",
        "pwd",
        "credential",
        "auth",
    ]
    .iter()
    .any(|word| memchr::memmem::find(bare, word.as_bytes()).is_some())
    .then_some(Class::Credential)
}

/// What an option's name (dashes and all) says. Options name files, limits and stores as well, so
/// this is stricter than [`class`].
pub fn option_class(option: &[u8]) -> Option<Class> {
    let name: Vec<u8> = option
        .iter()
        .skip_while(|b| **b == b'-')
        .map(|b| {
            if *b == b'_' {
                b'-'
            } else {
                b.to_ascii_lowercase()
            }
        })
        .collect();
    if [&b"no-"[..], b"with-", b"ask-", b"use-", b"max-", b"min-"]
        .iter()
        .any(|p| name.starts_with(p))
    {
        return None;
    }
    match class(&name)? {
        Class::Credential => {
            let words: [&[u8]; 5] = [
                b"token",
                b"secret",
                b"apikey",
                b"credential",
                b"credentials",
            ];
            let parts: [&[u8]; 9] = [
                b"api-key",
                b"access-key",
                b"secret-key",
                b"private-key",
                b"auth-key",
                b"account-key",
                b"encryption-key",
                b"signing-key",
                b"license-key",
            ];
            let camel = name.ends_with(b"key") && option.ends_with(b"Key");
            (words.iter().any(|word| name.ends_with(word))
                || parts.iter().any(|part| ends_with_part(&name, part))
                || camel)
                .then_some(Class::Credential)
        }
        class => Some(class),
    }
}

/// Headers whose value is a credential.
fn is_secret_header(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let exact: [&[u8]; 6] = [
        b"authorization",
        b"proxy-authorization",
        b"cookie",
        b"set-cookie",
        b"authentication",
        b"apikey",
    ];
    let ends: [&[u8]; 7] = [
        b"-key",
        b"-token",
        b"-secret",
        b"-password",
        b"-auth",
        b"-signature",
        b"-credential",
    ];
    exact.contains(&&name[..]) || ends.iter().any(|end| name.ends_with(end))
}

fn ends_with_part(name: &[u8], part: &[u8]) -> bool {
    name.strip_suffix(part)
        .is_some_and(|head| head.last().is_none_or(|b| b"_-.[/:".contains(b)))
}

fn trim_end(bytes: &[u8], drop: impl Fn(u8) -> bool) -> &[u8] {
    let kept = bytes
        .iter()
        .rposition(|b| !drop(*b))
        .map_or(0, |last| last + 1);
    &bytes[..kept]
}

// === values ===

/// Whether a value given to a name of `class` as a word of its own is to go.
pub fn is_secret_value(class: Class, value: &[u8]) -> bool {
    if value.is_empty() || is_placeholder(value) {
        return false;
    }
    match class {
        Class::Password => !is_switch(value),
        Class::Ambiguous | Class::Certain => !is_switch(value) && !is_path(value),
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

// === text ===

/// Marks values in text that says `name = value`, `name: value`, `"name": "value"` or is a header.
/// Unlike an argument of its own, such text may be a program or prose: bare values must convince.
pub fn find(text: &[u8], spans: &mut Spans) {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || b"_-.".contains(b);
    let mut at = 0;
    while at < text.len() {
        if !is_name(&text[at]) {
            at += 1;
            continue;
        }
        let end = at + text[at..].iter().take_while(|b| is_name(b)).count();
        let name = &text[at..end];
        if has_word(name) {
            assignment(text, name, end, spans);
        }
        at = end;
    }
}

fn has_word(name: &[u8]) -> bool {
    name.len() >= 3
        && WORDS.iter().any(|word| {
            name.windows(word.len())
                .any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
        })
}

/// `end`: where the name ends.
fn assignment(text: &[u8], name: &[u8], end: usize, spans: &mut Spans) {
    let header = is_secret_header(name);
    let class = class(name);
    if !header && class.is_none() {
        return;
    }
    let mut at = end;
    // `"name":`, `\"name\":`, `['name'] =`
    at += text[at..]
        .iter()
        .take_while(|b| b"\\\"']".contains(b))
        .count();
    let quoted_name = at > end;
    at += blanks(text, at);
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
        _ => return,
    };
    let space = blanks(text, at);
    let value = Value::at(text, at + space);
    // A shell's `NAME= command` sets NAME to nothing.
    if !colon
        && space > 0
        && value.quote.is_empty()
        && !quoted_name
        && at_start(text, end - name.len())
    {
        return;
    }
    let bytes = &text[value.range.clone()];
    if header && (colon || quoted_name) {
        let skipped = scheme(bytes);
        let secret = &bytes[skipped..];
        if is_header_value(secret) {
            spans.add(value.range.start + skipped..value.range.end, AUTHORIZATION);
            return;
        }
    }
    let Some(class) = class else { return };
    if is_placeholder(bytes) || is_reference(bytes) || is_switch(bytes) || bytes.is_empty() {
        return;
    }
    let called = text.get(value.range.end) == Some(&b'(');
    let secret = match class {
        Class::Password if value.quote.is_empty() && colon => bytes.len() >= 6 && has_digit(bytes),
        Class::Password => !called,
        Class::Ambiguous => !value.quote.is_empty() && !is_path(bytes),
        Class::Certain | Class::Credential => looks_secret(bytes),
    };
    if secret {
        spans.add(value.range, kind(class));
    }
}

fn at_start(text: &[u8], at: usize) -> bool {
    at == 0 || b" \t\n;&|(".contains(&text[at - 1])
}

fn has_digit(bytes: &[u8]) -> bool {
    bytes.iter().any(u8::is_ascii_digit)
}

fn blanks(text: &[u8], at: usize) -> usize {
    text[at..]
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count()
}

pub fn is_header_value(secret: &[u8]) -> bool {
    secret.len() >= 4
        && !is_placeholder(secret)
        && !is_reference(secret)
        && !is_switch(secret)
        && scheme(secret) == 0
        && !SCHEMES
            .iter()
            .any(|scheme| secret.eq_ignore_ascii_case(scheme))
}

struct Value<'a> {
    range: Range<usize>,
    /// What it is quoted with; empty when it is bare.
    quote: &'a [u8],
}

impl<'a> Value<'a> {
    fn at(text: &'a [u8], mut at: usize) -> Self {
        // Prefixes of string literals: b"", f"", r"".
        if let [b'b' | b'f' | b'r', b'"' | b'\'', ..] = &text[at..] {
            at += 1;
        }
        let quote: &[u8] = match &text[at..] {
            [b'\\', b'"' | b'\'', ..] => &text[at..at + 2],
            [b'"' | b'\'', ..] => &text[at..at + 1],
            _ => b"",
        };
        let start = at + quote.len();
        let rest = &text[start..];
        let length = match quote {
            [] => rest.iter().take_while(|b| !ends_bare(**b)).count(),
            [b'\\', ..] => memchr::memmem::find(rest, quote).unwrap_or(rest.len()),
            [quote, ..] => closing(rest, *quote),
        };
        let mut range = start..start + length;
        // `NAME: Bearer xyz`: a scheme, a blank, and the value.
        if quote.is_empty() && is_scheme(&text[range.clone()]) {
            let more = blanks(text, range.end);
            let next = &text[range.end + more..];
            let next = next.iter().take_while(|b| !ends_bare(**b)).count();
            if more > 0 && next > 0 {
                range.end += more + next;
            }
        }
        Self { range, quote }
    }
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

const SCHEMES: [&[u8]; 9] = [
    b"bearer",
    b"basic",
    b"token",
    b"digest",
    b"negotiate",
    b"apikey",
    b"bot",
    b"oauth",
    b"aws4-hmac-sha256",
];

pub fn is_scheme(word: &[u8]) -> bool {
    SCHEMES
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// Length of `Bearer ` or another scheme at the start of a header's value, blanks included.
fn scheme(value: &[u8]) -> usize {
    let word = value
        .iter()
        .take_while(|b| !b.is_ascii_whitespace())
        .count();
    let space = value[word..]
        .iter()
        .take_while(|b| b.is_ascii_whitespace())
        .count();
    if space > 0 && is_scheme(&value[..word]) {
        word + space
    } else {
        0
    }
}

/// What an argument that is a header holds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    WithValue,
    /// Its value is in the next argument.
    NameOnly,
}

/// A whole argument that is a header (`Authorization: Basic …`): all of the value goes.
pub fn find_header(word: &[u8], start: usize, spans: &mut Spans) -> Option<Header> {
    let colon = memchr::memchr2(b':', b'=', word)?;
    let name = &word[..colon];
    let plain = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    if !plain || !is_secret_header(name) {
        return None;
    }
    let rest = word[colon + 1..].trim_ascii();
    if word[colon] == b':' && (rest.is_empty() || is_scheme(rest)) {
        return Some(Header::NameOnly);
    }
    let space = word[colon + 1..]
        .iter()
        .take_while(|b| b.is_ascii_whitespace())
        .count();
    let from = colon + 1 + space;
    let skipped = scheme(&word[from..]);
    if is_header_value(&word[from + skipped..]) {
        spans.add(start + from + skipped..start + word.len(), AUTHORIZATION);
    }
    Some(Header::WithValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tell_of_a_secret_are_known() {
        for name in [
            "password",
            "DB_PASSWORD",
            "PGPASSWORD",
            "MYSQL_PWD_PASS",
            "spring.datasource.password",
        ] {
            assert_eq!(class(name.as_bytes()), Some(Class::Password), "{name}");
        }
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "apiKey",
            "GITHUB_TOKEN",
            "x-api-key",
            "GOOGLE_CREDENTIALS",
        ] {
            assert_eq!(class(name.as_bytes()), Some(Class::Credential), "{name}");
        }
        for name in [
            "HOME",
            "TOKENIZERS_PARALLELISM",
            "bypass",
            "compass",
            "OLDPWD",
        ] {
            assert_ne!(class(name.as_bytes()), Some(Class::Password), "{name}");
        }
    }

    #[test]
    fn options_that_name_files_and_limits_are_no_secrets() {
        for option in [
            "--password-file",
            "--max-tokens",
            "--no-password",
            "--key",
            "--keyring",
            "--tokenizer",
            "--password-store",
            "--with-token",
            "--monkey",
            "--authorize",
            "--author",
            "--cache-key",
        ] {
            assert_eq!(option_class(option.as_bytes()), None, "{option}");
        }
        for option in [
            "--token",
            "--api-key",
            "--apiKey",
            "-password",
            "--auth_token",
            "--client-secret",
        ] {
            assert!(option_class(option.as_bytes()).is_some(), "{option}");
        }
    }
}
