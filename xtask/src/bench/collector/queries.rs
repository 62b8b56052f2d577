//! What a SOC asks, over history, by the collector and by DuckDB and chdb over the same files.
//!
//! Each query is written once, with marks for what the engines say differently ([`Dialect`]); where one
//! has to be another text, it says so. All engines are warm and asked in turns; the fastest of several
//! runs counts. Answers are compared row by row: a row of the table without equal answers says it.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::super::page::verdict;
use super::engines::{Answer, Engine};
use super::storage::{scratch, stored};
use crate::collector::{Collector, Load, Row, Start};

/// Of the better of the peers.
const GOAL_RATIO: f64 = 1.2;
/// A query for one session over so many events, ms.
const GOAL_POINT: f64 = 200.0;
const GOAL_POINT_OVER: u64 = 100_000_000;
const POINT: &str = "one session's story";
/// Time of the last event, Unix seconds, and the days before it that events are spread over.
const UNTIL: u64 = 1_763_640_000;
const DAYS: u64 = 7;
const SENSORS: &str = "50";
/// The day that is asked about.
const DAY: [&str; 2] = ["2025-11-17", "2025-11-18"];
/// Tables are as small as they become when no file was merged for so long.
const NOTHING_MERGED_FOR: Duration = Duration::from_secs(90);
const STRING: &str = "writing to a string does not fail";

/// Who is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Skep,
    DuckDb,
    Chdb,
}

/// A question.
struct Query {
    name: &'static str,
    /// `{open}` … are the rows of a class, with a condition to follow; `{micros}` is the time in
    /// microseconds, `{hour}` the hour since 1970, `{words}` the arguments as one text, `{from}` and
    /// `{to}` the day, `{sensor}` and `{session}` one of each.
    sql: &'static str,
    /// Over all events; the peers have a table a class.
    of_all: Option<&'static str>,
}

