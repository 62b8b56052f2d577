//! Small ELF files with the sections, notes and symbols that recognition looks at.

use object::elf;

/// An ELF file under construction: sections lie after the headers in order.
#[derive(Clone, Default)]
pub(super) struct ElfFile {
    sections: Vec<(String, u32, Vec<u8>)>,
    interpreter: bool,
    symbols: Vec<String>,
    imports: Vec<String>,
    needed: Option<String>,
    tail: Vec<u8>,
}

const PROGRAM_HEADERS: usize = 6;
const HEADERS: usize = 64 + PROGRAM_HEADERS * 56;

// === impl ElfFile ===

impl ElfFile {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn section(mut self, name: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.sections
            .push((name.to_owned(), elf::SHT_PROGBITS, contents.into()));
        self
    }

    pub(super) fn note(mut self, owner: &str, contents: &[u8]) -> Self {
        let mut note = Vec::new();
        note.extend((owner.len() as u32 + 1).to_le_bytes());
        note.extend((contents.len() as u32).to_le_bytes());
        note.extend(0_u32.to_le_bytes());
        note.extend(owner.as_bytes());
        note.push(0);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend(contents);
        note.resize(note.len().next_multiple_of(4), 0);
        self.sections
            .push((".note.x".to_owned(), elf::SHT_NOTE, note));
        self
    }

    /// With a program interpreter, as dynamically linked programs have.
    pub(super) fn dynamic(mut self) -> Self {
        self.interpreter = true;
        self
    }

    /// Exports `name`, among others, through a GNU hash table.
    pub(super) fn exports(mut self, name: &str) -> Self {
        self.symbols.push(name.to_owned());
        self
    }

    /// Imports `name` and needs `library`.
    pub(super) fn imports(mut self, name: &str, library: &str) -> Self {
        self.imports.push(name.to_owned());
        self.needed = Some(library.to_owned());
        self
    }

