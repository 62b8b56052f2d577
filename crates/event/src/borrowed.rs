//! Fields as the hot path has them: borrowed from the record that the kernel sent.

use std::net::IpAddr;

use crate::{Text, UnixNanos};

/// A type of field that the hot path has without owning it.
pub trait Borrowed: Sized {
    type Ref<'a>: Copy;

    fn own(borrowed: Self::Ref<'_>) -> Self;
    fn borrowed(&self) -> Self::Ref<'_>;
    /// Whether this is what owning it would give.
    fn is(&self, borrowed: Self::Ref<'_>) -> bool;
    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// A type of field that counts the acts an event reports, or dates the last of them.
pub trait Counted {
    /// Its value when there is one.
    const ONE: Self;
}

impl Counted for u64 {
    const ONE: Self = 1;
}

impl Counted for Option<UnixNanos> {
    const ONE: Self = None;
}

impl Borrowed for Text {
    type Ref<'a> = &'a [u8];

    fn own(borrowed: &[u8]) -> Self {
        Self::from(borrowed)
    }

    fn borrowed(&self) -> &[u8] {
        self.as_bytes()
    }

    fn is(&self, borrowed: &[u8]) -> bool {
        self.as_bytes() == borrowed
    }

    fn heap_bytes(&self) -> usize {
        self.as_bytes().len()
    }
}

impl<T: Borrowed> Borrowed for Option<T> {
    type Ref<'a> = Option<T::Ref<'a>>;

    fn own(borrowed: Self::Ref<'_>) -> Self {
        borrowed.map(T::own)
    }

    fn borrowed(&self) -> Self::Ref<'_> {
        self.as_ref().map(T::borrowed)
    }

    fn is(&self, borrowed: Self::Ref<'_>) -> bool {
        match (self, borrowed) {
            (Some(owned), Some(borrowed)) => owned.is(borrowed),
            (None, None) => true,
            _ => false,
        }
    }

    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

/// Types that are copied.
macro_rules! copied {
    ($($type:ty),* $(,)?) => {$(
        impl $crate::Borrowed for $type {
            type Ref<'a> = Self;

            fn own(borrowed: Self) -> Self {
                borrowed
            }

            fn borrowed(&self) -> Self {
                *self
            }

            fn is(&self, borrowed: Self) -> bool {
                *self == borrowed
            }
        }
    )*};
}
pub(crate) use copied;

copied! { bool, u8, u16, u32, u64, IpAddr }
