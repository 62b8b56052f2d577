//! Questions about one session, whose answers are put together as a [`Story`].
//!
//! Bounds: what the collector's row limit lets through; [`Story::cut`] names what it cut.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    columns::{ColumnError, Columns, FromColumns, from_columns},
    commands::SessionPrefix,
    connection::Client,
    error::ClientError,
    names_got::NamesGot,
    story::{Change, Exit, File, Gap, Header, Process, Story, family_tree},
    when::Range,
};

/// With pid: names a process.
type Key = (u32, Option<String>);

/// A row that belongs to a process.
struct Of<T> {
    pid: u32,
    start: Option<String>,
    row: T,
}

struct Seen {
    ppid: Option<u32>,
    exe: Option<String>,
    argv: Option<Vec<String>>,
    argv_truncated: Option<bool>,
    cwd: Option<String>,
    uid: Option<u32>,
    inferred: Option<bool>,
    first_seen: String,
}

from_columns!(Seen {
    ppid,
    exe,
    argv,
    argv_truncated,
    cwd,
    uid,
    inferred,
    first_seen
});

/// A session as it is found by its id.
struct Known {
    sensor_id: String,
    session: String,
    started: Option<String>,
    ended: Option<String>,
}

from_columns!(Known {
    sensor_id,
    session,
    started,
    ended
});

/// Room for a clock that was set while the session ran: its events are asked for within its time and
/// this much more, so that no other day's files are read.
const SLACK: SignedDuration = SignedDuration::from_hours(24);

// In these, EVENTS stands for the condition on events, THIS for the one on a session.

const HEADER: &str = "
    SELECT this.sensor_id, this.session, told.* EXCEPT (sensor_id, session, first_seen, last_seen),
        did.first_event, did.last_event, coalesce(did.processes, 0) AS processes,
        coalesce(did.files, 0) AS files, coalesce(did.destinations, 0) AS destinations
    FROM (SELECT 'SENSOR' AS sensor_id, 'ID' AS session) AS this
    LEFT JOIN (SELECT * FROM sessions WHERE THIS) AS told ON told.sensor_id = this.sensor_id
    LEFT JOIN (SELECT * FROM session_activity WHERE THIS) AS did
        ON did.sensor_id = this.sensor_id";
const SEEN: &str = "
    SELECT pid, start, min(time) AS first_seen,
        last_value(ppid ORDER BY time, seq) FILTER (WHERE ppid IS NOT NULL) AS ppid,
        last_value(exe ORDER BY time, seq) FILTER (WHERE exe IS NOT NULL) AS exe,
        last_value(argv ORDER BY time, seq) FILTER (WHERE argv IS NOT NULL) AS argv,
        last_value(argv_truncated ORDER BY time, seq) FILTER (WHERE argv IS NOT NULL)
            AS argv_truncated,
        last_value(cwd ORDER BY time, seq) FILTER (WHERE cwd IS NOT NULL) AS cwd,
        last_value(uid ORDER BY time, seq) FILTER (WHERE uid IS NOT NULL) AS uid,
        last_value(process_inferred ORDER BY time, seq) FILTER (WHERE process_inferred IS NOT NULL)
            AS inferred
    FROM events WHERE EVENTS AND pid IS NOT NULL
    GROUP BY pid, start ORDER BY first_seen, pid";
const EXECS: &str = "
    SELECT pid, start, time, filename, exe, argv FROM exec
    WHERE EVENTS AND coalesce(result, 0) >= 0 ORDER BY time";
const FAILED_EXECS: &str = "
    SELECT pid, start, time, filename, argv, result FROM exec
    WHERE EVENTS AND result < 0 ORDER BY time";
const EXITS: &str = "
    SELECT pid, start, time, exit_code AS code, exit_signal AS signal
    FROM events WHERE EVENTS AND class = 'exit' ORDER BY time";
const FILES: &str = "
    SELECT pid, start, path, access, result, max(links) AS links,
        sum(count) AS count, min(time) AS first, max(coalesce(last, time)) AS last
    FROM files WHERE EVENTS AND pid IS NOT NULL AND access IN ('read', 'write', 'create', 'path')
    GROUP BY pid, start, path, access, result ORDER BY first, path";
const CHANGES: &str = "
    SELECT pid, start, access AS op, path, was, many, result, sum(count) AS count, min(time) AS first,
        max(coalesce(last, time)) AS last
    FROM files WHERE EVENTS AND pid IS NOT NULL
        AND access NOT IN ('read', 'write', 'create', 'path')
    GROUP BY pid, start, access, path, was, many, result ORDER BY first, path";
const DESTINATIONS: &str = "
    SELECT pid, start, family, destination, proto, result, sum(count) AS count,
        min(time) AS first, max(coalesce(last, time)) AS last
    FROM net WHERE EVENTS AND pid IS NOT NULL
    GROUP BY pid, start, family, destination, proto, result ORDER BY first, destination";
const FINDINGS: &str = "
    SELECT time, severity, rule, title, reason, attack, pid, exe
    FROM findings WHERE EVENTS ORDER BY time, rule";
const CHILDREN: &str = "
    SELECT session, agent_family, agent_version, started, root_pid, root_ppid
    FROM sessions WHERE parent = 'ID' ORDER BY started, session";
const GAPS: &str = "
    SELECT whole_host, what, hook, first, last, count, reason
    FROM session_gaps WHERE THIS ORDER BY first, what, hook, reason";

