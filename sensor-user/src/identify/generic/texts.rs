//! Looks for the texts of generic evidence in bytes: one pass over all of them.
//!
//! A text is found in UTF-16 as well: a script that was compiled into bytecode may hold its strings so.
//!
//! Bounds: 256 KiB of a file in memory at a time; stops once enough was found.

use aho_corasick::AhoCorasick;
use skep_catalogue::Generic;

use super::{
    super::{elf::Range, source::Source},
    Sign, Signs,
};

const CHUNK: usize = 256 << 10;
/// So sure is enough: what else may be found adds nothing to the verdict.
const ENOUGH: u8 = 80;

/// All texts of the catalogue's generic evidence.
#[derive(Debug, Default)]
pub(in super::super) struct Texts {
    automaton: Option<AhoCorasick>,
    /// Kind, list and text of each pattern.
    places: Vec<(usize, usize, String)>,
    longest: usize,
}

/// A search that goes on over several pieces.
pub(super) struct Search<'t> {
    texts: &'t Texts,
    generic: &'t Generic,
    seen: Vec<bool>,
    pub signs: Signs,
}

// === impl Texts ===

impl Texts {
    pub(in super::super) fn new(generic: Option<&Generic>) -> Self {
        let mut places = Vec::new();
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        for (kind, of) in generic
            .iter()
            .flat_map(|generic| generic.kinds.iter().enumerate())
        {
            for (list, texts) in of.texts.iter().enumerate() {
                for text in texts {
                    let wide = text.encode_utf16().flat_map(u16::to_le_bytes);
                    for pattern in [text.clone().into_bytes(), wide.collect()] {
                        places.push((kind, list, text.clone()));
                        patterns.push(pattern);
                    }
                }
            }
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        let automaton = (!patterns.is_empty()).then(|| {
            AhoCorasick::new(&patterns).expect("texts of the catalogue are few and short")
        });
        Self {
            automaton,
            places,
            longest,
        }
    }

    pub(super) fn search<'t>(&'t self, generic: &'t Generic) -> Search<'t> {
        Search {
            texts: self,
            generic,
            seen: vec![false; self.places.len()],
            signs: Signs::default(),
        }
    }
}

// === impl Search ===

impl Search<'_> {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let Some(automaton) = &self.texts.automaton else {
            return;
        };
        for hit in automaton.find_overlapping_iter(bytes) {
            let which = hit.pattern().as_usize();
            if std::mem::replace(&mut self.seen[which], true) {
                continue;
            }
            let (kind, list, text) = &self.texts.places[which];
            self.signs.add(Sign {
                kind: *kind,
                list: Some(*list),
                what: text.clone(),
            });
        }
    }

    /// The same of a part of a file; stops early when [`Search::is_enough`].
    pub(super) fn range(&mut self, source: &Source, range: Range) {
        let end = range.offset.saturating_add(range.len).min(source.len());
        let len = usize::try_from(end.saturating_sub(range.offset)).unwrap_or(CHUNK);
        let mut buffer = vec![0; len.min(CHUNK)];
        // What may be the beginning of a text is looked at again with the next chunk.
        let again = self.texts.longest.saturating_sub(1);
        let mut at = range.offset;
        while at < end && !self.is_enough() {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(buffer.len());
            let filled = source.read_into(at, &mut buffer[..wanted]);
            self.bytes(&buffer[..filled]);
            if filled < wanted || filled <= again || at + filled as u64 >= end {
                return;
            }
            at += (filled - again) as u64;
        }
    }

    pub(super) fn is_enough(&self) -> bool {
        let has = |kind| self.signs.has(self.generic, kind);
        let sure = self.generic.confidence(has, 0);
        sure.is_some_and(|sure| sure >= ENOUGH)
    }
}