const QUERIES: [Query; 11] = [
    Query {
        name: "agents in use",
        sql: "SELECT sensor_id AS s, agent_family AS f, agent_version AS v, count(DISTINCT session) AS n \
              FROM {session} session_phase = 'start' GROUP BY sensor_id, agent_family, agent_version",
        of_all: None,
    },
    Query {
        name: "sessions of a host in a day",
        sql: "SELECT session AS s, min(agent_family) AS f, min({micros}) AS b, max({micros}) AS e \
              FROM {session} sensor_id = '{sensor}' AND time >= {from} AND time < {to} GROUP BY session",
        of_all: None,
    },
    Query {
        name: POINT,
        sql: "SELECT 'exec' AS c, {micros} AS t, seq AS q, pid AS p, exe AS x FROM {exec} session = '{session}' \
              UNION ALL SELECT 'exit', {micros}, seq, pid, exe FROM {exit} session = '{session}' \
              UNION ALL SELECT 'open', {micros}, seq, pid, exe FROM {open} session = '{session}' \
              UNION ALL SELECT 'connect', {micros}, seq, pid, exe FROM {connect} session = '{session}'",
        of_all: Some(
            "SELECT class AS c, {micros} AS t, seq AS q, pid AS p, exe AS x FROM events \
             WHERE session = '{session}' AND class IN ('exec', 'exit', 'open', 'connect')",
        ),
    },
    Query {
        name: "top destinations",
        sql: "SELECT net_addr AS a, net_port AS p, sum(count) AS n FROM {connect} net_addr IS NOT NULL \
              GROUP BY net_addr, net_port ORDER BY n DESC, a LIMIT 20",
        of_all: None,
    },
    Query {
        name: "first seen destination per agent",
        sql: "SELECT agent_family AS f, net_addr AS a, net_port AS p, min({micros}) AS t FROM {connect} \
              net_addr IS NOT NULL GROUP BY agent_family, net_addr, net_port",
        of_all: None,
    },
    Query {
        name: "who opened a credential",
        sql: "SELECT sensor_id AS s, file_path AS f, count(DISTINCT session) AS e, sum(count) AS n FROM {open} \
              (file_path LIKE '%/.ssh/%' OR file_path LIKE '%/.aws/credentials') \
              GROUP BY sensor_id, file_path",
        of_all: None,
    },
    Query {
        name: "curl, wget and ssh with arguments",
        sql: "SELECT exe AS x, {words} AS a, count(*) AS n, count(DISTINCT session) AS e FROM {exec} \
              (exe LIKE '%/curl' OR exe LIKE '%/wget' OR exe LIKE '%/ssh') GROUP BY exe, {words}",
        of_all: None,
    },
    Query {
        name: "failed opens by errno",
        sql: "SELECT result AS r, count(*) AS n, sum(count) AS c FROM {open} result < 0 GROUP BY result",
        of_all: None,
    },
    Query {
        name: "events an hour by class",
        sql: "SELECT c, h, count(*) AS n FROM (SELECT 'exec' AS c, {hour} AS h FROM {exec} true \
              UNION ALL SELECT 'exit', {hour} FROM {exit} true UNION ALL SELECT 'open', {hour} FROM {open} true \
              UNION ALL SELECT 'connect', {hour} FROM {connect} true \
              UNION ALL SELECT 'session', {hour} FROM {session} true \
              UNION ALL SELECT 'lost', {hour} FROM {lost} true \
              UNION ALL SELECT 'coverage', {hour} FROM {coverage} true \
              UNION ALL SELECT 'finding', {hour} FROM {finding} true) AS all_events GROUP BY c, h",
        of_all: Some(
            "SELECT class AS c, {hour} AS h, count(*) AS n FROM events GROUP BY class, {hour}",
        ),
    },
    Query {
        name: "hosts with gaps or losses",
        sql: "SELECT s, count(*) AS n, sum(c) AS c FROM (SELECT sensor_id AS s, count AS c FROM {lost} true \
              UNION ALL SELECT sensor_id, count FROM {coverage} coverage_what <> 'canary') AS gaps GROUP BY s",
        of_all: Some(
            "SELECT sensor_id AS s, count(*) AS n, sum(count) AS c FROM events \
             WHERE class = 'lost' OR class = 'coverage' AND coverage_what <> 'canary' GROUP BY sensor_id",
        ),
    },
    Query {
        name: "findings by severity",
        sql: "SELECT finding_severity AS v, finding_rule AS r, count(*) AS n FROM {finding} true \
              GROUP BY finding_severity, finding_rule",
        of_all: None,
    },
];
const CLASSES: [&str; 8] = [
    "exec", "exit", "open", "connect", "session", "lost", "coverage", "finding",
];

/// Whom the questions are about.
struct Subject {
    sensor: String,
    session: String,
}

impl Dialect {
    fn text(self, query: &Query, subject: &Subject) -> String {
        let sql = match query.of_all {
            Some(sql) if self == Self::Skep => sql,
            _ => query.sql,
        };
        let (micros, hour, words) = match self {
            Self::Skep => (
                "CAST(time AS BIGINT)",
                "CAST(time AS BIGINT) / 3600000000",
                "array_to_string(argv, ' ')",
            ),
            Self::DuckDb => (
                "epoch_us(time)",
                "epoch_us(time) // 3600000000",
                "array_to_string(argv, ' ')",
            ),
            Self::Chdb => (
                "toUnixTimestamp64Micro(time)",
                "intDiv(toUnixTimestamp64Micro(time), 3600000000)",
                "arrayStringConcat(argv, ' ')",
            ),
        };
        let at = |day: &str| match self {
            Self::Skep => format!("'{day}T00:00:00Z'"),
            Self::DuckDb => format!("TIMESTAMPTZ '{day} 00:00:00+00'"),
            Self::Chdb => format!("toDateTime64('{day} 00:00:00', 6, 'UTC')"),
        };
        let mut text = sql
            .replace("{micros}", micros)
            .replace("{hour}", hour)
            .replace("{words}", words)
            .replace("{from}", &at(DAY[0]))
            .replace("{to}", &at(DAY[1]))
            .replace("{sensor}", &subject.sensor);
        // Not a class: the session that is asked about stands in quotes.
        text = text.replace("'{session}'", &format!("'{}'", subject.session));
        for class in CLASSES {
            let rows = match self {
                Self::Skep => format!("events WHERE class = '{class}' AND"),
                Self::DuckDb | Self::Chdb => format!("\"{class}\" WHERE"),
            };
            text = text.replace(&format!("{{{class}}}"), &rows);
        }
        text
    }
}

