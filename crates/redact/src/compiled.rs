//! The rule tables as the engine uses them, and as `explain` prints them.

use std::sync::OnceLock;

use crate::{
    name::Names,
    pattern::Pattern,
    program::Program,
    table::{ADDRESSES, CALLS, Entry, FILES, NAMES, PROGRAMS, SHAPES, SQL, Table, rows},
};

/// Every table, for `explain`.
pub fn tables() -> Vec<Table> {
    let four = |text: &'static str, of: usize, what: usize| {
        rows::<4>(text).map(move |row| Entry {
            of: row[of],
            what: row[what],
            source: row[3],
        })
    };
    let three =
        |text: &'static str| rows::<3>(text).map(|[of, what, source]| Entry { of, what, source });
    vec![
        Table {
            name: "programs",
            about: "options, words and standard input by which programs take a password",
            entries: Program::entries().collect(),
        },
        Table {
            name: "names",
            about: "words of names that say that a value is secret",
            entries: three(NAMES).collect(),
        },
        Table {
            name: "shapes",
            about: "tokens by their own shape",
            entries: four(SHAPES, 1, 2).collect(),
        },
        Table {
            name: "addresses",
            about: "addresses that are the credential",
            entries: four(ADDRESSES, 1, 2).collect(),
        },
        Table {
            name: "sql",
            about: "clauses of query languages that a password follows",
            entries: three(SQL).collect(),
        },
        Table {
            name: "calls",
            about: "functions that take a password by its place",
            entries: three(CALLS).collect(),
        },
        Table {
            name: "files",
            about: "files whose lines are passwords",
            entries: three(FILES).collect(),
        },
    ]
}

/// A token's shape, or an address.
#[derive(Debug)]
pub struct Shape {
    pub kind: &'static str,
    pub patterns: Vec<Pattern>,
}

/// The tables, compiled.
#[derive(Debug)]
pub struct Rules {
    pub shapes: Vec<Shape>,
    pub programs: Vec<Program>,
    pub names: Names,
}

/// Compiled once a process.
pub fn rules() -> &'static Rules {
    static RULES: OnceLock<Rules> = OnceLock::new();
    RULES.get_or_init(|| Rules {
        shapes: shapes(SHAPES, false)
            .chain(shapes(ADDRESSES, true))
            .collect(),
        programs: Program::read(PROGRAMS).collect(),
        names: Names::read(NAMES),
    })
}

fn shapes(text: &'static str, address: bool) -> impl Iterator<Item = Shape> {
    rows::<4>(text).map(move |[kind, _, pattern, _]| Shape {
        kind,
        patterns: Pattern::read(pattern, address),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::COMMANDS;

    #[test]
    fn every_row_of_every_table_is_read() {
        let lines = |text: &str| {
            let row = |line: &&str| !line.starts_with('#') && !line.trim().is_empty();
            text.lines().filter(row).count()
        };
        assert_eq!(rows::<4>(PROGRAMS).count(), lines(PROGRAMS));
        assert_eq!(rows::<3>(NAMES).count(), lines(NAMES));
        assert_eq!(rows::<4>(SHAPES).count(), lines(SHAPES));
        assert_eq!(rows::<4>(ADDRESSES).count(), lines(ADDRESSES));
        assert_eq!(rows::<3>(SQL).count(), lines(SQL));
        assert_eq!(rows::<3>(CALLS).count(), lines(CALLS));
        assert_eq!(rows::<3>(FILES).count(), lines(FILES));
        assert_eq!(rows::<3>(COMMANDS).count(), lines(COMMANDS));
        for table in tables() {
            for entry in table.entries {
                assert!(!entry.of.is_empty() && !entry.what.is_empty(), "{entry:?}");
                assert!(entry.source.len() > 2, "{entry:?} has no source");
            }
        }
    }

    #[test]
    fn a_token_of_every_shape_is_taken_out() {
        let redactor = crate::Redactor::new();
        for shape in &rules().shapes {
            for pattern in &shape.patterns {
                let token = pattern.example();
                let text = format!("/x {token} y");
                let out = redactor.text(text.as_bytes()).unwrap_or_default();
                let out = String::from_utf8_lossy(&out);
                assert!(!out.is_empty() && !out.contains(&token), "{token}: {out}");
            }
        }
    }

    #[test]
    fn no_row_stands_twice() {
        for table in tables() {
            let mut seen = std::collections::HashSet::new();
            for entry in &table.entries {
                assert!(seen.insert((entry.of, entry.what)), "{entry:?}");
            }
        }
    }
}
