//! Agents that no family describes, by generic evidence: which kinds of it the catalogue names were found.
//!
//! What is looked at is a command-line program: a target of `bin` of a named npm package with the files it
//! loads (`npm.rs`), a console script of a Python distribution with that one's modules (`python.rs`), a
//! program with a script inside, and Go and Rust programs (`native.rs`).
//!
//! Invariants: asked only when no family is evident, and never of a package of a family; a kind counts once;
//! a name decides nothing.
//!
//! Bounds: 256 files and 48 MiB of a script's, 400 files and 8 MiB of a distribution, 256 MiB of a program; at
//! most about 2 MiB of memory, since a question of the inspector may take no more than 4.

pub(super) mod native;
pub(super) mod npm;
pub(super) mod python;
pub(super) mod texts;

use skep_catalogue::{Catalogue, Generic, MIN_CONFIDENCE, Pattern, UNKNOWN};
use skep_event::{Agent, Text};

use super::evidence::Doubt;

/// Longest name, version or text of a package that is taken over.
const TEXT_MAX: usize = 256;

/// One piece of a kind of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    /// Index among the kinds of the catalogue.
    pub kind: usize,
    /// Which list of texts it is of; `None`: it stands for the kind as a whole.
    pub list: Option<usize>,
    /// What was found, for people.
    pub what: String,
}

/// What was found, one piece for each list of texts of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs(pub Vec<Sign>);

/// What a program belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub name: Option<String>,
    pub version: Option<String>,
    /// What its package says of itself, with its name and its command.
    pub described: String,
    /// How it was found, for people.
    pub text: String,
    pub install: Option<Vec<u8>>,
}

// === impl Signs ===

impl Signs {
    pub(super) fn add(&mut self, sign: Sign) {
        let is_there = |known: &Sign| known.kind == sign.kind && known.list == sign.list;
        if !self.0.iter().any(is_there) {
            self.0.push(sign);
        }
    }

    /// The first dependency of each kind.
    pub(super) fn depends<'n>(
        &mut self,
        generic: &Generic,
        names: impl Iterator<Item = &'n str> + Clone,
        known: impl Fn(&skep_catalogue::GenericKind) -> &[Pattern],
    ) {
        for (kind, of) in generic.kinds.iter().enumerate() {
            let is_known = |name: &&str| known(of).iter().any(|k| k.matches(name.as_bytes()));
            if let Some(name) = names.clone().find(is_known) {
                let what = format!("depends on {}", short(name));
                let list = None;
                self.add(Sign { kind, list, what });
            }
        }
    }

    /// Whether the kind is there.
    pub(super) fn has(&self, generic: &Generic, kind: usize) -> bool {
        let mut own = self.0.iter().filter(|sign| sign.kind == kind);
        let lists = generic.kinds.get(kind).map_or(0, |kind| kind.texts.len());
        let found = own.clone().filter(|sign| sign.list.is_some()).count();
        own.any(|sign| sign.list.is_none()) || lists > 0 && found == lists
    }

    /// Whether these alone are what an agent must have.
    pub(super) fn suffice(&self, generic: &Generic) -> bool {
        generic.is_required_there(|kind| self.has(generic, kind))
    }

    fn described(&mut self, generic: &Generic, text: &str) {
        for (kind, of) in generic.kinds.iter().enumerate() {
            let found = of
                .words
                .as_ref()
                .and_then(|words| words.find(text.as_bytes()));
            let not = of
                .not_words
                .as_ref()
                .is_some_and(|not| not.is_match(text.as_bytes()));
            if let Some(found) = found.filter(|_| !not) {
                let what = String::from_utf8_lossy(found.as_bytes()).into_owned();
                let list = None;
                self.add(Sign { kind, list, what });
            }
        }
    }

    fn says_so(&self, generic: &Generic) -> bool {
        let mut kinds = generic.kinds.iter().enumerate();
        kinds.any(|(kind, of)| of.words.is_some() && self.has(generic, kind))
    }

    /// For people: each kind that is there, the weightiest first.
    fn evidence(&self, generic: &Generic) -> Vec<String> {
        let kinds = generic.kinds.iter().enumerate();
        let mut kinds: Vec<_> = kinds.filter(|(kind, _)| self.has(generic, *kind)).collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.weight));
        let line = |(kind, of): (usize, &skep_catalogue::GenericKind)| {
            let own = self.0.iter().filter(|sign| sign.kind == kind);
            let what: Vec<&str> = own.map(|sign| sign.what.as_str()).collect();
            format!("{}: {}", of.says, what.join(", "))
        };
        kinds.into_iter().map(line).collect()
    }
}

/// The agent of no family that these signs make of the subject, if they do.
pub(super) fn conclude(generic: &Generic, mut signs: Signs, subject: Subject) -> Option<Agent> {
    let Subject {
        name,
        version,
        described,
        text,
        install,
    } = subject;
    signs.described(generic, &described);
    let mut points: u8 = 0;
    if !signs.says_so(generic) {
        let against = generic.against.iter();
        let against = against.filter(|against| against.words.is_match(described.as_bytes()));
        points = against.fold(0, |points, against| points.saturating_add(against.points));
    }
    let confidence = generic.confidence(|kind| signs.has(generic, kind), points)?;
    let mut evidence = vec![text];
    evidence.extend(signs.evidence(generic));
    Some(Agent {
        family: UNKNOWN.to_owned(),
        version,
        confidence,
        evidence,
        install_path: install.map(Text::from),
        name,
    })
}

/// The same less what could not be verified.
pub(super) fn doubted(mut agent: Agent, doubts: &[Doubt]) -> Option<Agent> {
    for doubt in doubts {
        agent.confidence = agent.confidence.saturating_sub(doubt.points);
        agent.evidence.push(doubt.text.to_owned());
    }
    (agent.confidence >= MIN_CONFIDENCE).then_some(agent)
}

/// Whether a package is one of a family's: then the family says which of its files are the agent.
pub(super) fn is_of_family(catalogue: &Catalogue, name: &str) -> bool {
    catalogue.families().iter().any(|family| {
        let mut packages = family.packages.iter();
        let mut python = family.python.iter();
        packages.any(|package| package.name.matches(name.as_bytes()))
            || python.any(|distribution| distribution.name == name)
    })
}

/// A text of a package, without what would make it long or unreadable.
fn short(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(TEXT_MAX)
        .collect()
}
