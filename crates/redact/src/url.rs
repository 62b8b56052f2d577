//! Secrets in URLs: user and password, and parameters by name.

use memchr::memmem;

use super::{
    rules::{URL_PARAMETER, URL_USERINFO},
    span::{Spans, is_placeholder},
    value::is_reference,
};

/// Marks what URLs in `text` carry.
pub fn find(text: &[u8], spans: &mut Spans) {
    for colon in memmem::find_iter(text, b"://") {
        let scheme = text[..colon]
            .iter()
            .rev()
            .take_while(|b| b.is_ascii_alphanumeric() || b"+.-".contains(b))
            .count();
        if scheme == 0 {
            continue;
        }
        let scheme = &text[colon - scheme..colon];
        let start = colon + 3;
        let end = start + text[start..].iter().take_while(|b| !ends_url(**b)).count();
        userinfo(scheme, text, start, end, spans);
        parameters(text, start, end, spans);
    }
}

fn ends_url(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'<>`\\^|".contains(&byte)
}

fn userinfo(scheme: &[u8], text: &[u8], start: usize, end: usize, spans: &mut Spans) {
    let url = &text[start..end];
    let authority = url
        .iter()
        .position(|b| b"/?#".contains(b))
        .unwrap_or(url.len());
    let at = match memchr::memrchr(b'@', &url[..authority]) {
        Some(at) => at,
        // A password with a `/`, `?` or `#` in it that nobody encoded: `user:pa/ss@host`.
        None => match (
            memchr::memchr(b':', &url[..authority]),
            memchr::memrchr(b'@', url),
        ) {
            (Some(colon), Some(at)) if !is_port(&url[colon + 1..authority]) => at,
            _ => return,
        },
    };
    let user = &url[..at];
    let is_web = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    // `ssh://git@host` says who, not how; a bare user of a web address is often a token.
    if !is_placeholder(user) && (is_web || user.contains(&b':')) {
        spans.add(start..start + at, URL_USERINFO);
    }
}

fn is_port(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

fn parameters(text: &[u8], start: usize, end: usize, spans: &mut Spans) {
    let Some(mut at) = text[start..end]
        .iter()
        .position(|b| b"?#".contains(b))
        .map(|p| start + p)
    else {
        return;
    };
    while at < end {
        let from = at + 1;
        let to = text[from..end]
            .iter()
            .position(|b| b"&;?#".contains(b))
            .map_or(end, |p| from + p);
        let pair = &text[from..to];
        if let Some(equals) = memchr::memchr(b'=', pair) {
            let (name, value) = (&pair[..equals], &pair[equals + 1..]);
            if is_secret_parameter(name) && !is_placeholder(value) && !is_reference(value) {
                spans.add(from + equals + 1..to, URL_PARAMETER);
            }
        }
        at = to;
    }
}

/// By name; percent-encoding in names is not undone.
fn is_secret_parameter(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix(b"amp;").unwrap_or(&name);
    let contains = |part: &str| memmem::find(name, part.as_bytes()).is_some();
    let ends = [
        "key",
        "sig",
        "auth",
        "pwd",
        "pass",
        "jwt",
        "assertion",
        "otp",
        "code_verifier",
    ];
    [
        "token",
        "secret",
        "passw",
        "signature",
        "credential",
        "session_id",
        "apikey",
    ]
    .into_iter()
    .any(contains)
        || ends.iter().any(|end| {
            name.strip_suffix(end.as_bytes())
                .is_some_and(|head| head.last().is_none_or(|b| b"_-.[".contains(b)))
        })
}
