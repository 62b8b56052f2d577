//! The kernel/user ABI of the sensor: record layouts, map keys and values, constants.
//!
//! One definition for both sides. Invariants:
//! - every struct is `#[repr(C)]` with explicit padding, no pointers, no `Option`; zerocopy's derives
//!   refuse one with padding or with bytes that no value may have, and sizes and offsets are asserted
//!   beside each, so a change that moves a byte does not compile;
//! - a record is `Header`, then the fixed part of its kind, then a tail of byte strings whose lengths
//!   stand in the fixed part, in the order documented there;
//! - integers are in host byte order except where the name says network order;
//! - a value that could not be read has its bit in `Header::missing` set; the field itself is then
//!   meaningless, never "zero meaning unknown".
#![no_std]
#![deny(unsafe_code)]

mod account;
mod change;
mod fold;
mod hook;
mod kind;
mod limits;
mod log;
mod offsets;
#[cfg(feature = "user")]
mod pod;
mod process;
mod record;
mod session;
mod switch;
mod walk;

pub use account::{
    COUNTERS, COUNTERS_PER_KIND, Cause, Counters, folded_index, lost_index, sent_index,
};
pub use change::{CHANGE_FOLLOWS, CHANGE_GUESSED, Change, ChangeOp};
pub use fold::{Control, FoldCount, FoldKey, FoldShare};
pub use hook::Hook;
pub use kind::Kind;
pub use limits::{
    ARGV_END_MAX, ARGV_MAX, CANARY_SESSION, COMPONENTS_MAX, ENVIRONMENT_MAX, FILTER_SLOTS,
    FOLD_KINDS, FOLD_KINDS_A_SESSION, FOLD_SHARES, LOST_WAITING_CLAIMS, NAME_MAX, PATH_MAX,
    PENDING_SESSION, PENDING_SHARES, SCRATCH_BYTES, SCRATCH_SLOTS, SESSION_FIRST,
    TRIED_ARGUMENT_MAX, TRIED_ARGUMENTS, TTY_MAX, UNIX_PATH_MAX, WALK_TASKS,
};
pub use log::LogLine;
pub use offsets::{ABSENT, Offset, Offsets};
pub use process::{
    Claim, ClaimVerdict, FileKey, PROCESS_UNWATCHED, ProcessState, STATE_AGENT, STATE_IGNORED,
    STATE_PENDING, VERDICT_NOT_AGENT,
};
pub use record::{
    Connect, Exec, Exit, FailedExec, Fork, Header, MISSING_ADDR, MISSING_ARGV, MISSING_CRED,
    MISSING_CWD, MISSING_ENVIRONMENT, MISSING_FILENAME, MISSING_INODE, MISSING_LOGINUID,
    MISSING_PARENT, MISSING_PATH, MISSING_PATH_HEAD, MISSING_PROTO, MISSING_RESULT, MISSING_SIZE,
    MISSING_START, MISSING_TO, MISSING_TO_FOLDER, MISSING_TO_HEAD, Open, PathForm, Socket, Task,
    Uring,
};
pub use session::{SessionState, Share};
pub use switch::{SWITCH_NAME_MAX, SWITCHES_MAX, Switch, Switches};
pub use walk::{WALK_DONE, WALK_LOST, WALK_MORE, Walk};
