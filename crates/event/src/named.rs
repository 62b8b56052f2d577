//! Enumerations: their names in JSON and in the tables, their numbers on the wire.

/// An enumeration that is a number on the wire. Its discriminants are those numbers; 0 is none of
/// them.
macro_rules! numbered {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            strum::FromRepr, strum::IntoStaticStr, strum::VariantArray,
        )]
        #[strum(serialize_all = "snake_case", const_into_str)]
        #[repr(i32)]
        pub enum $name { $($(#[$doc])* $variant = $number,)* }

        $crate::named::names!($name);

        impl $crate::Wire<i32> for $name {
            fn to_wire(&self) -> i32 {
                *self as i32
            }

            fn from_wire(wire: i32) -> Result<Self, $crate::Invalid> {
                Self::from_repr(wire).ok_or($crate::Invalid("a value that is known"))
            }
        }
    };
}
pub(crate) use numbered;

/// What every enumeration has that is a field.
macro_rules! names {
    ($name:ident) => {
        impl $name {
            pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

            /// Its name in JSON and in the collector's tables.
            pub const fn name(self) -> &'static str {
                self.into_str()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        $crate::borrowed::copied! { $name }
        $crate::secret::no_text! { $name }

        #[cfg(feature = "proptest")]
        impl $crate::arbitrary::Any for $name {
            fn any() -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::strategy::Strategy;
                proptest::sample::select(Self::ALL).boxed()
            }
        }
    };
}
pub(crate) use names;

/// The column of a [`numbered`] enumeration: its name. `or unknown`: 0 is taken, from a sensor that
/// does not say.
macro_rules! named_in_column {
    ($name:ident $(or $unknown:ident)?) => {
        impl $crate::column::AsText<i32> for $name {
            fn text(wire: &i32) -> Option<&str> {
                Self::from_repr(*wire).map(Self::name)
            }

            fn from_text(text: Option<String>) -> i32 {
                let known = Self::ALL.iter().find(|known| Some(known.name()) == text.as_deref());
                known.map_or(0, |known| *known as i32)
            }

            fn fits(wire: &i32) -> Result<(), $crate::Unfit> {
                let unknown = *wire == 0 && $crate::named::is_unknown!($($unknown)?);
                if unknown || Self::from_repr(*wire).is_some() {
                    return Ok(());
                }
                let names: Vec<_> = Self::ALL.iter().map(|known| known.name()).collect();
                let (last, others) = names.split_last().expect("an enumeration has variants");
                let reason = format!("is not {} or {last}", others.join(", "));
                Err($crate::Unfit::named(reason))
            }

            #[cfg(feature = "proptest")]
            fn any() -> proptest::strategy::BoxedStrategy<i32> {
                use proptest::strategy::Strategy;
                let first = i32::from(!$crate::named::is_unknown!($($unknown)?));
                (first..=Self::ALL.len() as i32).boxed()
            }
        }
    };
}
pub(crate) use named_in_column;

macro_rules! is_unknown {
    () => {
        false
    };
    (unknown) => {
        true
    };
}
pub(crate) use is_unknown;
