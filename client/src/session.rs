//! One session as a story: what was asked of the collector, put together as a tree.
//!
//! Parents are found by process id and time: of the session's processes with the id `ppid`, the one
//! that was seen last before the child. A process whose parent is not in the session is a root, and so
//! is one that is [`DEEPEST`] levels below another: an agent can fork as deep as it
//! likes, and whoever draws, writes or parses a tree does so level by level.
//! Bounds: what the collector's row limit lets through; [`Story::cut`] names what it cut.

mod model;

use std::{collections::HashMap, io::Write};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Client, ClientError,
    commands::SessionPrefix,
    output::{Format, write_csv_line},
    tree,
    when::Range,
};

pub use model::{Child, Destination, Exec, Exit, File, Finding, Gap, Header, Process, Story};

/// With pid: names a process.
type Key = (u32, Option<String>);

/// A row that belongs to a process.
#[derive(Deserialize)]
struct Of<T> {
    pid: u32,
    start: Option<String>,
    #[serde(flatten)]
    row: T,
}

#[derive(Deserialize)]
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

/// A session as it is found by its id.
#[derive(Deserialize)]
struct Known {
    sensor_id: String,
    session: String,
    started: Option<String>,
    ended: Option<String>,
}

/// Room for a clock that was set while the session ran: its events are asked for within its time and
/// this much more, so that no other day's files are read.
const SLACK: SignedDuration = SignedDuration::from_hours(24);

/// Levels of a tree. Readers of JSON stop at 128 values within each other, two for each level.
pub(super) const DEEPEST: usize = 48;

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
    SELECT pid, start, time, filename, exe, argv FROM exec WHERE EVENTS ORDER BY time";
const EXITS: &str = "
    SELECT pid, start, time, exit_code AS code, exit_signal AS signal
    FROM events WHERE EVENTS AND class = 'exit' ORDER BY time";
const FILES: &str = "
    SELECT pid, start, path, access, result, max(links) AS links, sum(count) AS count, min(time) AS first,
        max(coalesce(last, time)) AS last
    FROM files WHERE EVENTS AND pid IS NOT NULL
    GROUP BY pid, start, path, access, result ORDER BY first, path";
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

// === impl Story ===

impl Story {
    /// Asks for the one session whose id begins with `prefix`, and for what it did in the range.
    pub async fn ask(
        client: &mut Client,
        prefix: &SessionPrefix,
        range: &Range,
    ) -> Result<Self, ClientError> {
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
        let mut exits = by_process(question.ask("exits", EXITS).await?);
        let mut files = by_process(question.ask("files", FILES).await?);
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
                exit: exits
                    .remove(&key)
                    .and_then(|mut exits: Vec<Exit>| exits.pop()),
                files: files.remove(&key).unwrap_or_default(),
                destinations: destinations.remove(&key).unwrap_or_default(),
                children: Vec::new(),
            }
        });
        let (processes, too_deep) = family_tree(processes.collect());
        Ok(Self {
            session,
            findings,
            processes,
            too_deep,
            child_sessions,
            not_vouched_for,
            cut,
        })
    }

    /// Prints it; a tree is fitted into `width` columns.
    pub fn print(
        &self,
        format: Format,
        width: usize,
        out: &mut impl Write,
    ) -> Result<(), ClientError> {
        match format {
            Format::Ndjson => {
                serde_json::to_writer(&mut *out, self)?;
                writeln!(out)?;
            }
            Format::Parquet => {
                let session = self.session.session.clone();
                return Err(ClientError::TreeAsRows { session });
            }
            Format::Table => out.write_all(tree::draw(self, width).as_bytes())?,
            Format::Json => {
                // An array, as every command prints.
                serde_json::to_writer_pretty(&mut *out, &[self])?;
                writeln!(out)?;
            }
            Format::Csv => {
                let names = "kind,pid,start,ppid,what,access,result,count,first,last,inferred";
                write!(out, "{names}\r\n")?;
                for process in &self.processes {
                    csv_lines(process, out)?;
                }
                for finding in &self.findings {
                    csv_finding(finding, out)?;
                }
                for gap in &self.not_vouched_for {
                    csv_gap(gap, out)?;
                }
            }
        }
        Ok(out.flush()?)
    }
}