/// Measures, and returns the table as Markdown.
pub fn measure(programs: &Path, python: &Path, events: u64, runs: u32) -> Result<String> {
    let folder = scratch()?;
    let data = folder.path().join("data");
    let collector = filled(programs, &data, events)?;
    let (bytes, count) = stored(&collector)?;
    let subject = subject(&collector)?;
    let tables = data.join("table");
    let mut skep = Engine::collector(programs, &collector.server)?;
    let (mut duckdb, duckdb_version) = Engine::peer(python, "duckdb", &tables)?;
    let (mut chdb, chdb_version) = Engine::peer(python, "chdb", &tables)?;

    let mut text = format!(
        "{events} events over {DAYS} days in {count} Parquet files, {:.0} MiB; {duckdb_version}, {chdb_version}. \
         Milliseconds, the fastest of {runs} runs, warm.\n\n\
         | query | skep | DuckDB | chdb | ratio to the better | goal {GOAL_RATIO} | answers |\n\
         |---|--:|--:|--:|--:|---|---|\n",
        bytes as f64 / f64::from(1 << 20)
    );
    let mut point = None;
    for query in &QUERIES {
        let [ours, one, two] = [Dialect::Skep, Dialect::DuckDb, Dialect::Chdb]
            .map(|dialect| dialect.text(query, &subject));
        println!("{}", query.name);
        let mut best = [None::<u64>; 3];
        let mut rows: [Option<Vec<Row>>; 3] = [const { None }; 3];
        let mut errors = Vec::new();
        for _ in 0..runs {
            let asked = [(&mut skep, &ours), (&mut duckdb, &one), (&mut chdb, &two)];
            for (place, (engine, sql)) in asked.into_iter().enumerate() {
                let Answer {
                    micros,
                    rows: answer,
                    error,
                } = engine.ask(sql)?;
                if let Some(error) = error {
                    errors.push(format!("{}: {error}", ["skep", "DuckDB", "chdb"][place]));
                }
                best[place] = micros.into_iter().chain(best[place]).min();
                rows[place] = answer.or(rows[place].take());
            }
        }
        // The warm connection does not unpack answers; the client does.
        rows[0] = collector.query(&ours).ok();
        let equal = agreement(rows.map(|rows| rows.map(canonical)), &errors);
        let millis = best.map(|micros| micros.map(|micros| micros as f64 / 1e3));
        let [ours, one, two] = millis;
        let ratio = ours
            .zip(one.into_iter().chain(two).reduce(f64::min))
            .map(|(ours, best)| ours / best);
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        let [a, b, c] = [ours, one, two].map(number);
        let met = ratio.map_or("-".to_owned(), |ratio| verdict(ratio, GOAL_RATIO));
        let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        writeln!(
            text,
            "| {} | {a} | {b} | {c} | {ratio} | {met} | {equal} |",
            query.name
        )
        .expect(STRING);
        if query.name == POINT {
            point = ours;
        }
    }
    if let Some(point) = point {
        let met = match events >= GOAL_POINT_OVER {
            true => format!(": {}", verdict(point, GOAL_POINT)),
            false => String::new(),
        };
        writeln!(
            text,
            "\nOne session's story over {events} events: {point:.1} ms; goal {GOAL_POINT:.0} ms over 100 M{met}."
        )
        .expect(STRING);
    }
    Ok(text)
}

