//! The questions behind the commands, in SQL.
//!
//! JSON and CSV get every column of the view; a table gets a choice of columns that fits a screen.
//! Nothing that a person typed gets into SQL unless it was parsed first: session ids are
//! hexadecimal, times and limits are numbers, classes are an enumeration.

use clap::ValueEnum;
use jiff::{Span, Timestamp};

use super::{ClientError, output::Format};

/// Which events to show.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// The session id or the beginning of one.
    pub session: Option<SessionPrefix>,
    pub class: Option<Class>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// The newest so many.
    pub limit: u32,
}

/// Class of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Class {
    Exec,
    Exit,
    Open,
    Connect,
    Session,
    Lost,
    Coverage,
}

/// One to 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPrefix(String);

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
}

/// RFC 3339, or a span before `now`: `90s`, `10m`, `2h`, `3d`.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, ClientError> {
    let wrong = || ClientError::NotATime {
        text: text.to_owned(),
    };
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let unit = text.chars().last().ok_or_else(wrong)?;
    let amount: i64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return Err(wrong()),
    };
    let seconds = amount.checked_mul(seconds).filter(|seconds| *seconds >= 0);
    let span = seconds.and_then(|seconds| Span::new().try_seconds(seconds).ok());
    now.checked_sub(span.ok_or_else(wrong)?)
        .map_err(|_| wrong())
}

/// The inventory.
pub fn agents(format: Format) -> String {
    let columns = match format {
        Format::Table => {
            r#"host AS "HOST", user_name AS "USER", agent_family AS "AGENT",
               agent_version AS "VERSION", concat(CAST(confidence AS VARCHAR), '%') AS "SURE",
               sessions AS "SESSIONS", date_trunc('second', last_seen) AS "LAST SEEN",
               install_path AS "INSTALL PATH", evidence[1] AS "EVIDENCE""#
        }
        Format::Json | Format::Csv => "*",
    };
    format!(
        "SELECT {columns} FROM agents
         ORDER BY host, user_name, agent_family, agent_version, install_path"
    )
}

/// Sessions, the newest first.
pub fn sessions(format: Format) -> String {
    let columns = match format {
        Format::Table => {
            r#"substr(session, 1, 12) AS "SESSION",
               date_trunc('second', coalesce(started, first_seen)) AS "STARTED",
               concat(CAST((CAST(coalesce(ended, last_seen) AS BIGINT)
                   - CAST(coalesce(started, first_seen) AS BIGINT)) / 1000000000 AS VARCHAR),
                   CASE WHEN ended IS NULL THEN ' s …' ELSE ' s' END) AS "TIME",
               host AS "HOST", user_name AS "USER", agent_family AS "AGENT",
               agent_version AS "VERSION", processes AS "PROCS", files AS "FILES",
               destinations AS "DESTS", CASE WHEN lost OR uncovered OR coalesce(gaps, 0) > 0
                   THEN 'yes' ELSE 'no' END AS "GAPS",
               substr(parent, 1, 12) AS "PARENT",
               coalesce(repo_remote, repo_root, cwd) AS "WHERE""#
        }
        Format::Json | Format::Csv => "*",
    };
    format!("SELECT {columns} FROM sessions ORDER BY coalesce(started, first_seen) DESC, session")
}

/// Events, the newest of them, in the order of their time.
pub fn events(filter: &EventFilter, format: Format) -> String {
    let columns = match format {
        Format::Table => {
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
               END AS "WHAT",
               count AS "COUNT", result AS "RESULT""#
        }
        Format::Json | Format::Csv => "*",
    };
    let session = filter
        .session
        .as_ref()
        .map(|id| format!("session LIKE '{}%'", id.as_str()));
    let class = filter.class.and_then(|class| class.to_possible_value());
    let class = class.map(|class| format!("class = '{}'", class.get_name()));
    let since = filter
        .since
        .map(|time| format!("time >= {}", literal(time)));
    let until = filter.until.map(|time| format!("time < {}", literal(time)));
    let conditions: Vec<_> = [session, class, since, until]
        .into_iter()
        .flatten()
        .collect();
    let condition = match conditions.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", conditions.join(" AND ")),
    };
    let limit = filter.limit;
    format!(
        "SELECT {columns} FROM (
             SELECT * FROM events {condition}
             ORDER BY time DESC, sensor_id DESC, epoch DESC, seq DESC LIMIT {limit}
         ) ORDER BY time, sensor_id, epoch, seq"
    )
}

fn literal(time: Timestamp) -> String {
    format!(
        r#"arrow_cast({}, 'Timestamp(ns, "UTC")')"#,
        time.as_nanosecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339_or_before_now() {
        let now: Timestamp = "2026-11-20T08:30:00Z".parse().unwrap();
        let before = |text: &str| (now - parse_time(text, now).unwrap()).get_seconds();
        assert_eq!(before("90s"), 90);
        assert_eq!(before("10m"), 600);
        assert_eq!(before("3d"), 259_200);
        assert_eq!(before("2026-11-20T08:00:00Z"), 1800);
        for wrong in [
            "",
            "10",
            "m",
            "-5m",
            "10w",
            "yesterday",
            "99999999999999999d",
            "5µ",
        ] {
            assert!(parse_time(wrong, now).is_err(), "{wrong}");
        }
    }

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
}
