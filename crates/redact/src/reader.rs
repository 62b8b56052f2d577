//! Reads text as a shell does: commands, pipes, what is fed to standard input, and text inside words.
//!
//! Bounds: [`DEPTH`] texts inside one another, groups of commands [`GROUPS`] deep, and [`Work`]. Beyond
//! them a text is one word, in which tokens and addresses were looked for already.

use std::ops::Range;

use skep_event::Text;

use crate::{
    argument::{self, Active},
    command::Command,
    literal,
    name::Names,
    named,
    prefilter::{Found, Prefilter, Rough},
    program::Value,
    script::{Script, Step},
    shell::{self, Ending, Token},
    span::Spans,
    sql,
    table::rules,
    url,
    word::{Map, Placed, Source, Word},
    work::Work,
};

const DEPTH: usize = 12;
const GROUPS: usize = 32;

/// Reads the arguments of one program and the command lines in them.
pub struct Reader<'r> {
    prefilter: &'static Prefilter,
    names: &'static Names,
    pub spans: &'r mut [Spans],
    pub work: &'r mut Work,
}

/// A group of commands that is open, by their numbers.
#[derive(Default)]
struct Group {
    /// In front of the last `|`.
    upstream: Vec<usize>,
    /// Behind it.
    stage: Vec<usize>,
    /// Of pipelines that ended.
    done: Vec<usize>,
}

/// Everything that is looked for in a text of whatever kind.
pub fn plain(
    prefilter: &Prefilter,
    found: &mut Found,
    text: &[u8],
    spans: &mut Spans,
    work: &mut Work,
) {
    let names = &rules().names;
    prefilter.shapes(found, text, spans, work);
    if found.rough.has(Rough::PRIVATE_KEY) {
        literal::private_keys(text, spans);
    }
    if found.rough.has(Rough::BEARER) {
        literal::bearers(text, spans);
    }
    if found.rough.has(Rough::URL) {
        url::find(text, names, spans, work);
    }
}

/// What is looked for in an argument or a word beyond that. `cut`: its end is missing.
pub fn assigned(found: &Found, text: &[u8], cut: bool, spans: &mut Spans, work: &mut Work) {
    if found.rough.has(Rough::NAME) {
        named::find(text, &rules().names, cut, spans, work);
    }
    if found.rough.has(Rough::CLAUSE) {
        sql::find(text, spans, work);
    }
}

// === impl Reader ===

impl<'r> Reader<'r> {
    pub fn new(prefilter: &'static Prefilter, spans: &'r mut [Spans], work: &'r mut Work) -> Self {
        Self {
            prefilter,
            names: &rules().names,
            spans,
            work,
        }
    }

    /// Reads arguments. `rough`: of each; `cut`: the last one is cut off.
    pub fn arguments(&mut self, argv: &[Text], rough: &[Rough], cut: bool) {
        let words: Vec<Word<'_>> = argv
            .iter()
            .map(|text| Word::whole(text.as_bytes()))
            .collect();
        let sources: Vec<Source<'_>> = (0..argv.len()).map(Source::Argument).collect();
        let placed: Vec<Placed<'_>> = words
            .iter()
            .zip(&sources)
            .map(|(word, of)| Placed { word, of })
            .collect();
        self.command(&placed, false);
        for (index, text) in argv.iter().enumerate() {
            let text = text.as_bytes();
            if rough[index].as_command() && shell::has_words(text) {
                let ending = match cut && index + 1 == argv.len() {
                    true => Ending::Cut,
                    false => Ending::Whole,
                };
                self.text(text, &sources[index], ending, 1);
            }
        }
    }

