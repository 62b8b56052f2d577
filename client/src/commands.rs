//! The questions behind the commands, in SQL.
//!
//! JSON, CSV and Parquet get every column of the view; a table gets a choice of columns that fits a
//! screen. Nothing that a person typed gets into SQL as it is: session ids are hexadecimal, times and
//! limits are parsed, classes and severities are enumerations, other text is quoted.

use clap::ValueEnum;

pub use skep_event::Class;

use crate::{error::ClientError, format::Format, when::Range};

/// One to 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPrefix(String);

/// Which rows of a list; a field that is `None` keeps all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub range: Range,
    pub host: Option<String>,
    pub session: Option<SessionPrefix>,
    pub class: Option<Class>,
    /// This one and those above.
    pub severity: Option<Severity>,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows of a page.
    pub limit: u32,
    /// From 1.
    pub number: u32,
}

/// Severity of a finding, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

// === impl SessionPrefix ===

impl SessionPrefix {
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let digits = text.to_ascii_lowercase();
        let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match hexadecimal && (1..=32).contains(&digits.len()) {
            true => Ok(Self(digits)),
            false => Err(ClientError::NotASession {
                what: text.to_owned(),
            }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A condition; that of a whole id skips files.
    pub fn condition(&self) -> String {
        match self.0.len() {
            32 => format!("session = '{}'", self.0),
            _ => format!("session LIKE '{}%'", self.0),
        }
    }
}

// === impl Filter ===

impl Filter {
    /// `range` holds the conditions on time, which differ from list to list.
    fn clause(&self, mut range: Vec<String>) -> String {
        let session = self.session.as_ref().map(SessionPrefix::condition);
        let host = self
            .host
            .as_ref()
            .map(|host| format!("host = {}", quoted(host)));
        let class = self
            .class
            .map(|class| format!("class = '{}'", class.name()));
        let severity = self.severity.map(|least| {
            let names = Severity::value_variants()
                .iter()
                .filter(|severity| **severity >= least)
                .filter_map(ValueEnum::to_possible_value)
                .map(|value| format!("'{}'", value.get_name()));
            format!("severity IN ({})", names.collect::<Vec<_>>().join(", "))
        });
        range.extend([session, host, class, severity].into_iter().flatten());
        match range.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", range.join(" AND ")),
        }
    }

    /// The same, for the events themselves.
    pub fn of_events(&self) -> String {
        self.clause(self.range.of("time"))
    }
}

// === impl Page ===

impl Page {
    /// One row more than the page has, which tells whether there is another.
    fn clause(self) -> String {
        let (limit, number) = (u64::from(self.limit), u64::from(self.number));
        format!("LIMIT {} OFFSET {}", limit + 1, (number - 1) * limit)
    }
}

/// A text in SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn choose(format: Format, table: &'static str) -> &'static str {
    match format {
        Format::Table => table,
        Format::Json | Format::Ndjson | Format::Csv | Format::Parquet => "*",
    }
}

/// The inventory.
pub fn agents(filter: &Filter, page: Page, format: Format) -> String {
    let columns = choose(
        format,
        r#"host AS "HOST", user_name AS "USER", CASE WHEN agent_name IS NULL THEN agent_family
               ELSE concat(agent_family, ' (', agent_name, ')') END AS "AGENT",
           agent_version AS "VERSION", concat(CAST(confidence AS VARCHAR), '%') AS "SURE",
           sessions AS "SESSIONS", running AS "RUNNING",
           date_trunc('second', last_seen) AS "LAST SEEN",
           install_path AS "INSTALL PATH", evidence[1] AS "EVIDENCE""#,
    );
    let range = filter
        .range
        .overlapping("first_seen", "last_seen", "running > 0");
    format!(
        "SELECT {columns} FROM agents {}
         ORDER BY host, user_name, agent_family, agent_version, install_path, sensor_id {}",
        filter.clause(range),
        page.clause()
    )
}

