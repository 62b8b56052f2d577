//! Columns of an Arrow batch as fields of structs.
//!
//! A struct is read with [`from_columns!`], which names its columns: a field that is an `Option` takes
//! null, every other field refuses it.
//!
//! Invariants:
//! - a column that is missing, of another type, null where a value is needed, or out of range is an
//!   error that names it, and never a default;
//! - a time in a `String` is RFC 3339 in UTC, as in JSON.
//!
//! Bound: the values of one batch are in memory twice while it is read.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::{CastOptions, cast, cast_with_options},
    datatypes::{
        ArrowPrimitiveType, DataType, Int32Type, Int64Type, TimeUnit, UInt8Type, UInt32Type,
        UInt64Type,
    },
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use jiff::Timestamp;

/// Why a batch is not the rows that were asked for.
#[derive(Debug, thiserror::Error)]
pub enum ColumnError {
    #[error("it has no column {column}")]
    Missing { column: &'static str },
    #[error("its column {column} holds {holds}, not {wanted}")]
    Type {
        column: &'static str,
        holds: DataType,
        wanted: &'static str,
    },
    #[error("its column {column} has no value in row {row}")]
    Null { column: &'static str, row: usize },
    #[error("its column {column} cannot be read: {source}")]
    Value {
        column: &'static str,
        source: ArrowError,
    },
}

/// A row that is read from columns.
pub trait FromColumns: Sized {
    /// All rows of a batch.
    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>, ColumnError>;
}

/// The columns of one batch.
pub struct Columns<'a> {
    batch: &'a RecordBatch,
}

/// What a field is read as: a [`Value`], or an `Option` of one.
pub trait Field: Sized {
    /// The values of all rows.
    fn read(columns: &Columns<'_>, column: &'static str) -> Result<Vec<Self>, ColumnError>;
}

/// What a column can hold in a row.
pub trait Value: Sized {
    /// In messages.
    const NAME: &'static str;

    /// `None` for a type of column that holds no such values.
    fn of(array: &ArrayRef) -> Option<Result<Vec<Option<Self>>, ArrowError>>;
}

/// Implements [`FromColumns`] for a struct whose fields are named as columns. After a semicolon come
/// fields that are of no column, and what they are until somebody sets them.
macro_rules! from_columns {
    ($row:ident { $($column:ident),+ $(,)? $(; $($other:ident: $value:expr),+ $(,)?)? }) => {
        impl $crate::columns::FromColumns for $row {
            fn from_columns(
                columns: &$crate::columns::Columns<'_>,
            ) -> Result<Vec<Self>, $crate::columns::ColumnError> {
                $(let mut $column = columns.field(stringify!($column))?.into_iter();)+
                let mut rows = Vec::with_capacity(columns.rows());
                while let ($(Some($column),)+) = ($($column.next(),)+) {
                    rows.push(Self { $($column,)+ $($($other: $value,)+)? });
                }
                Ok(rows)
            }
        }
    };
}
pub(crate) use from_columns;

/// The rows of a batch.
pub fn read<T: FromColumns>(batch: &RecordBatch) -> Result<Vec<T>, ColumnError> {
    T::from_columns(&Columns { batch })
}

// === impl Columns ===

impl Columns<'_> {
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The values of a column, one a row.
    pub fn field<T: Field>(&self, column: &'static str) -> Result<Vec<T>, ColumnError> {
        T::read(self, column)
    }

    fn values<T: Value>(&self, column: &'static str) -> Result<Vec<Option<T>>, ColumnError> {
        let array = self.batch.column_by_name(column);
        let array = array.ok_or(ColumnError::Missing { column })?;
        // What `NULL AS name` gives.
        if *array.data_type() == DataType::Null {
            return Ok((0..array.len()).map(|_| None).collect());
        }
        match T::of(array) {
            Some(values) => values.map_err(|source| ColumnError::Value { column, source }),
            None => Err(ColumnError::Type {
                column,
                holds: array.data_type().clone(),
                wanted: T::NAME,
            }),
        }
    }

    fn needed<T: Value>(&self, column: &'static str) -> Result<Vec<T>, ColumnError> {
        let values = self.values(column)?.into_iter().enumerate();
        values
            .map(|(row, value)| value.ok_or(ColumnError::Null { column, row }))
            .collect()
    }
}

// === impl Field ===

impl<T: Value> Field for Option<T> {
    fn read(columns: &Columns<'_>, column: &'static str) -> Result<Vec<Self>, ColumnError> {
        columns.values(column)
    }
}

