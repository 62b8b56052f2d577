//! The few facts of an ELF file that recognition needs, read by `pread` from a file nobody vouches
//! for.
//!
//! Only 64-bit little-endian files are read (gABI, "ELF Header"); others have no facts. Constants
//! are those of the `object` crate. Its parser is not used: it reads as much as the file claims, and
//! these files have hundreds of megabytes and an author who is being watched.
//!
//! Bounds: 128 program headers, 512 sections, 64 KiB of section names, 64 notes, 512 dynamic
//! entries, 4,096 symbols of one hash chain or of imports. What lies beyond a bound is not seen.

use object::elf;

use super::source::{Source, u16_at, u32_at, u64_at};

const PROGRAM_HEADERS_MAX: usize = 128;
const SECTIONS_MAX: usize = 512;
const SECTION_NAMES_MAX: usize = 64 << 10;
const NOTES_MAX: usize = 64;
const NOTE_NAME_MAX: u32 = 64;
const DYNAMIC_MAX: usize = 512;
const SYMBOLS_MAX: u32 = 4_096;
const SYMBOL_NAME_MAX: usize = 256;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const SECTION_HEADER_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;

/// A range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub offset: u64,
    pub len: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Section {
    pub name: Box<[u8]>,
    pub kind: u32,
    pub range: Range,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    kind: u32,
    address: u64,
    range: Range,
}

/// Headers of an ELF file.
#[derive(Debug)]
pub(super) struct Elf<'s> {
    source: &'s Source,
    segments: Vec<Segment>,
    pub sections: Vec<Section>,
}

/// The dynamic linking information of an ELF file, as file offsets.
#[derive(Debug)]
pub(super) struct Dynamic<'s> {
    source: &'s Source,
    symbols: u64,
    strings: u64,
    gnu_hash: Option<u64>,
    needed: Vec<u64>,
}

/// Whether the file begins like an ELF file.
pub(super) fn is_elf(source: &Source) -> bool {
    source.read_array(0) == Some(elf::ELFMAG)
}

// === impl Elf ===

impl<'s> Elf<'s> {
    /// `None`: not a 64-bit little-endian ELF file.
    pub(super) fn read(source: &'s Source) -> Option<Self> {
        let header: [u8; HEADER_BYTES] = source.read_array(0)?;
        if header[..4] != elf::ELFMAG
            || header[4] != elf::ELFCLASS64
            || header[5] != elf::ELFDATA2LSB
        {
            return None;
        }
        let segments = read_segments(source, &header).unwrap_or_default();
        let sections = read_sections(source, &header).unwrap_or_default();
        Some(Self {
            source,
            segments,
            sections,
        })
    }

    pub(super) fn section(&self, name: &[u8]) -> Option<&Section> {
        self.sections.iter().find(|section| &*section.name == name)
    }

