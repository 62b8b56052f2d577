//! Errors in PostgreSQL's form: a code of five characters, a position in characters from 1, a hint.

use pgwire::error::{ErrorInfo, PgWireError};

use crate::query::{Kind, QueryError, Wrong};

/// Where in the client's text the statement begins, in characters.
pub(super) fn told(error: &QueryError, offset: u64) -> PgWireError {
    let mut info = info(code(error), error.to_string());
    if let Some(sql) = error.sql() {
        info.message = sql.message.clone();
        info.hint = sql.hint.clone();
        info.position = sql.position.map(|at| (offset + at.offset + 1).to_string());
    }
    PgWireError::UserError(Box::new(info))
}

/// An error that has nothing to do with a query.
pub(super) fn refused(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(info(code, message.into())))
}

pub(super) fn info(code: &str, message: String) -> ErrorInfo {
    ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message)
}

/// The codes of PostgreSQL's appendix A.
fn code(error: &QueryError) -> &'static str {
    match error.kind() {
        Kind::Statement => match error.sql().map(|sql| sql.what) {
            Some(Wrong::Syntax) => "42601",
            Some(Wrong::UnknownColumn) => "42703",
            Some(Wrong::UnknownTable) => "42P01",
            Some(Wrong::UnknownFunction) => "42883",
            Some(Wrong::Other) => "42000",
            // Longer or more complex than is allowed.
            None => "54001",
        },
        Kind::Forbidden => "25006",
        Kind::Time | Kind::Cancelled => "57014",
        Kind::Memory => "53200",
        Kind::Busy => "53300",
        Kind::Data => "XX001",
        Kind::Internal => "XX000",
    }
}
