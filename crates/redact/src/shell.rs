//! A lexer of shell text: words, operators, here-documents, and commands inside words.
//!
//! It reads what a POSIX shell or bash reads, and never fails: a quote or parenthesis that does not close
//! is an ordinary character. Each byte is read a bounded number of times.

use std::ops::Range;

use crate::{build::Build, extent, word::Word};

/// What shell text consists of.
#[derive(Debug)]
pub enum Token<'a> {
    Word(Word<'a>),
    /// `;`, `&`, `&&`, `||`, a new line: what follows is another command.
    End,
    Pipe,
    /// `(` and `{`: a group of commands.
    Open,
    Close,
    /// `<`: the next word is a file.
    Input,
    /// `>` and its like: the next word is a file.
    Output,
    /// `<<<`: the next word is what is read.
    HereString,
    /// `<<`: the body of a here-document.
    HereDocument(Range<usize>),
    Comment(Range<usize>),
}

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it stands.
    Whole,
    /// Cut off: a quote that does not close reaches to the end.
    Cut,
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    tokens: Vec<Token<'a>>,
    /// The next word begins a command.
    begins: bool,
    /// Here-documents whose bodies are to come: the token, and the delimiter.
    pending: Vec<(usize, extent::Delimiter)>,
    /// Which kinds of quote and parenthesis were found not to close.
    open: Open,
    ending: Ending,
}

#[derive(Default)]
struct Open {
    single: bool,
    double: bool,
    substitution: bool,
    backquote: bool,
}

/// Reads `text`.
pub fn read(text: &[u8], ending: Ending) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::with_capacity(16),
        begins: true,
        pending: Vec::new(),
        open: Open::default(),
        ending,
    };
    while lexer.at < text.len() {
        lexer.token();
    }
    lexer.tokens
}

/// Bytes that end a plain run of a word.
const fn is_special(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(byte, b';' | b'|' | b'&' | b'<' | b'>' | b'(' | b')')
        || matches!(byte, b'\'' | b'"' | b'\\' | b'$' | b'`')
}

/// Whether a word may hold words of its own.
pub fn has_words(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .any(|b| is_special(*b) && !b"'\"\\$".contains(b))
}

