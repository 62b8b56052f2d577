//! `Pod` for what the daemon puts into maps and reads from them, and for records.
#![expect(unsafe_code, reason = "`aya::Pod` is an unsafe trait")]

use crate::{
    Claim, ClaimVerdict, Connect, Control, Counters, Exec, Exit, FileKey, FoldCount, FoldKey, Fork,
    Header, Open, ProcessState, SessionState, Socket, Task, Uring, Walk,
};

// SAFETY: `#[repr(C)]`, integers only, no padding (asserted sizes), every bit pattern is valid.
unsafe impl aya::Pod for Claim {}
// SAFETY: as above.
unsafe impl aya::Pod for ClaimVerdict {}
// SAFETY: as above.
unsafe impl aya::Pod for Counters {}
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
// SAFETY: as above.
unsafe impl aya::Pod for Control {}
// SAFETY: as above.
unsafe impl aya::Pod for FoldCount {}
// SAFETY: as above.
unsafe impl aya::Pod for FoldKey {}
// SAFETY: as above.
unsafe impl aya::Pod for SessionState {}
// SAFETY: as above.
unsafe impl aya::Pod for Socket {}
// SAFETY: as above.
unsafe impl aya::Pod for Task {}
// SAFETY: as above.
unsafe impl aya::Pod for Uring {}
// SAFETY: as above.
unsafe impl aya::Pod for Walk {}
