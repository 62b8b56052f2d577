//! Words as the shell reads them, each with a map back to the bytes it was read from.
//!
//! A word is text of its own in which a shell may find words again: maps lie behind one another, as many
//! as command lines lie in one another. What is taken out of a word is taken out piece by piece, so that
//! quotes and escapes around the pieces stay whole.

use std::{borrow::Cow, ops::Range};

use crate::span::Spans;

/// A piece of a word: bytes that stand together where they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the word.
    pub at: usize,
    pub length: usize,
    /// Where it was read.
    pub from: usize,
    /// How many bytes were read: another number than `length` for an escape.
    pub read: usize,
    pub quoted: bool,
}

/// A word without its quotes and escapes.
#[derive(Clone, Debug)]
pub struct Word<'a> {
    pub bytes: Cow<'a, [u8]>,
    pub map: Map,
    /// Commands in it whose output the shell puts there: ranges of its bytes.
    pub substitutions: Vec<Range<usize>>,
    /// The shell puts values in place of `$NAME` in it.
    pub expands: bool,
}

/// Where the bytes of a word were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Map {
    /// In one piece, from there on.
    Straight {
        from: usize,
        quoted: bool,
    },
    Pieces(Vec<Piece>),
}

/// A text in which words are read, and where it is from.
#[derive(Debug)]
pub enum Source<'a> {
    /// An argument.
    Argument(usize),
    /// Bytes of a word from `from` on.
    Within {
        word: &'a Word<'a>,
        from: usize,
        of: &'a Source<'a>,
    },
}

// === impl Word ===

impl<'a> Word<'a> {
    /// An argument of a program: no shell reads it.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self::straight(bytes, 0, false)
    }

    pub fn straight(bytes: &'a [u8], from: usize, quoted: bool) -> Self {
        Self {
            bytes: Cow::Borrowed(bytes),
            map: Map::Straight { from, quoted },
            substitutions: Vec::new(),
            expands: false,
        }
    }

    /// Whether it is other bytes than those it was read from.
    pub fn is_joined(&self) -> bool {
        matches!(self.map, Map::Pieces(_))
    }

    /// Where bytes of the word were read, piece by piece.
    fn pieces(&self, range: Range<usize>, mut each: impl FnMut(Range<usize>)) {
        match &self.map {
            Map::Straight { from, .. } => each(from + range.start..from + range.end),
            Map::Pieces(pieces) => {
                let first = pieces.partition_point(|piece| piece.at + piece.length <= range.start);
                for piece in &pieces[first..] {
                    if piece.at >= range.end {
                        break;
                    }
                    each(match piece.read == piece.length {
                        true => {
                            let start = range.start.max(piece.at) - piece.at;
                            let end = range.end.min(piece.at + piece.length) - piece.at;
                            piece.from + start..piece.from + end
                        }
                        false => piece.from..piece.from + piece.read,
                    });
                }
            }
        }
    }

    /// The end of the quoted piece that begins at `at`.
    pub fn quoted_from(&self, at: usize) -> Option<usize> {
        let Map::Pieces(pieces) = &self.map else {
            return None;
        };
        let first = pieces.partition_point(|piece| piece.at < at);
        let mut end = None;
        for piece in &pieces[first..] {
            if !piece.quoted || piece.at != end.unwrap_or(at) {
                break;
            }
            end = Some(piece.at + piece.length);
        }
        end
    }
}

// === impl Source ===

impl Source<'_> {
    /// Marks bytes of this text where they stand in the arguments. The first piece is replaced by the
    /// kind, the others go.
    pub fn mark(&self, range: Range<usize>, kind: &'static str, spans: &mut [Spans]) {
        if range.is_empty() {
            return;
        }
        let mut found: Option<(usize, Range<usize>)> = None;
        let mut first = true;
        self.trace(
            range,
            &mut |argument, piece: Range<usize>| match &mut found {
                Some((_, last)) if last.end == piece.start => last.end = piece.end,
                Some((argument, last)) => {
                    spans[*argument].add_piece(last.clone(), kind, first);
                    first = false;
                    *last = piece;
                }
                None => found = Some((argument, piece)),
            },
        );
        if let Some((argument, last)) = found {
            spans[argument].add_piece(last, kind, first);
        }
    }

    fn trace(&self, range: Range<usize>, each: &mut dyn FnMut(usize, Range<usize>)) {
        match self {
            Self::Argument(argument) => each(*argument, range),
            Self::Within { word, from, of } => {
                word.pieces(range.start + from..range.end + from, |piece| {
                    of.trace(piece, each)
                });
            }
        }
    }
}

/// A word of a command, and the text it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    pub word: &'a Word<'a>,
    pub of: &'a Source<'a>,
}

impl<'a> Placed<'a> {
    pub fn bytes(&self) -> &'a [u8] {
        &self.word.bytes
    }

    /// Marks bytes of the word.
    pub fn mark(&self, range: Range<usize>, kind: &'static str, spans: &mut [Spans]) {
        self.word.pieces_in(self.of, range, kind, spans);
    }
}

impl<'a> Word<'a> {
    fn pieces_in(
        &self,
        of: &Source<'_>,
        range: Range<usize>,
        kind: &'static str,
        spans: &mut [Spans],
    ) {
        let within = Source::Within {
            word: self,
            from: 0,
            of,
        };
        within.mark(range, kind, spans);
    }
}
