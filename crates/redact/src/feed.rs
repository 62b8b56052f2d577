//! What is fed to a command that reads a password from standard input: by a pipe, a here-string, a
//! here-document or a process substitution.

use std::ops::Range;

use crate::{
    argument::{self, Active},
    name::Class,
    program::Value,
    reader::{DEPTH, Group, Reader},
    script::Script,
    shell::{self, Ending},
    span::is_placeholder,
    value::{is_expansion, is_reference, is_switch},
    word::{Placed, Source, Word},
};

impl Reader<'_> {
    /// When a command reads a password from standard input: marks what writes it there.
    pub fn feed(
        &mut self,
        script: &Script<'_, '_>,
        number: usize,
        active: &[Active],
        groups: &mut [Group],
        text: &[u8],
        depth: usize,
    ) {
        let words = script.words(number);
        let found = argument::input(active).or_else(|| self.read_into(&words));
        let Some(value) = found.or_else(|| self.input_inside(&words, depth)) else {
            return;
        };
        self.fed(script, number, value, text, depth);
        for group in groups {
            for writer in group.upstream.drain(..) {
                self.written(&script.words(writer), value);
                self.fed(script, writer, value, text, depth);
            }
        }
    }

    /// `read -r PASSWORD`: what the shell puts into a variable.
    fn read_into(&self, words: &[Placed<'_>]) -> Option<Value> {
        let assigned = |word: &&Placed<'_>| word.bytes().contains(&b'=');
        let words = &words[words.iter().take_while(assigned).count()..];
        let (first, rest) = words.split_first()?;
        let tells = |word: &Placed<'_>| {
            let class = self.names().class(word.bytes());
            matches!(class, Some(Class::Password | Class::Ambiguous))
        };
        (first.bytes() == b"read" && rest.iter().any(tells)).then_some(Value::Whole)
    }

    /// Here-strings and here-documents of a command.
    pub fn fed(
        &mut self,
        script: &Script<'_, '_>,
        number: usize,
        value: Value,
        text: &[u8],
        depth: usize,
    ) {
        let command = &script.commands[number];
        for index in &command.here_strings {
            if let Some(word) = script.word(*index) {
                self.lines(&word, 0..word.bytes().len(), value);
            }
        }
        for range in &command.documents {
            let word = Word::straight(&text[range.clone()], range.start, false);
            let word = Placed {
                word: &word,
                of: script.of,
            };
            self.lines(&word, 0..word.bytes().len(), value);
        }
        for index in &command.inputs {
            let Some(Placed { word, of }) = script.word(*index) else {
                continue;
            };
            for inner in &word.substitutions {
                let within = Source::Within {
                    word,
                    from: inner.start,
                    of,
                };
                self.writers(&word.bytes[inner.clone()], &within, value, depth + 1);
            }
        }
    }

    /// Every command of a text writes a password.
    pub fn writers(&mut self, text: &[u8], of: &Source<'_>, value: Value, depth: usize) {
        if depth > DEPTH || !self.work.allows(text.len()) {
            return;
        }
        let script = Script::read(text, of, Ending::Whole);
        for number in 0..script.commands.len() {
            self.written(&script.words(number), value);
            self.fed(&script, number, value, text, depth);
        }
    }

    /// What a command in a word reads: `… | ssh host 'sudo -S id'`.
    fn input_inside(&mut self, words: &[Placed<'_>], depth: usize) -> Option<Value> {
        if depth >= DEPTH {
            return None;
        }
        let inside = |word: &&Placed<'_>| shell::has_words(word.bytes());
        for Placed { word, of } in words.iter().filter(inside).take(4) {
            if !self.work.allows(word.bytes.len()) {
                return None;
            }
            let within = Source::Within { word, from: 0, of };
            let script = Script::read(&word.bytes, &within, Ending::Whole);
            for number in 0..script.commands.len().min(16) {
                let words = script.words(number);
                let found = argument::input(&argument::active(&words));
                if let Some(value) = found.or_else(|| self.input_inside(&words, depth + 4)) {
                    return Some(value);
                }
            }
        }
        None
    }

    /// Marks what a command writes by itself: the words of `echo`, `printf`, `yes`.
    pub fn written(&mut self, words: &[Placed<'_>], value: Value) {
        let Some(first) = words.iter().position(|word| is_writer(word.bytes())) else {
            return;
        };
        let is_option = |word: &Placed<'_>| {
            matches!(word.bytes(), [b'-', letters @ ..]
                if !letters.is_empty() && letters.len() <= 3 && letters.iter().all(|b| b"neEs-".contains(b)))
        };
        let mut rest = &words[first + 1..];
        while rest.first().is_some_and(is_option) {
            rest = &rest[1..];
        }
        let mut value = value;
        if words[first].bytes().ends_with(b"printf") && rest.len() > 1 {
            // `printf 'user:%s' X`
            if rest[0].bytes().contains(&b'%') {
                value = Value::Whole;
            }
            rest = &rest[1..];
        }
        for word in rest {
            self.lines(word, 0..word.bytes().len(), value);
        }
    }

    /// Marks the secret of each line of a word.
    fn lines(&mut self, word: &Placed<'_>, range: Range<usize>, value: Value) {
        let bytes = word.bytes();
        let mut at = range.start;
        while at < range.end {
            let rest = &bytes[at..range.end];
            let (length, next) = line(rest);
            let text = &rest[..length];
            let known = is_reference(text) || (word.word.expands && is_expansion(text));
            let answer = text.len() <= 1 || is_switch(text);
            if !known
                && !answer
                && let Some((part, kind)) = value.part(text)
            {
                let secret = &text[part.clone()];
                let known = is_reference(secret) || (word.word.expands && is_expansion(secret));
                if !known && !is_placeholder(secret) {
                    word.mark(at + part.start..at + part.end, kind, self.spans);
                }
            }
            at += next;
        }
    }
}

/// Length of a line that ends with a new line or the two letters `\n`, and where the next begins.
fn line(text: &[u8]) -> (usize, usize) {
    let mut at = 0;
    while at < text.len() {
        match &text[at..] {
            [b'\n', ..] => return (at, at + 1),
            [b'\\', b'n', ..] => return (at, at + 2),
            _ => at += 1,
        }
    }
    (at, at)
}

fn is_writer(word: &[u8]) -> bool {
    let base = memchr::memrchr(b'/', word).map_or(word, |slash| &word[slash + 1..]);
    [&b"echo"[..], b"printf", b"yes", b"print"].contains(&base)
}
