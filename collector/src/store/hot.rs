//! Rows that are in the log and not in the tables yet, as a query reads them.
//!
//! Invariant: all rows of the log's entries up to [`Hot::position`] that an earlier [`Hot`] has not,
//! by class. Many small batches would cost more than their rows: sixteen neighbours of one size
//! become one of the next, so that a row is copied few times and a class has few batches.

use std::time::Instant;

use arrow::error::ArrowError;

use crate::{
    batch::Batch,
    schema::{Class, Origin, Row, Rows, Stored},
};

/// How many batches become one.
const FAN_IN: usize = 16;
/// A batch of so many rows is not joined with others any more.
const FULL_ROWS: usize = 32 << 10;

/// Rows waiting for the tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Hot {
    classes: [Vec<Tier>; Class::COUNT],
    rows: usize,
    bytes: usize,
    /// Position of the last entry in it.
    position: u64,
    /// When the first came.
    since: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Tier {
    /// Joined so many times.
    level: u8,
    rows: Rows,
}

// === impl Hot ===

impl Hot {
    /// Adds the rows of entries up to `position`, of the classes that need them.
    pub fn add(&mut self, rows: &[Row], position: u64, needed: impl Fn(Class) -> bool) {
        for class in Class::ALL {
            let of_class = rows.iter().filter(|row| row.class == class).copied();
            let of_class: Vec<Row> = of_class.collect();
            if of_class.is_empty() || !needed(class) {
                continue;
            }
            let rows = Rows::encode(class, &of_class);
            self.rows += rows.len();
            self.bytes += rows.memory();
            self.classes[class.index()].push(Tier { level: 0, rows });
        }
        self.position = self.position.max(position);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Adds what came after.
    pub fn append(&mut self, later: Self) -> Result<(), ArrowError> {
        let Self {
            classes,
            rows,
            bytes,
            position,
            since,
        } = later;
        for (class, later) in Class::ALL.into_iter().zip(classes) {
            let tiers = &mut self.classes[class.index()];
            for tier in later {
                tiers.push(tier);
                join(class, tiers)?;
            }
        }
        self.rows += rows;
        self.bytes += bytes;
        self.position = self.position.max(position);
        self.since = self.since.or(since);
        Ok(())
    }

    pub fn of(&self, class: Class) -> impl Iterator<Item = &Rows> {
        self.classes[class.index()].iter().map(|tier| &tier.rows)
    }

    /// The rows of a class are elsewhere now.
    pub fn forget(&mut self, class: Class) {
        let tiers = std::mem::take(&mut self.classes[class.index()]);
        for tier in tiers {
            self.rows -= tier.rows.len();
            self.bytes = self.bytes.saturating_sub(tier.rows.memory());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Memory of the rows, as far as Arrow knows it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn since(&self) -> Option<Instant> {
        self.since
    }
}

/// Joins the last batches while there are enough of one level.
fn join(class: Class, tiers: &mut Vec<Tier>) -> Result<(), ArrowError> {
    while let Some(start) = tiers.len().checked_sub(FAN_IN) {
        let level = tiers[start].level;
        let run = &tiers[start..];
        let same = run.iter().all(|tier| tier.level == level);
        if !same || run.iter().map(|tier| tier.rows.len()).sum::<usize>() > FULL_ROWS {
            return Ok(());
        }
        let run: Vec<Rows> = run.iter().map(|tier| tier.rows.clone()).collect();
        let rows = Rows::concat(class, &run)?;
        tiers.truncate(start);
        tiers.push(Tier {
            level: level + 1,
            rows,
        });
    }
    Ok(())
}

/// The rows of a batch, each of the class of its event; `known` events at its beginning were taken before.
pub(super) fn rows_of<'a>(
    batch: &'a Batch,
    origin: &'a Origin,
    known: usize,
) -> impl Iterator<Item = Row<'a>> {
    let numbered = (batch.first_seq..).zip(&batch.events).skip(known);
    numbered.filter_map(move |(seq, event)| {
        Some(Row {
            origin,
            seq,
            class: Class::of_event(event)?,
            event,
            parts: &batch.parts,
        })
    })
}
