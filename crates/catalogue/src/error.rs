//! What can be wrong with a catalogue, said by file and line.

use std::{io, path::PathBuf};

/// A catalogue that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: a catalogue file has at most {max} bytes", path.display())]
    TooLarge { path: PathBuf, max: u64 },
    #[error("{}: a catalogue directory has at most {max} files", path.display())]
    TooMany { path: PathBuf, max: usize },
    #[error("{}:{line}: {problem}", path.display())]
    Invalid {
        path: PathBuf,
        line: usize,
        problem: Problem,
    },
}

/// What stands at the line of a [`CatalogueError::Invalid`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not TOML, an unknown key, a wrong type.
    #[error("{0}")]
    Form(String),
    #[error("schema is {found}, this program reads schema 1")]
    Schema { found: i64 },
    #[error("{key} is not a regular expression: {reason}")]
    Regex { key: &'static str, reason: String },
    #[error("{key} must have a group (in parentheses) that captures the version")]
    NoVersionGroup { key: &'static str },
    #[error("weight is {found}, expected 1 to {max}")]
    Weight { found: i64, max: u8 },
    #[error("{key} is {found:?}, expected {expected}")]
    Value {
        key: &'static str,
        found: String,
        expected: &'static str,
    },
    #[error("`{id}` is already defined in {}", first.display())]
    Duplicate { id: String, first: PathBuf },
    #[error("expected a [family] or [generic] table, or at least one [[runtime]]")]
    Empty,
    #[error("[[{table}]] belongs to a family, but the file has no [family] table")]
    NoFamily { table: &'static str },
    #[error(
        "family `{id}` has only evidence that a name decides; \
         add a package, marker, layout, hash or python table"
    )]
    NamesOnly { id: String },
}