    /// The file names a dynamic linker.
    pub(super) fn has_interpreter(&self) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.kind == elf::PT_INTERP)
    }

    /// The contents of the first note with this owner, in note segments and note sections.
    pub(super) fn note(&self, owner: &[u8]) -> Option<Range> {
        let segments = self
            .segments
            .iter()
            .filter(|s| s.kind == elf::PT_NOTE)
            .map(|s| s.range);
        let sections = self
            .sections
            .iter()
            .filter(|s| s.kind == elf::SHT_NOTE)
            .map(|s| s.range);
        segments
            .chain(sections)
            .find_map(|range| self.note_in(range, owner))
    }

    fn note_in(&self, range: Range, owner: &[u8]) -> Option<Range> {
        let end = range.offset.checked_add(range.len)?.min(self.source.len());
        let mut at = range.offset;
        for _ in 0..NOTES_MAX {
            if at.checked_add(12)? > end {
                return None;
            }
            let header: [u8; 12] = self.source.read_array(at)?;
            let name_len = u32_at(&header, 0)?;
            let len = u32_at(&header, 4)?;
            if name_len > NOTE_NAME_MAX {
                return None;
            }
            let name = self.source.read(at + 12, name_len as usize);
            let start = at + 12 + u64::from(name_len.next_multiple_of(4));
            if name.strip_suffix(&[0]).unwrap_or(&name) == owner {
                let len = u64::from(len).min(end.checked_sub(start)?);
                return Some(Range { offset: start, len });
            }
            at = start + u64::from(len).next_multiple_of(4);
        }
        None
    }

    /// `None`: statically linked, or the tables do not lie in the file.
    pub(super) fn dynamic(&self) -> Option<Dynamic<'s>> {
        let table = self
            .segments
            .iter()
            .find(|segment| segment.kind == elf::PT_DYNAMIC)?
            .range;
        let bytes = self.source.read(table.offset, DYNAMIC_MAX * 16);
        let (mut symbols, mut strings, mut gnu_hash, mut needed) = (None, None, None, Vec::new());
        for entry in bytes.chunks_exact(16) {
            let value = u64_at(entry, 8)?;
            match u64_at(entry, 0).map(u64::cast_signed) {
                Some(elf::DT_NULL) => break,
                Some(elf::DT_SYMTAB) => symbols = self.file_offset(value),
                Some(elf::DT_STRTAB) => strings = self.file_offset(value),
                Some(elf::DT_GNU_HASH) => gnu_hash = self.file_offset(value),
                Some(elf::DT_NEEDED) => needed.push(value),
                _ => {}
            }
        }
        Some(Dynamic {
            source: self.source,
            symbols: symbols?,
            strings: strings?,
            gnu_hash,
            needed,
        })
    }

    fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments
            .iter()
            .filter(|segment| segment.kind == elf::PT_LOAD)
            .find_map(|segment| {
                let into = address.checked_sub(segment.address)?;
                (into < segment.range.len).then(|| segment.range.offset.checked_add(into))?
            })
    }
}

fn read_segments(source: &Source, header: &[u8]) -> Option<Vec<Segment>> {
    let offset = u64_at(header, 0x20)?;
    let size = usize::from(u16_at(header, 0x36)?);
    let count = usize::from(u16_at(header, 0x38)?).min(PROGRAM_HEADERS_MAX);
    if size != PROGRAM_HEADER_BYTES {
        return None;
    }
    let table = source.read(offset, count * PROGRAM_HEADER_BYTES);
    let segments = table
        .chunks_exact(PROGRAM_HEADER_BYTES)
        .filter_map(|entry| {
            Some(Segment {
                kind: u32_at(entry, 0)?,
                address: u64_at(entry, 0x10)?,
                range: Range {
                    offset: u64_at(entry, 0x08)?,
                    len: u64_at(entry, 0x20)?,
                },
            })
        });
    Some(segments.collect())
}

fn read_sections(source: &Source, header: &[u8]) -> Option<Vec<Section>> {
    let offset = u64_at(header, 0x28)?;
    let size = usize::from(u16_at(header, 0x3a)?);
    let count = usize::from(u16_at(header, 0x3c)?).min(SECTIONS_MAX);
    let names_index = usize::from(u16_at(header, 0x3e)?);
    if size != SECTION_HEADER_BYTES || names_index >= count {
        return None;
    }
    let table = source.read(offset, count * SECTION_HEADER_BYTES);
    let field = |index: usize, at: usize| u64_at(table.get(index * SECTION_HEADER_BYTES..)?, at);
    let names_len = usize::try_from(field(names_index, 0x20)?)
        .ok()?
        .min(SECTION_NAMES_MAX);
    let names = source.read(field(names_index, 0x18)?, names_len);
    let sections = table
        .chunks_exact(SECTION_HEADER_BYTES)
        .filter_map(|entry| {
            let name = names.get(u32_at(entry, 0)? as usize..)?;
            let end = name.iter().position(|byte| *byte == 0)?;
            let kind = u32_at(entry, 4)?;
            let len = if kind == elf::SHT_NOBITS {
                0
            } else {
                u64_at(entry, 0x20)?
            };
            let range = Range {
                offset: u64_at(entry, 0x18)?,
                len,
            };
            Some(Section {
                name: name[..end].into(),
                kind,
                range,
            })
        });
    Some(sections.collect())
}

