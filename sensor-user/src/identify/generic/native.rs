//! Generic evidence in what a program holds: the script inside it, what the Go linker records, the crates a
//! Rust program was built from.
//!
//! A Go program is read further than its build information only when that names a model's SDK, a Rust program
//! only when its `.comment` names rustc and it is not small.

use skep_catalogue::{Compiled, Generic, Pattern};

use super::{
    super::{
        elf::{Elf, Range},
        source::Source,
    },
    Sign, Signs, short,
    texts::Texts,
};

const BUNDLE_MAX: u64 = 256 << 20;
const RODATA_MAX: u64 = 64 << 20;
const BUILD_INFO_MAX: usize = 1 << 20;
const COMMENT_MAX: usize = 4 << 10;
/// A Rust program that speaks TLS to a model and draws a terminal is not smaller.
const RUST_SIZE_MIN: u64 = 4 << 20;
const CRATES_CHUNK: usize = 256 << 10;
/// Longest name of a crate (crates.io has 64) with a version.
const CRATE_MAX: usize = 96;

/// What is known of a program of no family that may be an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Unknown {
    /// A runtime with a script inside (index in the catalogue).
    pub runtime: Option<usize>,
    pub signs: Signs,
    /// What the Go linker has recorded: the main module and its version.
    pub name: Option<String>,
    pub version: Option<String>,
    /// Where the signs were found, for people.
    pub place: String,
}

/// The signs in a script that was bundled with its runtime, if they may make an agent.
pub(in super::super) fn bundle(
    generic: &Generic,
    texts: &Texts,
    source: &Source,
    range: Range,
    runtime: usize,
    place: &str,
) -> Option<Unknown> {
    let mut search = texts.search(generic);
    let len = range.len.min(BUNDLE_MAX);
    search.range(source, Range { len, ..range });
    search.signs.suffice(generic).then(|| Unknown {
        runtime: Some(runtime),
        signs: search.signs,
        place: place.to_owned(),
        ..Unknown::default()
    })
}

/// What a program was written in, if its file says so. Reads nothing of small ones.
pub(in super::super) fn language(source: &Source, elf: &Elf<'_>) -> Option<Compiled> {
    if elf.section(b".go.buildinfo").is_some() {
        return Some(Compiled::Go);
    }
    let comment = elf.section(b".comment")?.range;
    if source.len() < RUST_SIZE_MIN {
        return None;
    }
    let len = usize::try_from(comment.len).ok()?.min(COMMENT_MAX);
    let comment = source.read(comment.offset, len);
    memchr::memmem::find(&comment, b"rustc version ").map(|_| Compiled::Rust)
}

/// The same of a program that a compiler made.
pub(in super::super) fn compiled(
    generic: &Generic,
    texts: &Texts,
    source: &Source,
    elf: &Elf<'_>,
) -> Option<Unknown> {
    let unknown = match language(source, elf)? {
        Compiled::Go => go(generic, texts, source, elf),
        Compiled::Rust => rust(generic, texts, source, elf),
    }?;
    unknown.signs.suffice(generic).then_some(unknown)
}

fn go(generic: &Generic, texts: &Texts, source: &Source, elf: &Elf<'_>) -> Option<Unknown> {
    let range = elf.section(b".go.buildinfo")?.range;
    let len = usize::try_from(range.len).ok()?.min(BUILD_INFO_MAX);
    let info = source.read(range.offset, len);
    let built = BuildInfo::read(&info);
    let mut signs = Signs::default();
    signs.depends(generic, built.modules.iter().copied(), |kind| &kind.go);
    // The functions' names and the texts are megabytes: read where a dependency makes it worth while.
    if signs.0.is_empty() {
        return None;
    }
    let mut search = texts.search(generic);
    search.signs = signs;
    for name in [
        b".rodata".as_slice(),
        b".gopclntab",
        b".data.rel.ro.gopclntab",
    ] {
        let Some(section) = elf.section(name) else {
            continue;
        };
        let len = section.range.len.min(RODATA_MAX);
        search.range(
            source,
            Range {
                len,
                ..section.range
            },
        );
    }
    Some(Unknown {
        runtime: None,
        signs: search.signs,
        name: built.main.map(|(path, _)| short(path)),
        version: built.main.and_then(|(_, version)| version.map(short)),
        place: "Go program".to_owned(),
    })
}

/// Lines of a Go program's build information (`debug/buildinfo`): `path`, `mod` and `dep`, with tabs between.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct BuildInfo<'i> {
    /// The main module and its version, if it was built from one.
    main: Option<(&'i str, Option<&'i str>)>,
    modules: Vec<&'i str>,
}

// === impl BuildInfo ===

impl<'i> BuildInfo<'i> {
    pub(in super::super) fn read(info: &'i [u8]) -> Self {
        let mut built = Self::default();
        for line in info.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(after_header(line)) else {
                continue;
            };
            let mut fields = line.split('\t');
            match (fields.next(), fields.next()) {
                (Some("mod"), Some(path)) if built.main.is_none() => {
                    let version = fields.next().filter(|version| version.starts_with('v'));
                    let version = version.map(|version| &version[1..]);
                    built.main = Some((path, version));
                }
                (Some("dep"), Some(path)) => built.modules.push(path),
                _ => {}
            }
        }
        built
    }
}

