//! Golden files: text made from what the product does, compared to the byte.
//!
//! Tests of several packages include this file by its path. A test makes its text anew and compares it
//! with the file of that name beside this one; with `SKEP_BLESS=1` in the environment it writes the file.
//!
//! Bytes stand in these files as `[u8]::escape_ascii` writes them, so that a path, a name or a reason
//! that changes can be read in the difference.

use std::{fmt::Write, path::PathBuf};

/// Lines of a difference that are shown of each side.
const SHOWN: usize = 12;
/// Characters of a line that are shown, and how many of them before what differs.
const SHOWN_OF_LINE: usize = 300;
const BEFORE: usize = 60;

/// One stream between a sensor and a collector: what one side said, message by message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The lane, and the how-manieth stream of it.
    pub name: String,
    pub messages: Vec<Vec<u8>>,
}

/// Whether the golden files are to be written and not compared.
pub fn is_blessing() -> bool {
    std::env::var_os("SKEP_BLESS").is_some()
}

/// The folder of the golden files, seen from the package whose test includes this.
fn file(name: &str) -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folders = package
        .ancestors()
        .map(|folder| folder.join("tests/golden"));
    let folder = folders
        .into_iter()
        .find(|folder| folder.join("files.rs").is_file());
    folder
        .expect("the golden files are above the package")
        .join(name)
}

/// A golden file as it is.
pub fn text(name: &str) -> String {
    let file = file(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Holds texts against the golden files of these names.
pub fn check(actual: &[(&str, &str)]) {
    let mut differences = String::new();
    for (name, actual) in actual {
        if is_blessing() {
            std::fs::write(file(name), actual).unwrap();
        } else if text(name) != *actual {
            let difference = difference(&text(name), actual);
            let _ = writeln!(differences, "tests/golden/{name}:\n{difference}");
        }
    }
    assert!(
        differences.is_empty(),
        "tests/golden/README.md says what this means:\n{differences}"
    );
}

/// The lines between the first that differs and the last, `-` before those of the file, `+` before those
/// of now; as many lines on both sides are shown in pairs, from a little before what differs in them.
pub fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let alike = old
        .iter()
        .zip(&new)
        .take_while(|(old, new)| old == new)
        .count();
    let (old, new) = (&old[alike..], &new[alike..]);
    let ends = old.iter().rev().zip(new.iter().rev());
    let ends = ends.take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[..old.len() - ends], &new[..new.len() - ends]);
    let mut out = String::new();
    if old.len() == new.len() {
        let pairs = (alike + 1..)
            .zip(old.iter().zip(new))
            .filter(|(_, (old, new))| old != new);
        let more = pairs.clone().count().saturating_sub(SHOWN);
        for (line, (old, new)) in pairs.take(SHOWN) {
            let same = old
                .chars()
                .zip(new.chars())
                .take_while(|(old, new)| old == new)
                .count();
            let from = same.saturating_sub(BEFORE);
            let _ = writeln!(out, "line {line}, from character {from}:");
            let _ = writeln!(out, "-{}\n+{}", part(old, from), part(new, from));
        }
        let _ = writeln!(out, "and {more} lines more");
        return out;
    }
    let _ = writeln!(out, "from line {}:", alike + 1);
    for (mark, lines) in [('-', old), ('+', new)] {
        for line in lines.iter().take(SHOWN) {
            let _ = writeln!(out, "{mark}{}", part(line, 0));
        }
        let _ = writeln!(
            out,
            "{mark} and {} lines more",
            lines.len().saturating_sub(SHOWN)
        );
    }
    out
}

fn part(line: &str, from: usize) -> String {
    line.chars().skip(from).take(SHOWN_OF_LINE).collect()
}

/// Bytes as they stand in a golden file.
pub fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The bytes that [`escaped`] wrote.
pub fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (escaped, tail) = rest.split_first().expect("something is escaped");
        rest = tail;
        out.push(match escaped {
            b't' => b'\t',
            b'r' => b'\r',
            b'n' => b'\n',
            b'x' => {
                let (digits, tail) = rest.split_at(2);
                rest = tail;
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            }
            other => *other,
        });
    }
    out
}

/// The streams in a golden file: `stream NAME`, then `message BYTES`, perhaps gone on with by `more BYTES`.
pub fn streams(text: &str) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, streams.last_mut()) {
            ("stream", _) => streams.push(Stream {
                name: rest.to_owned(),
                messages: Vec::new(),
            }),
            ("message", Some(stream)) => stream.messages.push(unescaped(rest)),
            ("more", Some(stream)) => {
                let message = stream
                    .messages
                    .last_mut()
                    .expect("a message is gone on with");
                message.extend(unescaped(rest));
            }
            _ => panic!("not a line of a stream: {line}"),
        }
    }
    streams
}
