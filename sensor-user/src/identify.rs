//! Recognises agents: from the file that was executed and its arguments to a family, a version, a
//! confidence and the evidence for them.
//!
//! Invariants:
//! - a name decides nothing: what counts is in the file, beside its real path, or in the package it
//!   belongs to; the catalogue holds what counts (see `docs/recognition.md`);
//! - the executed file is the one the kernel named by inode, or there is no verdict; what could not
//!   be verified lowers the confidence and is said among the evidence;
//! - what is read of other processes' files is opened without following links of `/proc`, never
//!   blocks, and never touches anything but regular files;
//! - `never` is said only of a file whose bytes were looked at.
//!
//! Bounds: verdicts of 2 × 2,048 files are remembered; a file is read in chunks of 256 KiB, never
//! mapped; an ordinary tool costs a few KiB, once.

mod access;
mod archive;
mod bundle;
pub(crate) mod cache;
mod candidate;
mod code;
mod command;
mod content;
mod elf;
mod environment;
mod evidence;
mod filesystems;
#[doc(hidden)]
pub mod fuzz;
mod generic;
mod judge;
mod learned;
pub mod looks;
mod modules;
pub(crate) mod opened;
mod options;
mod package;
mod pnp;
mod python;
mod scan;
mod settled;
mod source;
mod specifier;
mod switches;
mod unknown;
mod zipapp;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use skep_abi::FileKey;
use skep_catalogue::Catalogue;

use access::{Opened, Trust};
use cache::Cache;
use content::Nature;
use generic::texts::Texts;
use scan::Markers;
use unknown::Scripts;

pub(crate) use access::Root;
pub use candidate::{Candidate, CodeFrom, Judgement, Unjudged};
pub(crate) use command::script_by_name;
pub(crate) use judge::descriptors;
pub use switches::switches;

const REMEMBERED: usize = 2_048;

/// Judges execs. Remembers what the bytes of a file said, by device, inode and change time.
#[derive(Debug)]
pub struct Identifier {
    catalogue: Arc<Catalogue>,
    markers: Markers,
    texts: Texts,
    natures: Cache<FileKey, (Nature, Trust)>,
    scripts: Scripts,
}

// === impl Identifier ===

impl Identifier {
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        let markers = Markers::new(&catalogue);
        let texts = Texts::new(catalogue.generic());
        Self {
            catalogue,
            markers,
            texts,
            natures: Cache::new(REMEMBERED),
            scripts: Scripts::new(REMEMBERED),
        }
    }

    /// What the executed file is, remembered or looked at.
    fn nature(&mut self, candidate: &Candidate<'_>, root: &Root) -> Option<(Nature, Trust)> {
        if let Some(known) = self
            .natures
            .get(candidate.file)
            .filter(|_| candidate.file.ino != 0)
        {
            return Some(known);
        }
        let (opened, trust) = root.executed(candidate)?;
        let nature = content::inspect(&self.catalogue, &self.markers, &self.texts, &opened.source);
        if trust > Trust::Unverified && root.looks.noted().is_none() {
            self.natures.insert(candidate.file, (nature.clone(), trust));
        }
        Some((nature, trust))
    }

    /// What a program is that was opened by its path.
    fn nature_of(&mut self, opened: &Opened, root: &Root) -> Nature {
        if let Some((nature, _)) = self.natures.get(opened.key) {
            return nature;
        }
        let nature = content::inspect(&self.catalogue, &self.markers, &self.texts, &opened.source);
        if root.looks.noted().is_none() {
            self.natures
                .insert(opened.key, (nature.clone(), Trust::Exact));
        }
        nature
    }
}
