//! Reads text as a shell does: commands, pipes, what is fed to standard input, and text inside words.
//!
//! Bounds: [`DEPTH`] texts inside one another, groups of commands [`GROUPS`] deep, and [`Work`]. Beyond
//! them a text is one word, in which tokens and addresses were looked for already.

use skep_event::Text;

use crate::{
    argument::{self, Active},
    call,
    command::Command,
    compiled::rules,
    dialogue, literal, manifest,
    name::Names,
    named,
    prefilter::{Found, Prefilter},
    rough::Rough,
    script::{Script, Step},
    shell::{self, Ending, Token},
    span::Spans,
    sql, url,
    word::{Map, Placed, Source, Word},
    work::Work,
};

pub const DEPTH: usize = 12;
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
pub struct Group {
    /// In front of the last `|`.
    pub upstream: Vec<usize>,
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
        if found.rough.has(Rough::PAIR) {
            manifest::pairs(text, &rules().names, spans, work);
        }
    }
    if found.rough.has(Rough::CLAUSE) {
        sql::find(text, spans, work);
    }
    if found.rough.has(Rough::CALL) {
        call::find(text, spans, work);
    }
    if found.rough.has(Rough::DIALOGUE) {
        dialogue::find(text, &rules().names, spans, work);
    }
    if found.rough.has(Rough::MANIFEST) {
        manifest::secrets(text, spans, work);
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
        let active = self.command(&placed, false);
        self.told(&placed, &active, 0);
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

    pub fn names(&self) -> &'static Names {
        self.names
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
                    self.told(&words, &active, depth);
                    self.filed(script, number, &words, &groups, text);
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
}

/// Nothing but one substitution.
fn is_substitution(word: &Word<'_>) -> bool {
    matches!(word.substitutions.as_slice(), [one]
        if one.start <= 2 && one.end + 1 == word.bytes.len())
}
