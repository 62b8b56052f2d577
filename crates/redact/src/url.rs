//! Secrets in URLs: user and password, and parameters by name; also in URLs inside URLs.
//!
//! Each run of bytes that may be a URL is read once, and once more for each time that what is in it is
//! percent-encoded.

use std::ops::Range;

use memchr::memmem;

use crate::{
    name::Names,
    rules::{PASSWORD, URL_PARAMETER, URL_USERINFO},
    span::{Spans, is_placeholder},
    value::{is_random, is_reference},
    work::Work,
};

/// How often a URL may be percent-encoded.
const ENCODED: usize = 3;

/// Marks what URLs in `text` carry.
pub fn find(text: &[u8], names: &Names, spans: &mut Spans, work: &mut Work) {
    level(text, names, spans, work, 0);
}

fn level(text: &[u8], names: &Names, spans: &mut Spans, work: &mut Work, depth: usize) {
    work.spend(text.len() as u64);
    let mut run = 0..0;
    let mut last_at = None;
    for colon in memmem::find_iter(text, b"://") {
        let scheme = text[..colon]
            .iter()
            .rev()
            .take(32)
            .take_while(|b| b.is_ascii_alphanumeric() || b"+.-".contains(b))
            .count();
        if scheme == 0 {
            continue;
        }
        let start = colon + 3;
        if start >= run.end {
            let length = text[start..].iter().take_while(|b| !ends_url(**b)).count();
            run = start..start + length;
            work.spend(length as u64);
            last_at = memchr::memrchr(b'@', &text[run.clone()]).map(|at| run.start + at);
            parameters(text, run.clone(), names, spans);
            if depth < ENCODED {
                encoded(text, run.clone(), names, spans, work, depth);
            }
        }
        let scheme = &text[colon - scheme..colon];
        if let Some(user) = userinfo(scheme, text, start..run.end, last_at, work) {
            spans.add(user, URL_USERINFO);
        }
    }
}

fn ends_url(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'<>`\\^|".contains(&byte)
}

/// Where user and password stand in the URL `url`, whose scheme is in front of it.
fn userinfo(
    scheme: &[u8],
    text: &[u8],
    url: Range<usize>,
    last_at: Option<usize>,
    work: &mut Work,
) -> Option<Range<usize>> {
    let rest = &text[url.clone()];
    let authority = rest
        .iter()
        .position(|b| b"/?#".contains(b))
        .unwrap_or(rest.len());
    work.spend(authority as u64);
    let at = match memchr::memrchr(b'@', &rest[..authority]) {
        Some(at) => at,
        // A password with a `/`, `?` or `#` in it that was not encoded: `user:pa/ss@host`.
        None => {
            let at = last_at?.checked_sub(url.start)?;
            let colon = memchr::memchr(b':', &rest[..authority])?;
            let port = &rest[colon + 1..authority];
            let password = rest.get(colon + 1..at)?;
            // `[::1]:5173/@vite/client`, `host:$PORT/@scope/x`, `host:port/@scope/x`
            let path = rest[at - 1] == b'/' && !is_random(&password[..password.len().min(64)]);
            if rest.first() == Some(&b'[') || is_port(port) || path {
                return None;
            }
            at
        }
    };
    let user = &rest[..at];
    // `git+https`, `url.https` of git
    let last = scheme.rsplit(|b| b"+.-".contains(b)).next();
    let last = last.unwrap_or_default();
    let is_web = last.eq_ignore_ascii_case(b"http") || last.eq_ignore_ascii_case(b"https");
    // `ssh://git@host` says who, not how; a bare user of a web address is often a token.
    let secret = !is_placeholder(user) && (is_web || user.contains(&b':'));
    secret.then_some(url.start..url.start + at)
}

fn is_port(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit) || is_reference(bytes) || bytes.starts_with(b"$")
}

fn parameters(text: &[u8], url: Range<usize>, names: &Names, spans: &mut Spans) {
    let first = text[url.clone()].iter().position(|b| b"?#".contains(b));
    let Some(mut at) = first.map(|first| url.start + first) else {
        return;
    };
    while at < url.end {
        let from = at + 1;
        let to = text[from..url.end]
            .iter()
            .position(|b| b"&;?#".contains(b))
            .map_or(url.end, |p| from + p);
        let pair = &text[from..to];
        if let Some(equals) = memchr::memchr(b'=', pair) {
            let (name, value) = (&pair[..equals], &pair[equals + 1..]);
            if is_parameter(name, names) && !is_placeholder(value) && !is_reference(value) {
                spans.add(from + equals + 1..to, URL_PARAMETER);
            }
        }
        at = to;
    }
}

fn is_parameter(name: &[u8], names: &Names) -> bool {
    match name.contains(&b'%') {
        true => names.is_parameter(&Decoded::of(&name[..name.len().min(256)]).bytes),
        false => names.is_parameter(name),
    }
}

