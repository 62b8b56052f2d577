//! Lists a page at a time, and answers that are written as they arrive.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, TimeUnit, TimestampMicrosecondType},
};
use jiff::Timestamp;

use crate::{
    answer::Answer,
    commands::{self, Filter, Page, SessionPrefix},
    connection::Client,
    error::ClientError,
    format::Format,
    output::{self, RowWriter},
    place::Place,
};

/// Rows of a table that has no limit of its own: what a person can read, and the client hold.
pub const TABLE_ROWS: u64 = 10_000;
/// Sessions of which one statement asks how much they did; the collector bounds a statement's length.
const SESSIONS_AT_ONCE: usize = 500;

/// How an answer is printed, and where.
pub struct Printing {
    pub format: Format,
    /// Standard output when `None`.
    pub file: Option<PathBuf>,
    /// Long tables on a terminal go through a pager.
    pub may_page: bool,
}

/// A list that is shown a page at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Agents,
    Hosts,
    Sessions,
    Events,
    Findings,
    Coverage,
}

// === impl Printing ===

impl Printing {
    pub fn answer(&self, answer: &Answer) -> Result<(), ClientError> {
        let mut place = match self.format {
            Format::Table => Place::for_reading(self.file.as_deref(), self.may_page)?,
            _ => Place::of(self.file.as_deref())?,
        };
        output::print(answer, self.format, output::width(), &mut place)?;
        place.finish()
    }

    /// Before anything is asked: Parquet would only disturb a terminal.
    pub fn check(&self) -> Result<(), ClientError> {
        let to_terminal = self.file.is_none() && io::stdout().is_terminal();
        match self.format == Format::Parquet && to_terminal {
            true => Err(ClientError::BinaryOnTerminal),
            false => Ok(()),
        }
    }
}