    fn command(&mut self, words: &[Placed<'_>], inner: bool) -> Vec<Active> {
        let mut command = Command {
            names: self.names,
            spans: &mut *self.spans,
            inner,
        };
        command.read(words);
        let active = argument::active(words);
        argument::mark(&active, words, inner, self.spans);
        active
    }

    /// Reads a text as shell text.
    fn text(&mut self, text: &[u8], of: &Source<'_>, ending: Ending, depth: usize) {
        if depth > DEPTH || !self.work.allows(text.len()) {
            return;
        }
        let script = Script::read(text, of, ending);
        for token in &script.tokens {
            match token {
                Token::Word(word) => self.inside(word, of, ending, depth),
                Token::Comment(range) | Token::HereDocument(range) => {
                    let body = &text[range.clone()];
                    let word = Word::straight(body, range.start, false);
                    let within = Source::Within {
                        word: &word,
                        from: 0,
                        of,
                    };
                    self.text(body, &within, ending, depth + 1);
                }
                _ => {}
            }
        }
        self.commands(&script, text, depth);
    }

    /// What is in a word: text of its own when it has blanks or operators, and commands whose output the
    /// shell puts there.
    fn inside(&mut self, word: &Word<'_>, of: &Source<'_>, ending: Ending, depth: usize) {
        let bytes = &word.bytes[..];
        if word.is_joined() {
            self.joined(word, of, ending);
        }
        let quoted = match &word.map {
            Map::Straight { quoted, .. } => *quoted,
            Map::Pieces(_) => true,
        };
        // Quoted text with a substitution in it is read as a whole.
        if quoted && shell::has_words(bytes) && !is_substitution(word) {
            let within = Source::Within { word, from: 0, of };
            self.text(bytes, &within, ending, depth + 1);
            return;
        }
        for inner in &word.substitutions {
            let within = Source::Within {
                word,
                from: inner.start,
                of,
            };
            self.text(&bytes[inner.clone()], &within, Ending::Whole, depth + 1);
        }
    }

    /// A word that is other bytes than those it was read from: tokens and names are looked for again.
    fn joined(&mut self, word: &Word<'_>, of: &Source<'_>, ending: Ending) {
        if !self.work.allows(word.bytes.len()) {
            return;
        }
        let mut found = self.prefilter.scan(&word.bytes);
        if found.rough.nothing() {
            return;
        }
        let mut spans = Spans::default();
        plain(
            self.prefilter,
            &mut found,
            &word.bytes,
            &mut spans,
            self.work,
        );
        assigned(
            &found,
            &word.bytes,
            ending == Ending::Cut,
            &mut spans,
            self.work,
        );
        let within = Source::Within { word, from: 0, of };
        for (range, kind) in spans.drain() {
            within.mark(range, kind, self.spans);
        }
    }

    /// Reads the commands of a text, and what is piped from one to another.
    fn commands(&mut self, script: &Script<'_, '_>, text: &[u8], depth: usize) {
        let mut groups = vec![Group::default()];
        let mut number = 0;
        for step in &script.steps {
            let Some(group) = groups.last_mut() else {
                return;
            };
            match step {
                Step::Command => {
                    let words = script.words(number);
                    let active = self.command(&words, true);
                    let fed = script.commands[number].is_fed();
                    if fed || groups.iter().any(|group| !group.upstream.is_empty()) {
                        self.feed(script, number, &active, &mut groups, text, depth);
                    }
                    if let Some(group) = groups.last_mut() {
                        group.stage.push(number);
                    }
                    number += 1;
                }
                Step::Pipe => group.upstream.append(&mut group.stage),
                Step::End => {
                    group.done.append(&mut group.upstream);
                    group.done.append(&mut group.stage);
                }
                Step::Open if groups.len() < GROUPS => groups.push(Group::default()),
                Step::Close if groups.len() > 1 => {
                    let closed = groups.pop().unwrap_or_default();
                    if let Some(group) = groups.last_mut() {
                        for part in [closed.done, closed.upstream, closed.stage] {
                            group.stage.extend(part);
                        }
                    }
                }
                Step::Open | Step::Close => {}
            }
        }
    }

    /// When a command reads a password from standard input: marks what writes it there.
    fn feed(
        &mut self,
        script: &Script<'_, '_>,
        number: usize,
        active: &[Active],
        groups: &mut [Group],
        text: &[u8],
        depth: usize,
    ) {
        let Some(value) =
            argument::input(active).or_else(|| self.input_inside(&script.words(number), depth))
        else {
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

    /// Here-strings and here-documents of a command.
    fn fed(
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
    fn writers(&mut self, text: &[u8], of: &Source<'_>, value: Value, depth: usize) {
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
    fn written(&mut self, words: &[Placed<'_>], value: Value) {
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
            let known = crate::value::is_reference(text)
                || (word.word.expands && crate::value::is_expansion(text));
            let answer = text.len() <= 1 || crate::value::is_switch(text);
            if !known
                && !answer
                && let Some((part, kind)) = argument::part(text, value)
            {
                let secret = &text[part.clone()];
                let known = crate::value::is_reference(secret)
                    || (word.word.expands && crate::value::is_expansion(secret));
                if !known && !crate::span::is_placeholder(secret) {
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

/// Nothing but one substitution.
fn is_substitution(word: &Word<'_>) -> bool {
    matches!(word.substitutions.as_slice(), [one]
        if one.start <= 2 && one.end + 1 == word.bytes.len())
}
