//! A question as a front end asks it.

use std::time::Duration;

use datafusion::common::ParamValues;

use crate::audit::{Asked, Origin};

/// How a statement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The engine's own; of gRPC and HTTP.
    Generic,
    /// With PostgreSQL's catalogue and functions.
    Postgres,
}

/// What is asked, and by whom.
#[derive(Clone, Debug)]
pub struct Question {
    pub sql: String,
    pub dialect: Dialect,
    /// Values of `$1`, `$2` …
    pub parameters: Option<ParamValues>,
    /// The client's own limits, when they are lower; 0 rows is no limit.
    pub max_rows: u64,
    pub max_time: Option<Duration>,
    pub origin: Origin,
}

// === impl Question ===

impl Question {
    /// What is recorded of it.
    pub(super) fn asked(&self) -> Asked {
        Asked {
            text: self.sql.clone(),
            parameters: self.parameters.as_ref().map(parameters).unwrap_or_default(),
            sensor_id: None,
            origin: self.origin.clone(),
        }
    }
}

/// The values of `$1`, `$2` … as text.
fn parameters(values: &ParamValues) -> Vec<String> {
    match values {
        ParamValues::List(values) => values.iter().map(|v| v.value.to_string()).collect(),
        ParamValues::Map(values) => {
            let mut named: Vec<_> = values
                .iter()
                .map(|(name, v)| format!("{name}={}", v.value))
                .collect();
            named.sort();
            named
        }
    }
}