/// One statement of the user's. The rows are written as they arrive, but for a table, which has at
/// most [`TABLE_ROWS`]. Tells what was cut.
pub async fn query(
    client: &mut Client,
    sql: &str,
    printing: &Printing,
) -> Result<Option<String>, ClientError> {
    let Some(form) = printing.format.form() else {
        let answer = client.stream(sql, TABLE_ROWS).await?.collect().await?;
        printing.answer(&answer)?;
        return Ok(answer.truncated.then(|| {
            format!(
                "the answer was cut at {} rows; -o json, ndjson, csv or parquet take more than a \
                 table, and WHERE narrows it",
                answer.rows()
            )
        }));
    };
    let mut rows = client.stream(sql, 0).await?;
    let place = Place::of(printing.file.as_deref())?;
    let mut writer = RowWriter::new(form, &rows.schema(), place)?;
    let mut written = 0;
    while let Some(batch) = rows.next().await? {
        written += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.finish()?.finish()?;
    Ok(rows.truncated().then(|| {
        format!(
            "the collector's row limit cut the answer at {written} rows; narrow it with WHERE, page \
             with ORDER BY and LIMIT … OFFSET, or take events with `skep export`"
        )
    }))
}

/// One page of a list. Tells how to get the next, if there is one.
pub async fn list(
    client: &mut Client,
    list: List,
    filter: &Filter,
    page: Page,
    printing: &Printing,
) -> Result<Option<String>, ClientError> {
    let (answer, newest) = match list {
        List::Sessions => sessions(client, filter, page, printing.format).await?,
        other => {
            let sql = other.sql(filter, page, printing.format);
            let mut answer = client.ask(&sql).await?;
            let is_more = answer.cut(page.limit as usize, other == List::Events);
            let newest = other.time_column(printing.format);
            let newest = newest.and_then(|column| newest_of(&answer, column));
            (answer, is_more.then_some(newest))
        }
    };
    printing.answer(&answer)?;
    if answer.rows() == 0 && printing.format == Format::Table {
        return Ok(Some(format!("no {} to show", list.name())));
    }
    if answer.truncated {
        let rows = answer.rows();
        return Ok(Some(format!(
            "the collector's row limit cut the list at {rows} rows; ask for pages of fewer with --limit"
        )));
    }
    Ok(newest.map(|newest| {
        let (limit, number) = (u64::from(page.limit), u64::from(page.number));
        let (first, last) = ((number - 1) * limit + 1, number * limit);
        // Rows that come in meanwhile would move the pages.
        let until = newest.filter(|_| filter.range.until.is_none());
        let until = until.map(|until| format!(" --until {until}"));
        format!(
            "rows {first} to {last} are shown; for the next, add --page {}{}",
            number + 1,
            until.unwrap_or_default()
        )
    }))
}

/// The page, and if there is another, the time just after the newest of this one.
async fn sessions(
    client: &mut Client,
    filter: &Filter,
    page: Page,
    format: Format,
) -> Result<(Answer, Option<Option<Timestamp>>), ClientError> {
    let mut found = client.ask(&commands::session_ids(filter, page)).await?;
    let is_more = found.cut(page.limit as usize, false);
    let newest = newest_of(&found, "started");
    let mut ids = Vec::with_capacity(found.rows());
    for batch in &found.batches {
        let column = cast(batch.column(0), &DataType::Utf8)?;
        for id in column.as_string::<i32>().iter().flatten() {
            ids.push(SessionPrefix::parse(id)?);
        }
    }
    ids.dedup();
    // None at all are asked for too: an empty answer has its columns.
    let no_session = [SessionPrefix::parse("0")?];
    let ids = if ids.is_empty() {
        &no_session[..]
    } else {
        &ids
    };
    let mut all: Option<Answer> = None;
    for some in ids.chunks(SESSIONS_AT_ONCE) {
        let answer = client.ask(&commands::sessions(some.iter(), format)).await?;
        match &mut all {
            None => all = Some(answer),
            Some(all) => all.batches.extend(answer.batches),
        }
    }
    let mut all = all.ok_or(ClientError::NoSchema)?;
    all.truncated = found.truncated;
    Ok((all, is_more.then_some(newest)))
}

/// Just after the newest time of a column, in the form of `--until`, which is exclusive.
fn newest_of(answer: &Answer, column: &str) -> Option<Timestamp> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let newest_of_batch = |batch: &RecordBatch| {
        let times = cast(batch.column_by_name(column)?, &micros).ok()?;
        arrow::compute::max(times.as_primitive::<TimestampMicrosecondType>())
    };
    let newest = answer.batches.iter().filter_map(newest_of_batch).max()?;
    // A column of a table may have lost its fraction.
    let after = if newest % 1_000_000 == 0 {
        1_000_000
    } else {
        1
    };
    Timestamp::from_microsecond(newest + after).ok()
}

// === impl List ===

impl List {
    fn sql(self, filter: &Filter, page: Page, format: Format) -> String {
        match self {
            Self::Agents => commands::agents(filter, page, format),
            Self::Hosts => commands::hosts(filter, page, format),
            Self::Sessions => commands::session_ids(filter, page),
            Self::Events => commands::events(filter, page, format),
            Self::Findings => commands::findings(filter, page, format),
            Self::Coverage => commands::coverage(filter, page, format),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Hosts => "hosts",
            Self::Sessions => "sessions",
            Self::Events => "events",
            Self::Findings => "findings",
            Self::Coverage => "coverage",
        }
    }

    /// The time by which a list is sorted, as it is called in the answer.
    fn time_column(self, format: Format) -> Option<&'static str> {
        let in_table = format == Format::Table;
        match self {
            Self::Agents | Self::Hosts => None,
            Self::Sessions => Some("started"),
            Self::Events | Self::Findings => Some(if in_table { "TIME" } else { "time" }),
            Self::Coverage => Some(if in_table { "FROM" } else { "first" }),
        }
    }
}
