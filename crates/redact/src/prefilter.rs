//! One pass over a text that says which rules are worth trying, and where tokens may begin.
//!
//! What it looks for is derived from the tables, so that no rule can be forgotten; a property test walks
//! them. A hit is looked at once more, at a bounded cost, before it counts: `pw` in `pwd -P` is no name.

use std::{ops::Range, sync::OnceLock};

use aho_corasick::{
    Anchored,
    automaton::{Automaton, StateID},
    dfa::DFA,
};

use crate::{
    compiled::{Rules, rules},
    pattern::{Pattern, Runs},
    rough::Rough,
    span::Spans,
    starts::Starts,
    work::Work,
};

/// What one pass found.
#[derive(Debug, Default)]
pub struct Found {
    pub rough: Rough,
    /// Number of a shape and of its pattern, and where the text that it looks for stands.
    shapes: Vec<(u16, u16, usize)>,
    /// Whether the text has a pipe or a redirection, once that was asked.
    feeds: Option<bool>,
}

/// What a pattern of the automaton stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Bit(Rough),
    /// A word that belongs to a name.
    Name,
    /// A whole word: a program, or a sub-command or an option without which it takes no password.
    Word(Rough),
    /// A clause that a value follows.
    Clause,
    At,
    /// Numbers of shape and pattern.
    Shape(u16, u16),
}

