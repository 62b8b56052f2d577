//! What a piece of code loads: code in an argument (`-e`, `-c`), in a `data:` URL, on standard input.
//!
//! Only what stands there as a literal is found: modules and files given to the functions and statements that load
//! code. Code that may load something else, because a name is put together while it runs, is *dynamic*: nothing is
//! said of it here. Words in other strings and comments load nothing.
//!
//! Bounds: one pass over [`BYTES_MAX`] bytes, [`TOKENS_MAX`] tokens, [`LOADS_MAX`] loads, code in code to a
//! depth of [`DEPTH_MAX`]; beyond them code is dynamic.

mod javascript;
mod python;
mod token;

use skep_catalogue::Language;

/// What one argument can hold at most (`MAX_ARG_STRLEN`, include/uapi/linux/binfmts.h), and as much of a file.
pub(super) const BYTES_MAX: usize = 128 << 10;
const TOKENS_MAX: usize = 32 << 10;
const LOADS_MAX: usize = 64;
const DEPTH_MAX: usize = 3;

/// One thing that code loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// A JavaScript module, as it is named in the code.
    Module(Vec<u8>),
    /// A Python file.
    File(Vec<u8>),
    /// A Python module that is imported.
    Import(Vec<u8>),
    /// A Python module that is run, as by `-m`.
    Run(Vec<u8>),
}

/// What code loads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub loads: Vec<Load>,
    /// It may load more than that.
    pub is_dynamic: bool,
}

// === impl Scan ===

impl Scan {
    fn add(&mut self, load: Load) {
        if self.loads.contains(&load) {
        } else if self.loads.len() < LOADS_MAX {
            self.loads.push(load);
        } else {
            self.is_dynamic = true;
        }
    }
}

pub(super) fn scan(language: Language, code: &[u8]) -> Scan {
    let mut scan = Scan::default();
    within(language, code, DEPTH_MAX, &mut scan);
    scan
}

/// The same of code within code.
fn within(language: Language, code: &[u8], depth: usize, scan: &mut Scan) {
    let Some(depth) = depth.checked_sub(1).filter(|_| code.len() <= BYTES_MAX) else {
        scan.is_dynamic = true;
        return;
    };
    match language {
        Language::JavaScript => javascript::scan(code, depth, scan),
        Language::Python => python::scan(code, depth, scan),
    }
}

#[cfg(test)]
mod tests;