async fn find(client: &mut Client, prefix: &SessionPrefix) -> Result<Known, ClientError> {
    let condition = prefix.condition();
    let told = format!(
        "SELECT sensor_id, session, coalesce(started, first_seen) AS started, ended
         FROM sessions WHERE {condition} ORDER BY session, sensor_id LIMIT 6"
    );
    let mut found: Vec<Known> = client.ask(&told).await?.parse()?;
    if found.is_empty() {
        // Its sensor may not have told of it as a session.
        let seen = format!(
            "SELECT DISTINCT sensor_id, session, NULL AS started, NULL AS ended
             FROM events WHERE {condition} ORDER BY session, sensor_id LIMIT 6"
        );
        found = client.ask(&seen).await?.parse()?;
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

    async fn ask<T: DeserializeOwned>(
        &mut self,
        what: &str,
        sql: &str,
    ) -> Result<Vec<T>, ClientError> {
        let sql = sql
            .replace("EVENTS", &self.events)
            .replace("THIS", "session = 'ID'")
            .replace("'SENSOR'", &format!("'{}'", self.known.sensor_id))
            .replace("'ID'", &format!("'{}'", self.known.session));
        let answer = self.client.ask(&sql).await?;
        if answer.truncated {
            self.cut.push(what.to_owned());
        }
        answer.parse()
    }
}

fn by_process<T>(rows: Vec<Of<T>>) -> HashMap<Key, Vec<T>> {
    let mut by_process: HashMap<Key, Vec<T>> = HashMap::new();
    for Of { pid, start, row } in rows {
        by_process.entry((pid, start)).or_default().push(row);
    }
    by_process
}

/// The roots, and how many of them are roots only because they are too deep. `processes` are in the
/// order in which they were first seen.
fn family_tree(processes: Vec<Process>) -> (Vec<Process>, u64) {
    let mut latest: HashMap<u32, usize> = HashMap::new();
    let mut parents = Vec::with_capacity(processes.len());
    let mut levels: Vec<usize> = Vec::with_capacity(processes.len());
    let mut too_deep = 0;
    for (index, process) in processes.iter().enumerate() {
        let parent = process.ppid.filter(|ppid| *ppid != process.pid);
        let parent = parent.and_then(|ppid| latest.get(&ppid).copied());
        let (parent, level) = match parent.map(|parent| (parent, levels[parent] + 1)) {
            Some((_, level)) if level == DEEPEST => {
                too_deep += 1;
                (None, 0)
            }
            Some((parent, level)) => (Some(parent), level),
            None => (None, 0),
        };
        parents.push(parent);
        levels.push(level);
        latest.insert(process.pid, index);
    }
    // A parent comes before its children, so that from the end each subtree is complete when it is
    // moved below its parent.
    let mut slots: Vec<Option<Process>> = processes.into_iter().map(Some).collect();
    let mut roots = Vec::new();
    for (index, parent) in parents.into_iter().enumerate().rev() {
        let Some(mut process) = slots[index].take() else {
            continue;
        };
        process.children.reverse();
        match parent.and_then(|parent| slots[parent].as_mut()) {
            Some(parent) => parent.children.push(process),
            None => roots.push(process),
        }
    }
    roots.reverse();
    (roots, too_deep)
}

fn csv_lines(process: &Process, out: &mut impl Write) -> Result<(), ClientError> {
    let start = process.start.clone().unwrap_or_default();
    let ppid = process
        .ppid
        .map(|ppid| ppid.to_string())
        .unwrap_or_default();
    let inferred = process
        .inferred
        .map(|inferred| inferred.to_string())
        .unwrap_or_default();
    let mut line = |kind: &str, rest: [String; 6]| {
        let place = [
            kind.to_owned(),
            process.pid.to_string(),
            start.clone(),
            ppid.clone(),
        ];
        let cells = place.into_iter().chain(rest).chain([inferred.clone()]);
        write_csv_line(&cells.collect::<Vec<_>>(), out)
    };
    let number = |result: Option<i32>| result.map(|result| result.to_string()).unwrap_or_default();
    let argv = process
        .argv
        .as_ref()
        .map(serde_json::to_string)
        .transpose()?;
    let what = argv.or_else(|| process.exe.clone()).unwrap_or_default();
    let exit = process
        .exit
        .as_ref()
        .map(|exit| exit.time.clone())
        .unwrap_or_default();
    let none = String::new;
    line(
        "process",
        [
            what,
            none(),
            none(),
            none(),
            process.first_seen.clone(),
            exit,
        ],
    )?;
    for file in &process.files {
        let File {
            path,
            access,
            result,
            links: _,
            count,
            first,
            last,
        } = file.clone();
        let path = path.unwrap_or_default();
        line(
            "file",
            [path, access, number(result), count.to_string(), first, last],
        )?;
    }
    for peer in &process.destinations {
        let Destination {
            family: _,
            destination,
            proto,
            result,
            count,
            first,
            last,
        } = peer.clone();
        let what = destination.unwrap_or_default();
        let proto = proto.unwrap_or_default();
        line(
            "destination",
            [what, proto, number(result), count.to_string(), first, last],
        )?;
    }
    process
        .children
        .iter()
        .try_for_each(|child| csv_lines(child, out))
}

/// `access` is the severity.
fn csv_finding(finding: &Finding, out: &mut impl Write) -> Result<(), ClientError> {
    let Finding {
        time,
        severity,
        rule,
        title,
        reason,
        attack: _,
        pid,
        exe: _,
    } = finding.clone();
    let none = String::new;
    let pid = pid.map(|pid| pid.to_string()).unwrap_or_default();
    let cells = [
        "finding".to_owned(),
        pid,
        none(),
        none(),
        format!("{rule}: {title}: {reason}"),
        severity.unwrap_or_default(),
        none(),
        none(),
        time,
        none(),
        none(),
    ];
    Ok(write_csv_line(&cells, out)?)
}

/// What is not vouched for is of no process: only `what`, `count`, `first` and `last` are filled, and
/// `access` with the kind of gap.
fn csv_gap(gap: &Gap, out: &mut impl Write) -> Result<(), ClientError> {
    let Gap {
        whole_host: _,
        what,
        hook,
        first,
        last,
        count,
        reason,
    } = gap.clone();
    let none = String::new;
    let reason = match hook {
        Some(hook) => format!("{hook}: {reason}"),
        None => reason,
    };
    let cells = [
        "gap".to_owned(),
        none(),
        none(),
        none(),
        reason,
        what,
        none(),
        count.to_string(),
        first,
        last.unwrap_or_default(),
        none(),
    ];
    Ok(write_csv_line(&cells, out)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, ppid: Option<u32>) -> Process {
        Process {
            pid,
            start: None,
            ppid,
            first_seen: String::new(),
            exe: None,
            argv: None,
            argv_truncated: None,
            cwd: None,
            uid: None,
            inferred: None,
            execs: Vec::new(),
            exit: None,
            files: Vec::new(),
            destinations: Vec::new(),
            children: Vec::new(),
        }
    }

    fn shape(processes: &[Process]) -> String {
        let one = |p: &Process| format!("{}({})", p.pid, shape(&p.children));
        processes.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn children_are_below_the_parent_seen_last_before_them() {
        let seen = vec![
            process(10, Some(1)),
            process(11, Some(10)),
            process(12, Some(11)),
            process(11, Some(10)), // the id 11 again, for another process
            process(13, Some(11)),
            process(14, None),
        ];
        let (roots, too_deep) = family_tree(seen);
        assert_eq!(shape(&roots), "10(11(12()) 11(13())) 14()");
        assert_eq!(too_deep, 0);
    }

    #[test]
    fn a_parent_that_is_itself_or_comes_later_is_no_parent() {
        let seen = vec![
            process(5, Some(5)),
            process(6, Some(7)),
            process(7, Some(6)),
        ];
        assert_eq!(shape(&family_tree(seen).0), "5() 6(7())");
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_processes_is_shown_in_every_form() {
        const LEVELS: u32 = 100_000;
        let chain = (1..=LEVELS).map(|pid| process(pid, pid.checked_sub(1)));
        let (processes, too_deep) = family_tree(chain.collect());
        assert_eq!(processes.len(), LEVELS.div_ceil(DEEPEST as u32) as usize);
        assert_eq!(too_deep as usize, processes.len() - 1);
        let story = Story {
            session: serde_json::from_value(serde_json::json!({
                "sensor_id": "", "session": "s", "processes": LEVELS, "files": 0, "destinations": 0,
            }))
            .unwrap(),
            findings: Vec::new(),
            processes,
            too_deep,
            child_sessions: Vec::new(),
            not_vouched_for: Vec::new(),
            cut: Vec::new(),
        };
        let printed = |format| {
            let mut out = Vec::new();
            story.print(format, 160, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let tree = printed(Format::Table);
        assert!(tree.lines().count() > LEVELS as usize);
        assert!(
            tree.contains("2,083 processes are 48 levels below another"),
            "it says so"
        );
        assert_eq!(printed(Format::Csv).lines().count(), LEVELS as usize + 1);
        for json in [printed(Format::Json), printed(Format::Ndjson)] {
            // Within what readers take.
            let _: serde_json::Value = serde_json::from_str(&json).unwrap();
        }
    }
}
