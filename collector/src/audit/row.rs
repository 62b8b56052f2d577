//! One query as it is kept: JSON, whose members may grow in number but not change their meaning.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Outcome, now, parameters};
use crate::query::Question;

/// Bytes of the text of the values given for parameters; more is cut.
const MAX_PARAMETERS: usize = 64 << 10;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Row {
    pub id: u64,
    /// Microseconds since 1970.
    pub started: i64,
    pub front_end: String,
    pub peer: Option<String>,
    pub user_name: Option<String>,
    pub application: Option<String>,
    pub sql: String,
    #[serde(default)]
    pub parameters: Vec<String>,
    pub outcome: String,
    #[serde(default)]
    pub truncated: Option<bool>,
    #[serde(default)]
    pub rows: Option<u64>,
    #[serde(default)]
    pub milliseconds: Option<f64>,
    #[serde(default)]
    pub error: Option<String>,
}

/// A query that has begun and not ended.
pub(super) const RUNNING: &str = "running";
/// A query that was running when the collector was lost.
pub(super) const INTERRUPTED: &str = "interrupted";

// === impl Row ===

impl Row {
    pub fn begun(id: u64, question: &Question) -> Self {
        let origin = &question.origin;
        let mut values = question.parameters.as_ref().map(parameters);
        if let Some(values) = &mut values {
            let mut room = MAX_PARAMETERS;
            for value in values {
                cut(value, room);
                room = room.saturating_sub(value.len());
            }
        }
        let mut sql = question.sql.clone();
        cut(&mut sql, MAX_PARAMETERS);
        Self {
            id,
            started: now(),
            front_end: origin.front_end.to_owned(),
            peer: origin.peer.map(|peer| peer.to_string()),
            user_name: origin.user.clone(),
            application: origin.application.clone(),
            sql,
            parameters: values.unwrap_or_default(),
            outcome: RUNNING.to_owned(),
            truncated: None,
            rows: None,
            milliseconds: None,
            error: None,
        }
    }

    pub fn end(&mut self, outcome: &Outcome, rows: Option<u64>, took: Duration) {
        let (word, truncated, error) = match outcome {
            Outcome::Answered { truncated } => ("answered", Some(*truncated), None),
            Outcome::Refused { error } => ("refused", None, Some(error)),
            Outcome::Stopped { error } => ("stopped", None, Some(error)),
            Outcome::Failed { error } => ("failed", None, Some(error)),
            Outcome::Cancelled => ("cancelled", None, None),
        };
        self.outcome = word.to_owned();
        self.truncated = truncated;
        self.rows = rows;
        self.milliseconds = Some(took.as_micros() as f64 / 1000.0);
        self.error = error.cloned();
    }

    pub fn log(&self) {
        tracing::info!(
            id = self.id,
            front_end = self.front_end,
            peer = self.peer,
            user = self.user_name,
            application = self.application,
            sql = ?self.sql,
            outcome = self.outcome,
            rows = self.rows,
            milliseconds = self.milliseconds,
            error = self.error,
            "query"
        );
    }
}

/// Shortens a text to so many bytes, at a character.
fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
}
