//! Events as they travel: [`Event`] to `skep.v1` and back.
//!
//! Text is escaped ([`Text::escaped`]), an unknown fact is an absent field.

use std::net::IpAddr;

use skep_proto::v1;

use crate::{BootId, Event, SessionId, Text, UnixNanos, names};

/// A type of field and its form on the wire.
pub trait Wire<W>: Sized {
    fn to_wire(&self) -> W;
    /// # Errors
    ///
    /// The bytes decode, but no sensor writes that value.
    fn from_wire(wire: W) -> Result<Self, Invalid>;
}

/// A value that no sensor writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {0}")]
pub struct Invalid(pub &'static str);

/// The wire form of an event.
pub fn event(event: &Event) -> v1::Event {
    event.to_wire()
}

/// A type that travels as it is.
macro_rules! as_it_is {
    ($($type:ty),*) => {$(
        impl Wire<$type> for $type {
            fn to_wire(&self) -> $type {
                self.clone()
            }

            fn from_wire(wire: $type) -> Result<Self, Invalid> {
                Ok(wire)
            }
        }
    )*};
}

as_it_is! { bool, u32, u64, i32, i64, String }

/// A type that travels as a wider number.
macro_rules! widened {
    ($($type:ty),*) => {$(
        impl Wire<u32> for $type {
            fn to_wire(&self) -> u32 {
                u32::from(*self)
            }

            fn from_wire(wire: u32) -> Result<Self, Invalid> {
                wire.try_into().map_err(|_| Invalid("a number of its size"))
            }
        }
    )*};
}

widened! { u8, u16 }

/// Absent from a sensor that does not count.
impl Wire<Option<u64>> for u64 {
    fn to_wire(&self) -> Option<u64> {
        Some(*self)
    }

    fn from_wire(wire: Option<u64>) -> Result<Self, Invalid> {
        wire.ok_or(Invalid("given"))
    }
}

impl Wire<u64> for UnixNanos {
    fn to_wire(&self) -> u64 {
        self.0
    }

    fn from_wire(wire: u64) -> Result<Self, Invalid> {
        Ok(Self(wire))
    }
}

impl Wire<String> for Text {
    fn to_wire(&self) -> String {
        self.escaped()
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        Self::unescape(&wire).ok_or(Invalid("escaped text"))
    }
}

impl Wire<String> for SessionId {
    fn to_wire(&self) -> String {
        self.to_string()
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        Self::parse(&wire).ok_or(Invalid("a session id"))
    }
}

impl Wire<String> for BootId {
    fn to_wire(&self) -> String {
        self.to_string()
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        Self::parse(&wire).ok_or(Invalid("a boot id"))
    }
}

impl Wire<String> for &'static str {
    fn to_wire(&self) -> String {
        (*self).to_owned()
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        names::kept(&wire).ok_or(Invalid("a name of the sensor's"))
    }
}

impl Wire<String> for IpAddr {
    fn to_wire(&self) -> String {
        self.to_string()
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        wire.parse().map_err(|_| Invalid("an address"))
    }
}

impl<W, T: Wire<W>> Wire<Option<W>> for Option<T> {
    fn to_wire(&self) -> Option<W> {
        self.as_ref().map(T::to_wire)
    }

    fn from_wire(wire: Option<W>) -> Result<Self, Invalid> {
        wire.map(T::from_wire).transpose()
    }
}

impl<W, T: Wire<W>> Wire<Vec<W>> for Vec<T> {
    fn to_wire(&self) -> Vec<W> {
        self.iter().map(T::to_wire).collect()
    }

    fn from_wire(wire: Vec<W>) -> Result<Self, Invalid> {
        wire.into_iter().map(T::from_wire).collect()
    }
}

#[cfg(test)]
mod tests;
