//! Patterns of tokens: text and runs of characters, matched from where their text was found.
//!
//! Runs are greedy and never given back. [`Runs`] remembers where the run that a position lies in ends,
//! so that a text of any form is read once for each class of characters.

use std::ops::Range;

use crate::class::{CLASSES, Class};

/// The notation of `rules/shapes.txt`, compiled for one choice of its alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// A run in front of the text that is looked for.
    before: Option<Run>,
    /// The text that is looked for.
    text: Vec<u8>,
    after: Vec<Piece>,
    /// Where in the pieces the secret begins and ends: piece numbers, 0 is `before`, 1 is `text`.
    secret: Range<usize>,
    needs: Needs,
    /// An address: letter case does not count, and it may begin within a word.
    address: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Run(Run),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    class: Class,
    min: usize,
    max: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Needs {
    digit: bool,
    upper: bool,
    lower: bool,
}

/// How much of the text that is looked for the prefilter looks for.
const TRIGGER: usize = 5;

/// How much of a match is looked at for a digit or letters of a case.
const LOOKED_AT: usize = 128;

/// A number larger than any text.
const UNBOUNDED: usize = usize::MAX;

/// Where the run of each class ends that was looked at last.
#[derive(Debug)]
pub struct Runs {
    known: [Range<usize>; CLASSES],
    /// Bytes looked at.
    pub work: u64,
}

// === impl Runs ===

impl Runs {
    pub fn new() -> Self {
        Self {
            known: std::array::from_fn(|_| 0..0),
            work: 0,
        }
    }

    /// Where the run of `class` that `at` lies in ends.
    fn end(&mut self, class: Class, text: &[u8], at: usize) -> usize {
        let known = &mut self.known[class as usize];
        if !(known.start <= at && at < known.end) {
            let length = text[at..].iter().take_while(|b| class.has(**b)).count();
            self.work += length as u64 + 1;
            *known = at..at + length;
        }
        known.end.max(at)
    }
}

// === impl Pattern ===

impl Pattern {
    /// Every choice of the alternatives of a pattern.
    pub fn read(notation: &str, address: bool) -> Vec<Self> {
        let (notation, needs) = Needs::read(notation);
        expand(notation)
            .iter()
            .map(|one| Self::compile(one, needs, address))
            .collect()
    }

