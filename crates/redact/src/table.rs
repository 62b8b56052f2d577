//! Rows of the rule tables in `rules/`.
//!
//! A row is columns between `|`; `#` begins a comment. A row that cannot be read is a mistake in this
//! crate: a test of [`crate::compiled`] walks every row of every table.

/// A rule as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Programs, class of names, or kind of token.
    pub of: &'static str,
    /// What is recognised, in the notation of its table.
    pub what: &'static str,
    /// Manual page, vendor's page or public set of rules.
    pub source: &'static str,
}

/// A table of rules.
#[derive(Clone, Debug)]
pub struct Table {
    /// Name of its file, without the extension.
    pub name: &'static str,
    pub about: &'static str,
    pub entries: Vec<Entry>,
}

pub static PROGRAMS: &str = include_str!("../rules/programs.txt");
pub static NAMES: &str = include_str!("../rules/names.txt");
pub static SHAPES: &str = include_str!("../rules/shapes.txt");
pub static ADDRESSES: &str = include_str!("../rules/addresses.txt");
/// Read by [`crate::argument`]; nothing in it is a secret.
pub static COMMANDS: &str = include_str!("../rules/commands.txt");
pub static CALLS: &str = include_str!("../rules/calls.txt");
pub static FILES: &str = include_str!("../rules/files.txt");
pub static SQL: &str = include_str!("../rules/sql.txt");

/// The rows of a table that have `N` columns.
pub fn rows<const N: usize>(text: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .filter_map(|line| {
            let mut columns = line.split('|').map(str::trim);
            let mut row = [""; N];
            for column in &mut row {
                *column = columns.next()?;
            }
            columns.next().is_none().then_some(row)
        })
}
