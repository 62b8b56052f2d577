//! What can be queried, as `GET /v1/tables` lists it.

use std::sync::Arc;

use datafusion::datasource::TableType;
use serde_json::{Value, json};

use super::encode;
use crate::{
    audit,
    query::{Dialect, Engine, QueryError, VIEWS},
    schema,
};

/// The tables that are no views.
const TABLES: &[(&str, &str)] = &[
    ("events", "one row an event, every column"),
    (
        "sensors",
        "what each sensor said of itself in its last hello",
    ),
    (
        "hooks",
        "how each sensor observes each kind of fact, and why not better",
    ),
    ("counters", "what this collector counted since it started"),
    (
        "storage",
        "files, rows and bytes of each class, and rows that wait in memory for theirs",
    ),
    (
        "queries",
        "every query that was asked, and what became of it",
    ),
    (
        "orders",
        "every order that was given to a sensor, and what became of it",
    ),
];

pub(super) async fn list(engine: &Arc<Engine>) -> Result<Value, QueryError> {
    let shapes = engine.shapes(Dialect::Generic).await?;
    let tables = shapes.into_iter().map(|(name, kind, schema)| {
        let view = VIEWS.iter().find(|view| view.name == name);
        let table = TABLES.iter().find(|(table, _)| *table == name);
        let about = view.map(|v| v.about).or(table.map(|(_, about)| *about));
        let columns = schema.fields().iter().map(|field| {
            let mut column = encode::column(field);
            column["about"] = json!(about_column(&name, field.name()));
            column
        });
        json!({
            "name": name,
            "kind": match kind {
                TableType::View => "view",
                TableType::Base | TableType::Temporary => "table",
            },
            "about": about,
            "columns": columns.collect::<Vec<_>>(),
        })
    });
    Ok(json!({"tables": tables.collect::<Vec<_>>()}))
}

/// What a column says; null where its name says it.
fn about_column(table: &str, column: &str) -> Option<&'static str> {
    match table {
        "events" => {
            let known = schema::COLUMNS.iter().find(|known| known.name == column);
            known.map(|known| known.about)
        }
        "queries" => {
            let known = audit::COLUMNS.iter().find(|(name, _)| *name == column);
            known.map(|(_, about)| *about)
        }
        "orders" => {
            let mut known = audit::ORDER_COLUMNS.iter();
            let known = known.find(|(name, _)| *name == column);
            known.map(|(_, about)| *about)
        }
        _ => None,
    }
}
