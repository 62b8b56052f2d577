//! The two spools of a sensor, and which event goes where.
//!
//! Directories `bulk` and `findings` in the one that is configured. A spool of a sensor without lanes,
//! whose files are in that directory itself, is taken over as the bulk: it keeps its epoch and numbers,
//! so that nothing is lost or sent twice.

use std::path::Path;

use skep_proto::v1;

use super::{Lane, Place, Spool};

/// Handles of both spools; clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Lanes {
    pub bulk: Spool,
    pub findings: Spool,
}

// === impl Lanes ===

impl Lanes {
    /// Opens or creates both; together they take at most `max_bytes`, `findings_bytes` of which are
    /// the findings'. What cannot be used is said in [`Spool::stats`] and tried again.
    pub fn open(directory: &Path, max_bytes: u64, findings_bytes: u64) -> Self {
        let place = |lane: Lane, max_bytes| Place {
            directory: directory.join(lane.name()),
            max_bytes,
            lane,
        };
        let findings = Spool::open(place(Lane::Findings, findings_bytes));
        let bulk = Spool::with(
            place(Lane::Bulk, max_bytes.saturating_sub(findings_bytes)),
            Some(directory.to_owned()),
            Some(findings.clone()),
        );
        Self { bulk, findings }
    }

    pub fn lane(&self, lane: Lane) -> &Spool {
        match lane {
            Lane::Bulk => &self.bulk,
            Lane::Findings => &self.findings,
        }
    }

    /// [`Spool::append`] in the lane of the event.
    pub fn append(&self, event: &v1::Event) {
        self.lane(Lane::of(event)).append(event);
    }

    /// [`Spool::sync`] of both; the bulk first, since it may have something to tell.
    pub fn sync(&self) {
        self.bulk.sync();
        self.findings.sync();
    }
}

#[cfg(test)]
mod tests;
