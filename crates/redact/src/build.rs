//! A word that is being read, piece by piece.

use std::{borrow::Cow, ops::Range};

use crate::word::{Map, Piece, Word};

/// A word that is being read.
#[derive(Default)]
pub struct Build {
    pieces: Vec<Piece>,
    escaped: Vec<u8>,
    pub length: usize,
    pub substitutions: Vec<Range<usize>>,
    pub expands: bool,
}

impl Build {
    /// `length` bytes that stand for themselves.
    pub fn plain(&mut self, from: usize, length: usize, quoted: bool) {
        if let Some(last) = self.pieces.last_mut()
            && last.from + last.read == from
            && last.read == last.length
            && last.quoted == quoted
        {
            last.length += length;
            last.read += length;
        } else {
            self.pieces.push(Piece {
                at: self.length,
                length,
                from,
                read: length,
                quoted,
            });
        }
        self.length += length;
    }

    /// `read` bytes that stand for `bytes`, which are fewer.
    pub fn escape(&mut self, bytes: &[u8], from: usize, read: usize, quoted: bool) {
        self.escaped.extend_from_slice(bytes);
        self.pieces.push(Piece {
            at: self.length,
            length: bytes.len(),
            from,
            read,
            quoted,
        });
        self.length += bytes.len();
    }

    /// The word, whose pieces were read from `text`.
    pub fn word(mut self, text: &[u8]) -> Word<'_> {
        if self.pieces.len() > 1 {
            self.pieces.retain(|piece| piece.length > 0);
        }
        let (bytes, map) = match self.pieces.as_slice() {
            [] => (
                Cow::Borrowed(&text[..0]),
                Map::Straight {
                    from: 0,
                    quoted: true,
                },
            ),
            [one] if one.read == one.length => (
                Cow::Borrowed(&text[one.from..one.from + one.length]),
                Map::Straight {
                    from: one.from,
                    quoted: one.quoted,
                },
            ),
            pieces => {
                let mut bytes = Vec::with_capacity(self.length);
                let mut escaped = self.escaped.as_slice();
                for piece in pieces {
                    if piece.read == piece.length {
                        bytes.extend_from_slice(&text[piece.from..piece.from + piece.length]);
                    } else {
                        let (these, rest) = escaped.split_at(piece.length.min(escaped.len()));
                        bytes.extend_from_slice(these);
                        escaped = rest;
                    }
                }
                (Cow::Owned(bytes), Map::Pieces(self.pieces))
            }
        };
        Word {
            bytes,
            map,
            substitutions: self.substitutions,
            expands: self.expands,
        }
    }
}