// === impl Lexer ===

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn operator(&mut self, token: Token<'a>, length: usize) {
        self.begins = matches!(token, Token::End | Token::Pipe | Token::Open | Token::Close);
        self.tokens.push(token);
        self.at += length;
    }

    fn token(&mut self) {
        let start = self.at;
        match self.rest() {
            [b'\n', ..] => {
                self.operator(Token::End, 1);
                self.bodies();
            }
            [b'\\', b'\n', ..] => self.at += 2,
            [byte, ..] if byte.is_ascii_whitespace() => self.at += 1,
            [b'#', ..] if self.begins_word() => {
                let length = memchr::memchr(b'\n', self.rest()).unwrap_or(self.rest().len());
                self.tokens.push(Token::Comment(start + 1..start + length));
                self.at += length;
            }
            [b'|', b'|', ..] | [b'&', b'&', ..] => self.operator(Token::End, 2),
            [b'&', b'>', b'>', ..] => self.operator(Token::Output, 3),
            [b'&', b'>', ..] => self.operator(Token::Output, 2),
            [b'|', b'&', ..] => self.operator(Token::Pipe, 2),
            [b'|', ..] => self.operator(Token::Pipe, 1),
            [b';' | b'&', ..] => self.operator(Token::End, 1),
            [b'<', b'(', ..] | [b'>', b'(', ..] => self.word(),
            [b'<', b'<', b'<', ..] => self.operator(Token::HereString, 3),
            [b'<', b'<', ..] => self.here_document(),
            [b'<', b'>' | b'&', ..] => self.operator(Token::Output, 2),
            [b'<', ..] => self.operator(Token::Input, 1),
            [b'>', b'>' | b'|' | b'&', ..] => self.operator(Token::Output, 2),
            [b'>', ..] => self.operator(Token::Output, 1),
            [b'(', ..] => self.operator(Token::Open, 1),
            [b')', ..] => self.operator(Token::Close, 1),
            [b'{', next, ..] if self.begins && next.is_ascii_whitespace() => {
                self.operator(Token::Open, 1);
            }
            [b'}', ..] if self.begins => self.operator(Token::Close, 1),
            _ => self.word(),
        }
    }

    fn begins_word(&self) -> bool {
        let before = self.at.checked_sub(1).map(|at| self.text[at]);
        before.is_none_or(|b| b.is_ascii_whitespace() || b";|&()".contains(&b))
    }

    /// `<<WORD`: its body begins with the next line.
    fn here_document(&mut self) {
        match extent::Delimiter::read(self.text, self.at) {
            Some((delimiter, end)) => {
                self.pending.push((self.tokens.len(), delimiter));
                let length = end - self.at;
                self.operator(Token::HereDocument(end..end), length);
            }
            // A shift in arithmetic.
            None => self.operator(Token::Output, 2),
        }
    }

    /// A new line was read: the bodies of here-documents follow.
    fn bodies(&mut self) {
        for (token, delimiter) in std::mem::take(&mut self.pending) {
            let (body, end) = delimiter.body(self.text, self.at);
            self.tokens[token] = Token::HereDocument(body);
            self.at = end;
        }
    }

    fn word(&mut self) {
        let start = self.at;
        let plain = self.rest().iter().take_while(|b| !is_special(**b)).count();
        let ends = |b: &u8| b.is_ascii_whitespace() || b";|&<>()".contains(b);
        let next = self.text.get(start + plain);
        // `--file=<(command)`
        let process = matches!(self.text[start + plain..], [b'<' | b'>', b'(', ..]);
        let word = if plain > 0 && next.is_none_or(ends) && !process {
            self.at += plain;
            // `2>file`: the number is of the operator.
            let of_operator = self.text[start..self.at].iter().all(u8::is_ascii_digit)
                && matches!(next, Some(b'<' | b'>'));
            if of_operator {
                return;
            }
            Word::straight(&self.text[start..self.at], start, false)
        } else {
            self.joined()
        };
        self.begins = false;
        self.tokens.push(Token::Word(word));
    }

    /// A word of several pieces.
    fn joined(&mut self) -> Word<'a> {
        let mut build = Build::default();
        let mut first = true;
        while let Some(&byte) = self.text.get(self.at) {
            let ends = byte.is_ascii_whitespace() || b";|&<>()".contains(&byte);
            let process = matches!(self.rest(), [b'<' | b'>', b'(', ..]);
            if ends && !process {
                break;
            }
            first = false;
            match self.rest() {
                [b'\\', b'\n', ..] => self.at += 2,
                [b'\\', escaped, ..] => {
                    build.escape(&[*escaped], self.at, 2, false);
                    self.at += 2;
                }
                [b'$', b'\'', ..] => self.ansi(&mut build),
                [b'$', b'"', ..] => {
                    self.at += 1;
                    self.double(&mut build);
                }
                [b'\'', ..] => self.single(&mut build),
                [b'"', ..] => self.double(&mut build),
                [b'$' | b'`' | b'<' | b'>', ..] => self.expansion(&mut build, false),
                rest => {
                    let length = rest.iter().take_while(|b| !is_special(**b)).count().max(1);
                    build.plain(self.at, length, false);
                    self.at += length;
                }
            }
        }
        if self.at == 0 || first {
            // A byte that begins no word: never twice at the same place.
            build.plain(self.at, 1, false);
            self.at += 1;
        }
        build.word(self.text)
    }

    fn single(&mut self, build: &mut Build) {
        let from = self.at + 1;
        let close = match self.open.single {
            true => None,
            false => memchr::memchr(b'\'', &self.text[from..]),
        };
        match close {
            Some(length) => {
                build.plain(from, length, true);
                self.at = from + length + 1;
            }
            None if self.ending == Ending::Cut => {
                build.plain(from, self.text.len() - from, true);
                self.at = self.text.len();
            }
            None => {
                self.open.single = true;
                build.plain(self.at, 1, false);
                self.at += 1;
            }
        }
    }

    /// `"…"`, in which `$` and backslashes are read.
    fn double(&mut self, build: &mut Build) {
        let close = match self.open.double {
            true => None,
            false => extent::double(self.text, self.at + 1),
        };
        let close = match close {
            Some(close) => close,
            None if self.ending == Ending::Cut => self.text.len(),
            None => {
                self.open.double = true;
                build.plain(self.at, 1, false);
                self.at += 1;
                return;
            }
        };
        self.at += 1;
        // An empty one is a piece, too.
        build.plain(self.at, 0, true);
        while self.at < close {
            match self.rest() {
                [b'\\', b'\n', ..] => self.at += 2,
                [b'\\', escaped @ (b'$' | b'`' | b'"' | b'\\'), ..] => {
                    build.escape(&[*escaped], self.at, 2, true);
                    self.at += 2;
                }
                [b'$' | b'`', ..] => self.expansion(build, true),
                rest => {
                    let special = |b: &u8| b"\\$`".contains(b);
                    let rest = &rest[1..close - self.at];
                    let length = 1 + rest.iter().take_while(|b| !special(b)).count();
                    build.plain(self.at, length, true);
                    self.at += length;
                }
            }
        }
        // A substitution may reach beyond the quote.
        self.at = self.at.max(close + 1).min(self.text.len());
    }

    /// `$'…'`
    fn ansi(&mut self, build: &mut Build) {
        let from = self.at + 2;
        let close = match self.open.single {
            true => None,
            false => extent::ansi(self.text, from),
        };
        let Some(close) = close else {
            self.open.single |= self.ending == Ending::Whole;
            build.plain(self.at, 1, false);
            self.at += 1;
            return;
        };
        self.at = from;
        build.plain(self.at, 0, true);
        while self.at < close {
            let rest = &self.text[self.at..close];
            if rest[0] == b'\\' {
                let (bytes, length) = extent::ansi_escape(rest);
                build.escape(bytes.as_bytes(), self.at, length, true);
                self.at += length;
            } else {
                let length = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
                build.plain(self.at, length, true);
                self.at += length;
            }
        }
        self.at = close + 1;
    }

    /// `$NAME`, `${…}`, `$(…)`, `` `…` ``, `<(…)`: stays as it is, and what it runs is read later.
    fn expansion(&mut self, build: &mut Build, quoted: bool) {
        let start = self.at;
        let (opening, commands) = match self.rest() {
            [b'$', b'(', ..] if !self.open.substitution => (2, true),
            [b'<' | b'>', b'(', ..] if !self.open.substitution => (2, true),
            [b'$', b'{', ..] if !self.open.substitution => (2, false),
            [b'`', ..] if !self.open.backquote => (1, true),
            _ => (0, false),
        };
        build.expands |= self.text[start] == b'$' || self.text[start] == b'`';
        let end = match opening {
            0 => None,
            _ => extent::substitution(self.text, start),
        };
        let Some(end) = end else {
            match self.text[start] {
                b'`' => self.open.backquote = true,
                _ if opening > 0 => self.open.substitution = true,
                _ => {}
            }
            build.plain(start, 1, quoted);
            self.at = start + 1;
            return;
        };
        if commands {
            let at = build.length;
            build
                .substitutions
                .push(at + opening..at + (end - start) - 1);
        }
        build.plain(start, end - start, quoted);
        self.at = end;
    }
}
