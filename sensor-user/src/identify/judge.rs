//! The judgement itself: what the file is, where it lies, and, of a runtime, what it was told to run (`line.rs`).

use std::{collections::HashMap, sync::Arc};

use skep_catalogue::{Catalogue, Family, MIN_CONFIDENCE, Runtime};
use skep_event::{Agent, Text};

use super::{
    Candidate, Identifier, Judgement,
    access::{self, Root, Switch, Trust},
    command::base_name,
    content::Nature,
    environment::Variables,
    evidence::{self, Doubt, Kind, Piece},
    looks::{Budget, Looks},
    package, switches,
};

mod line;
mod script;

pub(super) use script::Found;

/// A program loaded by a dynamic linker loaded by a dynamic linker; no one needs more.
const DEPTH_MAX: usize = 2;

/// One exec under judgement.
pub(super) struct Case<'a> {
    pub(super) identifier: &'a mut Identifier,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) candidate: &'a Candidate<'a>,
    pub(super) root: &'a Root,
    pub(super) doubts: Vec<Doubt>,
    depth: usize,
    /// The variables that say what its runtime loads, where they were read.
    variables: Option<Variables>,
    search: Option<Search>,
}

/// Where its runtime looks for packages besides the usual places.
struct Search {
    /// Directories, joined by colons.
    path: Vec<u8>,
    /// An installation prefix of the user's own.
    user_base: Option<Vec<u8>>,
}

// === impl Identifier ===

impl Identifier {
    /// Judges one exec. Reads files of the process, so call it soon after; a process that has ended
    /// is judged by what its paths still name.
    pub fn judge(&mut self, candidate: &Candidate<'_>) -> Judgement {
        match Root::of(
            candidate,
            descriptors(candidate),
            Looks::within(Budget::UNBOUNDED),
        ) {
            Ok(root) => self.judge_in(candidate, &root),
            Err(unjudged) => Judgement::not(unjudged),
        }
    }

    /// The same of a process that was taken hold of.
    pub(crate) fn judge_in(&mut self, candidate: &Candidate<'_>, root: &Root) -> Judgement {
        let judged = self.nature(candidate, root).map(|(nature, trust)| {
            let doubts = match trust {
                Trust::Exact => Vec::new(),
                Trust::OtherDevice => vec![evidence::OTHER_DEVICE],
                Trust::Unverified => vec![evidence::UNVERIFIED],
            };
            let mut judgement = Case::new(self, candidate, root, doubts).judge(&nature);
            judgement.never &= trust > Trust::Unverified;
            judgement
        });
        let noted = root.looks.noted();
        let mut judgement = match (judged, &noted) {
            (Some(judgement), _) => judgement,
            (None, Some(_)) => Judgement::default(),
            (None, None) => return Judgement::UNSEEN,
        };
        if let Some((unjudged, place)) = noted {
            // Of what could not be read nothing is said for good.
            judgement.never = false;
            if judgement.agent.is_none() {
                judgement.unjudged = Some(unjudged);
                judgement.place = place.map(Text::new);
            }
        }
        judgement
    }
}

/// The descriptors a program may be read from: standard input, and those that arguments name.
pub(crate) fn descriptors<'a>(candidate: &Candidate<'a>) -> impl Iterator<Item = u32> + use<'a> {
    let named = candidate.argv.iter().map(Text::as_bytes);
    std::iter::once(0).chain(named.filter_map(descriptor).filter(|number| *number != 0))
}

// === impl Case ===

impl<'a> Case<'a> {
    pub(super) fn new(
        identifier: &'a mut Identifier,
        candidate: &'a Candidate<'a>,
        root: &'a Root,
        doubts: Vec<Doubt>,
    ) -> Self {
        let catalogue = Arc::clone(&identifier.catalogue);
        Self {
            identifier,
            catalogue,
            candidate,
            root,
            doubts,
            depth: 0,
            variables: None,
            search: None,
        }
    }