// === impl Dynamic ===

impl Dynamic<'_> {
    /// Whether a shared library of a matching name is needed.
    pub(super) fn needs(&self, matches: impl Fn(&[u8]) -> bool) -> bool {
        self.needed.iter().any(|at| matches(&self.string(*at)))
    }

    /// Whether the file defines this symbol, by its GNU hash table.
    pub(super) fn defines(&self, name: &[u8]) -> bool {
        self.look_up(name).unwrap_or(false)
    }

    /// Whether one of these symbols is imported. Undefined symbols precede the hashed ones.
    pub(super) fn imports(&self, names: &[String]) -> bool {
        let table = self.gnu_hash.and_then(|table| table.checked_add(4));
        let Some(first_hashed) = table.and_then(|at| self.u32(at)) else {
            return false;
        };
        let count = first_hashed.min(SYMBOLS_MAX) as usize;
        let symbols = self.source.read(self.symbols, count * SYMBOL_BYTES);
        symbols.chunks_exact(SYMBOL_BYTES).any(|symbol| {
            let undefined = u16_at(symbol, 6) == Some(elf::SHN_UNDEF);
            let name = u32_at(symbol, 0).map(|at| self.string(u64::from(at)));
            undefined && name.is_some_and(|name| names.iter().any(|n| n.as_bytes() == name))
        })
    }

    /// The layout of `DT_GNU_HASH`: four words, the bloom filter, the buckets, the chains.
    fn look_up(&self, name: &[u8]) -> Option<bool> {
        let table = self.gnu_hash?;
        let buckets = self.u32(table)?;
        // It lies in the file, so that nothing below comes near the end of 64 bits.
        let first = self.u32(table + 4)?;
        let bloom_words = self.u32(table + 8)?;
        let bloom_shift = self.u32(table + 12)?;
        if buckets == 0 || bloom_words == 0 {
            return None;
        }
        let hash = gnu_hash(name);
        let word_at = table + 16 + u64::from((hash / 64) % bloom_words) * 8;
        let word = u64::from_le_bytes(self.source.read_array(word_at)?);
        let bit = |value: u32| word >> (value % 64) & 1 == 1;
        if !bit(hash) || !bit(hash.checked_shr(bloom_shift).unwrap_or(0)) {
            return Some(false);
        }
        let buckets_at = table + 16 + u64::from(bloom_words) * 8;
        let chains_at = buckets_at + u64::from(buckets) * 4;
        let start = self.u32(buckets_at + u64::from(hash % buckets) * 4)?;
        if start < first {
            return Some(false);
        }
        for index in start..start.saturating_add(SYMBOLS_MAX) {
            let chained = self.u32(chains_at + u64::from(index - first) * 4)?;
            if chained | 1 == hash | 1 {
                let symbol = self
                    .symbols
                    .checked_add(u64::from(index) * SYMBOL_BYTES as u64)?;
                if self.string(u64::from(self.u32(symbol)?)) == name {
                    return Some(true);
                }
            }
            if chained & 1 == 1 {
                break;
            }
        }
        Some(false)
    }

    fn u32(&self, at: u64) -> Option<u32> {
        self.source.read_array(at).map(u32::from_le_bytes)
    }

    fn string(&self, at: u64) -> Vec<u8> {
        let Some(at) = self.strings.checked_add(at) else {
            return Vec::new();
        };
        let mut bytes = self.source.read(at, SYMBOL_NAME_MAX);
        let end = bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len());
        bytes.truncate(end);
        bytes
    }
}

/// The hash function of `DT_GNU_HASH` (h * 33 + c from 5381).
fn gnu_hash(name: &[u8]) -> u32 {
    name.iter().fold(5381_u32, |hash, byte| {
        hash.wrapping_mul(33).wrapping_add(u32::from(*byte))
    })
}
