//! Where the readers of the log are, and how much of it is kept for them.
//!
//! The tables are one reader ([`TABLES`]); others are added and removed while the collector runs, each
//! in one transaction of the log. Invariants:
//! - a reader's position is durable, and only grows; positions of the log are dense, so what lies
//!   between a position and the first entry that is left is exactly what the reader has missed;
//! - an entry is cut once all readers have read it;
//! - a reader that stands still while the log has more than [`super::Options::log_bytes`] is cut past,
//!   the oldest entries first: it gets a gap from the first to the last of them when it reads next, they
//!   are counted, and health shows them;
//! - nothing is ever cut past the tables.
//!
//! Bounds: [`MOST`] readers; marks for [`MARKS`] parts of the log, so that a lag in bytes is exact to
//! such a part.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::clock::unix_millis;
use crate::error::{Error, Result};

/// The reader that moves rows into the tables.
pub const TABLES: &str = "tables";
/// Readers of one log.
const MOST: usize = 16;
const NAME_BYTES: usize = 64;
/// Parts of the log, as large as it may be, whose beginning is remembered.
const MARKS: u64 = 1024;
/// A reader that has something to read and has not moved for this long is a problem.
const STILL: Duration = Duration::from_secs(600);

/// Where a new reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest entry that the log still has.
    Oldest,
    /// With what comes from now on.
    Now,
}

/// How far a reader is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderHealth {
    pub name: String,
    /// Everything up to it is read.
    pub position: u64,
    /// Entries still to read.
    pub entries: u64,
    /// About their bytes in the file.
    pub bytes: u64,
    /// Age of the oldest of them.
    pub seconds: u64,
    /// Since when it has not moved though there is something to read; Unix milliseconds.
    pub still_since: Option<u64>,
    /// Entries that were cut before it read them, in all.
    pub missed: u64,
}

/// What the log keeps of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub position: u64,
    /// When it last moved, or was added; Unix milliseconds.
    pub moved: u64,
    /// Entries that were cut before it read them.
    pub missed: u64,
}

pub(super) type Standings = BTreeMap<String, Standing>;

/// All readers of a log, and what the log has for them.
#[derive(Debug)]
pub(super) struct Readers {
    /// More bytes than this are not kept for a reader that stands still.
    most: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    standings: Standings,
    /// Entries up to it are gone.
    cut: u64,
    /// Last durable position.
    last: u64,
    marks: Marks,
}

/// Where parts of the log begin, the oldest first.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    parts: VecDeque<Mark>,
    /// Bytes after which a new part begins.
    step: u64,
    /// Bytes of all entries that ever were.
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Its first position.
    first: u64,
    /// Bytes of all entries before it.
    before: u64,
    /// When its first entry was taken; Unix milliseconds.
    taken: u64,
}

/// An entry that a transaction adds, as far as the readers are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    pub position: u64,
    /// Of it as the log keeps it.
    pub bytes: usize,
    /// Unix milliseconds.
    pub taken: u64,
}

/// What a transaction changes for the readers.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// `None`: removed.
    pub rows: Vec<(String, Option<Standing>)>,
    /// Entries up to it go; 0: none does.
    pub cut: u64,
    after: Option<State>,
    /// Entries cut past each.
    missed: Vec<(String, u64)>,
}

// === impl Readers ===

impl Readers {
    /// `last` is the last position of the log.
    pub fn new(standings: Standings, cut: u64, last: u64, marks: Marks, most: u64) -> Self {
        let state = State {
            standings,
            cut,
            last,
            marks,
        };
        Self {
            most,
            state: Mutex::new(state),
        }
    }

    /// The readers as of the last transaction.
    pub fn standings(&self) -> Standings {
        self.state().standings.clone()
    }

    /// Position up to which entries are gone.
    pub fn cut(&self) -> u64 {
        self.state().cut
    }

