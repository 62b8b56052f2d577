//! Where in a statement an error is, and which name may have been meant.
//!
//! The engine tells a position with some errors (`Diagnostic`), and in the text of a syntax error. For
//! an unknown name without one, the name is looked up among the tokens of the statement. What is not
//! found that way has no position; none is ever guessed.

use datafusion::{
    common::{Column, DataFusionError, SchemaError},
    sql::sqlparser::{
        dialect::Dialect,
        tokenizer::{Location, Token, Tokenizer},
    },
};

use super::error::{Position, QueryError, SqlError, Wrong};

/// Names that are listed when none is near; more would hide the message.
const NAMES_LISTED: usize = 24;

/// Names that a statement can use.
#[derive(Default)]
pub(super) struct Known {
    pub tables: Vec<String>,
    pub functions: Vec<String>,
}

/// What an error of planning or running means; `memory` is the limit in force.
pub(super) fn explain(
    error: &DataFusionError,
    sql: &str,
    dialect: &dyn Dialect,
    known: &Known,
    memory: usize,
) -> QueryError {
    let text = error.strip_backtrace();
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => QueryError::Memory { limit: memory },
        root @ (DataFusionError::ParquetError(_)
        | DataFusionError::ObjectStore(_)
        | DataFusionError::IoError(_)) => match may_be_damage(root) {
            true => QueryError::Unreadable {
                reason: text,
                files: Vec::new(),
            },
            false => QueryError::Unreached(text),
        },
        DataFusionError::Internal(_) => QueryError::Engine(text),
        DataFusionError::SchemaError(schema, _) => {
            let mut explained = match schema.as_ref() {
                SchemaError::FieldNotFound {
                    field,
                    valid_fields,
                } => unknown_column(field, valid_fields, sql, dialect),
                other => SqlError::new(other.to_string()),
            };
            explained.position = told(error, sql).or(explained.position);
            QueryError::Sql(explained)
        }
        DataFusionError::SQL(parser, _) => QueryError::Sql(syntax(&parser.to_string(), sql)),
        // What the SQL says cannot be done: planning, types, division by zero …
        _ => {
            let mut explained = planning(&text, sql, dialect, known);
            explained.position = told(error, sql).or(explained.position);
            QueryError::Sql(explained)
        }
    }
}

/// Whether bytes cannot be decoded or are not there. What a place on the network could not give at one
/// moment says nothing of the bytes; what this machine's disk did not give may, and is looked at.
fn may_be_damage(error: &DataFusionError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<object_store::Error>() {
            return match error {
                object_store::Error::NotFound { .. } => true,
                object_store::Error::Generic { store, .. } => *store == "LocalFileSystem",
                _ => false,
            };
        }
        if error.is::<std::io::Error>() {
            return false;
        }
        cause = error.source();
    }
    // The reader of footers keeps of its cause only the text.
    let text = error.to_string();
    let footer = text.split_once("Failed to fetch metadata");
    match footer.and_then(|(_, cause)| cause.split_once("Generic ")) {
        Some((_, store)) => store.starts_with("LocalFileSystem"),
        None => true,
    }
}

/// A statement that is no SQL; `reason` is the parser's, with the place at its end.
pub(super) fn syntax(reason: &str, sql: &str) -> SqlError {
    const PLACE: &str = " at Line: ";
    let reason = reason
        .strip_prefix("sql parser error: ")
        .unwrap_or(reason)
        .trim();
    let located = reason.rsplit_once(PLACE).and_then(|(message, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        let column: String = column.chars().take_while(char::is_ascii_digit).collect();
        let place = (line.parse().ok()?, column.parse().ok()?);
        Some((message, place))
    });
    let (message, position) = match located {
        Some((message, (line, column))) => (message, position(sql, line, column)),
        None => (reason, None),
    };
    // The end of the statement has no place of its own.
    let at_end = || message.ends_with("found: EOF").then(|| end(sql));
    SqlError {
        position: position.or_else(at_end),
        what: Wrong::Syntax,
        ..SqlError::new(format!("not SQL: {message}"))
    }
}

