//! Single values of a catalogue file: compiled, or refused with their place.

use std::ops::Range;

use regex::bytes::Regex;
use toml::Spanned;

use super::{Pattern, Problem, pattern};

/// A problem and where in the text it is.
pub(super) type At<T> = Result<T, (Range<usize>, Problem)>;

pub(super) fn weight(found: &Spanned<i64>, max: u8) -> At<u8> {
    match u8::try_from(*found.get_ref()) {
        Ok(weight) if (1..=max).contains(&weight) => Ok(weight),
        _ => Err((
            found.span(),
            Problem::Weight {
                found: *found.get_ref(),
                max,
            },
        )),
    }
}

pub(super) fn regex(key: &'static str, source: &Spanned<String>) -> At<Regex> {
    pattern::compile(source.get_ref()).map_err(|error| {
        (
            source.span(),
            Problem::Regex {
                key,
                reason: one_line(&error.to_string()),
            },
        )
    })
}

pub(super) fn path_pattern(key: &'static str, source: Spanned<String>) -> At<Pattern> {
    if source.get_ref().is_empty() {
        return Err(other_than("a pattern", key, &source));
    }
    Pattern::new(source.get_ref()).map_err(|error| {
        (
            source.span(),
            Problem::Regex {
                key,
                reason: one_line(&error.to_string()),
            },
        )
    })
}

pub(super) fn path_patterns(key: &'static str, sources: Vec<Spanned<String>>) -> At<Vec<Pattern>> {
    sources
        .into_iter()
        .map(|source| path_pattern(key, source))
        .collect()
}

/// A text that is not what was expected.
fn other_than(
    expected: &'static str,
    key: &'static str,
    text: &Spanned<String>,
) -> (Range<usize>, Problem) {
    let found = text.get_ref().clone();
    let problem = Problem::Value {
        key,
        found,
        expected,
    };
    (text.span(), problem)
}

pub(super) fn environment_name(key: &'static str, name: Spanned<String>) -> At<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.get_ref().is_empty() || !name.get_ref().bytes().all(fits) {
        return Err(other_than(
            "the name of an environment variable",
            key,
            &name,
        ));
    }
    Ok(name.into_inner())
}

/// One folder's name.
pub(super) fn folder(key: &'static str, name: Spanned<String>) -> At<String> {
    let text = name.get_ref();
    if text.is_empty() || text.contains('/') || text == ".." || text == "." {
        return Err(other_than("the name of a folder", key, &name));
    }
    Ok(name.into_inner())
}

pub(super) fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    let mut sha256 = [0; 32];
    for (byte, pair) in sha256.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(sha256)
}

/// The regex crate explains itself over several lines; the last one says what is wrong.
fn one_line(error: &str) -> String {
    error
        .lines()
        .last()
        .unwrap_or(error)
        .trim()
        .trim_start_matches("error: ")
        .to_owned()
}
