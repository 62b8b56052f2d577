//! Takes secrets out of events before they leave the process.
//!
//! What is found is replaced by `[redacted:KIND]` (user and password of a URL by `***`); the rest of
//! the text stays as it was. The kinds are the table [`RULES`], the rules the tables in `rules/`, which
//! [`tables`] gives and `explain` prints.
//!
//! - Every text of an event (paths, remote, working directory, …) is searched for what has the
//!   *shape* of a secret and for URLs that carry one.
//! - Command lines are also read as the shell reads them: words without their quotes, options and their
//!   values, also in the next word, `NAME=value`, headers, clauses of SQL, what is piped or fed to a
//!   program that reads a password, and all of that again inside a word that is itself a command line
//!   (`bash -c '…'`, `eval '…'`, `ssh host "…"`, `$(…)`), [`reader`] says how deep.
//!
//! Invariants: redacting twice is redacting once; every text of an event is searched but those that
//! the event model says the sensor itself wrote ([`Secrets`]); bytes need not be UTF-8; the work is linear
//! in the length of the text, whatever it is.
//!
//! Limits: a secret with neither a known shape nor a telling name or place stays. Redaction is a net, not
//! a proof; file contents and environment values are therefore not collected at all.
//!
//! Cost: one pass of an Aho-Corasick automaton over a text that holds nothing; `cargo run --release
//! --example redact_cost` measures it. A process is redacted once, not once an event.

mod argument;
mod build;
mod call;
mod class;
mod command;
mod compiled;
mod dialogue;
mod extent;
mod fast;
mod feed;
mod literal;
mod manifest;
mod name;
mod named;
mod pattern;
mod prefilter;
mod program;
mod reader;
mod rough;
mod rules;
mod script;
mod shell;
mod span;
mod sql;
mod starts;
mod table;
mod told;
mod url;
mod value;
mod word;
mod work;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use self::{
    prefilter::{Found, Prefilter},
    reader::Reader,
    rough::Rough,
    span::Spans,
    work::Work,
};
use skep_event::{Agent, Event, Facts, Process, Secrets, Text, process_bytes};

pub use compiled::tables;
pub use rules::{Finder, RULES, Rule};
pub use table::{Entry, Table};

/// How many processes and agents are remembered as redacted, and what memory they may take.
const REMEMBERED: usize = 128;
const REMEMBERED_BYTES: usize = 1 << 20;

/// What stands where a secret was: more passes than this find nothing new in practice, and the bound
/// keeps hostile text from costing more.
const PASSES: usize = 4;

/// Bytes that a cut-off argument is continued with to see whether it ends inside a secret.
const CONTINUATION: &[u8] = b"a0Bc1De2Fg3Hi4Jk5Lm6No7Pq8Rs9Tu0Vw1Xy2Za3";

/// The compiled rules.
#[derive(Debug)]
pub struct Redactor {
    prefilter: &'static Prefilter,
    processes: Mutex<Memory<Process>>,
    agents: Mutex<Memory<Agent>>,
}

/// What was redacted lately, by the address of the original, which it keeps alive.
#[derive(Debug)]
struct Memory<T> {
    known: VecDeque<(Arc<T>, Arc<T>)>,
    /// Memory of one of them, and of all.
    weigh: fn(&T) -> usize,
    bytes: usize,
}

/// Redacts one event.
pub fn event(redactor: &Redactor, event: Event) -> Event {
    redactor.event(event)
}

// === impl Redactor ===

impl Default for Redactor {
    fn default() -> Self {
        Self::new()
    }
}

impl Redactor {
    pub fn new() -> Self {
        Self {
            prefilter: Prefilter::get(),
            processes: Mutex::new(Memory::new(process_bytes)),
            agents: Mutex::new(Memory::new(|_| 0)),
        }
    }

    /// Redacts one event.
    pub fn event(&self, mut event: Event) -> Event {
        event.agent = event.agent.map(|agent| self.agent_once(agent));
        event.process = event.process.map(|process| self.process_once(process));
        event.detail.secrets(&mut Redacting(self));
        event
    }

    /// Redacts an agent, the same one once.
    pub fn agent_once(&self, agent: Arc<Agent>) -> Arc<Agent> {
        remember(&self.agents, agent, |agent| self.facts(agent.clone()))
    }

    /// Redacts a process, the same one once.
    pub fn process_once(&self, process: Arc<Process>) -> Arc<Process> {
        remember(&self.processes, process, |process| {
            self.facts(process.clone())
        })
    }

    /// Redacts what is no command line; `None` when there is nothing to redact.
    pub fn text(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut changed: Option<Vec<u8>> = None;
        for _ in 0..PASSES {
            let text = changed.as_deref().unwrap_or(text);
            let mut found = self.prefilter.scan(text);
            if found.rough.nothing() {
                break;
            }
            let mut spans = Spans::default();
            let mut work = Work::for_bytes(text.len());
            reader::plain(self.prefilter, &mut found, text, &mut spans, &mut work);
            let Some(next) = spans.apply(text) else { break };
            changed = Some(next);
        }
        changed
    }

