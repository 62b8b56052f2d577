//! `Pod` for what the daemon puts into maps and reads from them, and for records.
#![expect(unsafe_code, reason = "`aya::Pod` is an unsafe trait")]

use crate::{Claim, ClaimVerdict, Connect, Exec, Exit, FileKey, Fork, Header, Open, ProcessState};

// SAFETY: `#[repr(C)]`, integers only, no padding (asserted sizes), every bit pattern is valid.
unsafe impl aya::Pod for Claim {}
// SAFETY: as above.
unsafe impl aya::Pod for ClaimVerdict {}
// SAFETY: as above.
unsafe impl aya::Pod for FileKey {}
// SAFETY: as above.
unsafe impl aya::Pod for ProcessState {}
// SAFETY: as above.
unsafe impl aya::Pod for Header {}
// SAFETY: as above.
unsafe impl aya::Pod for Exec {}
// SAFETY: as above.
unsafe impl aya::Pod for Fork {}
// SAFETY: as above.
unsafe impl aya::Pod for Exit {}
// SAFETY: as above.
unsafe impl aya::Pod for Open {}
// SAFETY: as above.
unsafe impl aya::Pod for Connect {}
