//! Generic evidence of a script of an npm package: what the package depends on, and texts in the files that
//! the script loads.
//!
//! The files are found as the runtime would: the script, then what it imports by a relative path. What it
//! depends on is looked at in its `package.json`; where only the model's SDK is missing, also in those of the
//! packages it depends on.

use std::collections::{HashSet, VecDeque};

use skep_catalogue::{Catalogue, Generic};
use skep_event::Agent;

use super::{
    super::{
        access::{Opened, Root},
        command::parent,
        package::{self, Nearest},
    },
    Signs, Subject, conclude, is_of_family, short,
    texts::{Search, Texts},
};

const FILES_MAX: usize = 256;
const BYTES_MAX: u64 = 48 << 20;
/// Of a file in memory at a time: a question may take no more than a few MiB.
const CHUNK: usize = 256 << 10;
const AGAIN: usize = 1 << 10;
const IMPORT_MAX: usize = 256;
/// Imports that are known and not looked at yet.
const WAITING_MAX: usize = 4 * FILES_MAX;
const DEPENDENCIES_MAX: usize = 64;
const DESCRIPTION_MAX: usize = 1_024;
const EXTENSIONS: [&[u8]; 3] = [b".js", b".mjs", b".cjs"];

/// The agent that a script is, if its package says that it is a command and the signs are there.
pub(in super::super) fn script(
    catalogue: &Catalogue,
    generic: &Generic,
    texts: &Texts,
    root: &Root,
    opened: &Opened,
) -> Option<Agent> {
    let nearest = package::nearest(root, &opened.real)?;
    let file = nearest.file(&opened.real);
    if is_of_family(catalogue, &nearest.name) || !nearest.is_command(file) {
        return None;
    }
    let mut search = texts.search(generic);
    follow(root, opened, &mut search);
    let mut signs = search.signs;
    let names = || nearest.dependencies().map(String::as_str);
    signs.depends(generic, names(), |kind| &kind.npm);
    if !signs.suffice(generic) {
        of_dependencies(generic, root, &nearest, &mut signs);
    }
    conclude(generic, signs, subject(generic, &nearest, file))
}

/// What a package says of itself and of one of its files.
pub(in super::super) fn subject(generic: &Generic, nearest: &Nearest, file: &[u8]) -> Subject {
    let file = String::from_utf8_lossy(file);
    let description = nearest.description().unwrap_or_default();
    let description: String = description.chars().take(DESCRIPTION_MAX).collect();
    let words = nearest.name.replace(['-', '/'], " ");
    let version = nearest.version().map(short);
    let name = match &generic.platform_suffix {
        Some(suffix) => {
            let cut = suffix.replace(nearest.name.as_bytes(), &b""[..]);
            String::from_utf8_lossy(&cut).into_owned()
        }
        None => nearest.name.clone(),
    };
    let text = format!(
        "npm package {} {} at {} (entry {file})",
        short(&nearest.name),
        version.as_deref().unwrap_or("without a version"),
        String::from_utf8_lossy(&nearest.path),
    );
    Subject {
        name: Some(short(&name)),
        version,
        described: format!("{words}. {description}. {file}"),
        text,
        install: Some(parent(&nearest.path).to_vec()),
    }
}

/// Searches the script and what it imports.
fn follow(root: &Root, script: &Opened, search: &mut Search<'_>) {
    let mut seen: HashSet<Vec<u8>> = HashSet::from([script.real.clone()]);
    let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
    let mut bytes = 0;
    look(script, search, &mut bytes, &mut waiting);
    let mut files = 1;
    while let Some(path) = waiting.pop_front() {
        if files >= FILES_MAX || bytes >= BYTES_MAX || search.is_enough() {
            return;
        }
        if !seen.insert(path.clone()) {
            continue;
        }
        if let Some(opened) = resolve(root, &path) {
            files += 1;
            look(&opened, search, &mut bytes, &mut waiting);
        }
    }
}

fn look(
    opened: &Opened,
    search: &mut Search<'_>,
    bytes: &mut u64,
    waiting: &mut VecDeque<Vec<u8>>,
) {
    let source = &opened.source;
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while *bytes < BYTES_MAX && !search.is_enough() {
        let filled = source.read_into(at, &mut buffer);
        let chunk = &buffer[..filled];
        search.bytes(chunk);
        for import in imports(chunk) {
            if waiting.len() < WAITING_MAX {
                waiting.push_back(joined(parent(&opened.real), import));
            }
        }
        *bytes = bytes.saturating_add(filled as u64);
        if filled < CHUNK {
            return;
        }
        // What lies across two chunks is seen in the second.
        at += (CHUNK - AGAIN) as u64;
    }
}

