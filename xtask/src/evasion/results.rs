//! Verdicts: as the kernel tests leave them, and as the document keeps them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Where a column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A virtual machine with a kernel of Debian: the same wherever the tests run.
    Guest,
    /// The machine the tests ran on.
    Machine,
}

/// One kernel with one set of hooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// `uname -r`.
    pub kernel: String,
    /// `best`, `fallback` or `tracepoints`.
    pub tier: String,
    pub place: Place,
    pub hooks: Vec<Hook>,
}

/// What served a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub fact: String,
    pub hook: Option<String>,
    pub status: String,
}

/// What became of a technique in one column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub verdict: Word,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The verdict in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    Seen,
    Gap,
    NotSeen,
    NotPossible,
}

/// One way not to be seen, and what became of it in each column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Technique {
    pub id: String,
    pub group: String,
    pub title: String,
    pub tries: String,
    /// In the order of the columns.
    pub verdicts: Vec<Verdict>,
}

/// Everything the document says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    pub columns: Vec<Column>,
    pub techniques: Vec<Technique>,
}

/// The verdicts of one kernel and tier, as the tests left them.
#[derive(Debug)]
pub struct Results {
    pub column: Column,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Deserialize)]
struct Row {
    id: String,
    group: String,
    title: String,
    tries: String,
    #[serde(flatten)]
    verdict: Verdict,
}

/// First line of a file of results.
#[derive(Deserialize)]
struct Header {
    kernel: String,
    tier: String,
    hooks: Vec<Hook>,
}

/// Reads every file of results in a folder, one a tier.
pub fn read(folder: &Path, place: Place) -> Result<Vec<Results>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("evasion-") && name.ends_with(".jsonl") {
            paths.push(path);
        }
    }
    // The order of a folder is anybody's; that of the names is not.
    paths.sort();
    let mut all: BTreeMap<String, Results> = BTreeMap::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let part =
            parse(&text, place).with_context(|| format!("cannot understand {}", path.display()))?;
        let tier = part.column.tier.clone();
        ensure!(
            all.insert(tier, part).is_none(),
            "{}: there is another file of its tier",
            path.display()
        );
    }
    Ok(all.into_values().collect())
}

fn parse(text: &str, place: Place) -> Result<Results> {
    let mut lines = text.lines();
    let header: Header = serde_json::from_str(lines.next().context("the file is empty")?)?;
    let rows = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(Results {
        column: Column {
            kernel: header.kernel,
            tier: header.tier,
            place,
            hooks: header.hooks,
        },
        rows,
    })
}

// === impl Column ===

impl Column {
    /// How the column is headed.
    pub fn label(&self) -> String {
        format!("{} {}", self.series(), self.tier)
    }

    /// `6.1` of `6.1.0-56-cloud-amd64`.
    pub fn series(&self) -> String {
        let mut numbers = self.kernel.split(['.', '-', '+']);
        let major = numbers.next().unwrap_or_default();
        let minor = numbers.next().unwrap_or_default();
        format!("{major}.{minor}")
    }

    /// What serves the fact, or "off".
    pub fn hook(&self, fact: &str) -> &str {
        let hook = self.hooks.iter().find(|hook| hook.fact == fact);
        hook.and_then(|hook| hook.hook.as_deref()).unwrap_or("off")
    }
}

// === impl Book ===

impl Book {
    /// Adds a column. Every column tells of the same techniques.
    pub fn add(&mut self, results: &Results) -> Result<()> {
        if self.columns.is_empty() {
            self.techniques = results.rows.iter().map(Technique::of).collect();
        } else {
            ensure!(
                self.techniques.len() == results.rows.len(),
                "the kernels were not tried with the same techniques: run cargo xtask evasion"
            );
            for technique in &mut self.techniques {
                let row = results.rows.iter().find(|row| row.id == technique.id);
                let Some(row) = row else {
                    bail!(
                        "{} was not tried on {}: run cargo xtask evasion",
                        technique.id,
                        results.column.kernel
                    );
                };
                technique.verdicts.push(row.verdict.clone());
            }
        }
        self.columns.push(results.column.clone());
        Ok(())
    }

    /// The column here that stands for the same place, series and tier; the exact release may differ.
    pub fn column(&self, other: &Column) -> Option<&Column> {
        self.columns.iter().find(|own| {
            (own.place, own.series(), &own.tier) == (other.place, other.series(), &other.tier)
        })
    }

