//! The macros that make a class, or a part that several classes share, out of one list of fields.
//!
//! A field is written once, with all that is known of it:
//!
//! ```text
//! /// Documentation of the field.
//! name: Type {
//!     wire: name_in_skep_v1,
//!     column: kind(Column::at(ordinal, "name", "about")),
//!     secrets: none,
//!     meaning: "…", example: "…", why: why::…,
//!     sample: a value of it,
//! }
//! ```
//!
//! From the list follow the struct, its JSON form, its wire form both ways, what redaction looks at,
//! its rows of the manifest, its columns and the values in them, what ingest refuses, a sample and
//! generators for property tests. Both structs and both messages are taken apart completely: a field
//! of the message that is not in the list, or the reverse, does not compile.
//!
//! - `column`: the kind is a function of [`kind`]; a column of several classes is a constant of
//!   [`crate::column`].
//! - `secrets`: a function of [`secret`]: `none` compiles only for types that hold no text, `ours` is
//!   text that the sensor itself wrote, `text` and `command` are searched.
//! - `only` (optional): a function of [`fits`], a check of the value beyond that of its kind.
//! - `also` (optional): a second key in JSON, derived from the value.
//!
//! In [`class!`], `counted` before a field's name: the hot path's form of an event does not have it,
//! since it counts the acts that the event reports; `part`: the field is a part ([`facts!`]) itself.
//!
//! [`kind`]: crate::column::kind
//! [`secret`]: crate::secret
//! [`fits`]: crate::column::fits

use crate::{
    column::{Cells, Column, Columns, Unfit},
    field::Field,
    secret::Secrets,
};

/// A class or a part: a list of fields. The visitors are generic, so that each field costs what code
/// written for it alone would.
pub trait Facts: Sized + 'static {
    /// Its message in `skep.v1`.
    type Message: 'static;
    /// The first column: it has a value whenever these facts are there.
    const FIRST: &'static Column;

    /// Visits each text that can hold a secret.
    fn secrets(&mut self, visitor: &mut impl Secrets);
    /// Visits each column.
    fn columns(visitor: &mut impl Columns<Self::Message>);
    /// The message out of the columns of a row.
    fn read(cells: &impl Cells) -> Self::Message;
    /// Whether each value fits its column.
    ///
    /// # Errors
    ///
    /// The first that does not.
    fn fits(message: &Self::Message) -> Result<(), Unfit>;
    /// Its rows of the manifest, in the order of the JSON form.
    fn fields(rows: &mut Vec<Field>);
    /// One with every field set.
    fn sample() -> Self;
    /// Any message that ingest takes; times are whole microseconds, as in the tables.
    #[cfg(feature = "proptest")]
    fn any_message() -> proptest::strategy::BoxedStrategy<Self::Message>;
    /// Any value.
    #[cfg(feature = "proptest")]
    fn any() -> proptest::strategy::BoxedStrategy<Self>;
}

/// Nested pairs, as an expression or a pattern: tuples of any length.
#[cfg(feature = "proptest")]
macro_rules! nested {
    () => { proptest::strategy::Just(()) };
    ($head:expr $(, $tail:expr)*) => { ($head, nested!($($tail),*)) };
}
#[cfg(feature = "proptest")]
macro_rules! nested_names {
    () => { () };
    ($head:ident $($tail:ident)*) => { ($head, nested_names!($($tail)*)) };
}

