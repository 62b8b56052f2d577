//! Counts of what was lost, by session where a loss is one session's alone, hop, record and cause,
//! with the time they span.
//!
//! Bound: a handful of entries for the host, and [`OF_SESSIONS_MAX`] for sessions; a loss of a session
//! past that is counted as the host's, so that no count is ever dropped.

use std::collections::BTreeMap;

use skep_event::Class;
use skep_proto::v1;

const HOP: &str = "spool";
/// Entries that name a session.
const OF_SESSIONS_MAX: usize = 128;

#[derive(Clone, Debug, Default)]
pub struct Losses {
    by_cause: BTreeMap<Key, Range>,
    /// How many of them name a session.
    of_sessions: usize,
    /// How many events were added by [`Losses::add`] that were not `lost` events themselves.
    newly: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    session: Option<String>,
    hop: String,
    record: String,
    cause: String,
}

#[derive(Clone, Debug)]
struct Range {
    count: u64,
    first: u64,
    last: u64,
    /// Of the last event among them, where that is known.
    boot: Boot,
}

/// Boot time and boot id of an event.
#[derive(Clone, Debug, Default)]
struct Boot {
    time: Option<u64>,
    id: Option<String>,
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
        let boot = Boot {
            time: event.boot_time_nano,
            id: event.boot_id.clone(),
        };
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
                    session: event.session.clone(),
                    hop: hop.clone(),
                    record: record.clone(),
                    cause: cause.clone(),
                };
                let range = Range {
                    count: *count,
                    first: *first_unix_nano,
                    last: *last_unix_nano,
                    boot,
                };
                self.put(key, range);
                return 0;
            }
            Some(detail) => {
                let (count, last) = match detail {
                    Detail::Open(open) => (open.count, open.last_unix_nano),
                    Detail::Connect(connect) => (connect.count, connect.last_unix_nano),
                    Detail::Change(change) => (change.count, change.last_unix_nano),
                    _ => (1, None),
                };
                (Class::of(detail).name(), count, last)
            }
            None => ("any", 1, None),
        };
        let last = last.unwrap_or(time);
        let range = Range {
            count,
            first: time,
            last,
            boot,
        };
        self.lose(event.session.clone(), record, cause, range);
        count
    }

    /// Adds `count` events between two times, of which is not known whose they were.
    pub fn add_range(&mut self, record: &str, cause: &str, count: u64, first: u64, last: u64) {
        let range = Range {
            count,
            first,
            last,
            boot: Boot::default(),
        };
        self.lose(None, record, cause, range);
    }

    fn lose(&mut self, session: Option<String>, record: &str, cause: &str, range: Range) {
        self.newly = self.newly.saturating_add(range.count);
        let key = Key {
            session,
            hop: HOP.into(),
            record: record.into(),
            cause: cause.into(),
        };
        self.put(key, range);
    }

    pub fn merge(&mut self, other: Self) {
        let Self {
            by_cause,
            of_sessions: _,
            newly,
        } = other;
        self.newly = self.newly.saturating_add(newly);
        for (key, range) in by_cause {
            self.put(key, range);
        }
    }

    fn put(&mut self, mut key: Key, range: Range) {
        if key.session.is_some() && !self.by_cause.contains_key(&key) {
            if self.of_sessions < OF_SESSIONS_MAX {
                self.of_sessions += 1;
            } else {
                key.session = None;
            }
        }
        let add = |have: &mut Range| {
            have.count = have.count.saturating_add(range.count);
            have.first = have.first.min(range.first);
            if range.last >= have.last {
                (have.last, have.boot) = (range.last, range.boot.clone());
            }
        };
        self.by_cause
            .entry(key)
            .and_modify(add)
            .or_insert_with(|| range.clone());
    }

    /// One `lost` event for each entry.
    pub fn into_events(self) -> impl Iterator<Item = v1::Event> {
        self.by_cause.into_iter().map(|(key, range)| {
            let Range {
                count,
                first,
                last,
                boot,
            } = range;
            let Key {
                session,
                hop,
                record,
                cause,
            } = key;
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
                boot_time_nano: boot.time,
                boot_id: boot.id,
                session,
                detail: Some(v1::event::Detail::Lost(lost)),
                ..v1::Event::default()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(session: Option<u32>) -> v1::Event {
        let lost = v1::Lost {
            hop: "kernel".into(),
            record: "open".into(),
            cause: "throttled".into(),
            count: 2,
            first_unix_nano: 5,
            last_unix_nano: 9,
        };
        v1::Event {
            time_unix_nano: 9,
            session: session.map(|id| format!("{id:032x}")),
            detail: Some(v1::event::Detail::Lost(lost)),
            ..v1::Event::default()
        }
    }

    fn count(event: &v1::Event) -> u64 {
        match &event.detail {
            Some(v1::event::Detail::Lost(lost)) => lost.count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_loss_of_one_session_stays_that_sessions() {
        let mut losses = Losses::default();
        let told = [loss(Some(1)), loss(None), loss(Some(1)), loss(Some(2))];
        for event in &told {
            assert_eq!(losses.add(event, "spool_full"), 0, "it was lost before");
        }
        let mut merged = Losses::default();
        merged.merge(losses);
        let events: Vec<_> = merged.into_events().collect();
        let sums: Vec<_> = events
            .iter()
            .map(|e| (e.session.clone(), count(e)))
            .collect();
        let id = |id| loss(Some(id)).session;
        assert_eq!(sums, [(None, 2), (id(1), 4), (id(2), 2)]);
    }

    #[test]
    fn an_event_that_is_lost_here_is_lost_of_its_session() {
        let event = |session: Option<u32>| v1::Event {
            detail: Some(v1::event::Detail::Exit(v1::Exit::default())),
            ..loss(session)
        };
        let mut losses = Losses::default();
        let newly: u64 = [event(Some(1)), event(None), event(Some(1))]
            .iter()
            .map(|event| losses.add(event, "spool_full"))
            .sum();
        assert_eq!((newly, losses.newly_lost()), (3, 3));
        let sums: Vec<_> = losses
            .into_events()
            .map(|event| (event.session.clone(), count(&event)))
            .collect();
        assert_eq!(sums, [(None, 1), (loss(Some(1)).session, 2)]);
    }

    #[test]
    fn losses_of_too_many_sessions_become_the_hosts_and_none_is_forgotten() {
        let mut losses = Losses::default();
        let sessions = OF_SESSIONS_MAX as u32 + 10;
        for session in 0..sessions {
            losses.add(&loss(Some(session)), "spool_full");
        }
        let events: Vec<_> = losses.into_events().collect();
        assert_eq!(events.len(), OF_SESSIONS_MAX + 1);
        assert_eq!((events[0].session.as_ref(), count(&events[0])), (None, 20));
        let total: u64 = events.iter().map(count).sum();
        assert_eq!(total, u64::from(sessions) * 2);
    }
}