    /// Bytes after everything else.
    pub(super) fn tail(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.tail = bytes.into();
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; HEADERS];
        let mut sections: Vec<(String, u32, usize, usize)> = vec![(String::new(), 0, 0, 0)];
        let mut segments: Vec<(u32, usize, usize)> = Vec::new();
        for (name, kind, contents) in &self.sections {
            sections.push((name.clone(), *kind, out.len(), contents.len()));
            if *kind == elf::SHT_NOTE {
                segments.push((elf::PT_NOTE, out.len(), contents.len()));
            }
            out.extend(contents);
        }
        if !self.symbols.is_empty() || !self.imports.is_empty() {
            let (at, len) = self.push_dynamic(&mut out);
            segments.push((elf::PT_DYNAMIC, at, len));
        }
        if self.interpreter {
            segments.push((elf::PT_INTERP, HEADERS, 0));
        }
        // Addresses are file offsets.
        segments.push((elf::PT_LOAD, 0, out.len()));
        assert!(
            segments.len() <= PROGRAM_HEADERS,
            "no room for more program headers"
        );
        let names_at = out.len();
        let mut names = vec![0_u8];
        sections.push((".shstrtab".to_owned(), elf::SHT_STRTAB, names_at, 0));
        let name_offsets: Vec<usize> = sections
            .iter()
            .map(|(name, ..)| {
                let at = names.len();
                names.extend(name.as_bytes());
                names.push(0);
                at
            })
            .collect();
        out.extend(&names);
        let table_at = out.len();
        for ((_, kind, offset, len), name_at) in sections.iter().zip(name_offsets) {
            let len = if *offset == names_at {
                names.len()
            } else {
                *len
            };
            let mut header = vec![0; 64];
            put(&mut header, 0, &(name_at as u32).to_le_bytes());
            put(&mut header, 4, &kind.to_le_bytes());
            put(&mut header, 0x18, &(*offset as u64).to_le_bytes());
            put(&mut header, 0x20, &(len as u64).to_le_bytes());
            out.extend(header);
        }
        put(&mut out, 0, &elf::ELFMAG);
        put(
            &mut out,
            4,
            &[elf::ELFCLASS64, elf::ELFDATA2LSB, elf::EV_CURRENT],
        );
        put(&mut out, 0x20, &64_u64.to_le_bytes());
        put(&mut out, 0x28, &(table_at as u64).to_le_bytes());
        put(&mut out, 0x36, &56_u16.to_le_bytes());
        put(&mut out, 0x38, &(segments.len() as u16).to_le_bytes());
        put(&mut out, 0x3a, &64_u16.to_le_bytes());
        put(&mut out, 0x3c, &(sections.len() as u16).to_le_bytes());
        put(&mut out, 0x3e, &(sections.len() as u16 - 1).to_le_bytes());
        for (index, (kind, offset, len)) in segments.into_iter().enumerate() {
            let at = 64 + index * 56;
            put(&mut out, at, &kind.to_le_bytes());
            put(&mut out, at + 0x08, &(offset as u64).to_le_bytes());
            put(&mut out, at + 0x10, &(offset as u64).to_le_bytes());
            put(&mut out, at + 0x20, &(len as u64).to_le_bytes());
        }
        out.extend(&self.tail);
        out
    }

    /// Symbols, strings, a hash table of one bucket, and the table that leads to them.
    fn push_dynamic(&self, out: &mut Vec<u8>) -> (usize, usize) {
        let mut strings = vec![0_u8];
        let mut add = |text: &str| {
            let at = strings.len() as u32;
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        let needed = self.needed.as_deref().map(&mut add);
        let mut symbols = vec![0_u8; 24];
        for (names, section) in [(&self.imports, 0_u16), (&self.symbols, 1)] {
            for name in names {
                let at = symbols.len();
                symbols.resize(at + 24, 0);
                put(&mut symbols, at, &add(name).to_le_bytes());
                put(&mut symbols, at + 6, &section.to_le_bytes());
            }
        }
        let first = 1 + self.imports.len() as u32;
        let mut hash = Vec::new();
        for word in [1, first, 1, 0] {
            hash.extend(u32::to_le_bytes(word));
        }
        hash.extend(u64::MAX.to_le_bytes());
        hash.extend(u32::to_le_bytes(if self.symbols.is_empty() {
            0
        } else {
            first
        }));
        for (index, name) in self.symbols.iter().enumerate() {
            let value = name
                .bytes()
                .fold(5381_u32, |h, b| h.wrapping_mul(33).wrapping_add(b.into()));
            let last = u32::from(index + 1 == self.symbols.len());
            hash.extend((value & !1 | last).to_le_bytes());
        }
        let [symbols_at, strings_at, hash_at] = [symbols, strings, hash].map(|table| {
            let at = out.len();
            out.extend(table);
            at as u64
        });
        let at = out.len();
        let mut entries = vec![
            (elf::DT_SYMTAB, symbols_at),
            (elf::DT_STRTAB, strings_at),
            (elf::DT_GNU_HASH, hash_at),
        ];
        entries.extend(needed.map(|offset| (elf::DT_NEEDED, u64::from(offset))));
        entries.push((elf::DT_NULL, 0));
        for (tag, value) in entries {
            out.extend(tag.to_le_bytes());
            out.extend(value.to_le_bytes());
        }
        (at, out.len() - at)
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// A Bun module graph: compiled-in arguments, modules, the index of the entry.
pub(super) fn bun_graph(arguments: &str, modules: &[(&str, &str)], entry: u32) -> Vec<u8> {
    let mut graph = Vec::new();
    let mut add = |bytes: &[u8]| {
        let at = graph.len() as u32;
        graph.extend(bytes);
        graph.push(0);
        (at, bytes.len() as u32)
    };
    let mut table = Vec::new();
    for (name, contents) in modules {
        let (name, contents) = (add(name.as_bytes()), add(contents.as_bytes()));
        for value in [name.0, name.1, contents.0, contents.1] {
            table.extend(value.to_le_bytes());
        }
        table.resize(table.len() + 36, 0);
    }
    let arguments = add(arguments.as_bytes());
    let table = add(&table);
    let byte_count = graph.len() as u64;
    graph.extend(byte_count.to_le_bytes());
    for value in [table.0, table.1, entry, arguments.0, arguments.1, 0] {
        graph.extend(value.to_le_bytes());
    }
    graph.extend(b"\n---- Bun! ----\n");
    graph
}

/// The contents of a `.bun` section with that graph.
pub(super) fn bun_section(graph: &[u8]) -> Vec<u8> {
    [&(graph.len() as u64).to_le_bytes(), graph].concat()
}
