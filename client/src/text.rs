//! Text for a terminal: nothing that moves the cursor, and no longer than there is room.

use std::fmt::Write;

/// Replaces what a terminal would act on: control characters and those that reorder text.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let acts = c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if acts {
            // Writing to a `String` does not fail.
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// At most `width` characters; what was cut is shown by `…`.
pub fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// One line for a command: arguments with blanks or quotes are quoted as a shell would want them.
pub fn command_line(argv: &[String]) -> String {
    let quoted = |argument: &String| {
        let bare = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c);
        match !argument.is_empty() && argument.chars().all(bare) {
            true => argument.clone(),
            false => format!("'{}'", argument.replace('\'', r"'\''")),
        }
    };
    argv.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// 1234567 as 1,234,567.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `2026-11-20 08:30:05Z` from RFC 3339 in UTC, with milliseconds when asked.
pub fn short_time(rfc3339: &str, milliseconds: bool) -> String {
    let Some((date, clock)) = rfc3339.trim_end_matches('Z').split_once('T') else {
        return rfc3339.to_owned();
    };
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, "000"));
    match milliseconds {
        true => format!("{date} {seconds}.{:0<3.3}Z", fraction),
        false => format!("{date} {seconds}Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_gets_through() {
        assert_eq!(
            plain("a\u{1b}[2Jb\u{9b}c\u{202e}d\n"),
            r"a\u{1b}[2Jb\u{9b}c\u{202e}d\u{a}"
        );
        assert_eq!(plain("päth/日本"), "päth/日本");
    }

    #[test]
    fn long_text_is_cut_at_the_width() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("ääääääää", 3), "ää…");
    }

    #[test]
    fn command_lines_can_be_pasted_into_a_shell() {
        let argv = ["sh", "-c", "echo 'hi' > x", ""].map(str::to_owned);
        assert_eq!(command_line(&argv), r#"sh -c 'echo '\''hi'\'' > x' ''"#);
    }

    #[test]
    fn times_and_numbers_are_short() {
        assert_eq!(
            short_time("2026-11-20T08:30:05.123456789Z", true),
            "2026-11-20 08:30:05.123Z"
        );
        assert_eq!(
            short_time("2026-11-20T08:30:05Z", true),
            "2026-11-20 08:30:05.000Z"
        );
        assert_eq!(
            short_time("2026-11-20T08:30:05.5Z", false),
            "2026-11-20 08:30:05Z"
        );
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