/// A struct of facts. `Name = Message at "json.key", "wire.key" of CLASSES; fields`
macro_rules! facts {
    (
        $(#[$meta:meta])*
        $name:ident = $message:ident at $key:literal, $wire_key:literal of $classes:expr;
        $(
            $(#[$doc:meta])*
            $field:ident: $type:ty {
                wire: $wire:ident,
                column: $kind:ident($column:expr),
                secrets: $secrets:ident $(($with:ident))?,
                meaning: $meaning:expr,
                example: $example:expr,
                why: $why:expr,
                sample: $sample:expr,
                $(only: $only:ident,)?
                $(also: $also:literal = $derived:expr, $also_meaning:expr, $also_example:expr,)?
            }
        )*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $crate::Facts for $name {
            type Message = skep_proto::v1::$message;

            const FIRST: &'static $crate::Column = {
                const ALL: &[&$crate::Column] = &[$(const { &$column }),*];
                ALL[0]
            };

            fn secrets(&mut self, visitor: &mut impl $crate::Secrets) {
                $($crate::secret::$secrets(&mut self.$field, visitor $(, self.$with)?);)*
            }

            fn columns(visitor: &mut impl $crate::Columns<Self::Message>) {
                $($crate::column::kind::$kind::<Self::Message, $type, _>(
                    visitor,
                    const { &$column },
                    |message| &message.$wire,
                );)*
            }

            fn read(cells: &impl $crate::Cells) -> Self::Message {
                skep_proto::v1::$message {
                    $($wire: $crate::column::read::$kind::<$type, _>(cells, const { &$column }),)*
                }
            }

            fn fits(message: &Self::Message) -> Result<(), $crate::Unfit> {
                $(
                    let field = concat!($key, ".", stringify!($field));
                    $($crate::column::fits::$only(&message.$wire).map_err(|unfit| unfit.of(field))?;)?
                    $crate::column::fits::$kind::<$type, _>(&message.$wire)
                        .map_err(|unfit| unfit.of(field))?;
                )*
                Ok(())
            }

            fn fields(rows: &mut Vec<$crate::Field>) {
                $(
                    $crate::field::$kind::<$type>(rows, $crate::Field {
                        name: Some(concat!($key, ".", stringify!($field))),
                        wire: Some(concat!($wire_key, ".", stringify!($wire))),
                        classes: $classes,
                        meaning: $meaning,
                        example: $example,
                        why: $why,
                        redaction: $crate::field::redaction::$secrets,
                    });
                    $(rows.push($crate::Field {
                        name: Some(concat!($key, ".", $also)),
                        wire: None,
                        classes: $classes,
                        meaning: $also_meaning,
                        example: $also_example,
                        why: $why,
                        redaction: $crate::field::redaction::none,
                    });)?
                )*
            }

            fn sample() -> Self {
                Self { $($field: $sample,)* }
            }

            #[cfg(feature = "proptest")]
            fn any_message() -> proptest::strategy::BoxedStrategy<Self::Message> {
                use proptest::strategy::Strategy;
                nested!($($crate::column::any::$kind::<$type, _>()),*)
                    .prop_map(|nested_names!($($wire)*)| skep_proto::v1::$message { $($wire),* })
                    .boxed()
            }

            #[cfg(feature = "proptest")]
            fn any() -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::Strategy;
                nested!($(<$type as $crate::arbitrary::Any>::any()),*)
                    .prop_map(|nested_names!($($field)*)| Self { $($field),* })
                    .boxed()
            }
        }

        impl $crate::Wire<skep_proto::v1::$message> for $name {
            fn to_wire(&self) -> skep_proto::v1::$message {
                skep_proto::v1::$message {
                    $($wire: $crate::Wire::to_wire(&self.$field),)*
                }
            }

            fn from_wire(message: skep_proto::v1::$message) -> Result<Self, $crate::Invalid> {
                let skep_proto::v1::$message { $($wire),* } = message;
                Ok(Self { $($field: $crate::Wire::from_wire($wire)?,)* })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                const KEYS: &[&str] = &[$(stringify!($field), $($also,)?)*];
                let mut out = serializer.serialize_struct(stringify!($name), KEYS.len())?;
                $(
                    out.serialize_field(stringify!($field), &self.$field)?;
                    $(out.serialize_field($also, &$derived(&self.$field))?;)?
                )*
                out.end()
            }
        }
    };
}

