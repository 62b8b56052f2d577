//! Times as a person types them, and ranges of them.

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use skep_human::span;

use crate::error::ClientError;

/// From `since` on, and before `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// RFC 3339; a date, with or without a time of day (UTC); a span before `now` (`90s`, `10m`, `2h`,
/// `3d`); `now`, `today` or `yesterday`.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, ClientError> {
    let wrong = || ClientError::NotATime {
        text: text.to_owned(),
    };
    let midnight = |days_back: i64| -> Result<Timestamp, jiff::Error> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let day = today.checked_sub(SignedDuration::from_hours(24 * days_back))?;
        Ok(day.to_zoned(TimeZone::UTC)?.timestamp())
    };
    match text {
        "now" => return Ok(now),
        "today" => return midnight(0).map_err(|_| wrong()),
        "yesterday" => return midnight(1).map_err(|_| wrong()),
        _ => {}
    }
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Some(span) = span::parse(text) {
        return now.checked_sub(span).map_err(|_| wrong());
    }
    let civil: civil::DateTime = text.parse().map_err(|_| wrong())?;
    let zoned = civil.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    Ok(zoned.timestamp())
}

// === impl Range ===

impl Range {
    /// Refuses a range that holds nothing, since its empty answer would look like an answer.
    pub fn parse(
        since: Option<&str>,
        until: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, ClientError> {
        let time = |text: Option<&str>| text.map(|text| parse_time(text, now)).transpose();
        let (since, until) = (time(since)?, time(until)?);
        match (since, until) {
            (Some(since), Some(until)) if since >= until => {
                Err(ClientError::EmptyRange { since, until })
            }
            _ => Ok(Self { since, until }),
        }
    }

    /// Conditions on a moment.
    pub fn of(&self, time: &str) -> Vec<String> {
        let since = self.since.map(|since| format!("{time} >= '{since}'"));
        since.into_iter().chain(self.before(time)).collect()
    }

    /// Conditions on what lasts from `first` to `last`, or longer while the condition `still` holds:
    /// that some of it is in the range.
    pub fn overlapping(&self, first: &str, last: &str, still: &str) -> Vec<String> {
        let since = self.since;
        let since = since.map(|since| format!("({last} >= '{since}' OR {still})"));
        since.into_iter().chain(self.before(first)).collect()
    }

    fn before(&self, time: &str) -> Option<String> {
        self.until.map(|until| format!("{time} < '{until}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-20T08:30:00Z";

    fn parsed(text: &str) -> Option<String> {
        let now = NOW.parse().unwrap();
        Some(parse_time(text, now).ok()?.to_string())
    }

    #[test]
    fn times_are_instants_dates_or_before_now() {
        for (text, time) in [
            ("90s", "2026-11-20T08:28:30Z"),
            ("10m", "2026-11-20T08:20:00Z"),
            ("3d", "2026-11-17T08:30:00Z"),
            ("1h30m", "2026-11-20T07:00:00Z"),
            ("now", NOW),
            ("today", "2026-11-20T00:00:00Z"),
            ("yesterday", "2026-11-19T00:00:00Z"),
            ("2026-11-18", "2026-11-18T00:00:00Z"),
            ("2026-11-18T07:15", "2026-11-18T07:15:00Z"),
            ("2026-11-18 07:15:20", "2026-11-18T07:15:20Z"),
            ("2026-11-20T08:00:00Z", "2026-11-20T08:00:00Z"),
            ("2026-11-20T08:00:00+02:00", "2026-11-20T06:00:00Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(time), "{text}");
        }
        for wrong in [
            "",
            "10",
            "m",
            "-5m",
            "10y",
            "tomorrow",
            "99999999999999999d",
            "2026-13-01",
            "5µ",
            "' OR 1=1",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_range_that_holds_nothing_is_refused() {
        let now = NOW.parse().unwrap();
        assert!(Range::parse(Some("1h"), Some("2h"), now).is_err());
        assert!(Range::parse(Some("1h"), Some("1h"), now).is_err());
        let range = Range::parse(Some("2h"), Some("1h"), now).unwrap();
        assert_eq!(
            range.overlapping("a", "b", "b IS NULL"),
            [
                "(b >= '2026-11-20T06:30:00Z' OR b IS NULL)",
                "a < '2026-11-20T07:30:00Z'"
            ]
        );
    }
}
