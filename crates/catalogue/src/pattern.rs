//! Path and name patterns of the catalogue.
//!
//! `*` is any run of bytes without `/`, `**` any run, `{version}` a version number (captured).
//! Everything else is itself. A pattern matches the whole text.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// One compiled pattern.
#[derive(Clone)]
pub struct Pattern {
    source: Box<str>,
    /// `None`: the pattern is literal.
    regex: Option<Regex>,
}

/// A digit, then what version numbers are made of.
const VERSION: &str = r"([0-9][0-9A-Za-z.+_-]*)";
/// Compiled patterns are small; a larger one is a mistake.
const COMPILED_BYTES_MAX: usize = 64 << 10;

impl Pattern {
    /// # Errors
    /// Only when the pattern is absurdly long.
    pub fn new(source: &str) -> Result<Self, regex::Error> {
        let literal = !source.contains(['*', '{']);
        let regex = if literal {
            None
        } else {
            Some(compile(&translate(source))?)
        };
        Ok(Self {
            source: source.into(),
            regex,
        })
    }

    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.regex {
            None => self.source.as_bytes() == text,
            Some(regex) => regex.is_match(text),
        }
    }

    /// What `{version}` stands for in `text`; `None` when `text` does not match or the pattern has
    /// no `{version}`.
    pub fn version<'t>(&self, text: &'t [u8]) -> Option<&'t str> {
        let capture = self.regex.as_ref()?.captures(text)?.get(1)?;
        std::str::from_utf8(capture.as_bytes()).ok()
    }

    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

/// Compiles with byte semantics: paths and binaries are not text.
pub(super) fn compile(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source)
        .unicode(false)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
}

fn translate(source: &str) -> String {
    let mut out = String::from(r"\A(?s:");
    let mut rest = source;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix("**") {
            out.push_str(".*");
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('*') {
            out.push_str("[^/]*");
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("{version}") {
            out.push_str(VERSION);
            rest = tail;
        } else {
            let first = rest.chars().next().map_or(0, char::len_utf8);
            let end = rest[first..]
                .find(['*', '{'])
                .map_or(rest.len(), |at| at + first);
            out.push_str(&regex::escape(&rest[..end]));
            rest = &rest[end..];
        }
    }
    out.push_str(r")\z");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(source: &str) -> Pattern {
        Pattern::new(source).expect("compiles")
    }

    #[test]
    fn one_star_stays_in_a_directory_and_two_cross_it() {
        assert!(pattern("vendor/*/bin/codex").matches(b"vendor/x86_64/bin/codex"));
        assert!(!pattern("vendor/*/bin/codex").matches(b"vendor/a/b/bin/codex"));
        assert!(pattern("**/bin/codex").matches(b"/a/b/bin/codex"));
        assert!(!pattern("*.js").matches(b"cli.js/x"));
    }

    #[test]
    fn a_version_is_captured_and_must_begin_with_a_digit() {
        let layout = pattern("**/claude/versions/{version}");
        assert_eq!(
            layout.version(b"/home/u/.local/share/claude/versions/2.1.328"),
            Some("2.1.328")
        );
        assert_eq!(
            layout.version(b"/home/u/.local/share/claude/versions/latest"),
            None
        );
    }

    #[test]
    fn other_punctuation_is_itself() {
        assert!(pattern("a.b+c{d}").matches(b"a.b+c{d}"));
        assert!(!pattern("a.b*").matches(b"aXb"));
        assert!(pattern("é*").matches("é1".as_bytes()));
    }

    #[test]
    fn a_literal_matches_only_itself() {
        assert!(pattern("rg").matches(b"rg"));
        assert!(!pattern("rg").matches(b"rgx"));
    }
}
