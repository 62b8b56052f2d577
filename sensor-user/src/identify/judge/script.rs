//! One file that a runtime runs or loads, and what speaks for it.

use skep_catalogue::{Language, Runtime};
use skep_event::{Agent, Text};

use super::{
    super::{
        access::{Descriptor, Opened, Reached},
        candidate::{CodeFrom, Unjudged},
        command::{absolute, base_name},
        content,
        evidence::Piece,
        package, pnp, python, zipapp,
    },
    Case, descriptor, found_by,
};

/// A console script's first bytes hold its import as a rule; wrappers put a long line before it.
const WRAPPER_MAX: usize = 1 << 20;

/// What an argument or a descriptor leads to.
pub(in super::super) enum Found {
    File {
        opened: Opened,
        /// The path it was found by; none of a descriptor, which is what was run whatever became of its name.
        given: Option<Vec<u8>>,
    },
    /// A member of an archive, with the `package.json` files above it.
    Member {
        path: Vec<u8>,
        manifests: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// Code that cannot be read by anybody else than the program.
    Unseen(CodeFrom),
    /// Nothing to run, or something that cannot be read, which is noted.
    Nothing,
}

fn found(opened: Opened, path: Vec<u8>) -> Found {
    Found::File {
        opened,
        given: Some(path),
    }
}

// === impl Case ===

impl Case<'_> {
    /// What a path leads to, as the runtime finds its script. `place`: what a relative path starts at.
    pub(super) fn find(&self, runtime: &Runtime, path: &[u8], place: Option<&[u8]>) -> Found {
        if let Some(number) = descriptor(path) {
            return self.find_descriptor(number);
        }
        let Some(path) = absolute(path, place) else {
            let looks = &self.root.looks;
            looks.note(Unjudged::UnknownDirectory, Some(path));
            return Found::Nothing;
        };
        match self.root.reach(&path) {
            Some(Reached::File(opened)) => return found(opened, path),
            Some(Reached::Directory) => {
                let main = match runtime.language {
                    Some(Language::Python) => [path.as_slice(), b"/__main__.py"].concat(),
                    _ => package::main_of(self.root, &path),
                };
                let opened = self.root.open(&main);
                return opened.map_or(Found::Nothing, |opened| found(opened, main));
            }
            Some(Reached::Stream) => return Found::Unseen(CodeFrom::Stream),
            None => {}
        }
        let mut extensions = runtime.extensions.iter();
        let named = extensions.find_map(|extension| {
            let path = [path.as_slice(), extension.as_bytes()].concat();
            Some(found(self.root.open(&path)?, path))
        });
        if let Some(named) = named {
            return named;
        }
        if runtime.language == Some(Language::JavaScript) {
            return self.find_by_pnp(&path).unwrap_or(Found::Nothing);
        }
        Found::Nothing
    }

    /// A path that only Yarn's Plug'n'Play understands.
    fn find_by_pnp(&self, path: &[u8]) -> Option<Found> {
        let real = pnp::real(path);
        if let Some(within) = pnp::split(&real) {
            let manifests = pnp::manifests(self.root, &within)?;
            return Some(Found::Member {
                path: real,
                manifests,
            });
        }
        if real == path {
            return None;
        }
        Some(found(self.root.open(&real)?, real))
    }

    pub(super) fn find_descriptor(&self, number: u32) -> Found {
        match self.root.descriptor(number) {
            Some(Descriptor::File(opened)) => Found::File {
                opened,
                given: None,
            },
            Some(Descriptor::Terminal) => Found::Unseen(CodeFrom::Terminal),
            Some(Descriptor::Stream) => Found::Unseen(CodeFrom::Stream),
            Some(Descriptor::Unknown) => Found::Unseen(CodeFrom::Descriptor),
            Some(Descriptor::Nothing) | None => Found::Nothing,
        }
    }

    /// The agent that a file or a member of an archive is. `how`: how the runtime came to it, where that is not
    /// by its arguments.
    pub(in super::super) fn agent_at(
        &self,
        runtime: &Runtime,
        found: &Found,
        more: Vec<Piece>,
        how: Option<String>,
    ) -> Option<Agent> {
        let mut agent = match found {
            Found::File { opened, given } => {
                let mut pieces = self.script_pieces(runtime, opened);
                pieces.extend(more);
                let pieces = found_by(pieces, given.as_deref());
                // The whole script is read only when nothing cheaper told what it is.
                self.conclude(pieces.clone()).or_else(|| {
                    let hashes = content::hashes(&self.catalogue, &opened.source);
                    let hashes = found_by(hashes, given.as_deref());
                    self.conclude(pieces.into_iter().chain(hashes).collect())
                })
            }
            Found::Member { path, manifests } => {
                let within = pnp::split(path)?;
                let catalogue = &self.catalogue;
                let mut pieces =
                    package::packages_within(catalogue, within.archive, within.member, manifests);
                pieces.extend(more);
                self.conclude(pieces)
            }
            Found::Unseen(_) | Found::Nothing => None,
        }?;
        agent.evidence.extend(how);
        Some(agent)
    }

    fn script_pieces(&self, runtime: &Runtime, opened: &Opened) -> Vec<Piece> {
        let head = opened.source.read(0, content::SCRIPT_HEAD);
        let markers = &self.identifier.markers;
        let mut pieces = content::script_head(&self.catalogue, markers, &head);
        pieces.extend(package::packages(&self.catalogue, self.root, &opened.real));
        pieces.extend(package::layouts(&self.catalogue, self.root, &opened.real));
        if runtime.language != Some(Language::Python) {
            return pieces;
        }
        let python = |head: &[u8]| {
            let real = &opened.real;
            self.python_pieces(python::Run::File { real, head })
        };
        let mut by_distribution = python(&head);
        if by_distribution.is_empty() && opened.source.len() > head.len() as u64 {
            by_distribution = python(&opened.source.read(0, WRAPPER_MAX));
        }
        if by_distribution.is_empty() {
            by_distribution = zipapp::pieces(&self.catalogue, &opened.source, &opened.real);
        }
        pieces.extend(by_distribution);
        pieces
    }

    pub(super) fn python_pieces(&self, run: python::Run<'_>) -> Vec<Piece> {
        python::distributions(&self.catalogue, self.root, run, &self.places())
    }

    /// Where the interpreter finds its distributions. Variables are looked at by the caller, once.
    pub(in super::super) fn places(&self) -> python::Places {
        let cwd = self.candidate.cwd.map(Text::as_bytes);
        let given = [
            self.candidate.filename.map(Text::as_bytes),
            self.argv0(),
            self.candidate.exe.map(Text::as_bytes),
        ];
        let interpreters = python::interpreters(given, cwd);
        let mut places = python::Places {
            interpreters,
            ..python::Places::default()
        };
        if let Some(search) = &self.search {
            let paths = search.path.split(|byte| *byte == b':');
            let paths = paths.filter(|path| !path.is_empty());
            places
                .sites
                .extend(paths.filter_map(|path| absolute(path, cwd)));
            places.prefixes.extend(search.user_base.clone());
        }
        places
    }

    /// Families the script or the program is named after.
    pub(super) fn names_of(&self, found: &Found) -> Vec<Piece> {
        let path = match found {
            Found::File { opened, .. } => Some(opened.real.as_slice()),
            Found::Member { path, .. } => Some(path.as_slice()),
            Found::Unseen(_) | Found::Nothing => None,
        };
        let path = path.filter(|path| !base_name(path).is_empty());
        self.names([path, self.argv0()])
    }
}
