//! Sessions as the kernel programs account for them: losses, and the share of the ring.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{account::Cause, kind::Kind};

/// Value of `SESSIONS` (key: [`ProcessState::session`](crate::ProcessState::session)), made by the daemon when a session begins
/// and counted by the kernel programs: what of a session did not reach the ring.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SessionState {
    /// By kind (less 1) and cause; what the counter map has for the machine, for this session.
    pub lost: [[u64; Cause::ALL.len()]; Kind::ALL.len()],
    /// Boot clock of the last record that was lost or held back, nanoseconds.
    pub last_ns: u64,
    pub share: Share,
}

/// How much somebody has put into the ring of late.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Share {
    /// Consumer position of the ring when `bytes` began to count.
    pub mark: u64,
    pub bytes: u64,
}

const _: () = assert!(size_of::<SessionState>() == 50 * 8 + 24);
