//! Errors as problem documents (RFC 9457).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::query::{Kind, Position, QueryError};

/// Content type of a problem document.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong. `type` names the kind and never changes; `detail` is for people.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<At>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A place in the statement, or in the body when that is no JSON.
#[derive(Clone, Copy, Debug, Serialize)]
struct At {
    line: u64,
    column: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

/// Every `type` there is.
pub(super) const KINDS: &[&str] = &[
    "urn:skep:problem:statement",
    "urn:skep:problem:read-only",
    "urn:skep:problem:time-limit",
    "urn:skep:problem:memory-limit",
    "urn:skep:problem:row-limit",
    "urn:skep:problem:busy",
    "urn:skep:problem:damaged-data",
    "urn:skep:problem:internal",
    "urn:skep:problem:request",
    "urn:skep:problem:foreign",
];

fn number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

// === impl Problem ===

impl Problem {
    fn new(
        kind: &'static str,
        title: &'static str,
        status: StatusCode,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            title,
            status,
            detail: detail.into(),
            position: None,
            hint: None,
        }
    }

    fn request(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = "the request is not one that is served";
        Self::new("urn:skep:problem:request", title, status, detail)
    }

    pub fn not_found() -> Self {
        Self::request(
            StatusCode::NOT_FOUND,
            "there is nothing here; GET /openapi.json lists what there is",
        )
    }

    pub fn method() -> Self {
        Self::request(
            StatusCode::METHOD_NOT_ALLOWED,
            "not with this method; GET /openapi.json lists what there is",
        )
    }

    pub fn not_json() -> Self {
        Self::request(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body has to be JSON, with the header Content-Type: application/json",
        )
    }

    pub fn not_acceptable() -> Self {
        Self::request(
            StatusCode::NOT_ACCEPTABLE,
            "Accept can be application/json, application/x-ndjson, text/csv or \
             application/vnd.apache.arrow.stream",
        )
    }

    pub fn too_large(limit: usize) -> Self {
        Self::request(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than {limit} bytes"),
        )
    }

    /// A body that did not come.
    pub fn broken(error: &axum::Error) -> Self {
        Self::request(
            StatusCode::BAD_REQUEST,
            format!("the body did not come whole: {error}"),
        )
    }

    /// A body that is not what is asked for.
    pub fn body(error: &serde_json::Error) -> Self {
        Self {
            position: Some(At {
                line: error.line() as u64,
                column: error.column() as u64,
                offset: None,
            }),
            ..Self::request(
                StatusCode::BAD_REQUEST,
                format!("the body has to be {{\"sql\": …}}: {error}"),
            )
        }
    }

    /// An answer that has more rows than `limit`; never a status, since the rows were sent.
    pub fn cut(limit: u64) -> Self {
        let hint = "narrow the query with WHERE on time, session or class, group the rows, or ask for \
                    them in parts: ORDER BY time, seq, and WHERE time is after the last part's";
        Self {
            hint: Some(hint.to_owned()),
            ..Self::new(
                "urn:skep:problem:row-limit",
                "there are more rows than an answer may have",
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("cut after {limit} rows, the most that an answer has"),
            )
        }
    }

    pub fn foreign(reason: &str) -> Self {
        let title = "not served for the sake of safety";
        Self::new(
            "urn:skep:problem:foreign",
            title,
            StatusCode::FORBIDDEN,
            reason,
        )
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let (kind, title, status) = match error.kind() {
            Kind::Statement => (
                "urn:skep:problem:statement",
                "the statement cannot be run",
                StatusCode::BAD_REQUEST,
            ),
            Kind::Forbidden => (
                "urn:skep:problem:read-only",
                "only statements that read are allowed",
                StatusCode::FORBIDDEN,
            ),
            Kind::Time => (
                "urn:skep:problem:time-limit",
                "the query needs more time than it may have",
                StatusCode::GATEWAY_TIMEOUT,
            ),
            Kind::Memory => (
                "urn:skep:problem:memory-limit",
                "the query needs more memory than it may have",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            Kind::Busy => (
                "urn:skep:problem:busy",
                "the query has not begun",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Kind::Data => (
                "urn:skep:problem:damaged-data",
                "stored data are damaged",
                StatusCode::INTERNAL_SERVER_ERROR,
            ),
            Kind::Internal | Kind::Cancelled => (
                "urn:skep:problem:internal",
                "the query failed",
                StatusCode::INTERNAL_SERVER_ERROR,
            ),
        };
        let problem = Self::new(kind, title, status, error.to_string());
        match error.sql() {
            None => problem,
            Some(sql) => Self {
                detail: sql.message.clone(),
                position: sql.position.map(At::from),
                hint: sql.hint.clone(),
                ..problem
            },
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

// === impl At ===

impl From<Position> for At {
    fn from(position: Position) -> Self {
        Self {
            line: position.line,
            column: position.column,
            offset: Some(position.offset),
        }
    }
}
