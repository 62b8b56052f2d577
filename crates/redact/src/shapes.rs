//! Secrets by their own shape, and the prefilter that says which rules are worth trying at all.

use std::{ops::BitOr, sync::OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::bytes::Regex;

use super::{
    named,
    rules::{Finder, PRIVATE_KEY, PROGRAMS, RULES},
    span::Spans,
};
use skep_event::Text;

/// Bits above those of the rules.
const URL: u64 = 1 << 61;
const NAMES: u64 = 1 << 62;
const PROGRAM: u64 = 1 << 63;

/// Which rules may find something in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triggered(u64);

/// The compiled shapes.
#[derive(Debug)]
pub struct Shapes {
    prefilter: AhoCorasick,
    /// By pattern of the prefilter.
    triggers: Vec<Triggered>,
    /// By rule; compiled when first needed, most never are.
    patterns: Vec<OnceLock<Regex>>,
}

// === impl Triggered ===

impl Triggered {
    pub fn nothing(self) -> bool {
        self.0 == 0
    }

    pub fn url(self) -> bool {
        self.0 & URL != 0
    }

    pub fn names(self) -> bool {
        self.0 & NAMES != 0
    }

    pub fn programs(self) -> bool {
        self.0 & PROGRAM != 0
    }
}

impl BitOr for Triggered {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

// === impl Shapes ===

impl Shapes {
    pub fn new() -> Self {
        let mut words: Vec<(&str, u64)> = vec![("://", URL)];
        for (bit, rule) in RULES.iter().enumerate() {
            if let Finder::Shape { triggers, .. } = rule.finder {
                words.extend(triggers.iter().map(|word| (*word, 1 << bit)));
            }
        }
        words.extend(named::WORDS.iter().map(|word| (*word, NAMES)));
        let programs = PROGRAMS.iter().flat_map(|flag| flag.programs);
        words.extend(programs.map(|name| (*name, PROGRAM)));
        words.sort_unstable();
        words.dedup();
        let prefilter = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(words.iter().map(|(word, _)| word))
            .expect("a few hundred short literals fit an automaton");
        Self {
            prefilter,
            triggers: words.iter().map(|(_, bits)| Triggered(*bits)).collect(),
            patterns: RULES.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    /// One pass over the text.
    pub fn triggered(&self, text: &[u8]) -> Triggered {
        self.prefilter
            .find_overlapping_iter(text)
            .fold(Triggered::default(), |all, hit| {
                all | self.triggers[hit.pattern().as_usize()]
            })
    }

    /// Marks what has the shape of a secret.
    pub fn find(&self, triggered: Triggered, text: &[u8], spans: &mut Spans) {
        if triggered.nothing() {
            return;
        }
        for (bit, (rule, compiled)) in RULES.iter().zip(&self.patterns).enumerate() {
            let Finder::Shape { pattern, .. } = rule.finder else {
                continue;
            };
            if triggered.0 & 1 << bit == 0 {
                continue;
            }
            let regex = compiled
                .get_or_init(|| Regex::new(pattern).expect("a test compiles every pattern"));
            for found in regex.captures_iter(text) {
                if let Some(secret) = found.name("s").or_else(|| found.get(0)) {
                    spans.add(secret.range(), rule.kind);
                }
            }
        }
    }
}

/// A PEM block that a shell split into several arguments at its blanks.
pub fn find_split_private_key(argv: &[Text], spans: &mut [Spans]) {
    let find = |text: &Text, what: &[u8]| memchr::memmem::find(text.as_bytes(), what);
    let mut index = 0;
    while index < argv.len() {
        let start = index;
        index += 1;
        let Some(begin) = find(&argv[start], b"-----BEGIN") else {
            continue;
        };
        let head = &argv[start..argv.len().min(start + 5)];
        if find(&argv[start], b"-----END").is_some()
            || !head.iter().any(|text| find(text, b"PRIVATE").is_some())
        {
            continue;
        }
        let end = (start + 1..argv.len())
            .find(|at| find(&argv[*at], b"-----END").is_some())
            .map_or(argv.len(), |end| {
                let closes = |at: &usize| argv[*at].as_bytes().ends_with(b"KEY-----");
                (end..argv.len().min(end + 5))
                    .find(closes)
                    .map_or(end + 1, |at| at + 1)
            });
        for at in start..end {
            let from = if at == start { begin } else { 0 };
            spans[at].add(from..argv[at].as_bytes().len(), PRIVATE_KEY);
        }
        index = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_has_triggers_it_cannot_match_without() {
        assert!(RULES.len() < 61);
        for rule in RULES {
            let Finder::Shape { triggers, pattern } = rule.finder else {
                continue;
            };
            Regex::new(pattern).unwrap();
            assert!(!triggers.is_empty(), "{}", rule.kind);
            assert!(
                triggers
                    .iter()
                    .all(|word| *word == word.to_ascii_lowercase())
            );
        }
    }

    #[test]
    fn an_ordinary_command_line_triggers_nothing() {
        let shapes = Shapes::new();
        for text in [
            "bash",
            "-c",
            "cargo build --workspace",
            "/usr/bin/rg",
            "--json",
            "TODO",
        ] {
            assert!(shapes.triggered(text.as_bytes()).nothing(), "{text}");
        }
    }
}
