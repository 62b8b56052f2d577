//! What a file's bytes say: a runtime, a program of known families, a bundle of an unknown one, or
//! nothing. Depends on nothing but the bytes, so it is worked out once per file.
//!
//! Bounds: for most files the ELF header, sections and one look into a hash table of symbols (a few
//! KiB). Only a Bun graph, the blob of a Node application, or a section that a marker names in a
//! file as large as the marker says, is read further, at most 512 MiB of it, in chunks. A file is
//! hashed when it has exactly the size of a published one and nothing else spoke for it.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use skep_catalogue::{Catalogue, MarkerScope, Runtime};

use super::{
    bundle::{self, Bun},
    elf::{self, Elf, Range},
    evidence::{Kind, Piece},
    generic::{
        native::{self, Unknown},
        texts::Texts,
    },
    scan::{Hit, Markers, Scope},
    source::Source,
};

const SCAN_MAX: u64 = 512 << 20;
const HASH_CHUNK: usize = 256 << 10;
/// A script's first bytes; licence and version comments stand there.
pub(super) const SCRIPT_HEAD: usize = 16 << 10;

/// What a file is, whatever its name and arguments.
#[derive(Clone, Debug)]
pub(super) enum Nature {
    /// Nothing that recognition knows.
    Plain,
    /// A runtime (index in the catalogue), by its symbols or sections.
    Runtime(usize),
    /// A runtime with a program inside that is of no known family.
    Bundle(usize),
    /// Evidence for families was found in it.
    Program(Arc<[Piece]>),
    /// Of no known family, and generic evidence of an agent was found in it.
    Unknown(Arc<Unknown>),
}

pub(super) fn inspect(
    catalogue: &Catalogue,
    markers: &Markers,
    texts: &Texts,
    source: &Source,
) -> Nature {
    let pieces = hashes(catalogue, source);
    let Some(elf) = Elf::read(source) else {
        return if pieces.is_empty() {
            Nature::Plain
        } else {
            Nature::Program(pieces.into())
        };
    };
    let runtime = |id: &str| catalogue.runtimes().iter().position(|known| known.id == id);
    let mut inner = None;
    let (found, bundled_for) = match bundle::bun(source, &elf) {
        Some(Bun::Runtime) => (Vec::new(), runtime("bun").map(Nature::Runtime)),
        Some(Bun::Graph(graph)) => {
            let inside = Inside {
                catalogue,
                place: graph.place,
            };
            inner = runtime("bun").map(|bun| (bun, graph.whole, graph.place));
            let found = match markers.scope(&MarkerScope::Bun) {
                Some(scope) => inside.search(scope, source, &graph.likely, graph.whole),
                None => Vec::new(),
            };
            (found, runtime("bun").map(Nature::Bundle))
        }
        None => match bundle::node_blob(source, &elf) {
            Some(blob) => {
                let inside = Inside {
                    catalogue,
                    place: "ELF note NODE_SEA_BLOB",
                };
                inner = runtime("node").map(|node| (node, blob, inside.place));
                let found = match markers.scope(&MarkerScope::NodeSea) {
                    Some(scope) => inside.search(scope, source, &[], blob),
                    None => Vec::new(),
                };
                (found, runtime("node").map(Nature::Bundle))
            }
            None => (in_sections(catalogue, markers, source, &elf), None),
        },
    };
    let found = if found.is_empty() {
        hashes(catalogue, source)
    } else {
        found
    };
    if !found.is_empty() {
        return Nature::Program(found.into());
    }
    if let Some(unknown) = unknown(catalogue, texts, source, &elf, inner) {
        return Nature::Unknown(Arc::new(unknown));
    }
    bundled_for
        .or_else(|| by_symbols(catalogue, &elf))
        .unwrap_or(Nature::Plain)
}

/// Generic evidence in a program of no family; `inner` is the script in it, if there is one.
fn unknown(
    catalogue: &Catalogue,
    texts: &Texts,
    source: &Source,
    elf: &Elf<'_>,
    inner: Option<(usize, Range, &str)>,
) -> Option<Unknown> {
    let generic = catalogue.generic()?;
    match inner {
        Some((runtime, range, place)) => {
            native::bundle(generic, texts, source, range, runtime, place)
        }
        None => native::compiled(generic, texts, source, elf),
    }
}

/// Evidence in the first bytes of a script.
pub(super) fn script_head(catalogue: &Catalogue, markers: &Markers, head: &[u8]) -> Vec<Piece> {
    let hits = markers
        .scope(&MarkerScope::Script)
        .map(|scope| scope.scan_bytes(head));
    let inside = Inside {
        catalogue,
        place: "script",
    };
    inside.pieces(hits.unwrap_or_default(), |_| true)
}