/// The place that the engine tells with the error.
fn told(error: &DataFusionError, sql: &str) -> Option<Position> {
    let start = error.diagnostic()?.span?.start;
    position(sql, start.line, start.column)
}

/// The position of a line and column, when the statement has such a place.
fn position(sql: &str, line: u64, column: u64) -> Option<Position> {
    let index = usize::try_from(line.checked_sub(1)?).ok()?;
    let before: usize = sql
        .split('\n')
        .take(index)
        .map(|line| line.chars().count() + 1)
        .sum();
    let width = sql.split('\n').nth(index)?.chars().count() as u64;
    let within = column.checked_sub(1).filter(|within| *within <= width)?;
    Some(Position {
        line,
        column,
        offset: before as u64 + within,
    })
}

fn end(sql: &str) -> Position {
    let last = sql.rsplit('\n').next().unwrap_or_default();
    Position {
        line: sql.matches('\n').count() as u64 + 1,
        column: last.chars().count() as u64 + 1,
        offset: sql.chars().count() as u64,
    }
}

fn unknown_column(field: &Column, known: &[Column], sql: &str, dialect: &dyn Dialect) -> SqlError {
    let qualifier = field.relation.as_ref().map(|relation| relation.table());
    let message = match qualifier {
        Some(table) => format!("there is no column {} in {table}", field.name),
        None => format!("there is no column {}", field.name),
    };
    // Of a table that is named, only its own columns can have been meant, unless it has none.
    let of_table = |column: &&Column| {
        qualifier.is_none() || column.relation.as_ref().map(|r| r.table()) == qualifier
    };
    let mut names: Vec<&str> = known
        .iter()
        .filter(of_table)
        .map(|c| c.name.as_str())
        .collect();
    if names.is_empty() {
        names = known.iter().map(|column| column.name.as_str()).collect();
    }
    SqlError {
        position: find(sql, dialect, qualifier, &field.name),
        hint: suggest(&field.name, &names),
        what: Wrong::UnknownColumn,
        ..SqlError::new(message)
    }
}

