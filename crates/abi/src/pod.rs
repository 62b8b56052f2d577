//! `aya::Pod` for the keys and values of maps that the daemon reads or writes through aya.
//!
//! Records and the keys that are read in batches do without: they are zerocopy types.
#![expect(unsafe_code, reason = "`aya::Pod` is an unsafe trait")]

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    account::Counters,
    fold::Control,
    process::{Claim, ClaimVerdict, FileKey, ProcessState},
    session::SessionState,
    switch::Switch,
    walk::Walk,
};

/// What `aya::Pod` asks of a type, as bounds that the compiler checks.
const fn is_plain<T: FromBytes + IntoBytes + Immutable + Copy + 'static>() {}

macro_rules! pod {
    ($($type:ty),* $(,)?) => {$(
        const _: () = is_plain::<$type>();
        // SAFETY: the line above compiles only for a type that any bytes make a value of (`FromBytes`)
        // and that is initialised bytes throughout (`IntoBytes`: no padding; `Immutable`: no cells).
        unsafe impl aya::Pod for $type {}
    )*};
}

pod!(
    Claim,
    ClaimVerdict,
    Control,
    Counters,
    FileKey,
    ProcessState,
    SessionState,
    Switch,
    Walk,
);
