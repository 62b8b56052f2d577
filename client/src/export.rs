//! Events of a range or a session to a file or a directory, as many as there are.
//!
//! One statement gives no more rows than the collector's limit, so events are asked for a page at a
//! time, in the order of (time, sensor, epoch, sequence), each page from where the last one ended. A
//! page looks no further than a window of time, which grows and shrinks with what it holds, so that
//! the collector sorts little more than it sends.
//!
//! Invariants:
//! - the range has an end, fixed at the start, so that what comes in meanwhile is not chased;
//! - a page is written once it is whole; a part (a file of a directory) has its name once it is on
//!   disk, and `export.json` tells of it only then, so that an export can go on from its last part;
//! - at the end the collector is asked again how many events the range has: other than written is an
//!   error.
//!
//! Bound: one page, and a Parquet writer's row group, in memory.

mod progress;

use std::{fs, path::PathBuf};

use arrow::array::RecordBatch;
use jiff::{SignedDuration, Timestamp};
use tonic::Code;

pub use crate::error::ExportError;
use crate::{
    answer::Answer,
    columns::{self, from_columns},
    commands::Filter,
    connection::Client,
    error::ClientError,
    format::Form,
    output::RowWriter,
    place::PartialFile,
    when::Range,
};

pub use progress::{Key, Progress};

/// Rows of a page, at first.
const PAGE: u64 = 20_000;
/// A page that is over the collector's limits is halved down to this, and then given up.
const SMALLEST_PAGE: u64 = 500;
/// Events after which a directory usually gets another file.
pub const PART: u64 = 1_000_000;
/// A window is no narrower.
const NARROWEST: SignedDuration = SignedDuration::from_millis(1);
const FIRST_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// What is to be exported, and where to.
pub struct Export {
    pub filter: Filter,
    pub form: Form,
    pub to: Target,
    /// Events after which a directory gets another file.
    pub part: u64,
    /// The options as they were typed: an export goes on only with the same.
    pub asked: Vec<String>,
}

/// Where an export goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    File(PathBuf),
    /// With files of a million events, and `export.json`; an interrupted export goes on.
    Directory(PathBuf),
}

/// What was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    pub events: u64,
    pub files: usize,
    /// Before this time.
    pub until: Timestamp,
}

struct Extent {
    events: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

from_columns!(Extent {
    events,
    first,
    last
});

/// Where the next page begins, and how far it looks.
struct Place {
    from: Timestamp,
    /// Of the last event written, when others may have its time.
    after: Option<Key>,
    window: SignedDuration,
    page: u64,
}

/// The file that is being written.
struct Part {
    writer: RowWriter<PartialFile>,
    name: String,
    events: u64,
}

// === impl Export ===

impl Export {
    /// Tells `told` after each page how many events of how many are written.
    pub async fn run(
        mut self,
        client: &mut Client,
        mut told: impl FnMut(u64, u64),
    ) -> Result<Exported, ClientError> {
        let mut progress = self.begin()?;
        let until = progress.until;
        self.filter.range = Range {
            since: progress.since,
            until: Some(until),
        };
        let extent = self.extent(client).await?;
        let mut place = Place {
            from: match (&progress.last, extent.first) {
                (Some(last), _) => last.time,
                (None, Some(first)) => first,
                (None, None) => until,
            },
            after: progress.last.clone(),
            window: FIRST_WINDOW,
            page: PAGE,
        };
        let end = extent.last.unwrap_or(place.from);
        let mut part: Option<Part> = None;
        let mut written = progress.events();
        while extent.events > 0 && place.from <= end {
            let Some(page) = self.page(client, &mut place).await? else {
                continue;
            };
            if page.rows() == 0 {
                continue;
            }
            let open = match &mut part {
                Some(part) => part,
                None => part.insert(self.open(&page, progress.parts.len() + 1)?),
            };
            for batch in &page.batches {
                open.writer.write(batch)?;
            }
            open.events += page.rows() as u64;
            written += page.rows() as u64;
            told(written, extent.events.max(written));
            let is_full = matches!(self.to, Target::Directory(_)) && open.events >= self.part;
            if is_full && let Some(full) = part.take() {
                self.close(full, &mut progress, place.after.clone())?;
            }
        }
        if part.is_none() && progress.parts.is_empty() {
            // A file with no event says so better than no file.
            let empty = client.ask(&format!("{} LIMIT 0", self.select(""))).await?;
            part = Some(self.open(&empty, 1)?);
        }
        if let Some(part) = part.take() {
            self.close(part, &mut progress, place.after.clone())?;
        }
        progress.complete = true;
        self.save(&progress)?;
        let there = self.extent(client).await?.events;
        if there != written {
            return Err(ExportError::Changed { written, there }.into());
        }
        Ok(Exported {
            events: written,
            files: progress.parts.len(),
            until,
        })
    }

