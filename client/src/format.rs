//! Names of the forms of output, as `-o` takes them.

use clap::ValueEnum;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for a person; long text is cut with …
    Table,
    /// One JSON array, every value in full
    Json,
    /// One JSON object a line, every value in full
    Ndjson,
    /// RFC 4180 with a header, every value in full; lists as JSON
    Csv,
    /// Parquet (zstd), with the types of the collector; to a file or a pipe
    Parquet,
}

/// The forms that need not know all rows before the first is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Ndjson,
    Csv,
    Parquet,
}

// === impl Format ===

impl Format {
    /// `None` for a table, which is as wide as its widest row.
    pub fn form(self) -> Option<Form> {
        match self {
            Self::Table => None,
            Self::Json => Some(Form::Json),
            Self::Ndjson => Some(Form::Ndjson),
            Self::Csv => Some(Form::Csv),
            Self::Parquet => Some(Form::Parquet),
        }
    }
}

// === impl Form ===

impl Form {
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}