macro_rules! needed {
    ($($value:ty),*) => {$(
        impl Field for $value {
            fn read(columns: &Columns<'_>, column: &'static str) -> Result<Vec<Self>, ColumnError> {
                columns.needed(column)
            }
        }
    )*};
}

needed!(String, bool, u8, u32, u64, i32, Timestamp);

// === impl Value ===

macro_rules! integers {
    ($($value:ty: $arrow:ty,)*) => {$(
        impl Value for $value {
            const NAME: &'static str = "integers";

            fn of(array: &ArrayRef) -> Option<Result<Vec<Option<Self>>, ArrowError>> {
                let is_integer = array.data_type().is_integer();
                is_integer.then(|| integers::<$arrow>(array))
            }
        }
    )*};
}

integers! {
    u8: UInt8Type,
    u32: UInt32Type,
    u64: UInt64Type,
    i32: Int32Type,
}

/// Of whatever width the column is; what does not fit is an error.
fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<Vec<Option<T::Native>>, ArrowError> {
    let refuse = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let array = cast_with_options(array, &T::DATA_TYPE, &refuse)?;
    Ok(array.as_primitive::<T>().iter().collect())
}

impl Value for bool {
    const NAME: &'static str = "true and false";

    fn of(array: &ArrayRef) -> Option<Result<Vec<Option<Self>>, ArrowError>> {
        Some(Ok(array.as_boolean_opt()?.iter().collect()))
    }
}

impl Value for String {
    const NAME: &'static str = "text";

    fn of(array: &ArrayRef) -> Option<Result<Vec<Option<Self>>, ArrowError>> {
        let is_text = |data_type: &DataType| {
            use DataType::{LargeUtf8, Utf8, Utf8View};
            matches!(data_type, Utf8 | LargeUtf8 | Utf8View)
        };
        match array.data_type() {
            DataType::Timestamp(..) => Some(times_as_text(array)),
            DataType::Dictionary(_, values) if is_text(values) => Some(texts(array)),
            other => is_text(other).then(|| texts(array)),
        }
    }
}

fn texts(array: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    let array = cast(array, &DataType::Utf8)?;
    let texts = array.as_string::<i32>().iter();
    Ok(texts.map(|text| text.map(str::to_owned)).collect())
}

fn times_as_text(array: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    let options = FormatOptions::default().with_display_error(false);
    let formatter = ArrayFormatter::try_new(array, &options)?;
    let text = |row| match array.is_null(row) {
        true => Ok(None),
        false => formatter.value(row).try_to_string().map(Some),
    };
    (0..array.len()).map(text).collect()
}

impl Value for Vec<String> {
    const NAME: &'static str = "lists of text";

    fn of(array: &ArrayRef) -> Option<Result<Vec<Option<Self>>, ArrowError>> {
        let lists = array.as_list_opt::<i32>()?;
        let items = match lists.values().data_type() {
            // An empty list that was written into a statement.
            DataType::Null => Ok(vec![None; lists.values().len()]),
            _ => String::of(lists.values())?,
        };
        let offsets = lists.value_offsets().windows(2);
        let list = |items: &[Option<String>]| -> Result<Self, ArrowError> {
            let null = || ArrowError::InvalidArgumentError("a list has a null in it".to_owned());
            let items = items.iter().cloned();
            items.map(|item| item.ok_or_else(null)).collect()
        };
        Some(items.and_then(|items| {
            let lists = offsets.enumerate().map(|(row, ends)| {
                let (from, to) = (ends[0] as usize, ends[1] as usize);
                let is_null = lists.is_null(row);
                (!is_null).then(|| list(&items[from..to])).transpose()
            });
            lists.collect()
        }))
    }
}

impl Value for Timestamp {
    const NAME: &'static str = "times";

    fn of(array: &ArrayRef) -> Option<Result<Vec<Option<Self>>, ArrowError>> {
        let DataType::Timestamp(unit, _) = array.data_type() else {
            return None;
        };
        let of_unit = match unit {
            TimeUnit::Second => Self::from_second,
            TimeUnit::Millisecond => Self::from_millisecond,
            TimeUnit::Microsecond => Self::from_microsecond,
            TimeUnit::Nanosecond => |nanos: i64| Self::from_nanosecond(nanos.into()),
        };
        let of_unit = |number: i64| {
            of_unit(number).map_err(|error| ArrowError::ExternalError(Box::new(error)))
        };
        let numbers = integers::<Int64Type>(array);
        Some(numbers.and_then(|numbers| {
            let times = numbers.into_iter();
            times
                .map(|number| number.map(of_unit).transpose())
                .collect()
        }))
    }
}

#[cfg(test)]
mod tests;
