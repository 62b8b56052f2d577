//! Statements of a session beside queries: settings and transactions, of which there are none.
//!
//! What `SET` stores stays with the connection and changes only how values are written, and the time
//! limit (never above the collector's). `BEGIN` and `COMMIT` answer as PostgreSQL does; there is
//! nothing to commit.

use std::{sync::Arc, time::Duration};

use datafusion::sql::sqlparser::ast::{Expr, Set, Statement};
use futures::{Sink, SinkExt, stream};
use pgwire::{
    api::{
        ClientInfo, METADATA_APPLICATION_NAME, METADATA_CLIENT_ENCODING, Type,
        auth::DefaultServerParameterProvider,
        results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag},
    },
    error::{PgWireError, PgWireResult},
    messages::{PgWireBackendMessage, response::TransactionStatus, startup::ParameterStatus},
    types::format::FormatOptions,
};

use super::error::refused;

/// Where a connection keeps `statement_timeout`, in milliseconds, and its time zone, which the
/// encoder of values reads under this name.
const TIMEOUT: &str = "statement_timeout_ms";
const TIMEZONE: &str = "timezone";

/// Settings that `SHOW` tells; of others the engine says that it does not know them.
const SHOWN: [&str; 12] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "datestyle",
    "extra_float_digits",
    "intervalstyle",
    "search_path",
    "server_version",
    "statement_timeout",
    "time zone",
    "transaction isolation level",
    "transaction_isolation",
];

/// Settings that `SET` keeps, and the name under which their change is reported to the client.
const KEPT: [(&str, &str); 6] = [
    ("application_name", "application_name"),
    ("bytea_output", "bytea_output"),
    ("datestyle", "DateStyle"),
    ("extra_float_digits", "extra_float_digits"),
    ("intervalstyle", "IntervalStyle"),
    ("search_path", "search_path"),
];

/// Whether a statement is one of these.
pub(super) fn is_session(statement: &Statement) -> bool {
    if let Statement::ShowVariable { variable } = statement {
        let words = variable.iter().map(|word| word.value.to_lowercase());
        return SHOWN.contains(&words.collect::<Vec<_>>().join(" ").as_str());
    }
    matches!(
        statement,
        Statement::Set(_)
            | Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Discard { .. }
            | Statement::Deallocate { .. }
    )
}

/// Columns of the answer to one of these.
pub(super) fn columns(statement: &Statement) -> Vec<FieldInfo> {
    let Statement::ShowVariable { variable } = statement else {
        return Vec::new();
    };
    let words: Vec<_> = variable.iter().map(|word| word.value.as_str()).collect();
    vec![column(&words.join(" "))]
}

pub(super) async fn answer<C>(client: &mut C, statement: &Statement) -> PgWireResult<Response>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    match statement {
        // Neither keeps anything here that would have to go.
        Statement::Discard { .. } => return Ok(Response::Execution(Tag::new("DISCARD ALL"))),
        Statement::Deallocate { .. } => return Ok(Response::Execution(Tag::new("DEALLOCATE"))),
        Statement::Commit { .. } if client.transaction_status() == TransactionStatus::Error => {
            return Ok(Response::TransactionEnd(Tag::new("ROLLBACK")));
        }
        Statement::Commit { .. } => return Ok(Response::TransactionEnd(Tag::new("COMMIT"))),
        Statement::Rollback { .. } => return Ok(Response::TransactionEnd(Tag::new("ROLLBACK"))),
        _ => {}
    }
    if client.transaction_status() == TransactionStatus::Error {
        let text =
            "current transaction is aborted, commands ignored until end of transaction block";
        return Err(refused("25P01", text));
    }
    match statement {
        // A BEGIN within a transaction changes nothing, as in PostgreSQL.
        Statement::StartTransaction { .. } => Ok(match client.transaction_status() {
            TransactionStatus::Idle => Response::TransactionStart(Tag::new("BEGIN")),
            _ => Response::Execution(Tag::new("BEGIN")),
        }),
        Statement::Set(set) => {
            if let Some((name, value)) = keep(client, set) {
                let status = ParameterStatus::new(name, value);
                let message = PgWireBackendMessage::ParameterStatus(status);
                client.send(message).await?;
            }
            Ok(Response::Execution(Tag::new("SET")))
        }
        Statement::ShowVariable { variable } => {
            let words = variable.iter().map(|word| word.value.to_lowercase());
            show(client, &words.collect::<Vec<_>>().join(" "))
        }
        _ => Err(refused("0A000", "this statement is not known here")),
    }
}

/// The time limit that the client has set.
pub(super) fn timeout(client: &(impl ClientInfo + ?Sized)) -> Option<Duration> {
    let milliseconds = client.metadata().get(TIMEOUT)?.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
}

