//! Pieces of a text that are to be replaced.

use std::ops::Range;

use super::rules::URL_USERINFO;

/// What a placeholder begins and ends with.
pub const OPENING: &[u8] = b"[redacted:";
pub const CLOSING: &[u8] = b"]";
const STARS: &[u8] = b"***";

/// Pieces of one text; may overlap.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    found: Vec<Span>,
}

#[derive(Clone, Debug)]
struct Span {
    range: Range<usize>,
    /// What stands in its place; `None`: nothing, since it continues a piece that was replaced.
    kind: Option<&'static str>,
}

// === impl Spans ===

impl Spans {
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Marks a piece, unless it is empty.
    pub fn add(&mut self, range: Range<usize>, kind: &'static str) {
        self.add_piece(range, kind, true);
    }

    /// Marks one of the pieces that a secret stands in; the first is replaced, the others go.
    pub fn add_piece(&mut self, range: Range<usize>, kind: &'static str, first: bool) {
        if !range.is_empty() {
            let kind = first.then_some(kind);
            self.found.push(Span { range, kind });
        }
    }

    /// What was marked, as pieces that are each replaced.
    pub fn drain(&mut self) -> impl Iterator<Item = (Range<usize>, &'static str)> {
        self.found
            .drain(..)
            .filter_map(|span| Some((span.range, span.kind?)))
    }

    /// Forgets what lies beyond the first `length` bytes.
    pub fn clip(&mut self, length: usize) {
        for span in &mut self.found {
            span.range = span.range.start.min(length)..span.range.end.min(length);
        }
        self.found.retain(|span| !span.range.is_empty());
    }

    /// The text with every piece replaced; `None` when that changes nothing. Pieces that overlap are
    /// one, named by the longest of them, by the first found among equals.
    pub fn apply(mut self, text: &[u8]) -> Option<Vec<u8>> {
        if self.found.is_empty() {
            return None;
        }
        // Stable: equal pieces stay in the order they were found.
        self.found
            .sort_by_key(|span| (span.range.start, usize::MAX - span.range.len()));
        let mut merged: Vec<(Span, usize)> = Vec::with_capacity(self.found.len());
        for span in self.found {
            let length = span.range.len();
            match merged.last_mut() {
                Some((last, longest)) if span.range.start < last.range.end => {
                    last.range.end = last.range.end.max(span.range.end);
                    if span.kind.is_some() && (length > *longest || last.kind.is_none()) {
                        (last.kind, *longest) = (span.kind, length);
                    }
                }
                _ => merged.push((span, length)),
            }
        }
        let mut out = Vec::with_capacity(text.len() + 32);
        let mut done = 0;
        for (Span { range, kind }, _) in merged {
            out.extend_from_slice(&text[done..range.start]);
            match kind {
                None => {}
                Some(URL_USERINFO) => out.extend_from_slice(STARS),
                Some(kind) => {
                    out.extend_from_slice(OPENING);
                    out.extend_from_slice(kind.as_bytes());
                    out.extend_from_slice(CLOSING);
                }
            }
            done = range.end;
        }
        out.extend_from_slice(&text[done..]);
        (out != text).then_some(out)
    }
}

/// Whether a value has been replaced already.
pub fn is_placeholder(value: &[u8]) -> bool {
    value == STARS || (value.starts_with(OPENING) && value.ends_with(CLOSING))
}
