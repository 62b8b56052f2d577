//! PostgreSQL's protocol: frames, and texts of several statements.

use skep_framing::postgres::{Frames, MAX_MESSAGE, split};

/// Cut in any way, bytes are taken or refused alike, and after them as many are skipped as the last
/// message says.
pub fn frames(bytes: &[u8]) {
    let whole = Frames::default().follow(bytes).is_ok();
    for size in [1, 3, 7] {
        let mut frames = Frames::default();
        let cut = bytes.chunks(size).all(|piece| frames.follow(piece).is_ok());
        assert_eq!(cut, whole, "in pieces of {size}");
    }
    let mut frames = Frames::default();
    if frames.follow(bytes).is_ok() {
        // Whatever is under way, a message of the greatest size ends it, and none is longer.
        assert!(frames.remaining() <= MAX_MESSAGE);
    }
}

/// Each statement is where it is said to be, in their order, and nothing but blanks, semicolons and
/// comments lies between them.
pub fn statements(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let characters: Vec<char> = text.chars().collect();
    let mut end = 0;
    for piece in split(text) {
        let offset = usize::try_from(piece.offset).expect("within the text");
        let sql: Vec<char> = piece.sql.chars().collect();
        assert!(offset >= end && !sql.is_empty());
        assert_nothing_said(&characters[end..offset]);
        assert_eq!(characters.get(offset..offset + sql.len()), Some(&sql[..]));
        end = offset + sql.len();
    }
    assert_nothing_said(&characters[end..]);
}

fn assert_nothing_said(between: &[char]) {
    let text: String = between.iter().collect();
    let rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
    // What a comment holds is not looked into.
    let silent = rest.is_empty() || rest.starts_with("--") || rest.starts_with("/*");
    assert!(silent, "{rest:?} is in no statement");
}
