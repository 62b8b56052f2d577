//! Columns of the collector's tables: their names, their order, and the values in them.
//!
//! A column's kind is a function of [`kind`]; the types of its values on the wire follow from the
//! field. What the tables are made of (Arrow, Parquet) is the collector's alone.
//!
//! Invariants, held by the collector's tests: ordinals are those of the files that exist (a new column
//! has the next one); a value of a message that passes [`Facts::fits`] fits its column.
#![expect(
    clippy::extra_unused_type_parameters,
    reason = "the macros call every kind alike, with the field's type and its type on the wire"
)]

use std::{borrow::Cow, fmt, marker::PhantomData, net::IpAddr};

use crate::{Facts, SessionId, Text};

/// A column of `events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its place in the files.
    pub ordinal: usize,
    pub name: &'static str,
    /// One line for the documentation.
    pub about: &'static str,
}

/// Columns of several classes.
pub const COUNT: Column = Column::at(
    25,
    "count",
    "how many opens, connects or records lost the row stands for; of coverage, records concerned (0: none, or not a number of records)",
);
pub const LAST: Column = Column::at(
    26,
    "last",
    "time of the last of them; null when there is one",
);

/// Columns of the classes that are about a file.
pub const FILE_PATH: Column = Column::at(
    21,
    "file_path",
    "file opened, or changed: by the name it had before",
);
pub const FILE_RESOLVED: Column = Column::at(
    22,
    "file_resolved",
    "true: the kernel's own path; false: as the program gave it",
);
pub const FILE_MODE: Column = Column::at(
    24,
    "file_mode",
    "file type and permission bits; null when the open failed; of a change, the bits it was to get",
);
pub const FILE_INODE: Column = Column::at(52, "file_inode", "number of the file on its device");
pub const FILE_DEVICE: Column = Column::at(53, "file_device", "device of the file, major:minor");

impl Column {
    pub const fn at(ordinal: usize, name: &'static str, about: &'static str) -> Self {
        Self {
            ordinal,
            name,
            about,
        }
    }
}

/// What a function that reads a column's value must be.
pub trait Reads: Copy + Send + Sync + 'static {}

impl<T: Copy + Send + Sync + 'static> Reads for T {}

