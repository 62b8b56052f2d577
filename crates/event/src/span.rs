//! Spans of time as people write them: `90s`, `15m`, `2h`, `3d`, `1w`, `1h30m`.
//!
//! Both the client's `--since` and the SQL function `ago` take them, so that one form is learnt once.
//! A day has 24 hours and a week 7 days: all times are UTC.

use std::time::Duration;

/// What [`parse`] understands, for messages.
pub const FORMS: &str = "90s, 15m, 2h, 3d, 1w or 1h30m";

/// The longest span: a hundred years and some, so that a time less a span is always a time.
const LONGEST_SECONDS: u64 = 40_000 * 86_400;

/// `None` when the text is no span, or one too long for a time before now.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest[..unit_at].parse().ok()?;
        let after = &rest[unit_at..];
        let unit_ends = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let milliseconds: u64 = match &after[..unit_ends] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        let part = Duration::from_millis(amount.checked_mul(milliseconds)?);
        total = total.checked_add(part)?;
        rest = &after[unit_ends..];
    }
    (total.as_secs() <= LONGEST_SECONDS).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_units() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("15m", 900),
            ("2h", 7200),
            ("3d", 259_200),
            ("1w", 604_800),
            ("1h30m", 5400),
            (" 1d12h ", 129_600),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        for wrong in [
            "",
            "10",
            "m",
            "-5m",
            "10y",
            "5µ",
            "1h30",
            "1 h",
            "1.5h",
            "99999999999999999999d",
            "999999d",
            "h1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
