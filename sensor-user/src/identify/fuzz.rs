//! The readers of executed files, for their fuzz targets.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use rustix::fs::{MemfdFlags, memfd_create};
use skep_catalogue::{Catalogue, Language};

use super::{
    archive::{Archive, MEMBER_MAX},
    bundle::{self, Bun},
    code,
    content::{self, Nature},
    elf::Elf,
    generic::texts::Texts,
    options,
    scan::Markers,
    source::Source,
    specifier::Specifier,
    zipapp,
};

/// A file in memory that takes the contents of one input after the other.
#[derive(Debug)]
pub struct Executable {
    file: File,
    catalogue: Arc<Catalogue>,
    markers: Markers,
    texts: Texts,
}

/// What the headers of an ELF file say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    pub sections: usize,
    pub has_interpreter: bool,
    /// Offset and length of a note.
    pub note: Option<(u64, u64)>,
    /// Whether a symbol is defined, one is imported, and a library is needed.
    pub symbols: Option<[bool; 3]>,
}

/// What is said to be bundled: all of it, and the parts that are read first, as offset and length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundled {
    pub whole: (u64, u64),
    pub likely: Vec<(u64, u64)>,
}

impl Executable {
    /// # Errors
    ///
    /// The kernel has no memory for files.
    pub fn new() -> io::Result<Self> {
        let catalogue = Arc::new(Catalogue::embedded());
        Ok(Self {
            file: memfd_create("skep-fuzz", MemfdFlags::CLOEXEC)?.into(),
            markers: Markers::new(&catalogue),
            texts: Texts::new(catalogue.generic()),
            catalogue,
        })
    }

    fn source(&self, bytes: &[u8]) -> io::Result<Source> {
        self.file.set_len(0)?;
        self.file.write_all_at(bytes, 0)?;
        Ok(Source::new(self.file.try_clone()?, bytes.len() as u64))
    }

    /// # Errors
    ///
    /// The file cannot be written.
    pub fn headers(&self, bytes: &[u8]) -> io::Result<Option<Headers>> {
        let source = self.source(bytes)?;
        let headers = Elf::read(&source).map(|elf| Headers {
            sections: elf.sections.len(),
            has_interpreter: elf.has_interpreter(),
            note: elf.note(b"owner").map(|range| (range.offset, range.len)),
            symbols: elf.dynamic().map(|dynamic| {
                [
                    dynamic.defines(b"symbol"),
                    dynamic.imports(&["import".to_owned()]),
                    dynamic.needs(|library| library == b"library"),
                ]
            }),
        });
        Ok(headers)
    }

    /// # Errors
    ///
    /// The file cannot be written.
    pub fn bundled(&self, bytes: &[u8]) -> io::Result<Option<Bundled>> {
        let source = self.source(bytes)?;
        let Some(elf) = Elf::read(&source) else {
            return Ok(None);
        };
        let graph = match bundle::bun(&source, &elf) {
            Some(Bun::Graph(graph)) => Some(Bundled {
                whole: (graph.whole.offset, graph.whole.len),
                likely: graph.likely.iter().map(|r| (r.offset, r.len)).collect(),
            }),
            Some(Bun::Runtime) | None => None,
        };
        let blob = || {
            let blob = bundle::node_blob(&source, &elf)?;
            Some(Bundled {
                whole: (blob.offset, blob.len),
                likely: Vec::new(),
            })
        };
        Ok(graph.or_else(blob))
    }

    /// How many members there are when the bytes are a zip archive, and the most that one of them holds; the words
    /// of the evidence in it.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn archive(&self, bytes: &[u8]) -> io::Result<Option<(usize, usize, Vec<String>)>> {
        let source = self.source(bytes)?;
        let Some(mut archive) = Archive::open(&source) else {
            return Ok(None);
        };
        let members = archive.members(|_| true);
        let read = members
            .iter()
            .filter_map(|(_, member)| archive.read(*member));
        let largest = read.map(|bytes| bytes.len()).max().unwrap_or(0);
        debug_assert!(largest <= MEMBER_MAX);
        let pieces = zipapp::pieces(&self.catalogue, &source, b"/a.pyz");
        let words = pieces.into_iter().map(|piece| piece.text).collect();
        Ok(Some((members.len(), largest, words)))
    }

    /// The words of the evidence for families, or what else the file is.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn evidence(&self, bytes: &[u8]) -> io::Result<Vec<String>> {
        let source = self.source(bytes)?;
        Ok(
            match content::inspect(&self.catalogue, &self.markers, &self.texts, &source) {
                Nature::Program(pieces) => pieces.iter().map(|piece| piece.text.clone()).collect(),
                other @ (Nature::Plain
                | Nature::Runtime(_)
                | Nature::Bundle(_)
                | Nature::Unknown(_)) => {
                    vec![format!("{other:?}")]
                }
            },
        )
    }
}

/// How many things a piece of code loads, in each language; and whether it may load more.
pub fn loads(bytes: &[u8]) -> [(usize, bool); 2] {
    [Language::JavaScript, Language::Python].map(|language| {
        let scan = code::scan(language, bytes);
        (scan.loads.len(), scan.is_dynamic)
    })
}

/// The options in a variable, as texts; each of them is taken for a specifier as well.
pub fn options_in(value: &[u8]) -> Vec<Vec<u8>> {
    let words = options::split(value).words;
    let texts = words.iter().map(|word| word.as_bytes().to_vec());
    let texts: Vec<Vec<u8>> = texts.collect();
    for text in &texts {
        Specifier::parse(text);
    }
    texts
}