/// A word that a command may have, and what it stands for.
type Start = (&'static [u8], Target);

/// The automaton.
#[derive(Debug)]
pub struct Prefilter {
    automaton: DFA,
    /// What only counts where a word begins.
    starts: Starts<Start>,
    /// By pattern of the automaton: a range of `targets`.
    ranges: Vec<(u32, u32)>,
    targets: Vec<Target>,
    rules: &'static Rules,
}

/// How far a name reaches, and how far behind it `=` may stand.
const NAME_REACH: usize = 64;

// === impl Found ===

impl Found {
    /// Whether a program in the text may be fed: a pipe or a redirection.
    fn feeds(&mut self, text: &[u8]) -> bool {
        let feeds = || memchr::memchr2(b'|', b'<', text).is_some();
        *self.feeds.get_or_insert_with(feeds)
    }
}

// === impl Prefilter ===

impl Prefilter {
    /// Built once a process.
    pub fn get() -> &'static Self {
        static PREFILTER: OnceLock<Prefilter> = OnceLock::new();
        PREFILTER.get_or_init(|| Self::of(rules()))
    }

    fn of(rules: &'static Rules) -> Self {
        let mut words: Vec<(Vec<u8>, Target)> = Vec::new();
        let mut add = |word: &[u8], target| words.push((word.to_ascii_lowercase(), target));
        for url in ["://", "%3a%2f%2f", "%3a//", "%253a%252f"] {
            add(url.as_bytes(), Target::Bit(Rough::URL));
        }
        add(b"bearer", Target::Bit(Rough::BEARER));
        add(b"-----begin", Target::Bit(Rough::PRIVATE_KEY));
        add(b"@", Target::At);
        for word in rules.names.triggers() {
            add(word.as_bytes(), Target::Name);
        }
        for word in crate::sql::triggers() {
            add(word, Target::Clause);
        }
        for call in crate::call::triggers() {
            add(&call, Target::Bit(Rough::CALL));
        }
        for words in crate::manifest::TRIGGERS {
            add(words.as_bytes(), Target::Bit(Rough::MANIFEST));
        }
        // The prompt that an answer of expect(1) follows.
        add(b"expect", Target::Bit(Rough::DIALOGUE));
        for value in ["value\"", "value'", "value\\", "value:", "value="] {
            add(value.as_bytes(), Target::Bit(Rough::PAIR));
        }
        // Of `rules/files.txt`, with no word of a name in it.
        add(b"userlist", Target::Name);
        let mut starts: Vec<(&'static [u8], Start)> = Vec::new();
        for (number, shape) in rules.shapes.iter().enumerate() {
            for (index, pattern) in shape.patterns.iter().enumerate() {
                let target = Target::Shape(number as u16, index as u16);
                add(pattern.trigger(), target);
            }
        }
        for program in &rules.programs {
            let rough = match program.has_arguments() {
                true => Rough::PROGRAM,
                false => Rough::INPUT,
            };
            for word in program.triggers() {
                let dashes = word.iter().take_while(|b| **b == b'-').count();
                let word = &word[dashes..];
                starts.push((word, (word, Target::Word(rough))));
            }
        }
        words.sort_by(|a, b| a.0.cmp(&b.0));
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        let mut targets: Vec<Target> = Vec::new();
        for (word, target) in words {
            if patterns.last() != Some(&word) {
                patterns.push(word);
                ranges.push((targets.len() as u32, targets.len() as u32));
            }
            let Some(range) = ranges.last_mut() else {
                continue;
            };
            if !targets[range.0 as usize..].contains(&target) {
                targets.push(target);
                range.1 = targets.len() as u32;
            }
        }
        let automaton = DFA::builder()
            .ascii_case_insensitive(true)
            .build(&patterns)
            .expect("a few thousand short literals fit an automaton");
        Self {
            automaton,
            starts: Starts::of(starts.into_iter()),
            ranges,
            targets,
            rules,
        }
    }

    /// One pass over the text.
    pub fn scan(&self, text: &[u8]) -> Found {
        let mut found = Found::default();
        let automaton = &self.automaton;
        // Only an automaton that was built anchored refuses to start.
        let Ok(mut state) = automaton.start_state(Anchored::No) else {
            return found;
        };
        let mut at = 0;
        while let Some((end, special)) = next_special(automaton, state, text, at) {
            (at, state) = (end, special);
            if automaton.is_match(state) {
                for index in 0..automaton.match_len(state) {
                    let pattern = automaton.match_pattern(state, index);
                    let start = at - automaton.pattern_len(pattern);
                    self.hit(pattern.as_usize(), text, start..at, &mut found);
                }
            }
        }
        if !has_blanks(text) {
            self.starts.argument(text, |(word, target), at| {
                self.word(word, *target, text, at, &mut found);
            });
        } else {
            self.starts.words(text, |(word, target), at| {
                self.word(word, *target, text, at, &mut found);
            });
            if !found.rough.as_command() && is_spliced(text) {
                found.rough = found.rough | Rough::SPLICED;
            }
        }
        if !found.shapes.is_empty() {
            found.rough = found.rough | Rough::SHAPE;
        }
        found
    }

    /// A word begins like a program.
    fn word(&self, word: &[u8], target: Target, text: &[u8], at: usize, found: &mut Found) {
        let Target::Word(rough) = target else { return };
        let holds = !found.rough.has(rough)
            && text[at..].starts_with(word)
            && is_word(text, at, at + word.len());
        if holds && (rough != Rough::INPUT || found.feeds(text)) {
            found.rough = found.rough | rough;
        }
    }

    /// A literal of the automaton was found.
    fn hit(&self, pattern: usize, text: &[u8], range: Range<usize>, found: &mut Found) {
        let Range { start, end } = range;
        let (from, to) = self.ranges[pattern];
        for target in &self.targets[from as usize..to as usize] {
            let (rough, holds) = match *target {
                Target::Shape(number, index) => {
                    if self.pattern(number, index).may_stand(text, start) {
                        found.shapes.push((number, index, start));
                    }
                    continue;
                }
                Target::Bit(rough) => (rough, true),
                // Known already: not looked at again.
                Target::Name if found.rough.has(Rough::NAME) => continue,
                Target::Name => (Rough::NAME, is_telling(text, start, end)),
                Target::Clause => (Rough::CLAUSE, value_follows(text, end)),
                Target::At => (Rough::AT, colon_before(&text[..start])),
                Target::Word(_) => continue,
            };
            if holds {
                found.rough = found.rough | rough;
            }
        }
    }

    fn pattern(&self, number: u16, index: u16) -> &Pattern {
        &self.rules.shapes[usize::from(number)].patterns[usize::from(index)]
    }

    /// Marks what has the shape of a secret.
    pub fn shapes(&self, found: &mut Found, text: &[u8], spans: &mut Spans, work: &mut Work) {
        if found.shapes.is_empty() {
            return;
        }
        // The order of the table: where two cover the same text, the first names it.
        found
            .shapes
            .sort_unstable_by_key(|(number, _, at)| (*number, *at));
        let mut runs = Runs::new();
        let mut done = (0, 0);
        for (number, index, at) in &found.shapes {
            if done.0 == *number && *at < done.1 {
                continue;
            }
            if let Some(secret) = self.pattern(*number, *index).find(text, *at, &mut runs) {
                done = (*number, secret.end);
                spans.add(secret, self.rules.shapes[usize::from(*number)].kind);
            }
        }
        work.spend(runs.work + found.shapes.len() as u64);
    }
}

fn has_blanks(text: &[u8]) -> bool {
    match text.len() {
        ..32 => text.iter().any(|b| matches!(b, b' ' | b'\n' | b'\t')),
        _ => memchr::memchr3(b' ', b'\n', b'\t', text).is_some(),
    }
}

/// The automaton's next state of note from `at` on, and where it is reached. Apart from what is done then, so
/// that nothing but the automaton is in the loop.
#[inline(never)]
fn next_special(
    automaton: &DFA,
    mut state: StateID,
    text: &[u8],
    at: usize,
) -> Option<(usize, StateID)> {
    for (index, byte) in text[at..].iter().enumerate() {
        state = automaton.next_state(Anchored::No, state, *byte);
        if automaton.is_special(state) {
            return Some((at + index + 1, state));
        }
    }
    None
}

/// Quotes with letters on both sides, or escapes: a word that the shell joins.
fn is_spliced(text: &[u8]) -> bool {
    let letter = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    memchr::memchr3_iter(b'\'', b'"', b'$', text).any(|at| {
        let after = text.get(at + 1);
        let quote = after.is_some_and(|b| b"'\"".contains(b));
        let before = at.checked_sub(1).map(|before| text[before]);
        match text[at] {
            b'$' => before == Some(b'\\') || after == Some(&b'\''),
            _ => letter(before.as_ref()) && (quote || letter(after)) && !is_contraction(text, at),
        }
    })
}

/// `it's`, `don't`, `we're`
fn is_contraction(text: &[u8], at: usize) -> bool {
    let rest = &text[at + 1..];
    let letters = rest
        .iter()
        .take(3)
        .take_while(|b| b.is_ascii_alphanumeric())
        .count();
    let ends: [&[u8]; 7] = [b"s", b"t", b"d", b"m", b"re", b"ve", b"ll"];
    text[at] == b'\'' && ends.contains(&&rest[..letters])
}

/// Not a part of another word.
fn is_word(text: &[u8], start: usize, end: usize) -> bool {
    let part = |b: &u8| b.is_ascii_alphanumeric() || b"_-.".contains(b);
    // An option begins with its dashes.
    let inside = |b: &u8| part(b) && *b != b'-' && *b != b'.';
    // `http-basic.` is the beginning of one.
    let open = text[..end].ends_with(b".") || text[end..].starts_with(b".exe");
    !(start > 0 && inside(&text[start - 1])) && (open || !text.get(end).is_some_and(part))
}

fn is_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(byte)
}