    /// What a transaction with these entries, after which the readers stand so, has to change.
    pub fn changes(&self, added: &[Added], standings: Option<Standings>) -> Changes {
        let state = self.state();
        if added.is_empty() && standings.is_none() {
            return Changes::default();
        }
        let mut after = State {
            standings: standings.unwrap_or_else(|| state.standings.clone()),
            cut: state.cut,
            last: added.last().map_or(state.last, |entry| entry.position),
            marks: state.marks.clone(),
        };
        for entry in added {
            after.marks.add(*entry);
        }
        let mut missed = Vec::new();
        let cut = after.may_go(self.most);
        if cut > after.cut {
            for (name, standing) in &mut after.standings {
                let over = cut.saturating_sub(standing.position.max(after.cut));
                if over > 0 {
                    standing.missed += over;
                    missed.push((name.clone(), over));
                }
            }
            after.cut = cut;
            after.marks.forget(cut);
        }
        let mut rows = Vec::new();
        for (name, standing) in &after.standings {
            if state.standings.get(name) != Some(standing) {
                rows.push((name.clone(), Some(*standing)));
            }
        }
        for name in state.standings.keys() {
            if !after.standings.contains_key(name) {
                rows.push((name.clone(), None));
            }
        }
        Changes {
            rows,
            cut: if cut > state.cut { cut } else { 0 },
            after: Some(after),
            missed,
        }
    }

    /// The transaction is durable; how many entries were cut before a reader had them.
    pub fn apply(&self, changes: Changes) -> u64 {
        let Changes { after, missed, .. } = changes;
        if let Some(after) = after {
            *self.state() = after;
        }
        for (reader, entries) in &missed {
            tracing::warn!(
                reader,
                entries,
                "a reader of the log stands still, and entries that it has not read were cut"
            );
        }
        missed.iter().map(|(_, entries)| entries).sum()
    }

    /// How far each is.
    pub fn health(&self) -> Vec<ReaderHealth> {
        let state = self.state();
        let each = state.standings.iter();
        each.map(|(name, standing)| state.health(name, standing))
            .collect()
    }

    /// What is wrong with the readers other than the tables, whose troubles are told elsewhere.
    pub fn problem(&self) -> Option<String> {
        let state = self.state();
        let mut problems = Vec::new();
        for (name, standing) in &state.standings {
            if name == TABLES {
                continue;
            }
            let health = state.health(name, standing);
            let gone = state.cut.saturating_sub(standing.position);
            let still = health
                .still_since
                .map(|since| unix_millis().saturating_sub(since) / 1000)
                .filter(|seconds| *seconds >= STILL.as_secs());
            if gone > 0 {
                problems.push(format!(
                    "{name} has missed entries {} to {} of the log, which were cut for want of room",
                    standing.position + 1,
                    state.cut
                ));
            } else if health.bytes > self.most / 2 {
                problems.push(format!(
                    "{name} is {} MiB behind: beyond {} MiB of the log it loses the oldest",
                    health.bytes >> 20,
                    self.most >> 20
                ));
            } else if let Some(seconds) = still {
                problems.push(format!(
                    "{name} stands still for {seconds} s, {} entries behind",
                    health.entries
                ));
            }
        }
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the readers panics")
    }
}

// === what changes the readers ===

/// Adds a reader; false when it is there already.
pub(super) fn add(
    standings: &mut Standings,
    name: &str,
    start: Start,
    cut: u64,
    last: u64,
) -> Result<bool> {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(fits) {
        return Err(Error::ReaderName {
            name: name.to_owned(),
        });
    }
    if standings.contains_key(name) {
        return Ok(false);
    }
    if standings.len() >= MOST {
        return Err(Error::TooManyReaders { limit: MOST });
    }
    let position = match start {
        Start::Oldest => cut,
        Start::Now => last,
    };
    let standing = Standing {
        position,
        moved: unix_millis(),
        missed: 0,
    };
    standings.insert(name.to_owned(), standing);
    Ok(true)
}