/// Asks for the one session whose id begins with `prefix`, and for what it did in the range.
pub async fn ask(
    client: &mut Client,
    prefix: &SessionPrefix,
    range: &Range,
) -> Result<Story, ClientError> {
    let known = find(client, prefix).await?;
    let mut question = Question::about(client, known, range);
    let header: Vec<Header> = question.ask("session", HEADER).await?;
    let mut session = header
        .into_iter()
        .next()
        .ok_or_else(|| ClientError::NoSession {
            prefix: prefix.as_str().to_owned(),
        })?;
    let seen: Vec<Of<Seen>> = question.ask("processes", SEEN).await?;
    let mut execs = by_process(question.ask("execs", EXECS).await?);
    let mut failed_execs = by_process(question.ask("failed execs", FAILED_EXECS).await?);
    let mut exits = by_process(question.ask("exits", EXITS).await?);
    let mut files: HashMap<Key, Vec<File>> = by_process(question.ask("files", FILES).await?);
    let names: Vec<Of<Change>> = question.ask("changes", CHANGES).await?;
    let names_got = NamesGot::of(names.iter().map(|of| &of.row));
    for file in files.values_mut().flatten() {
        file.became = names_got.of_file(file);
    }
    let mut changes = by_process(names);
    let mut destinations = by_process(question.ask("destinations", DESTINATIONS).await?);
    let child_sessions = question.ask("child sessions", CHILDREN).await?;
    let findings = question.ask("findings", FINDINGS).await?;
    let not_vouched_for: Vec<Gap> = question.ask("gaps", GAPS).await?;
    session.lost = not_vouched_for.iter().any(|gap| gap.what == "lost");
    session.uncovered = not_vouched_for.iter().any(|gap| gap.what != "lost");
    let cut = question.cut;

    let processes = seen.into_iter().map(|Of { pid, start, row }| {
        let key = (pid, start.clone());
        Process {
            pid,
            start,
            ppid: row.ppid,
            first_seen: row.first_seen,
            exe: row.exe,
            argv: row.argv,
            argv_truncated: row.argv_truncated,
            cwd: row.cwd,
            uid: row.uid,
            inferred: row.inferred,
            execs: execs.remove(&key).unwrap_or_default(),
            failed_execs: failed_execs.remove(&key).unwrap_or_default(),
            exit: exits
                .remove(&key)
                .and_then(|mut exits: Vec<Exit>| exits.pop()),
            files: files.remove(&key).unwrap_or_default(),
            changes: changes.remove(&key).unwrap_or_default(),
            destinations: destinations.remove(&key).unwrap_or_default(),
            children: Vec::new(),
        }
    });
    let (processes, too_deep) = family_tree(processes.collect());
    Ok(Story {
        session,
        findings,
        processes,
        too_deep,
        child_sessions,
        not_vouched_for,
        cut,
    })
}

async fn find(client: &mut Client, prefix: &SessionPrefix) -> Result<Known, ClientError> {
    let condition = prefix.condition();
    let told = format!(
        "SELECT sensor_id, session, coalesce(started, first_seen) AS started, ended
         FROM sessions WHERE {condition} ORDER BY session, sensor_id LIMIT 6"
    );
    let mut found: Vec<Known> = client.ask(&told).await?.read()?;
    if found.is_empty() {
        // Its sensor may not have told of it as a session.
        let seen = format!(
            "SELECT DISTINCT sensor_id, session, NULL AS started, NULL AS ended
             FROM events WHERE {condition} ORDER BY session, sensor_id LIMIT 6"
        );
        found = client.ask(&seen).await?.read()?;
    }
    found.dedup_by(|one, other| one.session == other.session);
    let prefix = prefix.as_str().to_owned();
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(ClientError::NoSession { prefix }),
        (Some(known), true) => Ok(known),
        (Some(known), false) => {
            found.push(known);
            let found = found.into_iter().map(|known| known.session).collect();
            Err(ClientError::ManySessions { prefix, found })
        }
    }
}

// === impl Of ===

impl<T: FromColumns> FromColumns for Of<T> {
    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>, ColumnError> {
        let pids: Vec<u32> = columns.field("pid")?;
        let starts: Vec<Option<String>> = columns.field("start")?;
        let rows = T::from_columns(columns)?;
        let of = pids.into_iter().zip(starts).zip(rows);
        Ok(of
            .map(|((pid, start), row)| Self { pid, start, row })
            .collect())
    }
}

struct Question<'a> {
    client: &'a mut Client,
    known: Known,
    /// Condition on its events.
    events: String,
    cut: Vec<String>,
}

// === impl Question ===

impl<'a> Question<'a> {
    fn about(client: &'a mut Client, known: Known, range: &Range) -> Self {
        let time = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok();
        let own = Range {
            since: time(&known.started).and_then(|started| started.checked_sub(SLACK).ok()),
            until: time(&known.ended).and_then(|ended| ended.checked_add(SLACK).ok()),
        };
        let conditions = [format!("session = '{}'", known.session)]
            .into_iter()
            .chain(own.of("time"))
            .chain(range.of("time"));
        let events = conditions.collect::<Vec<_>>().join(" AND ");
        Self {
            client,
            known,
            events,
            cut: Vec::new(),
        }
    }

    async fn ask<T: FromColumns>(&mut self, what: &str, sql: &str) -> Result<Vec<T>, ClientError> {
        let sql = sql
            .replace("EVENTS", &self.events)
            .replace("THIS", "session = 'ID'")
            .replace("'SENSOR'", &format!("'{}'", self.known.sensor_id))
            .replace("'ID'", &format!("'{}'", self.known.session));
        let answer = self.client.ask(&sql).await?;
        if answer.truncated {
            self.cut.push(what.to_owned());
        }
        answer.read()
    }
}

fn by_process<T>(rows: Vec<Of<T>>) -> HashMap<Key, Vec<T>> {
    let mut by_process: HashMap<Key, Vec<T>> = HashMap::new();
    for Of { pid, start, row } in rows {
        by_process.entry((pid, start)).or_default().push(row);
    }
    by_process
}
