//! Any value of each type of field, for property tests.

use std::net::IpAddr;

use proptest::{arbitrary::any, collection::vec, option, prelude::*};

use crate::{
    BootId, Device, Facts, FileMode, NetFamily, OpenFlags, Protocol, SessionId, Text, UnixNanos,
};

/// Any value of a type of field.
pub trait Any: Sized {
    fn any() -> BoxedStrategy<Self>;
}

macro_rules! as_proptest_has_it {
    ($($type:ty),*) => {$(
        impl Any for $type {
            fn any() -> BoxedStrategy<Self> {
                any::<Self>().boxed()
            }
        }
    )*};
}

as_proptest_has_it! { bool, u8, u16, u32, u64, i32, i64, String, IpAddr }

macro_rules! wrapped {
    ($($type:ident($inner:ty)),*) => {$(
        impl Any for $type {
            fn any() -> BoxedStrategy<Self> {
                any::<$inner>().prop_map($type).boxed()
            }
        }
    )*};
}

wrapped! { UnixNanos(u64), SessionId([u8; 16]), BootId([u8; 16]), OpenFlags(u32), FileMode(u32), Protocol(u8) }

impl Any for Text {
    fn any() -> BoxedStrategy<Self> {
        vec(any::<u8>(), 0..24).prop_map(Self::from).boxed()
    }
}

impl Any for &'static str {
    fn any() -> BoxedStrategy<Self> {
        prop::sample::select(vec!["kernel", "open", "ring_full", "cgroup/connect4"]).boxed()
    }
}

impl Any for Device {
    fn any() -> BoxedStrategy<Self> {
        any::<(u32, u32)>()
            .prop_map(|(major, minor)| Self { major, minor })
            .boxed()
    }
}

impl Any for NetFamily {
    fn any() -> BoxedStrategy<Self> {
        let named = vec![Self::Inet, Self::Inet6, Self::Unix, Self::Vsock];
        prop_oneof![
            prop::sample::select(named),
            any::<u16>().prop_map(Self::Other)
        ]
        .boxed()
    }
}

impl<T: Any + std::fmt::Debug + 'static> Any for Option<T> {
    fn any() -> BoxedStrategy<Self> {
        option::of(T::any()).boxed()
    }
}

impl<T: Any + std::fmt::Debug + 'static> Any for Vec<T> {
    fn any() -> BoxedStrategy<Self> {
        vec(T::any(), 0..5).boxed()
    }
}

impl Any for crate::Repository {
    fn any() -> BoxedStrategy<Self> {
        Facts::any()
    }
}