/// The first line follows a header of bytes.
fn after_header(line: &[u8]) -> &[u8] {
    match memchr::memmem::rfind(line, b"path\t") {
        Some(at) => &line[at..],
        None => line,
    }
}

fn rust(generic: &Generic, texts: &Texts, source: &Source, elf: &Elf<'_>) -> Option<Unknown> {
    if source.len() < RUST_SIZE_MIN {
        return None;
    }
    let rodata = elf.section(b".rodata")?.range;
    let rodata = Range {
        len: rodata.len.min(RODATA_MAX),
        ..rodata
    };
    let mut search = texts.search(generic);
    search.range(source, rodata);
    let mut signs = search.signs;
    // Without a shell for the model it is none, whatever it was built from.
    let is_worthwhile = signs.0.iter().any(|sign| sign.list.is_some());
    if !is_worthwhile {
        return None;
    }
    crates(generic, source, rodata, &mut signs);
    Some(Unknown {
        signs,
        place: "Rust program".to_owned(),
        ..Unknown::default()
    })
}

/// The crates whose source files are named in messages of a Rust program: `…/NAME-1.2.3/src/…`.
fn crates(generic: &Generic, source: &Source, range: Range, signs: &mut Signs) {
    let wanted: Vec<(usize, &Pattern)> = generic
        .kinds
        .iter()
        .enumerate()
        .flat_map(|(kind, of)| of.rust.iter().map(move |name| (kind, name)))
        .collect();
    let finder = memchr::memmem::Finder::new(b"/src/");
    let mut buffer = vec![0; CRATES_CHUNK];
    let (mut at, end) = (range.offset, range.offset.saturating_add(range.len));
    while at < end {
        let wanted_len = usize::try_from(end - at)
            .unwrap_or(CRATES_CHUNK)
            .min(buffer.len());
        let filled = source.read_into(at, &mut buffer[..wanted_len]);
        let bytes = &buffer[..filled];
        for found in finder.find_iter(bytes) {
            let Some(name) = crate_before(&bytes[found.saturating_sub(CRATE_MAX)..found]) else {
                continue;
            };
            for (kind, known) in &wanted {
                if known.matches(name) {
                    let what = format!("built from the crate {}", String::from_utf8_lossy(name));
                    let (kind, list) = (*kind, None);
                    signs.add(Sign { kind, list, what });
                }
            }
        }
        if filled <= CRATE_MAX {
            return;
        }
        at += (filled - CRATE_MAX) as u64;
    }
}

/// The name out of `…/NAME-1.2.3`.
fn crate_before(path: &[u8]) -> Option<&[u8]> {
    let start = memchr::memrchr(b'/', path)? + 1;
    let last = &path[start..];
    let is_version = |at: usize| last.get(at + 1).is_some_and(u8::is_ascii_digit);
    let dash = memchr::memchr_iter(b'-', last).find(|at| is_version(*at))?;
    Some(&last[..dash])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn build_information_names_the_module_and_what_it_depends_on() {
        let info = b"\xff Go buildinf:\x08\x02\0\0\x07go1.24\x80\x01path\tx.org/agent/cmd/a\nmod\tx.org/agent\tv1.2.3\th1:x\n\
            dep\tx.org/sdk\tv0.1.0\th1:y\nbuild\t-ldflags=x\n";
        let built = BuildInfo::read(info);
        assert_eq!(built.main, Some(("x.org/agent", Some("1.2.3"))));
        assert_eq!(built.modules, ["x.org/sdk"]);
        let devel = BuildInfo::read(b"path\ta\nmod\ta\t(devel)\t\n");
        assert_eq!(devel.main, Some(("a", None)));
    }

    #[test]
    fn a_crate_is_named_by_the_path_of_its_source() {
        let name = |path: &str| crate_before(path.as_bytes()).map(<[u8]>::to_vec);
        assert_eq!(
            name("/c/registry/src/i-1a/async-openai-0.30.1"),
            Some(b"async-openai".to_vec())
        );
        assert_eq!(
            name("/c/registry/src/x/rig-core-0"),
            Some(b"rig-core".to_vec())
        );
        for not in ["/home/u/work", "rig-core-0.1", "/x/a-b", "/-"] {
            assert_eq!(name(not), None, "{not}");
        }
    }

    proptest! {
        #[test]
        fn any_build_information_is_read(info in prop::collection::vec(any::<u8>(), 0..600)) {
            BuildInfo::read(&info);
            crate_before(&info);
        }

        #[test]
        fn any_lines_of_build_information_are_read(info in "((path|mod|dep|build)?[\t a-z./v0-9]{0,20}\n){0,12}") {
            BuildInfo::read(info.as_bytes());
        }
    }
}
