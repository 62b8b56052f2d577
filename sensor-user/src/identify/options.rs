//! Options out of an environment variable, split as node splits `NODE_OPTIONS` (src/node_options.cc): at spaces,
//! but within double quotes, where a backslash takes the next character as it is.
//!
//! Bound: [`WORDS_MAX`] words; what follows them is not looked at, and that is said.

use skep_event::Text;

const WORDS_MAX: usize = 4_096;

/// The words of a variable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub words: Vec<Text>,
    /// There were more.
    pub more: bool,
}

pub(super) fn split(value: &[u8]) -> Words {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut begins_word = true;
    let mut is_quoted = false;
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' if is_quoted => match bytes.next() {
                Some(byte) => byte,
                None => break,
            },
            b' ' if !is_quoted => {
                begins_word = true;
                continue;
            }
            b'"' => {
                is_quoted = !is_quoted;
                continue;
            }
            byte => byte,
        };
        if begins_word {
            if words.len() == WORDS_MAX {
                return Words {
                    words: words.into_iter().map(Text::new).collect(),
                    more: true,
                };
            }
            words.push(Vec::new());
            begins_word = false;
        }
        if let Some(word) = words.last_mut() {
            word.push(*byte);
        }
    }
    Words {
        words: words.into_iter().map(Text::new).collect(),
        more: false,
    }
}

/// The value of a variable in a file of them (`.env`), as node reads it: the last one counts, quotes around a
/// value are not of it, a comment may follow one without quotes.
pub(super) fn in_file<'f>(file: &'f [u8], name: &str) -> Option<&'f [u8]> {
    let mut found = None;
    for line in file.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        let line = line.strip_prefix(b"export ").unwrap_or(line);
        let Some(at) = memchr::memchr(b'=', line) else {
            continue;
        };
        if line[..at].trim_ascii() != name.as_bytes() {
            continue;
        }
        let value = line[at + 1..].trim_ascii();
        let end = |quote: u8| memchr::memchr(quote, value.get(1..)?);
        found = Some(match value.first() {
            Some(quote @ (b'"' | b'\'' | b'`')) => match end(*quote) {
                Some(end) => &value[1..=end],
                None => value,
            },
            _ => {
                let end = memchr::memchr(b'#', value).unwrap_or(value.len());
                value[..end].trim_ascii()
            }
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(value: &str) -> Vec<String> {
        let words = split(value.as_bytes()).words;
        words.iter().map(Text::escaped).collect()
    }

    #[test]
    fn words_end_at_spaces_but_for_quoted_ones() {
        assert_eq!(
            words("  --require /a/b.js   -r c "),
            ["--require", "/a/b.js", "-r", "c"]
        );
        assert_eq!(
            words(r#"--require "/a b/c.js""#),
            ["--require", "/a b/c.js"]
        );
        assert_eq!(
            words(r#"--require="/a\"b/c.js""#),
            [r#"--require=/a"b/c.js"#]
        );
        assert_eq!(
            words(r#"-r a\b"#),
            ["-r", r"a\\b".replace(r"\\", r"\").as_str()].map(|word| Text::from(word).escaped())
        );
        assert_eq!(words(""), [""; 0]);
        // Node refuses it; nothing runs then.
        assert_eq!(words(r#"-r "/a"#), ["-r", "/a"]);
    }

    #[test]
    fn a_variable_in_a_file_is_what_its_last_line_says() {
        let file = b"A=1\n export NODE_OPTIONS = '--require /x # y' \nNODE_OPTIONS2=z";
        assert_eq!(
            in_file(file, "NODE_OPTIONS"),
            Some(&b"--require /x # y"[..])
        );
        let file = b"NODE_OPTIONS=\"a\"\nNODE_OPTIONS=-r /b # c\n# NODE_OPTIONS=d";
        assert_eq!(in_file(file, "NODE_OPTIONS"), Some(&b"-r /b"[..]));
        assert_eq!(in_file(b"NODE_OPTIONS", "NODE_OPTIONS"), None);
        assert_eq!(in_file(b"NODE_OPTIONS='", "NODE_OPTIONS"), Some(&b"'"[..]));
    }

    #[test]
    fn words_are_bounded_and_that_is_said() {
        let many = "x ".repeat(WORDS_MAX + 1);
        let all = split(many.as_bytes());
        assert_eq!((all.words.len(), all.more), (WORDS_MAX, true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_split_without_panic(value in prop::collection::vec(any::<u8>(), 0..300)) {
            in_file(&[b"X=", value.as_slice()].concat(), "X");
            let all = split(&value);
            prop_assert!(all.words.iter().map(|word| word.as_bytes().len()).sum::<usize>() <= value.len());
        }
    }
}