/// The sensors and their hosts.
pub fn hosts(filter: &Filter, page: Page, format: Format) -> String {
    let columns = choose(
        format,
        r#"host AS "HOST", os AS "SYSTEM", kernel AS "KERNEL", sensor_version AS "SENSOR",
           date_trunc('second', last_hello) AS "LAST HELLO",
           date_trunc('second', last_self_test) AS "SELF-TEST", hooks_live AS "LIVE",
           array_to_string(hooks_not_live, '; ') AS "NOT LIVE", substr(sensor_id, 1, 12) AS "ID""#,
    );
    format!(
        "SELECT {columns} FROM hosts {} ORDER BY host, sensor_id {}",
        filter.clause(Vec::new()),
        page.clause()
    )
}

/// Ids of sessions that ran in the range, the newest first.
pub fn session_ids(filter: &Filter, page: Page) -> String {
    // Of what has not ended as far as is known, some may be in any range.
    let first = "coalesce(started, first_seen)";
    let range = filter.range.overlapping(first, "ended", "ended IS NULL");
    format!(
        "SELECT session, coalesce(started, first_seen) AS started FROM sessions {}
         ORDER BY coalesce(started, first_seen) DESC, session, sensor_id {}",
        filter.clause(range),
        page.clause()
    )
}

/// These sessions, and how much they did, in the order of [`session_ids`].
pub fn sessions<'a>(ids: impl Iterator<Item = &'a SessionPrefix>, format: Format) -> String {
    let columns = match format {
        Format::Table => {
            r#"substr(told.session, 1, 12) AS "SESSION",
               date_trunc('second', coalesce(started, first_seen)) AS "STARTED",
               concat(CAST(CAST(date_part('epoch', coalesce(ended, last_event))
                   - date_part('epoch', coalesce(started, first_seen)) AS BIGINT) AS VARCHAR),
                   CASE WHEN ended IS NULL THEN ' s …' ELSE ' s' END) AS "TIME",
               host AS "HOST", user_name AS "USER", CASE WHEN agent_name IS NULL THEN agent_family
               ELSE concat(agent_family, ' (', agent_name, ')') END AS "AGENT",
               agent_version AS "VERSION", processes AS "PROCS", files AS "FILES",
               destinations AS "DESTS", findings AS "FINDINGS",
               CASE WHEN lost OR uncovered OR coalesce(gaps, 0) > 0
                   THEN 'yes' ELSE 'no' END AS "GAPS",
               substr(parent, 1, 12) AS "PARENT",
               coalesce(repo_remote, repo_root, cwd) AS "WHERE""#
        }
        Format::Json | Format::Ndjson | Format::Csv | Format::Parquet => {
            "told.*, did.first_event, did.last_event, did.processes, did.files, did.destinations,
             did.findings, coalesce(lost, false) AS lost, coalesce(uncovered, false) AS uncovered"
        }
    };
    let ids: Vec<_> = ids.map(|id| format!("'{}'", id.as_str())).collect();
    let these = format!("WHERE session IN ({})", ids.join(", "));
    format!(
        "WITH told AS (SELECT * FROM sessions {these}),
              did AS (SELECT * FROM session_activity {these}),
              holes AS (
                  SELECT sensor_id, session, bool_or(what = 'lost') AS lost,
                         bool_or(what <> 'lost') AS uncovered
                  FROM session_gaps {these} GROUP BY sensor_id, session)
         SELECT {columns} FROM told
         LEFT JOIN did ON did.sensor_id = told.sensor_id AND did.session = told.session
         LEFT JOIN holes ON holes.sensor_id = told.sensor_id AND holes.session = told.session
         ORDER BY coalesce(started, first_seen) DESC, told.session, told.sensor_id"
    )
}

