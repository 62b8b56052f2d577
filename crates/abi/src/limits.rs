//! Bounds of records and maps, and the ids that no session has.

/// Most bytes of a path, a working directory, a file name as given (`PATH_MAX`, linux/limits.h).
pub const PATH_MAX: usize = 4096;
/// Most bytes of argv carried by an exec record; `Exec::argv_bytes` tells how many there were.
pub const ARGV_MAX: usize = 8192;
/// Of an argv that has more: how many of its last bytes are carried, the rest of [`ARGV_MAX`] being its first.
pub const ARGV_END_MAX: usize = 2048;
/// Most environment variables that are looked at.
pub const ENVIRONMENT_MAX: u32 = 256;
/// Most arguments of a failed exec that are read, and most bytes of each with its terminator.
pub const TRIED_ARGUMENTS: usize = 64;
pub const TRIED_ARGUMENT_MAX: usize = 1024;
/// Longest path component (`NAME_MAX`, linux/limits.h) with its terminator.
pub const NAME_MAX: usize = 256;
/// Most components walked from a file to its root.
pub const COMPONENTS_MAX: usize = 64;
/// Bytes of a terminal's name (`tty_struct::name`, linux/tty.h).
pub const TTY_MAX: usize = 64;
/// Bytes of `sockaddr_un::sun_path` (linux/un.h).
pub const UNIX_PATH_MAX: usize = 108;
/// Room for one record under construction: the largest record plus what one more read may write
/// past its end. A per-CPU map value is limited to 32 KiB by the kernel.
pub const SCRATCH_BYTES: usize = 28 * 1024;
/// Records that may be under construction on one CPU at once (preempted or interrupted programs).
pub const SCRATCH_SLOTS: u32 = 3;
/// Slots of the filter in front of the process table; a power of two. A slot counts the watched
/// processes whose tgid falls into it.
pub const FILTER_SLOTS: u32 = 16 * 1024;
/// Kernel session id of the sensor's own canaries and trials. No real session's id is that but by a
/// chance of 2^-64, which [`SESSION_FIRST`] rules out.
pub const CANARY_SESSION: u64 = 1;
/// Kernel session id under which processes are accounted that wait for a verdict.
pub const PENDING_SESSION: u64 = 0;
/// Slots in which the shares of claims are counted; a power of two.
pub const PENDING_SHARES: u32 = 4096;
/// Claims of which it is remembered that records were lost.
pub const LOST_WAITING_CLAIMS: u32 = 1024;
/// Kinds of open that can be told apart at one time, those of epochs that are not taken out included.
pub const FOLD_KINDS: u32 = 32 * 1024;
/// How many of them one session may have in an epoch. As entries of three epochs can be there at once,
/// one session holds less than half of the room.
pub const FOLD_KINDS_A_SESSION: u32 = FOLD_KINDS / 8;
/// Slots in which the kinds of sessions are counted; a power of two.
pub const FOLD_SHARES: u32 = 1024;
/// Smallest kernel id of a real session.
pub const SESSION_FIRST: u64 = 2;
/// Most processes one run of the task walk reports.
pub const WALK_TASKS: u32 = 256;

const _: () = {
    assert!(ARGV_END_MAX < ARGV_MAX);
    assert!(FILTER_SLOTS.is_power_of_two());
    assert!(PENDING_SHARES.is_power_of_two());
    assert!(FOLD_SHARES.is_power_of_two());
};
