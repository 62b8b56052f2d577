//! The OpenAPI document. A test holds it against the answers of a running collector.

use serde_json::{Value, json};

use super::{MAX_BODY, problem};

/// The whole document, version 3.1 (whose schemas are JSON Schema 2020-12).
pub(super) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Skep collector",
            "summary": "Read-only SQL over what the sensors saw.",
            "description": "Served on loopback addresses only, and not to web pages of other \
                origins: `Host` has to name this machine, and requests with a foreign `Origin` are \
                refused. Every query is recorded in the table `queries`.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/query": {"post": query()},
            "/v1/tables": {"get": read("listTables", "What can be queried.", "Tables", true)},
            "/v1/health": {"get": read("health", "Whether all is well. The status is 200 also \
                when it is not: the collector goes on serving.", "Health", false)},
            "/openapi.json": {"get": openapi()},
        },
        "components": {
            "schemas": {
                "Query": query_schema(),
                "Answer": answer_schema(),
                "Row": {
                    "description": "One member a column, in the order of the columns. Null is a \
                        fact that is not known. Times are RFC 3339 in UTC; integers are exact, and \
                        some are beyond 2^53: cast them to text where the reader has only doubles.",
                    "type": "object",
                },
                "Column": column_schema(),
                "Tables": tables_schema(),
                "Health": health_schema(),
                "Reader": reader_schema(),
                "Problem": problem_schema(),
                "Position": position_schema(),
            },
        },
    })
}

fn query() -> Value {
    let row = json!({"description": "A row a line. An answer that is broken off has a last line \
        with the one member `error`, a problem, to a client that reads fast enough.",
        "$ref": "#/components/schemas/Row"});
    let text = json!({"description": "RFC 4180, with a header line.", "type": "string"});
    let rows = |schema: Value| json!({"schema": schema});
    json!({
        "operationId": "query",
        "summary": "Runs one statement that reads.",
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": reference("Query")}},
        },
        "responses": {
            "200": {
                "description": "The rows, streamed. An answer that fails in the middle is broken \
                    off (its last chunk never comes); as JSON it then has a member `error`, as \
                    NDJSON a last line with one. One that is cut at the collector's limit of rows \
                    is whole as JSON, where `truncated` says so, and broken off in every other \
                    form. One that is cut at `max_rows` is whole.",
                "content": {
                    "application/json": {"schema": reference("Answer")},
                    "application/x-ndjson": rows(row),
                    "text/csv": rows(text),
                    "application/vnd.apache.arrow.stream": rows(json!({})),
                },
            },
            "400": problem("The statement cannot be run, or the body is not what is asked for."),
            "403": problem("The statement does more than read, or the request comes from a web \
                page of another origin."),
            "406": problem("None of the accepted types is served."),
            "413": problem(&format!("The body has more than {MAX_BODY} bytes.")),
            "415": problem("The body is not said to be JSON."),
            "422": problem("The query needs more memory than it may have."),
            "500": problem("Stored data are damaged, or the collector is at fault."),
            "503": problem("Too many queries run already, or they cannot be recorded."),
            "504": problem("The query needs more time than it may have."),
        },
    })
}

fn read(id: &str, summary: &str, schema: &str, fails: bool) -> Value {
    let mut operation = json!({
        "operationId": id,
        "summary": summary,
        "responses": {
            "200": {
                "description": summary,
                "content": {"application/json": {"schema": reference(schema)}},
            },
            "403": problem("The request comes from a web page of another origin."),
        },
    });
    if fails {
        operation["responses"]["500"] = problem("The collector is at fault.");
    }
    operation
}

fn openapi() -> Value {
    json!({
        "operationId": "openapi",
        "summary": "This document.",
        "responses": {
            "200": {
                "description": "This document.",
                "content": {"application/json": {"schema": {
                    "type": "object",
                    "required": ["openapi", "info", "paths", "components"],
                }}},
            },
            "403": problem("The request comes from a web page of another origin."),
        },
    })
}