    /// From the beginning, or where an interrupted export into the same directory ended.
    fn begin(&self) -> Result<Progress, ClientError> {
        let Range { since, until } = self.filter.range;
        let fresh = Progress {
            asked: self.asked.clone(),
            since,
            until: until.unwrap_or_else(Timestamp::now),
            parts: Vec::new(),
            last: None,
            complete: false,
        };
        let Target::Directory(directory) = &self.to else {
            return Ok(fresh);
        };
        fs::create_dir_all(directory).map_err(ClientError::file(directory))?;
        let Some(begun) = Progress::load(directory)? else {
            let mut entries = fs::read_dir(directory).map_err(ClientError::file(directory))?;
            if entries.next().is_some() {
                let path = directory.clone();
                return Err(ExportError::NotEmpty { path }.into());
            }
            self.save(&fresh)?;
            return Ok(fresh);
        };
        let path = directory.clone();
        if begun.complete {
            let events = begun.events();
            return Err(ExportError::Complete { path, events }.into());
        }
        if begun.asked != self.asked {
            let begun = begun.asked;
            return Err(ExportError::Other { path, begun }.into());
        }
        Ok(begun)
    }

    async fn extent(&self, client: &mut Client) -> Result<Extent, ClientError> {
        let sql = format!(
            "SELECT count(*) AS events, min(time) AS first, max(time) AS last FROM events {}",
            self.filter.of_events()
        );
        let mut rows: Vec<Extent> = client.ask(&sql).await?.read()?;
        rows.pop().ok_or(ClientError::NoSchema)
    }

    fn select(&self, more: &str) -> String {
        // The range always has an end, so that there is a WHERE to add to.
        format!("SELECT * FROM events {}{more}", self.filter.of_events())
    }

    /// The next page, and moves the place behind it; `None` when it has to be tried again, smaller.
    async fn page(
        &self,
        client: &mut Client,
        place: &mut Place,
    ) -> Result<Option<Answer>, ClientError> {
        let to = place.from.checked_add(place.window).ok();
        let until = to
            .map(|to| format!(" AND time < '{to}'"))
            .unwrap_or_default();
        let after = place.after.as_ref().map(Key::after).unwrap_or_default();
        let sql = format!(
            "{} ORDER BY time, sensor_id, epoch, seq LIMIT {}",
            self.select(&format!(" AND time >= '{}'{until}{after}", place.from)),
            place.page
        );
        let answer = match client.ask(&sql).await {
            Ok(answer) => answer,
            Err(ClientError::Refused(status)) if over_limits(status.code()) => {
                if place.page <= SMALLEST_PAGE && place.window <= NARROWEST {
                    return Err(ExportError::OverLimits {
                        rows: place.page,
                        at: place.from,
                        message: status.message().to_owned(),
                    }
                    .into());
                }
                place.page = (place.page / 2).max(SMALLEST_PAGE);
                place.window = (place.window / 4).max(NARROWEST);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let rows = answer.rows() as u64;
        match (to, last_row(&answer)?) {
            // The window may hold more.
            (_, Some(last)) if rows >= place.page || answer.truncated => {
                place.from = last.time;
                place.after = Some(last);
                place.window = (place.window / 2).max(NARROWEST);
            }
            (to, last) => {
                // All events after the window are after the last one in it.
                place.after = last.or(place.after.take());
                place.from = to.unwrap_or(Timestamp::MAX);
                if rows < place.page / 2 {
                    place.window = place.window.checked_mul(2).unwrap_or(place.window);
                }
            }
        }
        Ok(Some(answer))
    }

    fn open(&self, page: &Answer, number: usize) -> Result<Part, ClientError> {
        let (path, name) = match &self.to {
            Target::File(path) => (path.clone(), String::new()),
            Target::Directory(directory) => {
                let name = format!("events-{number:05}.{}", self.form.extension());
                (directory.join(&name), name)
            }
        };
        Ok(Part {
            writer: RowWriter::new(self.form, &page.schema, PartialFile::create(&path)?)?,
            name,
            events: 0,
        })
    }

    fn close(
        &self,
        part: Part,
        progress: &mut Progress,
        last: Option<Key>,
    ) -> Result<(), ClientError> {
        part.writer.finish()?.finish()?;
        progress.parts.push(progress::Part {
            file: part.name,
            events: part.events,
        });
        progress.last = last;
        self.save(progress)
    }

    fn save(&self, progress: &Progress) -> Result<(), ClientError> {
        match &self.to {
            Target::File(_) => Ok(()),
            Target::Directory(directory) => progress.save(directory),
        }
    }
}

/// The collector's bounds on time and memory, which smaller pages may keep to.
fn over_limits(code: Code) -> bool {
    matches!(code, Code::ResourceExhausted | Code::DeadlineExceeded)
}

fn last_row(answer: &Answer) -> Result<Option<Key>, ClientError> {
    let with_rows = |batch: &&RecordBatch| batch.num_rows() > 0;
    let Some(batch) = answer.batches.iter().rfind(with_rows) else {
        return Ok(None);
    };
    let last: Vec<Key> = columns::read(&batch.slice(batch.num_rows() - 1, 1))?;
    Ok(last.into_iter().next())
}
