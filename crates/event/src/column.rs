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

/// How a field of type `T`, `W` on the wire, is visited.
pub(crate) mod kind {
    use super::*;

    pub fn text<M, T: AsText<W>, W: 'static>(
        visitor: &mut impl Columns<M>,
        column: &'static Column,
        field: impl Fn(&M) -> &W + Reads,
    ) {
        visitor.text(column, move |message| T::text(field(message)));
    }

    pub fn texts<M, T, W: Same<Vec<String>>>(
        visitor: &mut impl Columns<M>,
        column: &'static Column,
        field: impl Fn(&M) -> &W + Reads,
    ) {
        visitor.texts(column, move |message| Some(field(message).same()));
    }

    /// Null when there are none: that there were none is not known.
    pub fn arguments<M, T, W: Same<Vec<String>>>(
        visitor: &mut impl Columns<M>,
        column: &'static Column,
        field: impl Fn(&M) -> &W + Reads,
    ) {
        visitor.texts(column, move |message| {
            let arguments = field(message).same().as_slice();
            (!arguments.is_empty()).then_some(arguments)
        });
    }

    pub fn flag<M, T, W: Same<bool>>(
        visitor: &mut impl Columns<M>,
        column: &'static Column,
        field: impl Fn(&M) -> &W + Reads,
    ) {
        visitor.flag(column, move |message| Some(*field(message).same()));
    }

    macro_rules! numbers {
        ($($kind:ident)*) => {$(
            pub fn $kind<M, T, W: Number + 'static>(
                visitor: &mut impl Columns<M>,
                column: &'static Column,
                field: impl Fn(&M) -> &W + Reads,
            ) {
                visitor.$kind(column, move |message| field(message).number());
            }
        )*};
    }

    numbers! { short int long wide time }

    /// A part: its own columns.
    pub fn part<M, T: Part, W: Same<Message<T>>>(
        visitor: &mut impl Columns<M>,
        _: &'static Column,
        field: impl Fn(&M) -> &W + Reads,
    ) {
        T::Facts::columns(&mut within(visitor, move |message: &M| {
            field(message).same().as_ref()
        }));
    }
}

/// A field that may have a part.
pub trait Part {
    type Facts: Facts;
}

/// The field of the message for a field that may have a part.
type Message<T> = Option<<<T as Part>::Facts as Facts>::Message>;

impl<T: Facts> Part for Option<T> {
    type Facts = T;
}

/// How the message's field is made out of its cells.
pub(crate) mod read {
    use super::*;

    pub fn text<T: AsText<W>, W>(cells: &impl Cells, column: &'static Column) -> W {
        T::from_text(cells.text(column))
    }

    pub fn texts<T, W: Same<Vec<String>>>(cells: &impl Cells, column: &'static Column) -> W {
        W::from_same(cells.texts(column).unwrap_or_default())
    }

    pub fn arguments<T, W: Same<Vec<String>>>(cells: &impl Cells, column: &'static Column) -> W {
        texts::<T, W>(cells, column)
    }

    pub fn flag<T, W: Same<bool>>(cells: &impl Cells, column: &'static Column) -> W {
        W::from_same(cells.flag(column).unwrap_or_default())
    }

    macro_rules! numbers {
        ($($kind:ident)*) => {$(
            pub fn $kind<T, W: Number>(cells: &impl Cells, column: &'static Column) -> W {
                W::from_number(cells.$kind(column))
            }
        )*};
    }

    numbers! { short int long wide time }

    pub fn part<T: Part, W: Same<Message<T>>>(cells: &impl Cells, _: &'static Column) -> W {
        let is_there = cells.has(T::Facts::FIRST);
        W::from_same(is_there.then(|| T::Facts::read(cells)))
    }
}

/// Whether a value fits its column.
pub mod fits {
    use super::*;

    pub(crate) fn text<T: AsText<W>, W>(wire: &W) -> Result<(), Unfit> {
        T::fits(wire)
    }

    pub(crate) fn texts<T, W>(_: &W) -> Result<(), Unfit> {
        Ok(())
    }

    pub(crate) fn arguments<T, W>(_: &W) -> Result<(), Unfit> {
        Ok(())
    }

    pub(crate) fn flag<T, W>(_: &W) -> Result<(), Unfit> {
        Ok(())
    }

    pub(crate) fn short<T: Narrow, W: Number>(wire: &W) -> Result<(), Unfit> {
        const { assert!(T::MOST <= 255) };
        narrow::<T>(wire.number())
    }

