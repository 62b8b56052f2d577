//! How long events are kept: by class, and by the size of all of them.
//!
//! Files leave their table whole, once the last event in them is too old, or, when the tables are
//! larger than they may be, the oldest first, whatever their class. Vacuum deletes them later.
//!
//! A clock that jumps ahead must not empty the tables: age counts from the newest event at most
//! [`AHEAD`] back. While no sensor sends anything for longer than that, nothing expires by age.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{DataFile, Shared};
use crate::{error::Result, schema::Class};

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Age up to which a class is kept; a class that is not named is kept for ever.
    pub ages: Vec<(Class, Duration)>,
    /// Bytes of all tables together.
    pub bytes: Option<u64>,
}

/// How far the clock is believed to be ahead of the newest event, in microseconds: seven days.
const AHEAD: i64 = 7 * 86_400_000_000;

/// Takes out what is not to be kept at a time; how many files.
pub(super) async fn expire(shared: &Arc<Shared>, now: Timestamp) -> Result<usize> {
    let files: Vec<_> = {
        let state = shared.state();
        let of_class = |class: Class| (class, Arc::clone(&state.files[class.index()]));
        Class::ALL.map(of_class).into()
    };
    let mut expired = 0;
    for (class, gone) in shared.options.retention.chosen(&files, now) {
        let mut table = shared.tables[class.index()].lock().await;
        table.remove(&gone, "it is older than what is kept").await?;
        shared.list(class, &table);
        let rows: u64 = gone.iter().map(|file| file.rows).sum();
        shared.counters.files_expired.add(gone.len() as u64);
        shared.counters.rows_expired.add(rows);
        tracing::info!(
            class = class.name(),
            files = gone.len(),
            rows,
            "events expired"
        );
        expired += gone.len();
    }
    Ok(expired)
}

// === impl Retention ===

impl Retention {
    /// The files of each class that are not kept.
    fn chosen(
        &self,
        files: &[(Class, Arc<Vec<DataFile>>)],
        now: Timestamp,
    ) -> Vec<(Class, Vec<DataFile>)> {
        let newest = files.iter().flat_map(|(_, files)| files.iter());
        let newest = newest.filter_map(|file| file.last_time).max();
        let now = match newest {
            Some(newest) => now.as_microsecond().min(newest.saturating_add(AHEAD)),
            None => now.as_microsecond(),
        };
        let mut kept: Vec<(Class, &DataFile)> = Vec::new();
        let mut gone: Vec<(Class, Vec<DataFile>)> = Vec::new();
        for (class, files) in files {
            let age = self.ages.iter().find(|(known, _)| known == class);
            let oldest = age.map(|(_, age)| {
                let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
                now.saturating_sub(age)
            });
            let too_old = |file: &&DataFile| {
                oldest
                    .zip(file.last_time)
                    .is_some_and(|(oldest, last)| last < oldest)
            };
            let (old, rest): (Vec<_>, Vec<_>) = files.iter().partition(too_old);
            kept.extend(rest.into_iter().map(|file| (*class, file)));
            gone.push((*class, old.into_iter().cloned().collect()));
        }
        let mut bytes: u64 = kept.iter().map(|(_, file)| file.bytes).sum();
        kept.sort_by_key(|(_, file)| file.last_time);
        let over = |bytes: u64| self.bytes.is_some_and(|most| bytes > most);
        for (class, file) in kept {
            if !over(bytes) {
                break;
            }
            bytes -= file.bytes;
            let of_class = gone.iter_mut().find(|(known, _)| *known == class);
            let (_, of_class) = of_class.expect("every class is there");
            of_class.push(file.clone());
        }
        gone.retain(|(_, files)| !files.is_empty());
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(name: &str, hours_ago: i64, now: Timestamp, bytes: u64) -> DataFile {
        let last = now.as_microsecond() - hours_ago * 3_600_000_000;
        let day = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let mut file = DataFile::of(name, day, bytes);
        file.last_time = Some(last);
        file
    }

    fn names(gone: &[(Class, Vec<DataFile>)]) -> Vec<String> {
        let named = |(class, files): &(Class, Vec<DataFile>)| {
            let files: Vec<_> = files.iter().map(|f| f.path.to_string()).collect();
            format!("{}: {}", class.name(), files.join(" "))
        };
        gone.iter().map(named).collect()
    }

    #[test]
    fn each_class_has_its_age() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let files = |prefix: &str| {
            let aged = [1, 5, 9].map(|hours| at(&format!("{prefix}{hours}"), hours, now, 10));
            Arc::new(aged.to_vec())
        };
        let tables = [
            (Class::Open, files("o")),
            (Class::Exec, files("e")),
            (Class::Exit, files("x")),
        ];
        let retention = Retention {
            ages: vec![
                (Class::Open, Duration::from_secs(4 * HOUR)),
                (Class::Exec, Duration::from_secs(8 * HOUR)),
            ],
            bytes: None,
        };
        assert_eq!(
            names(&retention.chosen(&tables, now)),
            ["open: o5 o9", "exec: e9"]
        );
        assert!(Retention::default().chosen(&tables, now).is_empty());
    }

    #[test]
    fn a_clock_that_jumps_ahead_expires_nothing() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let tables = [(
            Class::Open,
            Arc::new(vec![at("o1", 1, now, 10), at("o9", 9, now, 10)]),
        )];
        let retention = Retention {
            ages: vec![(Class::Open, Duration::from_secs(24 * 30 * HOUR))],
            bytes: None,
        };
        let jumped: Timestamp = "2028-11-20T12:00:00Z".parse().unwrap();
        assert!(retention.chosen(&tables, jumped).is_empty());
    }

    #[test]
    fn the_oldest_of_all_go_until_the_rest_is_small_enough() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let tables = [
            (
                Class::Open,
                Arc::new(vec![at("o1", 1, now, 10), at("o7", 7, now, 10)]),
            ),
            (
                Class::Exec,
                Arc::new(vec![at("e3", 3, now, 10), at("e9", 9, now, 10)]),
            ),
        ];
        let retention = |bytes| Retention {
            ages: Vec::new(),
            bytes: Some(bytes),
        };
        assert_eq!(
            names(&retention(25).chosen(&tables, now)),
            ["open: o7", "exec: e9"]
        );
        assert_eq!(
            names(&retention(40).chosen(&tables, now)),
            Vec::<String>::new()
        );
    }
}