/// Removes a reader; false when there is none.
pub(super) fn remove(standings: &mut Standings, name: &str) -> Result<bool> {
    match name {
        TABLES => Err(Error::TablesReader),
        _ => Ok(standings.remove(name).is_some()),
    }
}

/// Moves a reader on; `last` is the last position that is durable.
pub(super) fn advance(
    standings: &mut Standings,
    name: &str,
    position: u64,
    last: u64,
) -> Result<()> {
    let standing = standings.get_mut(name).ok_or_else(|| Error::NoReader {
        name: name.to_owned(),
    })?;
    if position > last {
        return Err(Error::ReadAhead {
            name: name.to_owned(),
            position,
            last,
        });
    }
    if position > standing.position {
        standing.position = position;
        standing.moved = unix_millis();
    }
    Ok(())
}

// === impl State ===

impl State {
    /// Position up to which entries may go: all have read them, or there are more than `most` bytes.
    fn may_go(&self, most: u64) -> u64 {
        let positions = self.standings.values().map(|standing| standing.position);
        let slowest = positions.min().unwrap_or(0);
        let tables = self
            .standings
            .get(TABLES)
            .map_or(0, |tables| tables.position);
        slowest.max(self.marks.over(most).min(tables))
    }

    fn health(&self, name: &str, standing: &Standing) -> ReaderHealth {
        let after = standing.position.max(self.cut);
        let entries = self.last.saturating_sub(after);
        let waiting = (entries > 0).then(|| self.marks.of(after + 1)).flatten();
        ReaderHealth {
            name: name.to_owned(),
            position: standing.position,
            entries,
            bytes: waiting.map_or(0, |mark| self.marks.bytes - mark.before),
            seconds: waiting.map_or(0, |mark| unix_millis().saturating_sub(mark.taken) / 1000),
            // What it waits for may have come long after it last moved.
            still_since: waiting.map(|mark| mark.taken.max(standing.moved)),
            missed: standing.missed,
        }
    }
}

// === impl Marks ===

impl Marks {
    /// Of a log that may have so many bytes.
    pub fn new(most: u64) -> Self {
        Self {
            parts: VecDeque::new(),
            step: (most / MARKS).clamp(1, 1 << 20),
            bytes: 0,
        }
    }

    /// Adds the next entry.
    pub fn add(&mut self, added: Added) {
        let Added {
            position,
            bytes,
            taken,
        } = added;
        let begun = self.parts.back().map(|mark| self.bytes - mark.before);
        if begun.is_none_or(|bytes| bytes >= self.step) {
            self.parts.push_back(Mark {
                first: position,
                before: self.bytes,
                taken,
            });
        }
        self.bytes += on_disk(bytes);
    }

    /// Entries up to a position are gone.
    fn forget(&mut self, cut: u64) {
        while self
            .parts
            .get(1)
            .is_some_and(|second| second.first <= cut + 1)
        {
            self.parts.pop_front();
        }
    }

    /// The part that an entry is in.
    fn of(&self, position: u64) -> Option<Mark> {
        let after = self.parts.partition_point(|mark| mark.first <= position);
        self.parts.get(after.checked_sub(1)?).copied()
    }

    /// The least position after which there are at most so many bytes; 0 when there are no more.
    fn over(&self, most: u64) -> u64 {
        let first = self.parts.front().map_or(self.bytes, |mark| mark.before);
        if self.bytes - first <= most {
            return 0;
        }
        let fits = |mark: &&Mark| self.bytes - mark.before <= most;
        let kept = self.parts.iter().find(fits);
        kept.map_or(0, |mark| mark.first - 1)
    }
}

/// About the bytes that an entry takes in the file: redb's pages have 4 KiB, and a value that needs
/// several gets a power of two of them.
fn on_disk(bytes: usize) -> u64 {
    const PAGE: usize = 4096;
    const AROUND: usize = 64;
    let bytes = bytes + AROUND;
    let bytes = match bytes > PAGE {
        true => bytes.div_ceil(PAGE).next_power_of_two() * PAGE,
        false => bytes,
    };
    bytes as u64
}