    pub(crate) fn int<T: Narrow, W: Number>(wire: &W) -> Result<(), Unfit> {
        narrow::<T>(wire.number())
    }

    fn narrow<T: Narrow>(number: Option<u64>) -> Result<(), Unfit> {
        match number {
            Some(number) if number > T::MOST => Err(Unfit::named(T::BEYOND)),
            _ => Ok(()),
        }
    }

    pub(crate) fn long<T, W: Number>(wire: &W) -> Result<(), Unfit> {
        match wire.number() {
            Some(number) if number > i64::MAX as u64 => {
                Err(Unfit::plain("a number of more than 63 bits"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn wide<T, W>(_: &W) -> Result<(), Unfit> {
        Ok(())
    }

    pub(crate) fn time<T, W: Number>(wire: &W) -> Result<(), Unfit> {
        unix_nanos(wire.number().unwrap_or_default())
    }

    pub(crate) fn part<T: Part, W: Same<Message<T>>>(wire: &W) -> Result<(), Unfit> {
        wire.same().as_ref().map_or(Ok(()), T::Facts::fits)
    }

    /// A time as the tables keep it.
    pub fn unix_nanos(time: u64) -> Result<(), Unfit> {
        i64::try_from(time)
            .map(drop)
            .map_err(|_| Unfit::plain("a time after the year 2262"))
    }

    pub fn session_id(id: &str) -> Result<(), Unfit> {
        SessionId::parse(id).map(drop).ok_or(Unfit::plain(
            "a session id is not 32 lower-case hexadecimal digits",
        ))
    }

    // === checks of single fields (`only`) ===

    pub(crate) fn at_least_one(count: &u64) -> Result<(), Unfit> {
        match count {
            0 => Err(Unfit::plain("a count of 0")),
            _ => Ok(()),
        }
    }

    pub(crate) fn hundred(number: &u32) -> Result<(), Unfit> {
        match number {
            0..=100 => Ok(()),
            _ => Err(Unfit::named("is more than 100")),
        }
    }

    pub(crate) fn not_empty(text: &str) -> Result<(), Unfit> {
        match text {
            "" => Err(Unfit::named("is empty")),
            _ => Ok(()),
        }
    }
}

/// Any value that fits the column.
#[cfg(feature = "proptest")]
pub(crate) mod any {
    use std::fmt::Debug;

    use proptest::{arbitrary::any, collection::vec, option, prelude::*};

    use super::{AsText, Facts, Message, Narrow, Number, Part, Same};

    pub fn text<T: AsText<W>, W>() -> BoxedStrategy<W> {
        T::any()
    }

    pub fn texts<T, W: Same<Vec<String>> + Debug>() -> BoxedStrategy<W> {
        vec(any::<String>(), 0..4).prop_map(W::from_same).boxed()
    }

    pub fn arguments<T, W: Same<Vec<String>> + Debug>() -> BoxedStrategy<W> {
        texts::<T, W>()
    }

    pub fn flag<T, W: Same<bool> + Debug>() -> BoxedStrategy<W> {
        any::<bool>().prop_map(W::from_same).boxed()
    }

    fn number<W: Number + Debug + 'static>(
        number: impl Strategy<Value = u64> + 'static,
    ) -> BoxedStrategy<W> {
        if W::OPTIONAL {
            option::of(number).prop_map(W::from_number).boxed()
        } else {
            number
                .prop_map(|number| W::from_number(Some(number)))
                .boxed()
        }
    }

    pub fn short<T: Narrow, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
        number(0..=T::MOST)
    }

    pub fn int<T: Narrow, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
        number(0..=T::MOST)
    }

    pub fn long<T, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
        number(0..=W::MOST.min(i64::MAX as u64))
    }

    pub fn wide<T, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
        number(any::<u64>())
    }

    /// Whole microseconds: what is finer is the sensor's own log's.
    pub fn time<T, W: Number + Debug + 'static>() -> BoxedStrategy<W> {
        number((0..=i64::MAX as u64 / 1000).prop_map(|micros| micros * 1000))
    }

    pub fn part<T: Part, W: Same<Message<T>> + Debug>() -> BoxedStrategy<W>
    where
        <T::Facts as Facts>::Message: Debug,
    {
        option::of(T::Facts::any_message())
            .prop_map(W::from_same)
            .boxed()
    }
}
