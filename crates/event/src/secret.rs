//! Which texts of an event can hold a secret, for redaction.
//!
//! Each field names one of the functions here. `none` does not compile for a type that holds text from
//! outside, so that a new text is either searched or said to be the sensor's own.

use std::net::IpAddr;

use crate::{Facts, SessionId, Text, UnixNanos};

/// What is done with texts that can hold a secret.
pub trait Secrets {
    fn text(&mut self, text: &mut Text);
    fn string(&mut self, text: &mut String);
    /// `truncated`: the last argument may be cut off.
    fn command(&mut self, argv: &mut Vec<Text>, truncated: bool);
}

/// Types that hold no text from outside.
pub trait NoText {}

/// Types that are searched.
pub trait Searched {
    fn search(&mut self, visitor: &mut impl Secrets);
}

/// Nothing that can hold a secret.
pub(crate) fn none<T: NoText>(_: &mut T, _: &mut impl Secrets) {}

/// Text that the sensor itself wrote.
pub(crate) fn ours<T>(_: &mut T, _: &mut impl Secrets) {}

/// Searched for shapes of secrets and for URLs that carry one.
pub(crate) fn text(field: &mut impl Searched, visitor: &mut impl Secrets) {
    field.search(visitor);
}

/// Also read as a command line.
pub(crate) fn command(argv: &mut Vec<Text>, visitor: &mut impl Secrets, truncated: bool) {
    visitor.command(argv, truncated);
}

macro_rules! no_text {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::secret::NoText for $type {}
    )*};
}
pub(crate) use no_text;

no_text! { bool, u8, u16, u32, u64, i32, i64, &'static str, UnixNanos, SessionId, IpAddr }

impl<T: NoText> NoText for Option<T> {}

impl Searched for Text {
    fn search(&mut self, visitor: &mut impl Secrets) {
        visitor.text(self);
    }
}

impl Searched for String {
    fn search(&mut self, visitor: &mut impl Secrets) {
        visitor.string(self);
    }
}

impl<T: Searched> Searched for Option<T> {
    fn search(&mut self, visitor: &mut impl Secrets) {
        if let Some(field) = self {
            field.search(visitor);
        }
    }
}

impl<T: Searched> Searched for Vec<T> {
    fn search(&mut self, visitor: &mut impl Secrets) {
        for field in self {
            field.search(visitor);
        }
    }
}

impl<T: Facts> Searched for T {
    fn search(&mut self, visitor: &mut impl Secrets) {
        self.secrets(visitor);
    }
}
