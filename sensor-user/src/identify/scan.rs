//! Looks for the catalogue's markers in a range of a file: one pass over all families' markers,
//! in chunks.
//!
//! Bounds: 256 KiB of a file in memory at a time; a marker's version pattern is tried at most 1,024
//! times a scan.

use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;
use skep_catalogue::{Catalogue, Compiled, Marker, MarkerScope};

use super::{elf::Range, source::Source};

const CHUNK: usize = 256 << 10;
/// Bytes around a marker in which its version is looked for.
const BEFORE: usize = 256;
const AFTER: usize = 1_024;
const TRIES_MAX: u32 = 1_024;

/// All markers of the catalogue, by where they are looked for.
#[derive(Debug)]
pub(super) struct Markers {
    scopes: Vec<Scope>,
}

/// The markers of one scope and the automaton that finds them.
#[derive(Debug)]
pub(super) struct Scope {
    pub scope: MarkerScope,
    automaton: AhoCorasick,
    markers: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    family: usize,
    /// Index among the markers of the family.
    index: usize,
    marker: Marker,
}

/// A marker that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// Index of the family in the catalogue, and of the marker in the family.
    pub family: usize,
    pub marker: usize,
    pub version: Option<String>,
}

#[derive(Clone, Default)]
struct Found {
    seen: bool,
    version: Option<String>,
    tries: u32,
}

// === impl Markers ===

impl Markers {
    pub(super) fn new(catalogue: &Catalogue) -> Self {
        let mut by_scope: BTreeMap<String, (MarkerScope, Vec<Known>)> = BTreeMap::new();
        for (family, entry) in catalogue.families().iter().enumerate() {
            for (index, marker) in entry.markers.iter().enumerate() {
                let slot = by_scope
                    .entry(format!("{:?}", marker.scope))
                    .or_insert_with(|| (marker.scope.clone(), Vec::new()));
                slot.1.push(Known {
                    family,
                    index,
                    marker: marker.clone(),
                });
            }
        }
        let scopes = by_scope.into_values().map(|(scope, markers)| {
            let texts = markers.iter().map(|known| &known.marker.text);
            let automaton = AhoCorasick::builder()
                .build(texts)
                .expect("catalogue markers are few and at most 256 bytes long");
            Scope {
                scope,
                automaton,
                markers,
            }
        });
        Self {
            scopes: scopes.collect(),
        }
    }

    pub(super) fn scope(&self, scope: &MarkerScope) -> Option<&Scope> {
        self.scopes.iter().find(|known| known.scope == *scope)
    }

    /// The scopes that are sections, with the section's name.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Scope)> {
        self.scopes.iter().filter_map(|scope| match &scope.scope {
            MarkerScope::Section(name) => Some((name.as_str(), scope)),
            MarkerScope::Bun | MarkerScope::NodeSea | MarkerScope::Script => None,
        })
    }
}

// === impl Scope ===

impl Scope {
    /// Whether any marker wants a file of this size, linkage and language to be read.
    pub(super) fn wants(&self, size: u64, is_static: bool, language: Option<Compiled>) -> bool {
        self.markers.iter().any(|Known { marker, .. }| {
            size >= marker.min_size
                && (is_static || !marker.static_only)
                && (marker.language.is_none() || marker.language == language)
        })
    }

    /// Searches `range`; stops early once all markers of one family were found.
    pub(super) fn scan(&self, source: &Source, range: Range) -> Vec<Hit> {
        let mut search = Search {
            scope: self,
            found: vec![Found::default(); self.markers.len()],
        };
        let end = range.offset.saturating_add(range.len).min(source.len());
        let len = usize::try_from(end.saturating_sub(range.offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; len.min(CHUNK)];
        // File offset of the buffer, and the part of it whose markers were handled before.
        let (mut at, mut handled) = (range.offset, 0);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(buffer.len());
            let filled = source.read_into(at, &mut buffer[..wanted]);
            let is_last = filled < wanted || at + filled as u64 >= end;
            // Markers near the end are handled with the next chunk, when their surroundings are
            // there.
            let limit = if is_last {
                filled
            } else {
                filled.saturating_sub(AFTER)
            };
            if search.chunk(&buffer[..filled], handled..limit) || is_last || limit <= BEFORE {
                break;
            }
            at += (limit - BEFORE) as u64;
            handled = BEFORE;
        }
        search.finish()
    }

    /// The same over bytes in memory.
    pub(super) fn scan_bytes(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut search = Search {
            scope: self,
            found: vec![Found::default(); self.markers.len()],
        };
        search.chunk(bytes, 0..bytes.len());
        search.finish()
    }
}

struct Search<'s> {
    scope: &'s Scope,
    found: Vec<Found>,
}

// === impl Search ===

impl Search<'_> {
    /// Handles the markers that begin within `part` of `bytes`; true when nothing is left to find.
    fn chunk(&mut self, bytes: &[u8], part: std::ops::Range<usize>) -> bool {
        for hit in self.scope.automaton.find_overlapping_iter(bytes) {
            if !part.contains(&hit.start()) {
                continue;
            }
            let which = hit.pattern().as_usize();
            let marker = &self.scope.markers[which].marker;
            let found = &mut self.found[which];
            found.seen = true;
            let Some(version) = &marker.version else {
                if self.is_complete(which) {
                    return true;
                }
                continue;
            };
            if found.version.is_some() || found.tries >= TRIES_MAX {
                continue;
            }
            found.tries += 1;
            let window =
                &bytes[hit.start().saturating_sub(BEFORE)..bytes.len().min(hit.start() + AFTER)];
            let capture = version
                .captures(window)
                .and_then(|captures| captures.get(1));
            if let Some(text) = capture.and_then(|c| std::str::from_utf8(c.as_bytes()).ok()) {
                found.version = Some(text.to_owned());
                if self.is_complete(which) {
                    return true;
                }
            }
        }
        false
    }

    /// Whether every marker of this marker's family was found, with its version if it has one.
    fn is_complete(&self, which: usize) -> bool {
        let family = self.scope.markers[which].family;
        self.scope
            .markers
            .iter()
            .zip(&self.found)
            .all(|(known, found)| {
                known.family != family
                    || found.seen && (known.marker.version.is_none() || found.version.is_some())
            })
    }

    fn finish(self) -> Vec<Hit> {
        let hits = self
            .scope
            .markers
            .iter()
            .zip(self.found)
            .filter(|(_, found)| found.seen);
        hits.map(|(known, found)| Hit {
            family: known.family,
            marker: known.index,
            version: found.version,
        })
        .collect()
    }
}