/// Whether a word of a name is one whose value may follow.
fn is_telling(text: &[u8], start: usize, end: usize) -> bool {
    let before = text[..start]
        .iter()
        .rev()
        .take(NAME_REACH)
        .take_while(|b| is_name(b))
        .count();
    let after = text[end..]
        .iter()
        .take(NAME_REACH)
        .take_while(|b| is_name(b))
        .count();
    let (start, end) = (start - before, end + after);
    if before == NAME_REACH || after == NAME_REACH {
        return true;
    }
    let name = &text[start..end];
    let closes = |b: &&u8| b"\\\"' \t]}".contains(b);
    let skipped = text[end..].iter().take(12).take_while(closes).count();
    let quoted = text.get(end).is_some_and(|b| b"\"'\\".contains(b));
    let assigned = match text.get(end + skipped) {
        Some(b'=' | b':') => true,
        // `set('name', 'value')`, `{"name":"password","value":…}`
        Some(b',') => quoted,
        _ => false,
    };
    if name.eq_ignore_ascii_case(b"pwd") {
        return assigned;
    }
    // Options, headers, names of settings and of variables: the value may be the next word.
    assigned
        || name.starts_with(b"-")
        || name
            .iter()
            .any(|b| b.is_ascii_uppercase() || b"_.".contains(b))
        || (start > 0 && b":-/<".contains(&text[start - 1]))
}

fn value_follows(text: &[u8], end: usize) -> bool {
    text.get(end)
        .is_some_and(|b| b.is_ascii_whitespace() || b"=('\"\\".contains(b))
}

/// `user:password@`
fn colon_before(text: &[u8]) -> bool {
    let near = &text[text.len().saturating_sub(NAME_REACH * 2)..];
    let Some(colon) = memchr::memrchr(b':', near) else {
        return false;
    };
    let ends = |b: &u8| b.is_ascii_whitespace() || b"'\"@".contains(b);
    !near[colon..].iter().any(ends)
}

#[cfg(test)]
mod tests;
