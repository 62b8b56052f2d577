//! Programs that carry their script inside: Bun single-file executables and Node
//! single-executable applications. Finds the bytes of the script, so that 29 KB and not 220 MB have
//! to be read.
//!
//! Bun: a module graph in the section `.bun` (`u64` length, graph), or in older builds at the end of
//! the file (graph, `u64` total size). A graph ends in a record of offsets and a trailer text; seen
//! with Bun 1.3.14 and 1.4.4.
//! Node: a note `NODE_SEA_BLOB`; it counts only with the fuse in `.rodata` switched on.

use memchr::memmem;

use super::{
    elf::{Elf, Range},
    source::{Source, u32_at, u64_at},
};

const BUN_TRAILER: &[u8] = b"\n---- Bun! ----\n";
/// `usize` byte count, (offset, length) of the module table, entry index, (offset, length) of the
/// compiled-in arguments, flags.
const BUN_OFFSETS_BYTES: u64 = 32;
/// Sizes a module record has had; the table's length and the entry's name tell which.
const BUN_MODULE_BYTES: [u32; 6] = [52, 48, 44, 36, 32, 28];
const BUN_ROOTS: [&[u8]; 2] = [b"/$bunfs/", b"compiled://"];
const BUN_ARGUMENTS_MAX: u64 = 64 << 10;
const BUN_ENTRY_MAX: u64 = 16 << 20;

const NODE_BLOB_OWNER: &[u8] = b"NODE_SEA_BLOB";
/// nodejs `src/node_sea.cc`; followed by `:0` or `:1`.
const NODE_FUSE: &[u8] = b"NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:";
/// The main script is the first thing in the blob, before any asset.
const NODE_SCRIPT_MAX: u64 = 16 << 20;
const CHUNK: usize = 256 << 10;
const FUSE_SEARCH_MAX: u64 = 128 << 20;

/// What stands in a `.bun` section or at the end of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bun {
    /// Bun itself: room for a graph, and none in it.
    Runtime,
    Graph(BunGraph),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct BunGraph {
    /// Arguments and entry module: where a version is likely to stand.
    pub likely: Vec<Range>,
    /// Everything.
    pub whole: Range,
    /// How it was found, for people.
    pub place: &'static str,
}

pub(super) fn bun(source: &Source, elf: &Elf<'_>) -> Option<Bun> {
    if let Some(section) = elf.section(b".bun") {
        let len = source
            .read_array(section.range.offset)
            .map(u64::from_le_bytes)?;
        let start = section.range.offset.checked_add(8)?;
        if len == 0 || len > section.range.len {
            return Some(Bun::Runtime);
        }
        let end = start.checked_add(len)?;
        let trailer = end.checked_sub(BUN_TRAILER.len() as u64)?;
        let whole = Range { offset: start, len };
        return Some(match has_trailer(source, trailer) {
            true => Bun::Graph(graph(source, trailer, whole, "ELF section .bun")),
            false => Bun::Runtime,
        });
    }
    let trailer = source.len().checked_sub(8 + BUN_TRAILER.len() as u64)?;
    if !has_trailer(source, trailer) {
        return None;
    }
    let offsets = trailer.checked_sub(BUN_OFFSETS_BYTES)?;
    let byte_count = u64::from_le_bytes(source.read_array(offsets)?);
    let start = offsets.saturating_sub(byte_count);
    let whole = Range {
        offset: start,
        len: trailer - start,
    };
    Some(Bun::Graph(graph(
        source,
        trailer,
        whole,
        "Bun graph at the end of the file",
    )))
}

fn has_trailer(source: &Source, at: u64) -> bool {
    source.read(at, BUN_TRAILER.len()) == BUN_TRAILER
}

fn graph(source: &Source, trailer: u64, whole: Range, place: &'static str) -> BunGraph {
    let likely = likely_ranges(source, trailer, whole).unwrap_or_default();
    BunGraph {
        likely,
        whole,
        place,
    }
}

fn likely_ranges(source: &Source, trailer: u64, whole: Range) -> Option<Vec<Range>> {
    let offsets_at = trailer.checked_sub(BUN_OFFSETS_BYTES)?;
    let record: [u8; BUN_OFFSETS_BYTES as usize] = source.read_array(offsets_at)?;
    let base = offsets_at.checked_sub(u64_at(&record, 0)?)?;
    let inside = |offset: u32, len: u32, max: u64| {
        let offset = base.checked_add(u64::from(offset))?;
        let len = u64::from(len).min(max);
        let fits = offset >= whole.offset && offset.checked_add(len)? <= whole.offset + whole.len;
        fits.then_some(Range { offset, len })
    };
    let mut likely = Vec::new();
    let arguments = inside(
        u32_at(&record, 20)?,
        u32_at(&record, 24)?,
        BUN_ARGUMENTS_MAX,
    );
    likely.extend(arguments.filter(|range| range.len > 0));
    let (table_at, table_len) = (u32_at(&record, 8)?, u32_at(&record, 12)?);
    let entry_index = u32_at(&record, 16)?;
    for size in BUN_MODULE_BYTES {
        if table_len % size != 0 || entry_index >= table_len / size {
            continue;
        }
        let at = inside(
            table_at.checked_add(entry_index.checked_mul(size)?)?,
            size,
            u64::MAX,
        );
        let Some(module) = at.map(|range| source.read(range.offset, range.len as usize)) else {
            continue;
        };
        let name = inside(u32_at(&module, 0)?, u32_at(&module, 4)?, 256)?;
        let name = source.read(name.offset, name.len as usize);
        if !BUN_ROOTS.iter().any(|root| name.starts_with(root)) {
            continue;
        }
        likely.extend(inside(
            u32_at(&module, 8)?,
            u32_at(&module, 12)?,
            BUN_ENTRY_MAX,
        ));
        break;
    }
    Some(likely)
}

/// The blob of a Node single-executable application whose fuse is on.
pub(super) fn node_blob(source: &Source, elf: &Elf<'_>) -> Option<Range> {
    let blob = elf.note(NODE_BLOB_OWNER)?;
    let fuse_is_on = [b".rodata".as_slice(), b".data", b".data.rel.ro"]
        .iter()
        .any(|name| {
            elf.section(name)
                .is_some_and(|section| fuse(source, section.range) == Some(b'1'))
        });
    fuse_is_on.then_some(Range {
        offset: blob.offset,
        len: blob.len.min(NODE_SCRIPT_MAX),
    })
}

/// The byte after the fuse text.
fn fuse(source: &Source, range: Range) -> Option<u8> {
    let finder = memmem::Finder::new(NODE_FUSE);
    let end = range.offset.checked_add(range.len.min(FUSE_SEARCH_MAX))?;
    let mut buffer = vec![0; CHUNK];
    let mut at = range.offset;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let filled = source.read_into(at, &mut buffer[..wanted]);
        if let Some(found) = finder.find(&buffer[..filled]) {
            let [state] = source.read_array(at + (found + NODE_FUSE.len()) as u64)?;
            return Some(state);
        }
        if filled <= NODE_FUSE.len() {
            return None;
        }
        at += (filled - NODE_FUSE.len()) as u64;
    }
    None
}