/// A class of events. As [`facts!`], and the form of it that the hot path has, where there is one.
macro_rules! class {
    (
        $(#[$meta:meta])*
        $name:ident $(($borrowed:ident))? = $message:ident at $key:literal, $wire_key:literal of $class:ident;
        $($fields:tt)*
    ) => {
        class! {
            @sort ($(#[$meta])* $name $(($borrowed))? = $message at $key, $wire_key of $class) [] [] []
            $($fields)*
        }
    };
    // One field after the other: into the list of all, and of those that the hot path has, or of
    // those that it has not.
    (
        @sort $head:tt [$($all:tt)*] $kept:tt [$($counted:tt)*]
        $(#[$doc:meta])* counted $field:ident: $type:ty { $($about:tt)* } $($rest:tt)*
    ) => {
        class! {
            @sort $head [$($all)* $(#[$doc])* $field: $type { $($about)* }]
            $kept [$($counted)* $field: $type;]
            $($rest)*
        }
    };
    (
        @sort $head:tt [$($all:tt)*] $kept:tt $counted:tt
        $(#[$doc:meta])* part $field:ident: Option<$type:ty> { wire: $wire:ident } $($rest:tt)*
    ) => {
        class! {
            @sort $head
            [$($all)* $(#[$doc])* $field: Option<$type> {
                wire: $wire,
                column: part(*<$type as $crate::Facts>::FIRST),
                secrets: text,
                meaning: "",
                example: "",
                why: "",
                sample: Some($crate::Facts::sample()),
            }]
            $kept $counted
            $($rest)*
        }
    };
    // The hot path borrows text; the rest is copied.
    (
        @sort $head:tt [$($all:tt)*] [$($kept:tt)*] $counted:tt
        $(#[$doc:meta])* $field:ident: Option<Text> { $($about:tt)* } $($rest:tt)*
    ) => {
        class! {
            @sort $head [$($all)* $(#[$doc])* $field: Option<Text> { $($about)* }]
            [$($kept)* $(#[$doc])* $field: Option<Text> as Option<&'a [u8]>;] $counted
            $($rest)*
        }
    };
    (
        @sort $head:tt [$($all:tt)*] [$($kept:tt)*] $counted:tt
        $(#[$doc:meta])* $field:ident: $type:ty { $($about:tt)* } $($rest:tt)*
    ) => {
        class! {
            @sort $head [$($all)* $(#[$doc])* $field: $type { $($about)* }]
            [$($kept)* $(#[$doc])* $field: $type as $type;] $counted
            $($rest)*
        }
    };
    (
        @sort ($(#[$meta:meta])* $name:ident $(($borrowed:ident))? = $message:ident at $key:literal, $wire_key:literal of $class:ident)
        [$($all:tt)*] $kept:tt $counted:tt
    ) => {
        facts! {
            $(#[$meta])*
            $name = $message at $key, $wire_key of &[$crate::Class::$class];
            $($all)*
        }
        $(class! { @borrowed $name $borrowed $kept $counted })?
    };
    (
        @borrowed $name:ident $borrowed:ident
        [$($(#[$doc:meta])* $field:ident: $type:ty as $ref:ty;)*]
        [$($counted:ident: $counted_type:ty;)*]
    ) => {
        #[doc = concat!("One act of a [`", stringify!($name), "`], borrowed from the record of the kernel.")]
        /// By default nothing is known of it.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $borrowed<'a> {
            $($(#[$doc])* pub $field: $ref,)*
        }

        impl $borrowed<'_> {
            /// The detail of an event that reports this act alone.
            pub fn own(&self) -> $name {
                $name {
                    $($field: <$type as $crate::Borrowed>::own(self.$field),)*
                    $($counted: <$counted_type as $crate::borrowed::Counted>::ONE,)*
                }
            }

            /// Whether `known` reports the same act, count and last time left out.
            pub fn repeats(&self, known: &$name) -> bool {
                let $name { $($field,)* $($counted: _),* } = known;
                $(<$type as $crate::Borrowed>::is($field, self.$field))&&*
            }
        }

        impl $name {
            /// One of the acts that it reports.
            pub fn borrowed(&self) -> $borrowed<'_> {
                let Self { $($field,)* $($counted: _),* } = self;
                $borrowed {
                    $($field: <$type as $crate::Borrowed>::borrowed($field),)*
                }
            }

            /// Bytes on the heap.
            pub fn heap_bytes(&self) -> usize {
                let Self { $($field,)* $($counted: _),* } = self;
                0 $(+ <$type as $crate::Borrowed>::heap_bytes($field))*
            }
        }
    };
}