    /// Judges a program by its bytes, its path and its arguments.
    pub(super) fn judge(self, nature: &Nature) -> Judgement {
        let pieces = self.program_pieces(nature);
        if let Some(agent) = self.conclude(pieces.clone()) {
            return self.native(agent, pieces);
        }
        let exe = self.candidate.exe.map(Text::as_bytes);
        let catalogue = Arc::clone(&self.catalogue);
        let runtimes = catalogue.runtimes();
        let by_name = || {
            let name = base_name(exe?);
            runtimes
                .iter()
                .find(|r| r.file_name.iter().any(|pattern| pattern.matches(name)))
        };
        match nature {
            Nature::Runtime(index) => self.run(&runtimes[*index]),
            Nature::Bundle(index) => match &runtimes[*index].plain_env {
                None => Judgement {
                    never: exe.is_some(),
                    ..Judgement::default()
                },
                Some(switch) => match self.switch(switch) {
                    Switch::On => self.run(&runtimes[*index]),
                    // Bun's options from the environment count for what is compiled with it, too.
                    Switch::Off | Switch::Unknown => self.load_by_environment(&runtimes[*index]),
                },
            },
            Nature::Unknown(unknown) => self.unknown_program(unknown),
            Nature::Program(_) => Judgement::default(),
            Nature::Plain => match by_name() {
                Some(runtime) => self.run(runtime),
                // Without a path it is not known whether the name is a runtime's.
                None => Judgement {
                    never: exe.is_some(),
                    ..Judgement::default()
                },
            },
        }
    }

    /// A file that is an agent, unless it was told to be something else.
    fn native(mut self, agent: Agent, pieces: Vec<Piece>) -> Judgement {
        let catalogue = Arc::clone(&self.catalogue);
        let Some(family) = catalogue.family(&agent.family) else {
            return Judgement::default();
        };
        for name in &family.plain_runtime_env {
            match self.switch(name) {
                Switch::Off => {}
                Switch::Unknown => self.doubts.push(evidence::ENVIRONMENT_UNREADABLE),
                Switch::On => {
                    let by_switch = |r: &&Runtime| r.plain_env.as_ref() == Some(name);
                    let runtime = catalogue.runtimes().iter().find(by_switch);
                    return runtime.map_or_else(Judgement::default, |r| self.run(r));
                }
            }
        }
        let agent = self.conclude(pieces);
        if is_multicall(family, self.candidate.argv) {
            return Judgement {
                agent: agent.map(called_as_tool).map(Arc::new),
                multicall: true,
                ..Judgement::default()
            };
        }
        Judgement {
            agent: agent.map(Arc::new),
            ..Judgement::default()
        }
    }

    // --- evidence ---

    fn program_pieces(&self, nature: &Nature) -> Vec<Piece> {
        let mut pieces = match nature {
            Nature::Program(pieces) => pieces.to_vec(),
            Nature::Plain | Nature::Runtime(_) | Nature::Bundle(_) | Nature::Unknown(_) => {
                Vec::new()
            }
        };
        let exe = self.candidate.exe.map(Text::as_bytes);
        let is_worth_a_look =
            |exe: &&[u8]| !pieces.is_empty() || package::is_telling(&self.catalogue, exe);
        if let Some(real) = exe
            .filter(is_worth_a_look)
            .and_then(|exe| self.verified(exe))
        {
            pieces.extend(package::packages(&self.catalogue, self.root, &real));
            pieces.extend(package::layouts(&self.catalogue, self.root, &real));
        }
        pieces.extend(self.names([exe, self.argv0()]));
        pieces
    }

    /// The real path of the executed file, if the path still names that file.
    pub(super) fn verified(&self, exe: &[u8]) -> Option<Vec<u8>> {
        let opened = self.root.open(exe)?;
        let trust = access::trust_key(opened.key, opened.source.len(), self.candidate)?;
        (trust > Trust::Unverified).then_some(opened.real)
    }