    /// What this book says of its column `own` that `other` does not say of its column `theirs`.
    pub fn differences(&self, own: &Column, other: &Self, theirs: &Column) -> Vec<String> {
        let mut found = Vec::new();
        let (at, of) = (self.place_of(own), other.place_of(theirs));
        if own.hooks != theirs.hooks {
            found.push(format!("{}: other hooks serve now", own.label()));
        }
        for technique in &other.techniques {
            let now = &technique.verdicts[of];
            let then = self.techniques.iter().find(|old| old.id == technique.id);
            match then {
                None => found.push(format!("{}: not in the document", technique.id)),
                Some(old) if old.verdicts[at] != *now => found.push(format!(
                    "{} on {}: written {:?}, now {now:?}",
                    technique.id,
                    own.label(),
                    old.verdicts[at]
                )),
                Some(old) if !old.is_same_text(technique) => {
                    found.push(format!("{}: described otherwise now", technique.id));
                }
                Some(_) => {}
            }
        }
        for old in &self.techniques {
            if !other.techniques.iter().any(|new| new.id == old.id) {
                found.push(format!("{}: no longer tried", old.id));
            }
        }
        found
    }

    fn place_of(&self, column: &Column) -> usize {
        let at = self.columns.iter().position(|own| own == column);
        at.expect("a column of this book")
    }

    /// As it is kept: a line a column and a line a technique, so that a change shows as what it is.
    pub fn text(&self) -> Result<String> {
        let lines = |values: Vec<serde_json::Result<String>>| -> Result<String> {
            let values = values.into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok(values.join(",\n"))
        };
        let columns = lines(self.columns.iter().map(serde_json::to_string).collect())?;
        let techniques = lines(self.techniques.iter().map(serde_json::to_string).collect())?;
        Ok(format!(
            "{{\"columns\":[\n{columns}\n],\"techniques\":[\n{techniques}\n]}}\n"
        ))
    }
}

// === impl Technique ===

impl Technique {
    fn of(row: &Row) -> Self {
        Self {
            id: row.id.clone(),
            group: row.group.clone(),
            title: row.title.clone(),
            tries: row.tries.clone(),
            verdicts: vec![row.verdict.clone()],
        }
    }

    fn is_same_text(&self, other: &Self) -> bool {
        (&self.group, &self.title, &self.tries) == (&other.group, &other.title, &other.tries)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const HEADER: &str = r#"{"kernel":"6.1.0-56-cloud-amd64","tier":"best","hooks":[{"fact":"open","hook":"lsm/file_open","status":"live"}]}"#;

    fn row(id: &str, verdict: &str, hook: &str, why: &str) -> String {
        format!(
            r#"{{"id":"{id}","group":"Files","title":"{id}","tries":"x","verdict":"{verdict}","hook":{hook},"why":{why}}}"#
        )
    }

    pub fn results(rows: &[String]) -> Results {
        parse(
            &[&[HEADER.to_owned()], rows].concat().join("\n"),
            Place::Guest,
        )
        .unwrap()
    }

    pub fn seen(id: &str) -> String {
        row(id, "seen", r#""lsm/file_open""#, "null")
    }

    pub fn not_seen(id: &str) -> String {
        row(id, "not_seen", "null", r#""no hook for it""#)
    }

    pub fn book(rows: &[String]) -> Book {
        let mut book = Book::default();
        book.add(&results(rows)).unwrap();
        book
    }

    #[test]
    fn a_column_is_known_by_its_series_and_not_by_its_exact_release() {
        let mut later = book(&[seen("a")]);
        later.columns[0].kernel = "6.1.9-99-cloud-amd64".to_owned();
        let written = book(&[seen("a")]);
        assert!(written.column(&later.columns[0]).is_some());
        later.columns[0].kernel = "6.12.9-99-cloud-amd64".to_owned();
        assert!(written.column(&later.columns[0]).is_none());
    }

    #[test]
    fn every_change_of_a_verdict_is_a_difference_for_better_or_worse() {
        let (good, bad) = (book(&[seen("a")]), book(&[not_seen("a")]));
        let compare = |then: &Book, now: &Book| {
            then.differences(&then.columns[0], now, &now.columns[0])
                .len()
        };
        assert_eq!(compare(&good, &good), 0);
        assert_eq!(compare(&good, &bad), 1);
        assert_eq!(compare(&bad, &good), 1);
        assert_eq!(compare(&good, &book(&[seen("a"), seen("b")])), 1);
        assert_eq!(compare(&book(&[seen("a"), seen("b")]), &good), 1);
    }

    #[test]
    fn what_is_kept_is_read_back_the_same() {
        let book = book(&[seen("a"), not_seen("b")]);
        let text = book.text().unwrap();
        assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book);
    }
}