    /// Redacts a command line; `None` when there is nothing to redact. `truncated`: the last argument
    /// may be cut off.
    pub fn argv(&self, argv: &[Text], truncated: bool) -> Option<Vec<Text>> {
        let mut changed: Option<Vec<Text>> = None;
        for _ in 0..PASSES {
            let Some(next) = self.argv_once(changed.as_deref().unwrap_or(argv), truncated) else {
                break;
            };
            changed = Some(next);
        }
        changed
    }

    fn argv_once(&self, argv: &[Text], truncated: bool) -> Option<Vec<Text>> {
        self.argv_counted(argv, truncated, &mut Work::for_arguments(argv))
    }

    fn argv_counted(&self, argv: &[Text], truncated: bool, work: &mut Work) -> Option<Vec<Text>> {
        let cut = truncated && !argv.is_empty();
        let mut found: Vec<Found> = Vec::with_capacity(argv.len());
        let mut all = Rough::default();
        for text in argv {
            let one = self.prefilter.scan(text.as_bytes());
            all = all | one.rough;
            found.push(one);
        }
        if all.nothing() && !cut {
            return None;
        }
        let longer = argv
            .last()
            .filter(|last| cut && !last.as_bytes().ends_with(span::CLOSING));
        let continued = longer.map(|last| {
            let last = [last.as_bytes(), CONTINUATION].concat();
            if let Some(found) = found.last_mut() {
                *found = self.prefilter.scan(&last);
                all = all | found.rough;
            }
            let mut argv = argv.to_vec();
            argv.pop();
            argv.push(Text::from(last));
            argv
        });
        let words = continued.as_deref().unwrap_or(argv);
        let mut spans: Vec<Spans> = vec![Spans::default(); words.len()];
        for (index, (text, found)) in words.iter().zip(&mut found).enumerate() {
            let (text, spans) = (text.as_bytes(), &mut spans[index]);
            reader::plain(self.prefilter, found, text, spans, work);
            reader::assigned(found, text, cut && index + 1 == words.len(), spans, work);
        }
        if all.as_command() {
            let rough: Vec<Rough> = found.iter().map(|found| found.rough).collect();
            Reader::new(self.prefilter, &mut spans, work).arguments(words, &rough, cut);
        }
        if all.has(Rough::PRIVATE_KEY) {
            literal::split_private_keys(words, &mut spans);
        }
        if spans.iter().all(Spans::is_empty) {
            return None;
        }
        let mut changed: Option<Vec<Text>> = None;
        for (index, (text, mut spans)) in argv.iter().zip(spans).enumerate() {
            spans.clip(text.as_bytes().len());
            if let Some(bytes) = spans.apply(text.as_bytes()) {
                changed.get_or_insert_with(|| argv.to_vec())[index] = Text::from(bytes);
            }
        }
        changed
    }

    /// Redacts a class, or a part of an event.
    pub fn facts<F: Facts>(&self, mut facts: F) -> F {
        facts.secrets(&mut Redacting(self));
        facts
    }
}

/// Replaces each text that a secret is found in.
struct Redacting<'a>(&'a Redactor);

impl Secrets for Redacting<'_> {
    fn text(&mut self, text: &mut Text) {
        if let Some(bytes) = self.0.text(text.as_bytes()) {
            *text = Text::from(bytes);
        }
    }

    fn string(&mut self, text: &mut String) {
        if let Some(bytes) = self.0.text(text.as_bytes()) {
            // What is replaced begins and ends beside ASCII, so that UTF-8 stays UTF-8.
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
    }

    fn command(&mut self, argv: &mut Vec<Text>, truncated: bool) {
        if let Some(redacted) = self.0.argv(argv, truncated) {
            *argv = redacted;
        }
    }
}

// === impl Memory ===

impl<T> Memory<T> {
    fn new(weigh: fn(&T) -> usize) -> Self {
        Self {
            known: VecDeque::with_capacity(REMEMBERED),
            weigh,
            bytes: 0,
        }
    }
}

/// The redacted form, worked out once for each original. It keeps the original itself when there was
/// nothing to redact.
fn remember<T: PartialEq>(
    memory: &Mutex<Memory<T>>,
    original: Arc<T>,
    redact: impl FnOnce(&T) -> T,
) -> Arc<T> {
    // A panic while it was held leaves a cache that is at worst smaller.
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |(from, _): &&(Arc<T>, Arc<T>)| Arc::ptr_eq(from, &original);
    // Recent ones are asked for most.
    if let Some((_, redacted)) = memory.known.iter().rev().find(same) {
        return Arc::clone(redacted);
    }
    let redacted = redact(&original);
    let redacted = if redacted == *original {
        Arc::clone(&original)
    } else {
        Arc::new(redacted)
    };
    let weigh = memory.weigh;
    let bytes = |(original, redacted): &(Arc<T>, Arc<T>)| weigh(original) + weigh(redacted);
    memory.bytes += weigh(&original) + weigh(&redacted);
    while memory.known.len() >= REMEMBERED || memory.bytes > REMEMBERED_BYTES {
        let Some(oldest) = memory.known.pop_front() else {
            break;
        };
        memory.bytes -= bytes(&oldest);
    }
    memory.known.push_back((original, Arc::clone(&redacted)));
    redacted
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
