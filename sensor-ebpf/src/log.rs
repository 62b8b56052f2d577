//! Log of the kernel programs, for whoever develops them (docs/debugging-kernel-programs.md).
//!
//! Lines go through aya-log into a ring of their own. Invariants:
//! - `AYA_LOG_LEVEL` is read-only and set by the daemon before load. Where it asks for nothing the verifier
//!   sees a constant: it neither walks nor keeps what stands behind the check, the call of [`skep_log`]
//!   included. What stays is the load of the constant;
//! - a line has numbers only: its words are a [`LogLine`](skep_abi::LogLine), read by the daemon. No path,
//!   argument, address or other data goes in;
//! - no line stands on the way of a process that is not watched;
//! - each line is counted in `LOG_LINES`, whether the ring takes it or not.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
pub use aya_log_ebpf::macro_support::{Level, level_enabled};

use crate::maps::{LOG_LINES, atomic_add};

/// A line that is wanted at level `warn` and `debug`: hook, [`LogLine`](skep_abi::LogLine), and the numbers
/// it has. They are evaluated only where the line is wanted.
macro_rules! warning {
    ($($of:tt)*) => { $crate::log::entry!(Warn, $($of)*) };
}

/// The same, wanted at level `debug` only.
macro_rules! debug {
    ($($of:tt)*) => { $crate::log::entry!(Debug, $($of)*) };
}

macro_rules! entry {
    ($level:ident, $hook:expr, $line:expr $(,)?) => {
        $crate::log::entry!($level, $hook, $line, 0, 0)
    };
    ($level:ident, $hook:expr, $line:expr, $first:expr $(,)?) => {
        $crate::log::entry!($level, $hook, $line, $first, 0)
    };
    ($level:ident, $hook:expr, $line:expr, $first:expr, $second:expr $(,)?) => {
        if $crate::log::level_enabled($crate::log::Level::$level) {
            $crate::log::skep_log(
                $crate::log::Level::$level as u64,
                $hook as u64,
                $line as u64,
                $first as u64,
                $second as u64,
            );
        }
    };
}

// `warn` alone would be an attribute.
pub(crate) use {debug, entry, warning as warn};

/// Writes a line. A function that is exported and takes numbers only: the verifier (5.6) walks it once for
/// a program, and not again at every place it is called from.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn skep_log(level: u64, hook: u64, line: u64, first: u64, second: u64) -> u64 {
    let level = if level == Level::Warn as u64 {
        Level::Warn
    } else {
        Level::Debug
    };
    if !level_enabled(level) {
        return 0;
    }
    if let Some(lines) = LOG_LINES.get_ptr_mut(0) {
        // SAFETY: the map hands out a valid, aligned pointer to this CPU's counter.
        unsafe { atomic_add(lines, 1) };
    }
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    aya_log_ebpf::log!(
        (),
        level,
        "{} {} {} {} {}",
        hook as u8,
        pid,
        line as u8,
        first,
        second
    );
    0
}