fn is_script(path: &[u8]) -> bool {
    EXTENSIONS.iter().any(|extension| path.ends_with(extension))
}

/// A file as an import names it, or with an extension, or the index of a directory.
fn resolve(root: &Root, path: &[u8]) -> Option<Opened> {
    if is_script(path) {
        return root.open(path);
    }
    let mut named = EXTENSIONS
        .iter()
        .map(|extension| [path, extension].concat())
        .chain([[path, b"/index.js"].concat()]);
    named.find_map(|path| root.open(&path))
}

/// The relative paths a script may load: a quoted text that begins with a dot, after `import`, `from`, `require`
/// or `URL`, or with the extension of a script (a launcher resolves it first).
pub(in super::super) fn imports(script: &[u8]) -> impl Iterator<Item = &[u8]> {
    let quotes = memchr::memchr2_iter(b'"', b'\'', script);
    quotes.filter_map(|at| {
        let after = &script[at + 1..];
        if !after.starts_with(b"./") && !after.starts_with(b"../") {
            return None;
        }
        let within = &after[..after.len().min(IMPORT_MAX)];
        let path = &within[..memchr::memchr(script[at], within)?];
        let before = script[..at].trim_ascii_end();
        let before = before.strip_suffix(b"(").unwrap_or(before).trim_ascii_end();
        let words = [b"from".as_slice(), b"import", b"require", b"URL"];
        let is_imported = words.iter().any(|word| before.ends_with(word));
        (is_imported || is_script(path)).then_some(path)
    })
}

/// `relative` from `directory` on, without `.` and `..`.
fn joined(directory: &[u8], relative: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = directory.split(|byte| *byte == b'/').collect();
    for part in relative.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.len() > 1 => drop(parts.pop()),
            b".." => {}
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// What the packages it depends on depend on, as far as those are found where Node looks for them.
fn of_dependencies(generic: &Generic, root: &Root, nearest: &Nearest, signs: &mut Signs) {
    let without = |signs: &Signs| {
        (0..generic.kinds.len())
            .filter(|kind| !signs.has(generic, *kind))
            .count()
    };
    // Only where nothing but a dependency is missing.
    let with_all = |kind: usize| signs.has(generic, kind) || !generic.kinds[kind].npm.is_empty();
    if without(signs) == 0 || !generic.is_required_there(with_all) {
        return;
    }
    for name in nearest.dependencies().take(DEPENDENCIES_MAX) {
        let Some(found) = nearest.dependency(root, name) else {
            continue;
        };
        let names = || found.dependencies().map(String::as_str);
        signs.depends(generic, names(), |kind| &kind.npm);
        if signs.suffice(generic) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn relative_imports_are_found_however_they_are_written() {
        let script = br#"import a from "./a.js"; import "../b.mjs";const c=require('./c'),d=await import("./d.js");
            export * from './e.js';await import(new URL("./f.mjs",import.meta.url)); x = "./not"; from "pkg"; resolve(d, "../g.js") "#;
        let found: Vec<_> = imports(script).map(String::from_utf8_lossy).collect();
        assert_eq!(
            found,
            [
                "./a.js", "../b.mjs", "./c", "./d.js", "./e.js", "./f.mjs", "../g.js"
            ]
        );
    }

    #[test]
    fn paths_are_joined_within_the_root() {
        assert_eq!(joined(b"/p/dist", b"../lib/./a.js"), b"/p/lib/a.js");
        assert_eq!(joined(b"/p", b"../../../../x"), b"/x");
    }

    proptest! {
        #[test]
        fn any_script_is_searched_for_imports(script in prop::collection::vec(any::<u8>(), 0..400)) {
            for import in imports(&script) {
                joined(b"/a/b", import);
            }
        }

        #[test]
        fn any_text_is_searched_for_imports(script in "((import|from|require|URL)?[(\"' ./a-z\n]{0,12}){0,12}") {
            imports(script.as_bytes()).count();
        }
    }
}