/// An error of the planner, which has no type of its own for most.
fn planning(text: &str, sql: &str, dialect: &dyn Dialect, known: &Known) -> SqlError {
    let text = text
        .strip_prefix("Error during planning: ")
        .or_else(|| text.strip_prefix("Execution error: "))
        .or_else(|| text.strip_prefix("This feature is not implemented: "))
        .unwrap_or(text);
    let names = |all: &[String], name: &str| {
        suggest(name, &all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    if let Some((name, _)) = between(text, "Invalid function '", "'") {
        return SqlError {
            position: find(sql, dialect, None, name),
            hint: names(&known.functions, name),
            what: Wrong::UnknownFunction,
            ..SqlError::new(format!("there is no function {name}"))
        };
    }
    if let Some((name, _)) = between(text, "table '", "' not found") {
        let name = name.strip_prefix("datafusion.").unwrap_or(name);
        let name = name.strip_prefix("public.").unwrap_or(name);
        let (_, last) = name.rsplit_once('.').unwrap_or(("", name));
        return SqlError {
            position: find(sql, dialect, None, last),
            hint: names(&known.tables, last),
            what: Wrong::UnknownTable,
            ..SqlError::new(format!("there is no table {name}"))
        };
    }
    SqlError::new(text)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<(&'a str, &'a str)> {
    text.split_once(before)?.1.split_once(after)
}

/// The nearest of the names, or all of them if they are few.
fn suggest(name: &str, known: &[&str]) -> Option<String> {
    let lower = name.to_lowercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&lower, &known.to_lowercase());
    let nearest = known
        .iter()
        .map(|known| (distance(known), *known))
        .min_by_key(|(distance, _)| *distance)?;
    // Beyond half of the name it is another name.
    let longer = name.chars().count().max(nearest.1.chars().count());
    match nearest {
        (0, same) => Some(format!(
            "names are case-sensitive in quotes: write \"{same}\""
        )),
        (distance, near) if distance * 2 <= longer => Some(format!("did you mean {near}?")),
        _ if known.len() <= NAMES_LISTED => Some(format!("known are {}", known.join(", "))),
        _ => None,
    }
}

/// The first place where the statement says the name, preceded by the qualifier if there is one.
fn find(sql: &str, dialect: &dyn Dialect, qualifier: Option<&str>, name: &str) -> Option<Position> {
    let tokens = Tokenizer::new(dialect, sql).tokenize_with_location().ok()?;
    let tokens: Vec<_> = tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .collect();
    let says = |token: &Token, name: &str| match token {
        Token::Word(word) if word.quote_style.is_none() => word.value.eq_ignore_ascii_case(name),
        Token::Word(word) => word.value == name,
        Token::SingleQuotedString(text) => text == name,
        _ => false,
    };
    let qualified = |index: usize| {
        let Some(qualifier) = qualifier else {
            return true;
        };
        index >= 2
            && tokens[index - 1].token == Token::Period
            && says(&tokens[index - 2].token, qualifier)
    };
    let index = (0..tokens.len()).find(|&i| says(&tokens[i].token, name) && qualified(i))?;
    let Location { line, column } = tokens[index].span.start;
    position(sql, line, column)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    fn at(line: u64, column: u64, offset: u64) -> Option<Position> {
        Some(Position {
            line,
            column,
            offset,
        })
    }

    #[test]
    fn only_what_cannot_be_decoded_or_is_not_there_may_be_damage() {
        use datafusion::parquet::errors::ParquetError;
        let of = |store| object_store::Error::Generic {
            store,
            source: "connection reset".into(),
        };
        let gone = || object_store::Error::NotFound {
            path: "part.parquet".to_owned(),
            source: "404".into(),
        };
        let parquet = |error| DataFusionError::ParquetError(Box::new(error));
        let within = |error| parquet(ParquetError::External(Box::new(error)));
        let footer = |error: object_store::Error| {
            let text = format!("Failed to fetch metadata for file part.parquet: {error}");
            parquet(ParquetError::General(text))
        };
        let stored = |error| DataFusionError::ObjectStore(Box::new(error));
        for (error, expected) in [
            (parquet(ParquetError::General("no magic".to_owned())), true),
            (within(gone()), true),
            (stored(gone()), true),
            (within(of("LocalFileSystem")), true),
            (within(of("S3")), false),
            (footer(of("S3")), false),
            (footer(of("LocalFileSystem")), true),
            (footer(gone()), true),
            (stored(of("S3")), false),
            (
                DataFusionError::IoError(std::io::Error::other("reset")),
                false,
            ),
        ] {
            assert_eq!(may_be_damage(&error), expected, "{error}");
        }
    }

    #[test]
    fn positions_count_characters_and_lines() {
        let sql = "SELECT 'é',\n  x FROM t";
        assert_eq!(position(sql, 1, 8), at(1, 8, 7));
        assert_eq!(position(sql, 2, 3), at(2, 3, 14));
        assert_eq!(position(sql, 2, 99), None);
        assert_eq!(position(sql, 3, 1), None);
        assert_eq!(position(sql, 0, 0), None);
        assert_eq!(end(sql), at(2, 11, 22).unwrap());
    }

    #[test]
    fn a_name_is_found_where_it_is_said_and_not_in_text_or_comments() {
        let find = |qualifier, name| {
            let sql = "SELECT 'a pid', /* pid */ e.Pid, \"pid\" FROM events e";
            find(sql, &GenericDialect {}, qualifier, name).map(|at| at.column)
        };
        assert_eq!(find(None, "pid"), Some(29));
        assert_eq!(find(Some("e"), "pid"), Some(29));
        assert_eq!(find(Some("f"), "pid"), None);
        assert_eq!(find(None, "ppid"), None);
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["session", "sensor_id", "seq"];
        assert_eq!(suggest("sesion", &known).unwrap(), "did you mean session?");
        assert_eq!(
            suggest("SEQ", &["seq"]).unwrap(),
            "names are case-sensitive in quotes: write \"seq\""
        );
        assert_eq!(
            suggest("frobnicate", &known).unwrap(),
            "known are session, sensor_id, seq"
        );
        assert_eq!(suggest("frobnicate", &["session"; 40]), None);
    }
}