    /// Families one of these paths is named after, each once.
    fn names(&self, paths: [Option<&[u8]>; 2]) -> Vec<Piece> {
        let families = self.catalogue.families().iter().enumerate();
        let hint = |(at, family): (usize, &Family)| {
            family.names.iter().find_map(|hint| {
                let named = paths.iter().flatten().map(|path| base_name(path));
                let name = named.into_iter().find(|name| hint.name.matches(name))?;
                Some(Piece {
                    family: at,
                    kind: Kind::Name,
                    weight: hint.weight,
                    version: None,
                    text: format!("name {}", String::from_utf8_lossy(name)),
                    install: None,
                    found_by: Vec::new(),
                })
            })
        };
        families.filter_map(hint).collect()
    }

    /// Whether a switch of the environment is on: as the kernel side saw it at the exec, else by what the
    /// process shows of it now.
    fn switch(&self, name: &str) -> Switch {
        let seen = self.candidate.switches;
        match seen.and_then(|bits| switches::is_on(&self.catalogue, name, bits)) {
            Some(true) => Switch::On,
            Some(false) => Switch::Off,
            None => self.root.switch(name),
        }
    }

    pub(super) fn argv0(&self) -> Option<&'a [u8]> {
        self.candidate.argv.first().map(Text::as_bytes)
    }

    fn conclude(&self, mut pieces: Vec<Piece>) -> Option<Agent> {
        let exe = self.candidate.exe.map(Text::as_bytes);
        let conclude =
            |pieces: Vec<Piece>| evidence::conclude(&self.catalogue, pieces, &self.doubts, exe);
        let Some(since) = self.candidate.since else {
            return conclude(pieces);
        };
        // Looked at only where it matters: few execs are an agent's.
        conclude(pieces.clone())?;
        let mut settled: HashMap<Vec<u8>, bool> = HashMap::new();
        let mut is_settled = |path: Vec<u8>| {
            let look = |path: &Vec<u8>| self.root.is_settled(path, since);
            *settled.entry(path).or_insert_with_key(look)
        };
        for piece in &mut pieces {
            let found_by = std::mem::take(&mut piece.found_by);
            if piece.version.is_some() && !found_by.into_iter().all(&mut is_settled) {
                piece.forget_version();
            }
        }
        conclude(pieces)
    }
}

/// The pieces, each found by this path, too.
fn found_by(mut pieces: Vec<Piece>, path: Option<&[u8]>) -> Vec<Piece> {
    for piece in &mut pieces {
        piece.found_by.extend(path.map(<[u8]>::to_vec));
    }
    pieces
}

/// Less sure of it, and never so much that it is not said.
fn called_as_tool(agent: Agent) -> Agent {
    let Doubt { points, text } = evidence::CALLED_AS_TOOL;
    let confidence = agent.confidence.saturating_sub(points);
    let mut evidence = agent.evidence;
    evidence.push(text.to_owned());
    Agent {
        confidence: confidence.max(MIN_CONFIDENCE),
        evidence,
        ..agent
    }
}

fn is_multicall(family: &Family, argv: &[Text]) -> bool {
    let is = |words: &[String], word: &[u8]| words.iter().any(|known| known.as_bytes() == word);
    argv.first()
        .is_some_and(|argv0| is(&family.multicall.argv0, base_name(argv0.as_bytes())))
        || argv
            .get(1)
            .is_some_and(|argv1| is(&family.multicall.argv1, argv1.as_bytes()))
}

/// The number in `/dev/fd/N` and `/proc/self/fd/N`: a script the kernel or the caller handed over
/// as a descriptor.
fn descriptor(path: &[u8]) -> Option<u32> {
    if path == b"/dev/stdin" {
        return Some(0);
    }
    let prefixes = [b"/dev/fd/".as_slice(), b"/proc/self/fd/"];
    let number = prefixes
        .iter()
        .find_map(|prefix| path.strip_prefix(*prefix))?;
    std::str::from_utf8(number).ok()?.parse().ok()
}
