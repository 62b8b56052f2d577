//! The judgement itself: what the file is, where it lies, what it was told to run.

use std::{collections::HashMap, sync::Arc};

use skep_catalogue::{Catalogue, Family, Runtime};
use skep_event::{Agent, Text};

use super::{
    Candidate, Identifier, Judgement,
    access::{self, Opened, Reached, Root, Switch, Trust},
    candidate::Unjudged,
    command::{self, Program, absolute, base_name},
    content::{self, Nature},
    evidence::{self, Doubt, Kind, Piece},
    looks::{Budget, Looks},
    package, python,
};

/// A program loaded by a dynamic linker loaded by a dynamic linker; no one needs more.
const DEPTH_MAX: usize = 2;

/// One exec under judgement.
pub(super) struct Case<'a> {
    identifier: &'a mut Identifier,
    catalogue: Arc<Catalogue>,
    candidate: &'a Candidate<'a>,
    root: &'a Root,
    doubts: Vec<Doubt>,
    depth: usize,
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
            if judgement.agent.is_none() && !judgement.multicall {
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
                Some(switch) => match self.root.switch(switch) {
                    Switch::On => self.run(&runtimes[*index]),
                    Switch::Off | Switch::Unknown => Judgement::default(),
                },
            },
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
            match self.root.switch(name) {
                Switch::Off => {}
                Switch::Unknown => self.doubts.push(evidence::ENVIRONMENT_UNREADABLE),
                Switch::On => {
                    let by_switch = |r: &&Runtime| r.plain_env.as_ref() == Some(name);
                    let runtime = catalogue.runtimes().iter().find(by_switch);
                    return runtime.map_or_else(Judgement::default, |r| self.run(r));
                }
            }
        }
        if is_multicall(family, self.candidate.argv) {
            return Judgement {
                multicall: true,
                ..Judgement::default()
            };
        }
        Judgement {
            agent: self.conclude(pieces).map(Arc::new),
            ..Judgement::default()
        }
    }

    /// A runtime: what counts is the program it runs.
    fn run(mut self, runtime: &Runtime) -> Judgement {
        let argv = self.candidate.argv;
        let program = command::program(runtime, argv);
        if self.candidate.argv_truncated && program.may_be_cut(argv) {
            self.root.looks.note(Unjudged::CutArguments, None);
        }
        let (pieces, script) = match program {
            Program::None => return Judgement::default(),
            Program::Module(name) => (self.python_pieces(runtime, python::Run::Module(name)), None),
            Program::Stdin => match self.root.descriptor(0) {
                Some(opened) => (
                    self.script_pieces(runtime, &opened, None),
                    Some((opened, None)),
                ),
                None => return Judgement::default(),
            },
            Program::File { index } => {
                let Some((opened, given)) = self.find_script(runtime, argv[index].as_bytes())
                else {
                    return Judgement::default();
                };
                if runtime.loads_programs {
                    return self.load(opened, index);
                }
                let mut pieces = self.script_pieces(runtime, &opened, given.as_deref());
                pieces.extend(self.names([Some(opened.real.as_slice()), self.argv0()]));
                (pieces, Some((opened, given)))
            }
        };
        if self.root.is_own {
            self.doubts.push(evidence::PROCESS_ENDED);
        }
        let agent = self.conclude(pieces.clone()).or_else(|| {
            // The whole script is read only when nothing cheaper told what it is.
            let (script, given) = script?;
            let hashes = content::hashes(&self.catalogue, &script.source);
            let hashes = found_by(hashes, given.as_deref());
            self.conclude(pieces.into_iter().chain(hashes).collect())
        });
        Judgement {
            agent: agent.map(Arc::new),
            ..Judgement::default()
        }
    }

    /// A program given to a dynamic linker, with the rest of the arguments.
    fn load(self, opened: Opened, index: usize) -> Judgement {
        if self.depth >= DEPTH_MAX || !content::is_program(&opened.source) {
            return Judgement::default();
        }
        let exe = Text::from(opened.real.as_slice());
        let loaded = Candidate {
            file: opened.key,
            file_size: opened.source.len(),
            exe: Some(&exe),
            filename: self.candidate.argv.get(index),
            argv: &self.candidate.argv[index..],
            ..*self.candidate
        };
        let nature = self.identifier.nature_of(&opened, self.root);
        let mut case = Case::new(self.identifier, &loaded, self.root, self.doubts);
        case.depth = self.depth + 1;
        // `never` would be said of the linker.
        Judgement {
            never: false,
            ..case.judge(&nature)
        }
    }

    /// The script an argument names, as the runtime would find it, and the path it was found by: none of a
    /// descriptor of the process, which is what was run whatever became of its name.
    fn find_script(&self, runtime: &Runtime, argument: &[u8]) -> Option<(Opened, Option<Vec<u8>>)> {
        if let Some(number) = descriptor(argument) {
            return Some((self.root.descriptor(number)?, None));
        }
        let Some(path) = absolute(argument, self.candidate.cwd.map(Text::as_bytes)) else {
            let looks = &self.root.looks;
            looks.note(Unjudged::UnknownDirectory, Some(argument));
            return None;
        };
        let open = |path: Vec<u8>| Some((self.root.open(&path)?, Some(path)));
        match self.root.reach(&path) {
            Some(Reached::File(opened)) => Some((opened, Some(path))),
            Some(Reached::Directory) => open(package::main_of(self.root, &path)),
            None => {
                let mut named = runtime.extensions.iter();
                named.find_map(|extension| open([path.as_slice(), extension.as_bytes()].concat()))
            }
        }
    }

    // --- evidence ---

    fn program_pieces(&self, nature: &Nature) -> Vec<Piece> {
        let mut pieces = match nature {
            Nature::Program(pieces) => pieces.to_vec(),
            Nature::Plain | Nature::Runtime(_) | Nature::Bundle(_) => Vec::new(),
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
    fn verified(&self, exe: &[u8]) -> Option<Vec<u8>> {
        let opened = self.root.open(exe)?;
        let trust = access::trust_key(opened.key, opened.source.len(), self.candidate)?;
        (trust > Trust::Unverified).then_some(opened.real)
    }

    /// `given`: the path it was found by.
    fn script_pieces(
        &self,
        runtime: &Runtime,
        opened: &Opened,
        given: Option<&[u8]>,
    ) -> Vec<Piece> {
        let head = opened.source.read(0, content::SCRIPT_HEAD);
        let markers = &self.identifier.markers;
        let mut pieces = content::script_head(&self.catalogue, markers, &head);
        pieces.extend(package::packages(&self.catalogue, self.root, &opened.real));
        pieces.extend(package::layouts(&self.catalogue, self.root, &opened.real));
        let run = python::Run::File {
            real: &opened.real,
            head: &head,
        };
        pieces.extend(self.python_pieces(runtime, run));
        found_by(pieces, given)
    }

    fn python_pieces(&self, runtime: &Runtime, run: python::Run<'_>) -> Vec<Piece> {
        if runtime.module_option.is_none() {
            return Vec::new();
        }
        let interpreters = python::interpreters(
            self.candidate.filename.map(Text::as_bytes),
            self.argv0(),
            self.candidate.exe.map(Text::as_bytes),
            self.candidate.cwd.map(Text::as_bytes),
        );
        python::distributions(&self.catalogue, self.root, run, &interpreters)
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

    fn argv0(&self) -> Option<&'a [u8]> {
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