fn in_sections(
    catalogue: &Catalogue,
    markers: &Markers,
    source: &Source,
    elf: &Elf<'_>,
) -> Vec<Piece> {
    let is_static = !elf.has_interpreter();
    let language = native::language(source, elf);
    let mut pieces = Vec::new();
    for (name, scope) in markers.sections() {
        let Some(section) = elf.section(name.as_bytes()) else {
            continue;
        };
        if section.range.len == 0 || !scope.wants(source.len(), is_static, language) {
            continue;
        }
        let hits = scope.scan(source, capped(section.range));
        let place = format!("ELF section {name}");
        let inside = Inside {
            catalogue,
            place: &place,
        };
        pieces.extend(inside.pieces(hits, |marker| {
            source.len() >= marker.min_size
                && (is_static || !marker.static_only)
                && (marker.language.is_none() || marker.language == language)
        }));
    }
    pieces
}

/// A renamed runtime: what it defines for its extensions, or imports from its own library.
fn by_symbols(catalogue: &Catalogue, elf: &Elf<'_>) -> Option<Nature> {
    let dynamic = elf.dynamic()?;
    let is = |runtime: &Runtime| {
        let needs = runtime.needs.as_ref();
        runtime
            .defines
            .iter()
            .any(|symbol| dynamic.defines(symbol.as_bytes()))
            || needs.is_some_and(|name| dynamic.needs(|library| name.matches(library)))
                && dynamic.imports(&runtime.imports)
    };
    catalogue
        .runtimes()
        .iter()
        .position(is)
        .map(Nature::Runtime)
}

/// Where hits were found, for the words of the evidence.
struct Inside<'a> {
    catalogue: &'a Catalogue,
    place: &'a str,
}

// === impl Inside ===

impl Inside<'_> {
    /// The likely ranges first; all of `whole` only when they do not tell a version.
    fn search(&self, scope: &Scope, source: &Source, likely: &[Range], whole: Range) -> Vec<Piece> {
        let hits: Vec<Hit> = likely
            .iter()
            .flat_map(|range| scope.scan(source, *range))
            .collect();
        if hits.iter().any(|hit| hit.version.is_some()) {
            return self.pieces(hits, |_| true);
        }
        self.pieces(scope.scan(source, capped(whole)), |_| true)
    }

    fn pieces(
        &self,
        hits: Vec<Hit>,
        counts: impl Fn(&skep_catalogue::Marker) -> bool,
    ) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut used: Vec<(usize, usize)> = Vec::new();
        for hit in hits {
            let marker = &self.catalogue.families()[hit.family].markers[hit.marker];
            if used.contains(&(hit.family, hit.marker)) || !counts(marker) {
                continue;
            }
            used.push((hit.family, hit.marker));
            let says = match &hit.version {
                Some(version) => format!(", version {version}"),
                None => String::new(),
            };
            pieces.push(Piece {
                family: hit.family,
                kind: Kind::Marker,
                weight: marker.weight,
                version: hit.version,
                text: format!("{} with marker {:?}{says}", self.place, marker.text),
                install: None,
                found_by: Vec::new(),
            });
        }
        pieces
    }
}

fn capped(range: Range) -> Range {
    Range {
        offset: range.offset,
        len: range.len.min(SCAN_MAX),
    }
}

/// Evidence of published hashes. Reads the file only when its size is one of theirs.
pub(super) fn hashes(catalogue: &Catalogue, source: &Source) -> Vec<Piece> {
    let families = catalogue.families().iter().enumerate();
    let known = families.flat_map(|(at, family)| family.hashes.iter().map(move |hash| (at, hash)));
    let of_size: Vec<_> = known
        .filter(|(_, hash)| hash.size == source.len())
        .collect();
    if of_size.is_empty() {
        return Vec::new();
    }
    let sha256 = sha256(source);
    let matching = of_size
        .into_iter()
        .filter(|(_, hash)| hash.sha256 == sha256);
    matching
        .map(|(family, hash)| Piece {
            family,
            kind: Kind::Hash,
            weight: hash.weight,
            version: Some(hash.version.clone()),
            text: format!("sha256 {} of version {}", hex(&sha256), hash.version),
            install: None,
            found_by: Vec::new(),
        })
        .collect()
}

fn sha256(source: &Source) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; HASH_CHUNK];
    let mut at = 0;
    loop {
        let filled = source.read_into(at, &mut buffer);
        if filled == 0 {
            return digest.finalize().into();
        }
        digest.update(&buffer[..filled]);
        at += filled as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Whether a dynamic linker could load the file as a program.
pub(super) fn is_program(source: &Source) -> bool {
    elf::is_elf(source)
}