/// A URL that is percent-encoded inside this one.
fn encoded(
    text: &[u8],
    run: Range<usize>,
    names: &Names,
    spans: &mut Spans,
    work: &mut Work,
    depth: usize,
) {
    let url = &text[run.clone()];
    let hit = |at: usize| {
        let rest = &url[at + 1..];
        let starts = |wanted: &[u8]| {
            rest.get(..wanted.len())
                .is_some_and(|found| found.eq_ignore_ascii_case(wanted))
        };
        starts(b"3a%2f%2f") || starts(b"3a//") || starts(b"253a%252f")
    };
    if !memchr::memchr_iter(b'%', url).any(hit) {
        return;
    }
    let decoded = Decoded::of(url);
    let mut inner = Spans::default();
    level(&decoded.bytes, names, &mut inner, work, depth + 1);
    // Encoded twice or more: no scheme is to be seen yet.
    if depth + 1 < ENCODED {
        let all = 0..decoded.bytes.len();
        encoded(&decoded.bytes, all, names, &mut inner, work, depth + 1);
    }
    for (range, kind) in inner.drain() {
        let (start, end) = (decoded.from[range.start], decoded.from[range.end]);
        spans.add(run.start + start..run.start + end, kind);
    }
}

/// Percent-encoded text, and where each byte of it stood.
struct Decoded {
    bytes: Vec<u8>,
    /// One more than there are bytes: the end.
    from: Vec<usize>,
}

impl Decoded {
    fn of(text: &[u8]) -> Self {
        let mut decoded = Self {
            bytes: Vec::with_capacity(text.len()),
            from: Vec::with_capacity(text.len() + 1),
        };
        let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
        let mut at = 0;
        while at < text.len() {
            decoded.from.push(at);
            match (text[at], digit(at + 1), digit(at + 2)) {
                (b'%', Some(high), Some(low)) => {
                    decoded.bytes.push((high * 16 + low) as u8);
                    at += 3;
                }
                (byte, ..) => {
                    decoded.bytes.push(byte);
                    at += 1;
                }
            }
        }
        decoded.from.push(text.len());
        decoded
    }
}

/// What stands in front of a `:` that is no user.
const NO_USERS: &[&[u8]] = &[
    b"mailto",
    b"email",
    b"mail",
    b"from",
    b"to",
    b"cc",
    b"bcc",
    b"sip",
    b"sips",
    b"xmpp",
    b"acct",
    b"author",
    b"maintainer",
    b"contact",
    b"npm",
    b"jsr",
    b"file",
    b"git",
    b"github",
    b"workspace",
    b"user",
    b"by",
    b"did",
    b"urn",
    b"tag",
    b"im",
    b"jid",
    b"owner",
    b"reviewer",
    b"http",
    b"https",
    b"ssh",
    b"docker",
    b"image",
    b"link",
    b"portal",
    b"patch",
    b"data",
    b"node",
    b"catalog",
];

/// The password of a whole word `user:password@host`, of which no scheme is in front.
pub fn bare(word: &[u8]) -> Option<(Range<usize>, &'static str)> {
    let word_end = word.len().min(512);
    let head = &word[..word_end];
    let colon = memchr::memchr(b':', head)?;
    let at = memchr::memrchr(b'@', head)?;
    let user = &head[..colon];
    let password = head.get(colon + 1..at)?;
    let rest = &head[at + 1..];
    let host_end = rest
        .iter()
        .position(|b| b"/?#:(".contains(b))
        .unwrap_or(rest.len());
    let host = &rest[..host_end];
    let of_user = |b: &u8| b.is_ascii_alphanumeric() || b"._%+-\\".contains(b);
    if user.is_empty()
        || !user.iter().all(of_user)
        || password.is_empty()
        || password.starts_with(b"//")
        || is_placeholder(password)
        || is_reference(password)
        || NO_USERS.iter().any(|no| user.eq_ignore_ascii_case(no))
        || !is_host(host)
    {
        return None;
    }
    let after = &rest[host_end..];
    let port = after.first() != Some(&b':')
        || after
            .get(1)
            .is_some_and(|b| b.is_ascii_digit() || *b == b'$' || *b == b'/');
    // A path in front of the `@`: `image:tag/x@y`, `C:/x@y`.
    let path = password.contains(&b'/') && !is_random(password);
    // A version or a port: `pkg:1.2.3@beta`.
    let number = password.iter().all(|b| b.is_ascii_digit() || *b == b'.') && !host.contains(&b'.');
    (port && !path && !number).then_some((colon + 1..at, PASSWORD))
}

fn is_host(host: &[u8]) -> bool {
    if host.starts_with(b"[") {
        return host.ends_with(b"]");
    }
    let of_host = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
    let digests: [&[u8]; 4] = [b"sha256", b"sha512", b"sha1", b"md5"];
    let first_letter = host.first().is_some_and(u8::is_ascii_alphabetic);
    let address = host.split(|b| *b == b'.').count() == 4
        && host.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    host.iter().all(of_host) && (first_letter || address) && !digests.contains(&host)
}
