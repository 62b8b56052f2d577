//! What a session does beside queries: settings and transactions, of which there are none.
//!
//! `datafusion-postgres` answers these statements; what they set stays with the connection and changes
//! only how values are written, and the time limit (never above the collector's).

use std::time::Duration;

use datafusion::{prelude::SessionContext, sql::sqlparser::ast::Statement};
use datafusion_postgres::{
    QueryHook,
    hooks::{HookClient, set_show::SetShowHook, transactions::TransactionStatementHook},
    pgwire::{
        api::{
            ClientInfo, Type,
            results::{FieldFormat, FieldInfo, Response, Tag},
        },
        error::PgWireResult,
    },
};

use super::error::refused;

/// Where `datafusion-postgres` keeps `statement_timeout`, in milliseconds.
const TIMEOUT: &str = "statement_timeout_ms";

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
    let (name, format) = (words.join(" "), FieldFormat::Text);
    vec![FieldInfo::new(name, None, None, Type::VARCHAR, format)]
}

pub(super) async fn answer(
    client: &mut dyn HookClient,
    statement: &Statement,
) -> PgWireResult<Response> {
    match statement {
        // Neither keeps anything here that would have to go.
        Statement::Discard { .. } => return Ok(Response::Execution(Tag::new("DISCARD ALL"))),
        Statement::Deallocate { .. } => return Ok(Response::Execution(Tag::new("DEALLOCATE"))),
        _ => {}
    }
    // A planner without tables: nothing that is set there lasts or reaches a query.
    let context = SessionContext::new();
    let transactions = TransactionStatementHook;
    if let Some(done) = transactions
        .handle_simple_query(statement, &context, client)
        .await
    {
        return done;
    }
    match SetShowHook
        .handle_simple_query(statement, &context, client)
        .await
    {
        Some(done) => done,
        None => Err(refused("0A000", "this statement is not known here")),
    }
}

/// The time limit that the client has set.
pub(super) fn timeout(client: &(impl ClientInfo + ?Sized)) -> Option<Duration> {
    let milliseconds = client.metadata().get(TIMEOUT)?.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
}
