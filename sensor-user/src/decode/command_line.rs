//! A command line of which the record holds the beginning and the end.
//!
//! What stands beside the gap may be a part of something: the end of a secret whose beginning is in the gap is
//! known as one by nobody, nor is a value whose option is. So the word before the gap is left out if it is
//! short, and the first [`WORDS_AFTER`] words behind it always.

use skep_event::Text;

use super::arguments;

/// Words behind the gap that are left out: a piece of one, and what may belong to it (`Authorization: Bearer X`).
const WORDS_AFTER: usize = 3;
/// A piece before the gap that is longer is no word but a text; what it is can be told without its end.
const PIECE_MAX: usize = 512;

/// The end of a command line, behind a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgvEnd {
    /// Bytes between the beginning and this.
    pub left_out: u64,
    /// Whether the beginning ends within an argument.
    pub cuts: bool,
    /// Arguments of which nothing is here but, maybe, an end.
    pub arguments: u32,
    /// The first may be the end of one.
    pub words: Vec<Text>,
}

// === impl ArgvEnd ===

impl ArgvEnd {
    /// From the bytes of the beginning and of the end, out of `total` bytes that hold `argc` arguments. `None`
    /// when nothing was left out, or the end is not there.
    pub fn of(head: &[u8], end: &[u8], total: u64, argc: u32) -> Option<Self> {
        let held = (head.len() + end.len()) as u64;
        let left_out = total.checked_sub(held)?;
        if head.is_empty() || end.is_empty() {
            return None;
        }
        let ends = |bytes: &[u8]| {
            let count = bytes.iter().filter(|byte| **byte == 0).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        Some(Self {
            left_out,
            cuts: head.last() != Some(&0),
            // Those that end in the gap.
            arguments: argc.saturating_sub(ends(head)).saturating_sub(ends(end)),
            words: arguments(end, u32::MAX),
        })
    }

    /// The command line as it is told: the argument at the gap holds what is left of both sides and says how
    /// much is missing.
    pub fn join(&self, mut argv: Vec<Text>) -> Vec<Text> {
        let before = if self.cuts { argv.pop() } else { None };
        let before = before.as_ref().map(Text::as_bytes).unwrap_or_default();
        let mut words = self.words.iter().map(Text::as_bytes);
        let after = words.next().unwrap_or_default();
        let (kept_before, kept_after) = (without_piece(before), without_words(after));
        let dropped = before.len() - kept_before.len() + after.len() - kept_after.len();
        let bytes = self.left_out.saturating_add(dropped as u64);
        let arguments = match self.arguments {
            0 => String::new(),
            1 => " and the end of an argument".to_owned(),
            ends => format!(" and the ends of {ends} arguments"),
        };
        let gap = format!("…[{bytes} bytes{arguments} left out]…");
        argv.push(Text::new(
            [kept_before, gap.as_bytes(), kept_after].concat(),
        ));
        argv.extend(words.map(Text::from));
        argv
    }
}

/// The text without the word it ends in, unless that is long.
fn without_piece(text: &[u8]) -> &[u8] {
    let at = text.iter().rposition(u8::is_ascii_whitespace);
    let word = at.map_or(0, |at| at + 1);
    if text.len() - word > PIECE_MAX {
        text
    } else {
        &text[..word]
    }
}

/// The text without its first words.
fn without_words(text: &[u8]) -> &[u8] {
    let mut rest = text;
    for _ in 0..WORDS_AFTER {
        let space = rest.iter().position(u8::is_ascii_whitespace);
        rest = space.map_or(&[], |at| rest[at..].trim_ascii_start());
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(head: &[u8], end: &[u8], total: u64, argc: u32) -> Vec<String> {
        let argv = arguments(head, argc);
        let end = ArgvEnd::of(head, end, total, argc).expect("there is a gap");
        end.join(argv).iter().map(Text::escaped).collect()
    }

    #[test]
    fn an_argument_with_a_gap_keeps_both_its_ends() {
        let head = [b"sh\0-c\0: ".as_slice(), &[b'x'; 600]].concat();
        let line = told(
            &head,
            b"xxx; exec 3<>/dev/udp/x/53; echo marker >&3\0",
            5_000,
            3,
        );
        let gap = format!(": {}…[", "x".repeat(600));
        assert_eq!(line.len(), 3);
        assert!(line[2].starts_with(&gap), "{line:?}");
        assert!(
            line[2].ends_with(" bytes left out]…echo marker >&3"),
            "{line:?}"
        );
        let (left_out, rest) = line[2].rsplit_once('[').unwrap().1.split_once(' ').unwrap();
        let dropped = "xxx; exec 3<>/dev/udp/x/53; ".len();
        let held = head.len() + b"xxx; exec 3<>/dev/udp/x/53; echo marker >&3\0".len();
        assert_eq!(left_out, (5_000 - held + dropped).to_string(), "{rest}");
    }

    #[test]
    fn arguments_that_end_in_the_gap_are_counted() {
        let line = told(b"rm\0one\0two\0thr", b"t\0last\0", 9_000, 10);
        assert_eq!(line[..3], ["rm", "one", "two"]);
        assert_eq!(
            line[3],
            "…[8983 bytes and the ends of 5 arguments left out]…"
        );
        assert_eq!(line[4..], ["last"]);
    }

    #[test]
    fn a_beginning_that_ends_with_an_argument_is_whole() {
        let line = told(b"rm\0one\0", b"abc a b c d\0last\0", 9_000, 4);
        assert_eq!(line[..2], ["rm", "one"]);
        assert!(line[2].ends_with("left out]…c d"), "{line:?}");
        assert_eq!(line[3..], ["last"]);
    }

    #[test]
    fn pieces_of_secrets_beside_the_gap_are_not_told() {
        let line = told(
            b"sh\0-c\0curl -H 'Authorization: Bearer ghp_012345",
            b"Authorization: Bearer ghp_abcdef' https://x\0",
            9_000,
            3,
        );
        assert!(!line.concat().contains("ghp_"), "{line:?}");
        assert!(line[2].ends_with("…https://x"), "{line:?}");
    }

    #[test]
    fn without_a_gap_or_an_end_there_is_nothing_to_join() {
        assert_eq!(ArgvEnd::of(b"sh\0", b"", 900, 2), None);
        assert_eq!(ArgvEnd::of(b"", b"x\0", 900, 2), None);
        assert_eq!(ArgvEnd::of(b"sh\0", b"x\0", 3, 2), None);
    }
}