/// Events, the newest of them, in the order of their time; the row that is one too many is the first.
pub fn events(filter: &Filter, page: Page, format: Format) -> String {
    let columns = choose(
        format,
        r#"time AS "TIME", host AS "HOST", substr(session, 1, 12) AS "SESSION",
           class AS "CLASS", pid AS "PID",
           CASE class
               WHEN 'exec' THEN array_to_string(argv, ' ')
               WHEN 'exit' THEN coalesce('status ' || CAST(exit_code AS VARCHAR),
                                         'signal ' || CAST(exit_signal AS VARCHAR))
               WHEN 'open' THEN file_path
               WHEN 'connect' THEN
                   coalesce(net_addr || ' port ' || CAST(net_port AS VARCHAR), net_path)
               WHEN 'session' THEN concat_ws(' ', session_phase, agent_family, agent_version)
               WHEN 'lost' THEN concat_ws(' ', lost_record, 'at', lost_hop, lost_cause)
               WHEN 'coverage' THEN concat(concat_ws(' ', coverage_what, coverage_phase,
                   coverage_hook), ': ', coverage_reason)
               WHEN 'finding' THEN concat(concat_ws(' ', finding_severity, finding_rule), ': ',
                   finding_title)
           END AS "WHAT",
           count AS "COUNT", result AS "RESULT""#,
    );
    format!(
        "SELECT {columns} FROM (
             SELECT * FROM events {}
             ORDER BY time DESC, sensor_id DESC, epoch DESC, seq DESC {}
         ) ORDER BY time, sensor_id, epoch, seq",
        filter.of_events(),
        page.clause()
    )
}

/// Findings, the newest first.
pub fn findings(filter: &Filter, page: Page, format: Format) -> String {
    let columns = choose(
        format,
        r#"date_trunc('second', time) AS "TIME", severity AS "SEVERITY", host AS "HOST",
           agent_family AS "AGENT", substr(session, 1, 12) AS "SESSION", pid AS "PID",
           rule AS "RULE", concat(title, ': ', reason) AS "WHAT",
           array_to_string(attack, ' ') AS "ATTACK""#,
    );
    format!(
        "SELECT {columns} FROM findings {}
         ORDER BY time DESC, sensor_id, session, pid, rule, title, reason {}",
        filter.clause(filter.range.of("time")),
        page.clause()
    )
}

/// What is not vouched for, the newest first.
pub fn coverage(filter: &Filter, page: Page, format: Format) -> String {
    let columns = choose(
        format,
        r#"first AS "FROM", last AS "TO", host AS "HOST",
           coalesce(substr(session, 1, 12), 'whole host') AS "SESSION", what AS "WHAT",
           hook AS "HOOK", count AS "COUNT", reason AS "REASON""#,
    );
    let range = filter.range.overlapping("first", "last", "last IS NULL");
    format!(
        "SELECT {columns} FROM coverage {}
         ORDER BY first DESC, sensor_id, session, what, hook, reason, time {}",
        filter.clause(range),
        page.clause()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hexadecimal_digits_name_a_session() {
        assert_eq!(SessionPrefix::parse("AB01").unwrap().as_str(), "ab01");
        for wrong in [
            "",
            "xyz",
            "' OR 1=1 --",
            "0123456789abcdef0123456789abcdef0",
        ] {
            assert!(SessionPrefix::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn text_stays_text_in_sql() {
        let filter = Filter {
            host: Some("a' OR '1'='1".to_owned()),
            severity: Some(Severity::High),
            ..Filter::default()
        };
        assert_eq!(
            filter.clause(Vec::new()),
            "WHERE host = 'a'' OR ''1''=''1' AND severity IN ('high', 'critical')"
        );
    }

    #[test]
    fn a_page_asks_for_one_row_more_than_it_shows() {
        let page = Page {
            limit: u32::MAX,
            number: 3,
        };
        assert_eq!(page.clause(), "LIMIT 4294967296 OFFSET 8589934590");
    }
}