/// A collector with that many events, all of them in its tables.
fn filled(programs: &Path, data: &Path, events: u64) -> Result<Collector> {
    let start = Start {
        programs,
        data,
        port: 0,
        arguments: &["--flush-every", "20"],
        environment: &[],
    };
    let mut collector = Collector::start(&start)?;
    let [events, days, until] = [events.to_string(), DAYS.to_string(), UNTIL.to_string()];
    let load = [
        "--sensors",
        SENSORS,
        "--events",
        &events,
        "--days",
        &days,
        "--until",
        &until,
    ];
    Load::start(programs, &collector.server, &load)?.finish()?;
    collector.service.stop()?;
    let collector = Collector::start(&start)?;
    // Merging goes on until nothing is left to merge, and is looked for once a minute; peers are given
    // the files that are there then.
    let mut merged = 0;
    let mut last_merge = Instant::now();
    while last_merge.elapsed() < NOTHING_MERGED_FOR {
        std::thread::sleep(Duration::from_secs(5));
        let now = collector.counter("files_merged")?;
        if now != merged {
            (merged, last_merge) = (now, Instant::now());
        }
    }
    Ok(collector)
}

fn subject(collector: &Collector) -> Result<Subject> {
    let rows = collector.query(&format!(
        "SELECT sensor_id, session FROM events WHERE class = 'session' AND session_phase = 'end' \
         AND time >= '{}T00:00:00Z' ORDER BY time, sensor_id LIMIT 1",
        DAY[0]
    ))?;
    let Some(row) = rows.first() else {
        bail!("no session ended after {}", DAY[0])
    };
    let text = |name: &str| row[name].as_str().map(str::to_owned).context("not a text");
    Ok(Subject {
        sensor: text("sensor_id")?,
        session: text("session")?,
    })
}

/// Rows in an order and a form that do not depend on the engine.
fn canonical(rows: Vec<Row>) -> Vec<String> {
    let plain = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let line = |row: Row| {
        let mut values: Vec<_> = row
            .into_iter()
            .map(|(name, value)| format!("{name}={}", plain(value)))
            .collect();
        values.sort();
        values.join("\u{1f}")
    };
    let mut lines: Vec<_> = rows.into_iter().map(line).collect();
    lines.sort();
    lines
}

fn agreement(answers: [Option<Vec<String>>; 3], errors: &[String]) -> String {
    if let Some(error) = errors.first() {
        return format!("**{}**", error.replace(['|', '\n'], " "));
    }
    let [Some(skep), Some(duckdb), Some(chdb)] = answers else {
        return "**not all answered**".to_owned();
    };
    let differs = [("DuckDB", &duckdb), ("chdb", &chdb)]
        .into_iter()
        .filter(|(_, rows)| **rows != skep);
    let names: Vec<_> = differs
        .map(|(name, rows)| format!("{name} ({} rows)", rows.len()))
        .collect();
    if names.is_empty() {
        format!("equal, {} rows", skep.len())
    } else {
        format!(
            "**skep ({} rows) differs from {}**",
            skep.len(),
            names.join(" and ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mark_is_left_in_any_text() {
        let subject = Subject {
            sensor: "0a".to_owned(),
            session: "1b".to_owned(),
        };
        for query in &QUERIES {
            for dialect in [Dialect::Skep, Dialect::DuckDb, Dialect::Chdb] {
                let text = dialect.text(query, &subject);
                assert!(!text.contains(['{', '}']), "{text}");
            }
        }
    }

    #[test]
    fn answers_are_equal_whatever_their_order_and_the_form_of_numbers() {
        let rows = |text: &str| canonical(serde_json::from_str(text).unwrap());
        let one = rows(r#"[{"n":1,"a":"x"},{"n":2,"a":null}]"#);
        assert_eq!(one, rows(r#"[{"a":null,"n":"2"},{"a":"x","n":"1"}]"#));
        let other = rows(r#"[{"a":"x","n":1}]"#);
        assert_eq!(
            agreement(
                [Some(one.clone()), Some(one.clone()), Some(one.clone())],
                &[]
            ),
            "equal, 2 rows"
        );
        assert_eq!(
            agreement([Some(one.clone()), Some(other), Some(one)], &[]),
            "**skep (2 rows) differs from DuckDB (1 rows)**"
        );
    }
}