/// Keeps a setting with the connection, and returns what the client is to be told of it. A setting
/// that changes nothing here is taken and forgotten, since drivers set many at connection.
fn keep(client: &mut impl ClientInfo, set: &Set) -> Option<(String, String)> {
    match set {
        Set::SingleAssignment {
            scope: None,
            hivevar: false,
            variable,
            values,
        } => {
            let name = variable.to_string().to_lowercase();
            let value = values.first()?;
            if name == "statement_timeout" {
                let metadata = client.metadata_mut();
                match milliseconds(&value.to_string()) {
                    Some(limit) => metadata.insert(TIMEOUT.to_owned(), limit.to_string()),
                    None => metadata.remove(TIMEOUT),
                };
                return None;
            }
            let (_, reported) = KEPT.into_iter().find(|(kept, _)| *kept == name)?;
            let Expr::Value(value) = value else {
                return None;
            };
            let value = value.clone().into_string().unwrap_or_default();
            client.metadata_mut().insert(name, value.clone());
            Some((reported.to_owned(), value))
        }
        Set::SetTimeZone {
            local: false,
            value,
        } => {
            let zone = unquoted(&value.to_string()).to_owned();
            let metadata = client.metadata_mut();
            metadata.insert(TIMEZONE.to_owned(), zone.clone());
            Some(("TimeZone".to_owned(), zone))
        }
        other => {
            tracing::debug!(setting = %other, "a client set what changes nothing here");
            None
        }
    }
}

/// The value of one of [`SHOWN`].
fn show(client: &impl ClientInfo, name: &str) -> PgWireResult<Response> {
    let startup = DefaultServerParameterProvider::default();
    let format = FormatOptions::default();
    let own = |key: &str| client.metadata().get(key).cloned();
    let (title, value) = match name {
        "time zone" => (
            "TimeZone",
            own(TIMEZONE).unwrap_or_else(|| "UTC".to_owned()),
        ),
        // What the connection was told when it began.
        "server_version" => ("server_version", startup.server_version),
        "client_encoding" => {
            let encoding = startup
                .client_encoding
                .or_else(|| own(METADATA_CLIENT_ENCODING));
            ("client_encoding", encoding.unwrap_or_default())
        }
        "application_name" => {
            let application = own(METADATA_APPLICATION_NAME).or(startup.application_name);
            ("application_name", application.unwrap_or_default())
        }
        // Every statement sees what was committed when it began, and only that.
        "transaction_isolation" | "transaction isolation level" => {
            ("transaction_isolation", "read committed".to_owned())
        }
        "statement_timeout" => {
            let limit = timeout(client).map(|limit| format!("{}ms", limit.as_millis()));
            ("statement_timeout", limit.unwrap_or_else(|| "0".to_owned()))
        }
        "bytea_output" => (name, own(name).unwrap_or(format.bytea_output)),
        "datestyle" => (name, own(name).unwrap_or(format.date_style)),
        "intervalstyle" => (name, own(name).unwrap_or(format.interval_style)),
        "extra_float_digits" => {
            let digits = own(name).unwrap_or_else(|| format.extra_float_digits.to_string());
            (name, digits)
        }
        "search_path" => (name, own(name).unwrap_or(startup.search_path)),
        _ => return Err(refused("42704", "this setting is not known here")),
    };
    let fields = Arc::new(vec![column(title)]);
    let mut row = DataRowEncoder::new(Arc::clone(&fields));
    row.encode_field(&Some(value))?;
    let rows = stream::iter([Ok(row.take_row())]);
    Ok(Response::Query(QueryResponse::new(fields, rows)))
}

fn column(name: &str) -> FieldInfo {
    let format = FieldFormat::Text;
    FieldInfo::new(name.to_owned(), None, None, Type::VARCHAR, format)
}

/// A time limit as PostgreSQL writes it: a number of milliseconds, or with `ms`, `s` or `min`. `None`
/// is no limit; so is what is not one.
fn milliseconds(text: &str) -> Option<u64> {
    let text = unquoted(text);
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        _ => return None,
    };
    let limit = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (limit > 0).then_some(limit)
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn a_time_limit_is_read_as_postgresql_writes_it() {
        assert_eq!(milliseconds("100"), Some(100));
        assert_eq!(milliseconds("'5000ms'"), Some(5_000));
        assert_eq!(milliseconds("'2 s'"), Some(2_000));
        assert_eq!(milliseconds("\"3min\""), Some(180_000));
        assert_eq!(milliseconds("0"), None);
        assert_eq!(milliseconds("'soon'"), None);
        assert_eq!(milliseconds("99999999999999999min"), None);
    }
}
