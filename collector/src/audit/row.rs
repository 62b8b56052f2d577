//! One query or order as it is kept: JSON, whose members may grow in number but not change their meaning.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Asked, Outcome, now};

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
    /// Of an order: who is to follow it. A query has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_id: Option<String>,
}

/// A query that has begun and not ended.
pub(super) const RUNNING: &str = "running";
/// A query that was running when the collector was lost.
pub(super) const INTERRUPTED: &str = "interrupted";

// === impl Row ===

impl Row {
    pub fn begun(id: u64, asked: &Asked) -> Self {
        let Asked {
            text,
            parameters,
            sensor_id,
            origin,
        } = asked;
        let mut parameters = parameters.clone();
        let mut room = MAX_PARAMETERS;
        for value in &mut parameters {
            cut(value, room);
            room = room.saturating_sub(value.len());
        }
        let mut sql = text.clone();
        cut(&mut sql, MAX_PARAMETERS);
        Self {
            id,
            started: now(),
            front_end: origin.front_end.to_owned(),
            peer: origin.peer.map(|peer| peer.to_string()),
            user_name: origin.user.clone(),
            application: origin.application.clone(),
            sql,
            parameters,
            outcome: RUNNING.to_owned(),
            truncated: None,
            rows: None,
            milliseconds: None,
            error: None,
            sensor_id: sensor_id.clone(),
        }
    }

    pub fn end(&mut self, outcome: &Outcome, rows: Option<u64>, took: Duration) {
        let (word, truncated, error) = match outcome {
            Outcome::Applied => ("applied", None, None),
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
        if let Some(sensor) = &self.sensor_id {
            tracing::info!(
                id = self.id,
                front_end = self.front_end,
                peer = self.peer,
                user = self.user_name,
                application = self.application,
                sensor,
                order = ?self.sql,
                outcome = self.outcome,
                milliseconds = self.milliseconds,
                error = self.error,
                "order"
            );
            return;
        }
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