fn problem(description: &str) -> Value {
    json!({
        "description": description,
        "content": {problem::CONTENT_TYPE: {"schema": reference("Problem")}},
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn query_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["sql"],
        "properties": {
            "sql": {"type": "string", "maxLength": 65_536, "examples": ["SELECT * FROM sessions"]},
            "max_rows": {
                "description": "As many rows as the collector allows, when absent, null or 0.",
                "type": ["integer", "null"],
                "minimum": 0,
            },
        },
    })
}

fn answer_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["columns", "rows", "row_count", "truncated"],
        "properties": {
            "columns": {"type": "array", "items": reference("Column")},
            "rows": {"type": "array", "items": reference("Row")},
            "row_count": {"type": "integer", "minimum": 0},
            "truncated": {
                "description": "There were more rows than `max_rows` or the collector's limit.",
                "type": "boolean",
            },
            "hint": {
                "description": "How to get the rest, when the collector's limit cut it.",
                "type": "string",
            },
            "error": {
                "description": "Only when the query failed after rows were sent.",
                "$ref": "#/components/schemas/Problem",
            },
        },
    })
}

fn column_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "type", "nullable"],
        "properties": {
            "name": {
                "description": "Of two columns of the same name, the second has _2 at its end.",
                "type": "string",
            },
            "type": {"description": "Arrow's name of the type.", "type": "string"},
            "nullable": {"type": "boolean"},
            "about": {"description": "Only of tables.", "type": ["string", "null"]},
        },
    })
}

fn tables_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["tables"],
        "properties": {
            "tables": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["name", "kind", "about", "columns"],
                    "properties": {
                        "name": {"type": "string"},
                        "kind": {"enum": ["table", "view"]},
                        "about": {"type": ["string", "null"]},
                        "columns": {"type": "array", "items": reference("Column")},
                    },
                },
            },
        },
    })
}

fn health_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["status", "version", "problems", "readers"],
        "properties": {
            "status": {"enum": ["ok", "degraded"]},
            "version": {"type": "string"},
            "problems": {"type": "array", "items": {"type": "string"}},
            "readers": {
                "description": "Readers of the log: the tables, and those that were added.",
                "type": "array",
                "items": reference("Reader"),
            },
        },
    })
}

fn reader_schema() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "position", "lag", "still_since", "missed"],
        "properties": {
            "name": {"type": "string"},
            "position": {
                "description": "Everything up to this entry is read.",
                "type": "integer",
                "minimum": 0,
            },
            "lag": {
                "description": "What is still to read, about its bytes in the log, and the age of the \
                                oldest.",
                "type": "object",
                "additionalProperties": false,
                "required": ["entries", "bytes", "seconds"],
                "properties": {"entries": count, "bytes": count, "seconds": count},
            },
            "still_since": {
                "description": "Since when it has not moved though there is something to read.",
                "type": ["string", "null"],
                "format": "date-time",
            },
            "missed": {
                "description": "Entries that were cut before it read them.",
                "type": "integer",
                "minimum": 0,
            },
        },
    })
}

fn problem_schema() -> Value {
    json!({
        "description": "RFC 9457.",
        "type": "object",
        "additionalProperties": false,
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"enum": problem::KINDS},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "position": reference("Position"),
            "hint": {
                "description": "What may have been meant, or what helps.",
                "type": "string",
            },
        },
    })
}

fn position_schema() -> Value {
    json!({
        "description": "A place in the statement, or in the body when that is not JSON.",
        "type": "object",
        "additionalProperties": false,
        "required": ["line", "column"],
        "properties": {
            "line": {"type": "integer", "minimum": 0},
            "column": {"description": "In characters, from 1.", "type": "integer", "minimum": 0},
            "offset": {
                "description": "In characters from the beginning of the statement, from 0.",
                "type": "integer",
                "minimum": 0,
            },
        },
    })
}
