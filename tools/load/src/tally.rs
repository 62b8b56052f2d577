//! What is counted of events, by class: the sums that any reader of the stored table must find too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
pub use skep_event::Class;
use skep_proto::v1::{Event, event::Detail};

/// Sums over events of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    pub rows: u64,
    /// Of `count`; of a class without one, 0.
    pub count: u64,
    /// Of `pid`.
    pub pid: u64,
    /// Bytes of `file_path`.
    pub path_bytes: u64,
    /// Of `time`, in microseconds since 1970: the table keeps no finer ones.
    pub first_micros: u64,
    pub last_micros: u64,
}

/// What there is to count of an event.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub class: Class,
    pub nanos: u64,
    pub count: u64,
    pub pid: u32,
    pub path_bytes: usize,
}

/// Sums by class; a class without events is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tally(pub BTreeMap<Class, Sums>);

// === impl Tally ===

impl Tally {
    /// What one event adds.
    pub fn count(&mut self, class: Class, nanos: u64, count: u64, pid: u64, path_bytes: u64) {
        let micros = nanos / 1000;
        self.sums(class).add(&Sums {
            rows: 1,
            count,
            pid,
            path_bytes,
            first_micros: micros,
            last_micros: micros,
        });
    }

    pub fn count_made(&mut self, made: &Made) {
        let Made {
            class,
            nanos,
            count,
            pid,
            path_bytes,
        } = made;
        self.count(*class, *nanos, *count, u64::from(*pid), *path_bytes as u64);
    }

    /// The same, of an event that has to be looked at.
    pub fn count_event(&mut self, event: &Event) {
        let Some(detail) = &event.detail else {
            return;
        };
        let (count, path_bytes) = match detail {
            Detail::Open(open) => (open.count, open.path.as_ref().map_or(0, String::len) as u64),
            Detail::Connect(connect) => (connect.count, 0),
            Detail::Change(change) => (change.count, 0),
            Detail::Lost(lost) => (lost.count, 0),
            Detail::Coverage(coverage) => (coverage.count, 0),
            Detail::Exec(_) | Detail::Exit(_) | Detail::SessionInfo(_) | Detail::Finding(_) => {
                (0, 0)
            }
        };
        let pid = event.process.as_ref().map_or(0, |process| process.pid);
        self.count(
            Class::of(detail),
            event.time_unix_nano,
            count,
            u64::from(pid),
            path_bytes,
        );
    }

    pub fn add(&mut self, other: &Self) {
        for (class, sums) in &other.0 {
            self.sums(*class).add(sums);
        }
    }

    pub fn rows(&self) -> u64 {
        self.0.values().map(|sums| sums.rows).sum()
    }

    fn sums(&mut self, class: Class) -> &mut Sums {
        self.0.entry(class).or_insert(Sums {
            first_micros: u64::MAX,
            ..Sums::default()
        })
    }
}

// === impl Sums ===

impl Sums {
    fn add(&mut self, other: &Self) {
        let Self {
            rows,
            count,
            pid,
            path_bytes,
            first_micros,
            last_micros,
        } = other;
        self.rows += rows;
        self.count += count;
        self.pid += pid;
        self.path_bytes += path_bytes;
        self.first_micros = self.first_micros.min(*first_micros);
        self.last_micros = self.last_micros.max(*last_micros);
    }
}
