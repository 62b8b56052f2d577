//! Redaction of command lines.

use skep_event::Text;

use crate::url::{REDACTOR, SECRET, bounded, holds};

/// Whatever the arguments before a URL are, its password goes, and arguments stay as many as they were.
/// NULs of the input separate arguments.
pub fn check(bytes: &[u8]) {
    let mut argv: Vec<Text> = bytes.split(|byte| *byte == 0).map(Text::from).collect();
    for truncated in [false, true] {
        if let Some(redacted) = REDACTOR.argv(&argv, truncated) {
            assert_eq!(redacted.len(), argv.len());
            for (text, redacted) in argv.iter().zip(&redacted) {
                bounded(text.as_bytes(), Some(redacted.as_bytes()));
            }
        }
    }
    let secret = SECRET.concat();
    if holds(bytes, secret.as_bytes()) {
        return;
    }
    let url = format!("https://user:{secret}@example.com/");
    argv.push(Text::from(url.as_str()));
    let redacted = REDACTOR.argv(&argv, false).unwrap_or(argv);
    let left = |text: &Text| holds(text.as_bytes(), secret.as_bytes());
    assert!(!redacted.iter().any(left), "the password is left");
}
