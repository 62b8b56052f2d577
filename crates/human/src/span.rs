//! Spans of time as people write them: `90s`, `15m`, `2h`, `3d`, `1w`, `1h30m`.
//!
//! The client's `--since` and the SQL functions `ago` and `bin` read them. jiff reads each number with
//! its unit; this module says what may stand together: nothing but numbers with units, in any order,
//! without signs, fractions and blanks between them.
//!
//! A day has 24 hours and a week 7 days: all times are UTC. Months and years have no fixed length and
//! are refused.

use std::time::Duration;

use jiff::{SignedDuration, SpanRelativeTo, fmt::friendly::SpanParser};

/// Forms that [`parse`] reads, for messages.
pub const FORMS: &str = "90s, 15m, 2h, 3d, 1w or 1h30m";

/// The longest span: a hundred years and some, so that a time less a span is always a time.
const LONGEST: SignedDuration = SignedDuration::from_hours(40_000 * 24);

static PARSER: SpanParser = SpanParser::new();

/// `None` when the text is no span, or one too long for a time before now.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = SignedDuration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (part, after) = first_part(rest)?;
        let span = PARSER.parse_span(part).ok()?;
        let part = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    // A fraction of the last second is let through, whatever bound it is past.
    let is_bounded = total.as_secs() <= LONGEST.as_secs();
    is_bounded.then(|| total.unsigned_abs())
}

/// `1h` and `30m` of `1h30m`; `None` when it does not begin with a number and the letters of a unit.
fn first_part(text: &str) -> Option<(&str, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let is_letter = |c: char| c.is_ascii_alphabetic();
    let length = text[unit_at..].find(|c| !is_letter(c));
    let ends = length.map_or(text.len(), |length| unit_at + length);
    // jiff counts leading zeros among the digits it has a bound on.
    let digits = text[..unit_at].trim_start_matches('0');
    let begins = (unit_at - digits.len()).min(unit_at.checked_sub(1)?);
    (ends > unit_at).then(|| (&text[begins..ends], &text[ends..]))
}

#[cfg(test)]
mod tests;
