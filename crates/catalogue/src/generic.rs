//! Evidence of agents that no family describes: kinds of evidence, and how many of them make an agent.
//!
//! Bounds: 32 kinds, 8 lists of texts each, 512 texts in all.

use regex::bytes::{Regex, RegexBuilder};

use super::{
    MIN_CONFIDENCE, Pattern, Problem, raw,
    value::{At, path_patterns, regex, weight},
};

const WEIGHT_MAX: u8 = 60;
const KINDS_MAX: usize = 32;
const LISTS_MAX: usize = 8;
const TEXTS_MAX: usize = 512;
/// A shorter text stands in any program.
const TEXT_BYTES: std::ops::RangeInclusive<usize> = 6..=128;
/// Alternations in any case take more than a pattern of paths.
const WORDS_BYTES_MAX: usize = 1 << 20;

/// By what a command-line program that no family describes is known to be an agent.
#[derive(Clone, Debug)]
pub struct Generic {
    /// Indices of kinds: all those of one list must be there.
    pub required: Vec<Vec<usize>>,
    /// How many kinds that are not in that list must be there as well.
    pub others: usize,
    /// Cut off the end of the name of a package that holds the program of one platform.
    pub platform_suffix: Option<Regex>,
    pub kinds: Vec<GenericKind>,
    pub against: Vec<Against>,
}

/// A kind of evidence. It is there when a dependency, a text of each list, or a word says so.
#[derive(Clone, Debug)]
pub struct GenericKind {
    /// Stable id, e.g. `model`.
    pub id: String,
    /// For people.
    pub says: String,
    pub weight: u8,
    /// Names of npm packages it may depend on.
    pub npm: Vec<Pattern>,
    /// Normalised names (PEP 503) of Python distributions.
    pub pypi: Vec<Pattern>,
    /// Paths of Go modules.
    pub go: Vec<Pattern>,
    /// Names of crates.
    pub rust: Vec<Pattern>,
    /// Literal bytes of what runs: one of each list.
    pub texts: Vec<Vec<String>>,
    /// What its package says of itself ...
    pub words: Option<Regex>,
    /// ... unless it says this as well.
    pub not_words: Option<Regex>,
}

/// What speaks against an agent that its package does not call one.
#[derive(Clone, Debug)]
pub struct Against {
    pub says: String,
    /// Taken from the confidence.
    pub points: u8,
    pub words: Regex,
}

pub(super) fn check(generic: raw::Generic) -> At<Generic> {
    let raw::Generic {
        required,
        others,
        platform_suffix,
        kind,
        against,
    } = generic;
    let mut kinds: Vec<GenericKind> = Vec::new();
    let mut texts = 0;
    for kind in kind {
        let span = kind.get_ref().id.span();
        let kind = check_kind(kind.into_inner())?;
        let is_double = kinds.iter().any(|known| known.id == kind.id);
        texts += kind.texts.iter().map(Vec::len).sum::<usize>();
        let is_too_much = texts > TEXTS_MAX || kinds.len() >= KINDS_MAX;
        if is_double || is_too_much || kind.texts.len() > LISTS_MAX {
            let expected = "an id of its own; at most 32 kinds, 8 lists and 512 texts in all";
            return Err((span, value("id", &kind.id, expected)));
        }
        kinds.push(kind);
    }
    let index = |id: toml::Spanned<String>| {
        let known = kinds.iter().position(|kind| kind.id == *id.get_ref());
        known.ok_or_else(|| {
            let expected = "the id of a [[generic.kind]]";
            (id.span(), value("required", id.get_ref(), expected))
        })
    };
    let mut lists = Vec::new();
    for list in required {
        lists.push(list.into_iter().map(index).collect::<At<Vec<_>>>()?);
    }
    if lists.is_empty() || lists.iter().any(|list| list.len() < 2) {
        let expected = "lists of at least two kinds each";
        return Err((0..0, value("required", "too few", expected)));
    }
    Ok(Generic {
        required: lists,
        others,
        platform_suffix: platform_suffix
            .map(|suffix| regex("platform_suffix", &suffix))
            .transpose()?,
        kinds,
        against: against.into_iter().map(check_against).collect::<At<_>>()?,
    })
}

fn check_kind(kind: raw::GenericKind) -> At<GenericKind> {
    let mut texts = kind.text_all;
    if !kind.text.is_empty() {
        texts.push(kind.text);
    }
    let text = |text: toml::Spanned<String>| {
        if TEXT_BYTES.contains(&text.get_ref().len()) {
            return Ok(text.into_inner());
        }
        let expected = "6 to 128 bytes";
        Err((text.span(), value("text", text.get_ref(), expected)))
    };
    let texts = texts
        .into_iter()
        .map(|list| list.into_iter().map(text).collect::<At<Vec<_>>>());
    Ok(GenericKind {
        texts: texts.collect::<At<_>>()?,
        id: kind.id.into_inner(),
        says: kind.says,
        weight: weight(&kind.weight, WEIGHT_MAX)?,
        npm: path_patterns("npm", kind.npm)?,
        pypi: path_patterns("pypi", kind.pypi)?,
        go: path_patterns("go", kind.go)?,
        rust: path_patterns("rust", kind.rust)?,
        words: kind.words.map(|source| words(&source)).transpose()?,
        not_words: kind.not_words.map(|source| words(&source)).transpose()?,
    })
}

fn check_against(against: raw::Against) -> At<Against> {
    Ok(Against {
        says: against.says,
        points: weight(&against.points, 100)?,
        words: words(&against.words)?,
    })
}

fn words(source: &toml::Spanned<String>) -> At<Regex> {
    let compiled = RegexBuilder::new(source.get_ref())
        .unicode(false)
        .size_limit(WORDS_BYTES_MAX)
        .build();
    compiled.map_err(|error| {
        let reason = error.to_string().lines().last().unwrap_or("").to_owned();
        let key = "words";
        (source.span(), Problem::Regex { key, reason })
    })
}

fn value(key: &'static str, found: &str, expected: &'static str) -> Problem {
    Problem::Value {
        key,
        found: found.to_owned(),
        expected,
    }
}

// === impl Generic ===

impl Generic {
    /// How sure it is, 0 to 99, that a program with these kinds of evidence is an agent; `None`: it is none.
    /// `points` are taken away.
    pub fn confidence(&self, has: impl Fn(usize) -> bool, points: u8) -> Option<u8> {
        let all = || (0..self.kinds.len()).filter(|kind| has(*kind));
        let suffices = |list: &Vec<usize>| {
            list.iter().all(|kind| has(*kind))
                && all().filter(|kind| !list.contains(kind)).count() >= self.others
        };
        if !self.required.iter().any(suffices) {
            return None;
        }
        let doubt = all().fold(1.0, |doubt, kind| {
            doubt * f64::from(100 - self.kinds[kind].weight) / 100.0
        });
        // Between 0 and 99.
        let sure = (100.0 * (1.0 - doubt)).min(99.0).round() as u8;
        let sure = sure.saturating_sub(points);
        (sure >= MIN_CONFIDENCE).then_some(sure)
    }

    /// Whether one of the lists of kinds that must be there is complete.
    pub fn is_required_there(&self, has: impl Fn(usize) -> bool) -> bool {
        let mut lists = self.required.iter();
        lists.any(|list| list.iter().all(|kind| has(*kind)))
    }
}
