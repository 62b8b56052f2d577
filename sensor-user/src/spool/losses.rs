//! Counts of what was lost, by hop, record and cause, with the time they span; a handful of entries,
//! whatever their counts.

use std::collections::BTreeMap;

use skep_proto::v1;

const HOP: &str = "spool";

#[derive(Clone, Debug, Default)]
pub struct Losses {
    by_cause: BTreeMap<Key, Range>,
    /// How many events were added by [`Losses::add`] that were not `lost` events themselves.
    newly: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    hop: String,
    record: String,
    cause: String,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    count: u64,
    first: u64,
    last: u64,
}

// === impl Losses ===

impl Losses {
    pub fn is_empty(&self) -> bool {
        self.by_cause.is_empty()
    }

    /// How many events are lost that were not known to be.
    pub fn newly_lost(&self) -> u64 {
        self.newly
    }

    /// Adds an event that is lost here. A `lost` event keeps its own hop and cause: it tells of what
    /// is lost already. Returns how many events are newly lost.
    pub fn add(&mut self, event: &v1::Event, cause: &str) -> u64 {
        use v1::event::Detail;
        let time = event.time_unix_nano;
        let (record, count, last) = match &event.detail {
            Some(Detail::Lost(lost)) => {
                let v1::Lost {
                    hop,
                    record,
                    cause,
                    count,
                    first_unix_nano,
                    last_unix_nano,
                } = lost;
                let key = Key {
                    hop: hop.clone(),
                    record: record.clone(),
                    cause: cause.clone(),
                };
                let range = Range {
                    count: *count,
                    first: *first_unix_nano,
                    last: *last_unix_nano,
                };
                self.put(key, range);
                return 0;
            }
            Some(Detail::Exec(_)) => ("exec", 1, None),
            Some(Detail::Exit(_)) => ("exit", 1, None),
            Some(Detail::Open(file)) => ("open", file.count, file.last_unix_nano),
            Some(Detail::Connect(net)) => ("connect", net.count, net.last_unix_nano),
            Some(Detail::SessionInfo(_)) => ("session", 1, None),
            Some(Detail::Coverage(_)) => ("coverage", 1, None),
            None => ("any", 1, None),
        };
        self.add_range(record, cause, count, time, last.unwrap_or(time));
        count
    }

    /// Adds `count` events between two times.
    pub fn add_range(&mut self, record: &str, cause: &str, count: u64, first: u64, last: u64) {
        self.newly = self.newly.saturating_add(count);
        let key = Key {
            hop: HOP.into(),
            record: record.into(),
            cause: cause.into(),
        };
        self.put(key, Range { count, first, last });
    }

    pub fn merge(&mut self, other: Self) {
        let Self { by_cause, newly } = other;
        self.newly = self.newly.saturating_add(newly);
        for (key, range) in by_cause {
            self.put(key, range);
        }
    }

    fn put(&mut self, key: Key, range: Range) {
        self.by_cause
            .entry(key)
            .and_modify(|have| {
                have.count = have.count.saturating_add(range.count);
                have.first = have.first.min(range.first);
                have.last = have.last.max(range.last);
            })
            .or_insert(range);
    }

    /// One `lost` event for each hop, record and cause.
    pub fn into_events(self) -> impl Iterator<Item = v1::Event> {
        self.by_cause.into_iter().map(
            |(Key { hop, record, cause }, Range { count, first, last })| {
                let lost = v1::Lost {
                    hop,
                    record,
                    cause,
                    count,
                    first_unix_nano: first,
                    last_unix_nano: last,
                };
                v1::Event {
                    time_unix_nano: last,
                    detail: Some(v1::event::Detail::Lost(lost)),
                    ..v1::Event::default()
                }
            },
        )
    }
}
