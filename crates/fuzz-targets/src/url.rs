//! Redaction of texts that are no command lines, above all of URLs.

use std::sync::LazyLock;

use skep_redact::Redactor;

pub(crate) static REDACTOR: LazyLock<Redactor> = LazyLock::new(Redactor::new);

/// A secret that stands in every text, put together so that no scanner takes it for a leaked one.
pub(crate) const SECRET: [&str; 2] = ["c4nary", "f7Kq2Zt9"];
/// A placeholder takes the place of a byte at least, and is at most this long.
pub(crate) const PLACEHOLDER_MAX: usize = 64;

/// Whatever stands before a URL, its password goes; and the text grows by no more than placeholders.
pub fn check(bytes: &[u8]) {
    bounded(bytes, REDACTOR.text(bytes).as_deref());
    let secret = SECRET.concat();
    if holds(bytes, secret.as_bytes()) {
        return;
    }
    let text = [
        bytes,
        b" https://user:",
        secret.as_bytes(),
        b"@example.com/\n",
    ]
    .concat();
    let redacted = REDACTOR.text(&text).unwrap_or(text);
    assert!(!holds(&redacted, secret.as_bytes()), "the password is left");
}

pub(crate) fn bounded(text: &[u8], redacted: Option<&[u8]>) {
    let length = redacted.map_or(0, <[u8]>::len);
    assert!(
        length <= (text.len() + 1) * PLACEHOLDER_MAX,
        "{length} of {}",
        text.len()
    );
}

pub(crate) fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
