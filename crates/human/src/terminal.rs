//! Text for a terminal: columns it takes, and nothing that the terminal acts on.
//!
//! Invariants:
//! - [`plain`] leaves no character that moves the cursor, changes the direction of text or shows
//!   nothing: a path is seen as it is, and two different paths look different;
//! - [`shorten`] never splits what a reader sees as one character, and its result is never wider than
//!   asked for.
//!
//! Widths are those of Unicode's East Asian Width (UAX #11): 2 for CJK and emoji, 0 for combining
//! marks. Bound: time and memory are linear in the text.

use std::{borrow::Cow, fmt::Write};

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Replaces hidden characters by `\u{…}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_hidden) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_hidden(c) {
            // Writing to a `String` does not fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Characters that would change what the reader's terminal shows, or show nothing themselves.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Columns of the terminal that a text takes.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// At most `columns` wide; `…` stands for what was cut. One column is the least.
pub fn shorten(text: &str, columns: usize) -> Cow<'_, str> {
    // No character of one byte is wider than one column.
    if text.len() <= columns || width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let room = columns.saturating_sub(1);
    let (mut taken, mut ends) = (0, 0);
    for (at, cluster) in text.grapheme_indices(true) {
        taken += width(cluster);
        if taken > room {
            break;
        }
        ends = at + cluster.len();
    }
    Cow::Owned(format!("{}…", &text[..ends]))
}

/// Blanks that fill a text up to `columns`; none after a wider one.
pub fn fill(text: &str, columns: usize) -> String {
    " ".repeat(columns.saturating_sub(width(text)))
}

/// A text and the blanks that fill it up to `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", fill(text, columns))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_gets_through() {
        for (text, shown) in [
            (
                "a\u{1b}[2Jb\u{9b}c\u{202e}d\n",
                r"a\u{1b}[2Jb\u{9b}c\u{202e}d\u{a}",
            ),
            ("zero\u{200b}width\u{feff}", r"zero\u{200b}width\u{feff}"),
            ("soft\u{ad}hyphen\u{2066}", r"soft\u{ad}hyphen\u{2066}"),
            ("tag\u{e0041}", r"tag\u{e0041}"),
            ("päth/日本/e\u{301}", "päth/日本/e\u{301}"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn widths_are_columns_and_not_characters() {
        for (text, columns) in [
            ("", 0),
            ("plain", 5),
            ("ä", 1),
            ("e\u{301}", 1), // e with a combining acute
            ("日本", 4),
            ("🦀", 2),
            ("👍🏽", 2), // one thumb, with a modifier
            ("한국어", 6),
            ("กำ", 2),
        ] {
            assert_eq!(width(text), columns, "{text}");
        }
    }

    #[test]
    fn long_text_is_cut_at_the_width() {
        for (text, columns, shown) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("ääääääää", 3, "ää…"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"), // half a character has no place
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
            ("👍🏽👍🏽", 3, "👍🏽…"),
            ("日本", 1, "…"),
            ("", 0, ""),
        ] {
            assert_eq!(shorten(text, columns), shown, "{text} at {columns}");
        }
    }

    #[test]
    fn a_flood_of_combining_marks_is_cut_in_time() {
        let flood = format!("{}{}", "❤\u{fe0f}".repeat(50), "\u{301}".repeat(200_000));
        let begun = std::time::Instant::now();
        for columns in 0..60 {
            assert!(width(&shorten(&flood, columns)) <= columns.max(1));
        }
        assert!(begun.elapsed().as_secs() < 20, "it grows with the square");
    }

    proptest! {
        #[test]
        fn whatever_text_it_is_columns_line_up(
            // Letters, CJK, emoji with modifiers and variation selectors, flags, combining marks,
            // Arabic ligatures, Hangul jamo, and any character there is.
            text in "([a-c]|[日本語]|[🦀👍🏽❤\u{fe0f}\u{fe0e}🇩🇪]|[\u{301}\u{20e3}]|[\u{644}\u{627}]|[\u{1100}\u{1161}\u{11a8}]|\\PC){0,30}",
            columns in 1..20_usize,
        ) {
            let text = plain(&text);
            let short = shorten(&text, columns);
            prop_assert!(width(&short) <= columns, "{:?} is {} wide", short, width(&short));
            prop_assert_eq!(width(&pad(&short, columns)), columns);
        }
    }
}
