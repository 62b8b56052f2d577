//! Files that a program opens while nothing else tells what it runs.
//!
//! Only files that an agent is started by count: the entries and commands of its package, whatever else of it is
//! read (its `package.json`, its licence). Bound: one look at a file, asked for by the tracker, which counts.

use skep_catalogue::{Catalogue, Language, NpmPackage};
use skep_event::Text;

use super::{
    Candidate, Identifier, Judgement,
    access::Root,
    command::absolute,
    evidence,
    judge::{Case, Found},
    python,
};

/// Parts of a path that an entry of a package may have, at most.
const PARTS_MAX: usize = 8;

/// Whether a file of this path may be one that an agent is started by.
pub(crate) fn is_telling(catalogue: &Catalogue, path: &[u8]) -> bool {
    let source = python::source_of(path);
    let path = source.as_deref().unwrap_or(path);
    if let Some((_, file)) = python::split_site(path) {
        let mut known = python::known(catalogue);
        return known.any(|(_, known)| known.entry.iter().any(|entry| entry.matches(file)));
    }
    let packages = || {
        catalogue
            .families()
            .iter()
            .flat_map(|family| &family.packages)
    };
    if let Some(at) = memchr::memmem::rfind(path, MODULES) {
        let within = &path[at + MODULES.len()..];
        return packages().any(|package| is_within(package, within));
    }
    let mut tails = (0..path.len())
        .rev()
        .filter(|at| path[*at] == b'/')
        .take(PARTS_MAX);
    tails.any(|at| {
        let tail = &path[at + 1..];
        packages().any(|package| package.entry.iter().any(|entry| entry.matches(tail)))
    })
}

const MODULES: &[u8] = b"/node_modules/";

/// Whether a path in a `node_modules` directory is a file of this package.
fn is_within(package: &NpmPackage, path: &[u8]) -> bool {
    let parts = if path.starts_with(b"@") { 2 } else { 1 };
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let end = ends.map(|(at, _)| at).nth(parts - 1);
    end.is_some_and(|end| package.name.matches(&path[..end]))
}

// === impl Identifier ===

impl Identifier {
    /// Judges an exec that waits, by a file its process has opened; only an agent is an answer.
    pub(crate) fn judge_opened(
        &mut self,
        candidate: &Candidate<'_>,
        root: &Root,
        path: &[u8],
    ) -> Judgement {
        let Some(path) = absolute(path, candidate.cwd.map(Text::as_bytes)) else {
            return Judgement::default();
        };
        let path = python::source_of(&path).unwrap_or(path);
        let language = if path.ends_with(b".py") {
            Language::Python
        } else {
            Language::JavaScript
        };
        let mut runtimes = self.catalogue.runtimes().iter();
        let runtime = runtimes
            .find(|known| known.language == Some(language))
            .cloned();
        let (Some(runtime), Some(opened)) = (runtime, root.open(&path)) else {
            return Judgement::default();
        };
        let mut doubts = vec![evidence::OPENED];
        if root.is_own {
            doubts.push(evidence::PROCESS_ENDED);
        }
        let how = format!(
            "by the file it opened first: {}",
            String::from_utf8_lossy(&path)
        );
        let case = Case::new(self, candidate, root, doubts);
        let found = Found::File {
            opened,
            given: Some(path),
        };
        let agent = case.agent_at(&runtime, &found, Vec::new(), Some(how));
        Judgement {
            agent: agent.map(std::sync::Arc::new),
            ..Judgement::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_known_packages_and_known_entries_are_asked_about() {
        let catalogue = Catalogue::embedded();
        for (path, wanted) in [
            ("/p/node_modules/@google/gemini-cli/bundle/gemini.js", true),
            (
                "/p/node_modules/@google/gemini-cli-core/dist/index.js",
                false,
            ),
            (
                "/p/node_modules/@google/gemini-cli/node_modules/x/dist/index.js",
                false,
            ),
            ("/src/gemini-cli/bundle/gemini.js", true),
            ("/usr/lib/locale/locale-archive", false),
            (
                "/v/lib/python3.12/site-packages/aider/__pycache__/main.cpython-312.pyc",
                true,
            ),
            ("/v/lib/python3.12/site-packages/aider/main.py", true),
            ("/v/lib/python3.12/site-packages/aider/__init__.py", false),
            ("relative", false),
            ("", false),
        ] {
            assert_eq!(is_telling(&catalogue, path.as_bytes()), wanted, "{path}");
        }
    }
}