/// Visits the columns of a message; `value` is what a message has there.
pub trait Columns<M> {
    fn text(&mut self, column: &'static Column, value: impl Fn(&M) -> Option<&str> + Reads);
    fn texts(&mut self, column: &'static Column, value: impl Fn(&M) -> Option<&[String]> + Reads);
    fn flag(&mut self, column: &'static Column, value: impl Fn(&M) -> Option<bool> + Reads);
    /// At most 255.
    fn short(&mut self, column: &'static Column, value: impl Fn(&M) -> Option<u64> + Reads);
    /// At most `i32::MAX`.
    fn int(&mut self, column: &'static Column, value: impl Fn(&M) -> Option<u64> + Reads);
    /// At most `i64::MAX`.
    fn long(&mut self, column: &'static Column, value: impl Fn(&M) -> Option<u64> + Reads);
    /// All 64 bits: an inode of an overlay uses the highest.
    fn wide(&mut self, column: &'static Column, value: impl Fn(&M) -> Option<u64> + Reads);
    /// A difference: a number with a sign.
    fn signed(&mut self, column: &'static Column, value: impl Fn(&M) -> Option<i64> + Reads);
    /// Unix nanoseconds, at most `i64::MAX`.
    fn time(&mut self, column: &'static Column, value: impl Fn(&M) -> Option<u64> + Reads);
}

/// The cells of a row; `None` is null.
pub trait Cells {
    fn has(&self, column: &'static Column) -> bool;
    fn text(&self, column: &'static Column) -> Option<String>;
    fn texts(&self, column: &'static Column) -> Option<Vec<String>>;
    fn flag(&self, column: &'static Column) -> Option<bool>;
    fn short(&self, column: &'static Column) -> Option<u64>;
    fn int(&self, column: &'static Column) -> Option<u64>;
    fn long(&self, column: &'static Column) -> Option<u64>;
    fn wide(&self, column: &'static Column) -> Option<u64>;
    fn signed(&self, column: &'static Column) -> Option<i64>;
    /// Unix nanoseconds.
    fn time(&self, column: &'static Column) -> Option<u64>;
}

/// A value that does not fit its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Its key in JSON, where `reason` does not say enough.
    field: Option<&'static str>,
    reason: Cow<'static, str>,
    named: bool,
}

// === types of fields that are text in a column ===

/// A type of field that has text in its column; `W` is its form on the wire.
pub trait AsText<W> {
    fn text(wire: &W) -> Option<&str>;
    fn from_text(text: Option<String>) -> W;
    fn fits(_: &W) -> Result<(), Unfit> {
        Ok(())
    }
    #[cfg(feature = "proptest")]
    fn any() -> proptest::strategy::BoxedStrategy<W>;
}

/// Types that are text on the wire, too.
macro_rules! text_in_column {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::column::AsText<String> for $type {
            fn text(wire: &String) -> Option<&str> {
                Some(wire)
            }

            fn from_text(text: Option<String>) -> String {
                text.unwrap_or_default()
            }

            #[cfg(feature = "proptest")]
            fn any() -> proptest::strategy::BoxedStrategy<String> {
                proptest::strategy::Strategy::boxed(proptest::arbitrary::any::<String>())
            }
        }
    )*};
}
pub(crate) use text_in_column;

text_in_column! { Text, String, &'static str, IpAddr }

impl AsText<String> for SessionId {
    fn text(wire: &String) -> Option<&str> {
        Some(wire)
    }

    fn from_text(text: Option<String>) -> String {
        text.unwrap_or_default()
    }

    fn fits(wire: &String) -> Result<(), Unfit> {
        fits::session_id(wire)
    }

    #[cfg(feature = "proptest")]
    fn any() -> proptest::strategy::BoxedStrategy<String> {
        use proptest::strategy::Strategy;

        proptest::arbitrary::any::<String>().boxed()
    }
}

impl<T: AsText<String>> AsText<Option<String>> for Option<T> {
    fn text(wire: &Option<String>) -> Option<&str> {
        wire.as_deref()
    }

    fn from_text(text: Option<String>) -> Option<String> {
        text
    }

    fn fits(wire: &Option<String>) -> Result<(), Unfit> {
        wire.as_ref().map_or(Ok(()), T::fits)
    }

    #[cfg(feature = "proptest")]
    fn any() -> proptest::strategy::BoxedStrategy<Option<String>> {
        proptest::strategy::Strategy::boxed(proptest::option::of(T::any()))
    }
}

// === numbers ===

/// A number as it is on the wire.
pub trait Number: Sized {
    const OPTIONAL: bool;
    const MOST: u64;

    fn number(&self) -> Option<u64>;
    /// `number` fits; 0 stands for one that has to be there and is not.
    fn from_number(number: Option<u64>) -> Self;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const OPTIONAL: bool = false;
            const MOST: u64 = <$type>::MAX as u64;

            fn number(&self) -> Option<u64> {
                Some(u64::from(*self))
            }

            fn from_number(number: Option<u64>) -> Self {
                number.and_then(|number| number.try_into().ok()).unwrap_or_default()
            }
        }
    )*};
}

numbers! { u32, u64 }

impl<N: Number> Number for Option<N> {
    const OPTIONAL: bool = true;
    const MOST: u64 = N::MOST;

    fn number(&self) -> Option<u64> {
        self.as_ref().and_then(N::number)
    }

    fn from_number(number: Option<u64>) -> Self {
        number.map(|number| N::from_number(Some(number)))
    }
}

/// A type of field that is a number of fewer than 32 bits, or has no more in its column.
pub trait Narrow {
    const MOST: u64;
    /// `more than 255`
    const BEYOND: &'static str;
}

impl Narrow for u8 {
    const MOST: u64 = 255;
    const BEYOND: &'static str = "is more than 255";
}

impl Narrow for u16 {
    const MOST: u64 = 65_535;
    const BEYOND: &'static str = "is more than 65535";
}

impl Narrow for u32 {
    const MOST: u64 = i32::MAX as u64;
    const BEYOND: &'static str = "is more than 2^31";
}

impl<T: Narrow> Narrow for Option<T> {
    const MOST: u64 = T::MOST;
    const BEYOND: &'static str = T::BEYOND;
}

// === impl Unfit ===

impl Unfit {
    /// `reason` goes on from the name of the field.
    pub fn named(reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field: None,
            reason: reason.into(),
            named: true,
        }
    }

    /// `reason` says all.
    pub fn plain(reason: &'static str) -> Self {
        Self {
            field: None,
            reason: reason.into(),
            named: false,
        }
    }

    /// It is the value of this field, of a part of which it may be already.
    pub(crate) fn of(mut self, field: &'static str) -> Self {
        self.field.get_or_insert(field);
        self
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.filter(|_| self.named) {
            // What collectors have always said of them.
            Some(field) => match field.strip_prefix("session_info.") {
                Some(field) => write!(f, "session.{field} {}", self.reason),
                None => write!(f, "{field} {}", self.reason),
            },
            None => f.write_str(&self.reason),
        }
    }
}

/// Visits the columns of a part, as columns of the message that has it.
struct Within<'v, V, G, O> {
    visitor: &'v mut V,
    part: G,
    of: PhantomData<fn(&O)>,
}

/// The type of `part` has to be said where the closure is made.
fn within<O, M, V, G: Fn(&O) -> Option<&M> + Reads>(
    visitor: &mut V,
    part: G,
) -> Within<'_, V, G, O> {
    Within {
        visitor,
        part,
        of: PhantomData,
    }
}

macro_rules! within {
    ($($kind:ident -> $value:ty;)*) => {
        impl<O, M: 'static, V, G> Columns<M> for Within<'_, V, G, O>
        where
            V: Columns<O>,
            G: Fn(&O) -> Option<&M> + Reads,
        {
            $(fn $kind(
                &mut self,
                column: &'static Column,
                value: impl Fn(&M) -> Option<$value> + Reads,
            ) {
                let part = self.part;
                self.visitor.$kind(column, move |outer| part(outer).and_then(value));
            })*
        }
    };
}

within! {
    text -> &str;
    texts -> &[String];
    flag -> bool;
    short -> u64;
    int -> u64;
    long -> u64;
    wide -> u64;
    signed -> i64;
    time -> u64;
}

/// Types that are the same, said as a bound.
pub(crate) trait Same<T>: 'static {
    fn same(&self) -> &T;
    fn from_same(same: T) -> Self;
}

impl<T: 'static> Same<T> for T {
    fn same(&self) -> &T {
        self
    }

    fn from_same(same: T) -> Self {
        same
    }
}

pub(crate) mod kind;

/// A field that may have a part.
pub trait Part {
    type Facts: Facts;
}

/// The field of the message for a field that may have a part.
type Message<T> = Option<<<T as Part>::Facts as Facts>::Message>;

impl<T: Facts> Part for Option<T> {
    type Facts = T;
}

pub(crate) mod read;

pub mod fits;

/// Any value that fits the column.
#[cfg(feature = "proptest")]
pub(crate) mod any;