    fn compile(notation: &str, needs: Needs, address: bool) -> Self {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut secret = None;
        let mut ends = None;
        let mut rest = notation.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match byte {
                b'<' => secret = Some(pieces.len()),
                b'>' => ends = Some(pieces.len()),
                b'{' => {
                    let close = memchr::memchr(b'}', rest).unwrap_or(rest.len());
                    if let Some(run) = Run::read(&rest[..close]) {
                        pieces.push(Piece::Run(run));
                    }
                    rest = rest.get(close + 1..).unwrap_or_default();
                }
                // What is secret begins and ends between pieces.
                _ => {
                    let parted = [secret, ends].contains(&Some(pieces.len()));
                    match pieces.last_mut() {
                        Some(Piece::Text(text)) if !parted => text.push(byte),
                        _ => pieces.push(Piece::Text(vec![byte])),
                    }
                }
            }
        }
        let before = match pieces.first() {
            Some(Piece::Run(run)) => Some(*run),
            _ => None,
        };
        let shift = usize::from(before.is_none());
        let count = pieces.len();
        let mut pieces = pieces.into_iter().skip(usize::from(before.is_some()));
        let text = match pieces.next() {
            Some(Piece::Text(text)) => text,
            _ => Vec::new(),
        };
        Self {
            before,
            text,
            after: pieces.collect(),
            secret: secret.map_or(0, |at| at + shift)..ends.unwrap_or(count) + shift,
            needs,
            address,
        }
    }

    /// What must occur in a text, letter case ignored, before the pattern is tried.
    pub fn trigger(&self) -> &[u8] {
        &self.text[..self.text.len().min(TRIGGER)]
    }

    /// Whether the text that is looked for is that of a match, when its trigger stands at `at`.
    pub fn may_stand(&self, text: &[u8], at: usize) -> bool {
        // Within a word: of most hits there is nothing more to see.
        if !self.address && self.before.is_none() && !begins(text, at) {
            return false;
        }
        let end = at + self.text.len();
        let found = text.get(at..end).unwrap_or_default();
        let same = match self.address {
            true => found.eq_ignore_ascii_case(&self.text),
            false => found == self.text,
        };
        // Short of the run that must follow, most words end.
        same && match self.after.first() {
            Some(Piece::Run(run)) if run.min > 0 => text
                .get(end + run.min - 1)
                .is_some_and(|b| run.class.has(*b)),
            _ => true,
        }
    }

    /// The secret of a match whose text stands at `at`.
    pub fn find(&self, text: &[u8], at: usize, runs: &mut Runs) -> Option<Range<usize>> {
        let same = |at: usize, wanted: &[u8]| {
            let found = text.get(at..at + wanted.len())?;
            let same = found == wanted || (self.address && found.eq_ignore_ascii_case(wanted));
            same.then_some(at + wanted.len())
        };
        let mut to = same(at, &self.text)?;
        let mut from = at;
        if let Some(run) = self.before {
            let length = text[..at]
                .iter()
                .rev()
                .take(run.max.saturating_add(1))
                .take_while(|b| run.class.has(**b))
                .count();
            runs.work += length as u64 + 1;
            if !(run.min..=run.max).contains(&length) {
                return None;
            }
            from = at - length;
        }
        if !self.address && !begins(text, from) {
            return None;
        }
        let mut secret = match self.secret.start {
            0 => from,
            1 => at,
            _ => to,
        };
        let mut secret_end = to;
        for (index, piece) in self.after.iter().enumerate() {
            if index + 2 == self.secret.start {
                secret = to;
            }
            to = match piece {
                Piece::Text(wanted) => same(to, wanted)?,
                Piece::Run(run) => {
                    let end = runs.end(run.class, text, to);
                    if !(run.min..=run.max).contains(&(end - to)) {
                        return None;
                    }
                    end
                }
            };
            if index + 3 == self.secret.end {
                secret_end = to;
            }
        }
        let secret = secret..secret_end.max(secret);
        // The end of a sentence is no part of it.
        let dots = text[secret.clone()]
            .iter()
            .rev()
            .take_while(|b| **b == b'.')
            .count();
        let secret = secret.start..secret.end - dots;
        self.needs
            .met(&text[secret.start..secret.end.min(secret.start + LOOKED_AT)])
            .then_some(secret)
    }

    /// A made-up token.
    #[cfg(test)]
    pub fn example(&self) -> String {
        let before = self.before.map(Piece::Run);
        let pieces = before
            .into_iter()
            .chain([Piece::Text(self.text.clone())])
            .chain(self.after.iter().cloned());
        pieces
            .enumerate()
            .map(|(number, piece)| match piece {
                Piece::Text(text) => String::from_utf8_lossy(&text).into_owned(),
                Piece::Run(run) => run.class.example(run.min.max(1), number * 3),
            })
            .collect()
    }
}

/// Nothing that belongs to it stands before a token: no letter or digit, unless percent-encoded.
pub fn begins(text: &[u8], at: usize) -> bool {
    match &text[..at] {
        [.., b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => true,
        [.., last] => !last.is_ascii_alphanumeric(),
        [] => true,
    }
}

impl Run {
    /// `CLASS MIN-MAX`
    fn read(notation: &[u8]) -> Option<Self> {
        let (&letter, numbers) = notation.split_first()?;
        let numbers = std::str::from_utf8(numbers).ok()?;
        let (min, max) = match numbers.split_once('-') {
            Some((min, max)) => (min.parse().ok()?, max.parse().ok()?),
            None => (numbers.parse().ok()?, UNBOUNDED),
        };
        Some(Self {
            class: Class::read(letter)?,
            min,
            max,
        })
    }
}

impl Needs {
    fn read(notation: &str) -> (&str, Self) {
        let mut needs = Self::default();
        let mut rest = notation.trim_end();
        loop {
            let (place, shorter) = match rest {
                _ if rest.ends_with("+d") => (&mut needs.digit, 2),
                _ if rest.ends_with("+u") => (&mut needs.upper, 2),
                _ if rest.ends_with("+l") => (&mut needs.lower, 2),
                _ => return (rest, needs),
            };
            *place = true;
            rest = rest[..rest.len() - shorter].trim_end();
        }
    }

    fn met(self, text: &[u8]) -> bool {
        let has = |wanted: bool, test: fn(&u8) -> bool| !wanted || text.iter().any(test);
        has(self.digit, u8::is_ascii_digit)
            && has(self.upper, u8::is_ascii_uppercase)
            && has(self.lower, u8::is_ascii_lowercase)
    }
}

/// `a(b,c)d` is `abd` and `acd`.
fn expand(notation: &str) -> Vec<String> {
    let Some((head, rest)) = notation.split_once('(') else {
        return vec![notation.to_owned()];
    };
    let (choices, tail) = rest.split_once(')').unwrap_or((rest, ""));
    let tails = expand(tail);
    choices
        .split(',')
        .flat_map(|choice| {
            tails
                .iter()
                .map(move |tail| format!("{head}{choice}{tail}"))
        })
        .collect()
}
