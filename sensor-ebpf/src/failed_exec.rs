//! Execs that fail: no such file, not executable, refused. The process goes on as what it was, and
//! `sched_process_exec` says nothing.
//!
//! - best: fexit `__x64_sys_execve(const struct pt_regs *regs)` and `__x64_sys_execveat` (5.5,
//!   trampolines): only who executes something pays;
//! - last: tracepoints `sys_exit_execve` and `sys_exit_execveat` alone (5.15, [`crate::syscall`]).
//!
//! Neither sees 32-bit system calls. Both read what the call was asked from its registers, and name and
//! arguments from the memory of the process: a page that is not there costs that text, which is said.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user},
    macros::{fexit, tracepoint},
    programs::{FExitContext, TracePointContext},
};
use skep_abi::{
    ARGV_MAX, FailedExec, Hook, Kind, MISSING_ARGV, MISSING_FILENAME, PATH_MAX, TRIED_ARGUMENT_MAX,
    TRIED_ARGUMENTS,
};

use crate::{
    interest::watched,
    kernel::{self, Read, Unreadable},
    open::AT_FDCWD,
    record::{self, Draft},
    ring::Urgency,
    syscall::{Entered, result},
};

/// Bytes of a pointer.
const POINTER: u64 = 8;

#[fexit(function = "__x64_sys_execve")]
pub fn fexit_execve(ctx: FExitContext) -> i32 {
    let (registers, result) = (ctx.arg::<*const u8>(0), ctx.arg::<i64>(1));
    try_exit(Hook::FexitExecve, result, || Entered::of(registers));
    0
}

#[fexit(function = "__x64_sys_execveat")]
pub fn fexit_execveat(ctx: FExitContext) -> i32 {
    let (registers, result) = (ctx.arg::<*const u8>(0), ctx.arg::<i64>(1));
    try_exit(Hook::FexitExecveat, result, || Entered::of(registers));
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_execve")]
pub fn exit_execve(ctx: TracePointContext) -> u32 {
    try_exit(Hook::TpExecve, result(&ctx), Entered::now);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_execveat")]
pub fn exit_execveat(ctx: TracePointContext) -> u32 {
    try_exit(Hook::TpExecveat, result(&ctx), Entered::now);
    0
}

/// What was asked to be executed: user addresses, and what the name is relative to.
struct Asked {
    dirfd: i32,
    filename: u64,
    argv: u64,
}

#[inline(always)]
fn try_exit(hook: Hook, result: i64, entered: impl FnOnce() -> Entered) {
    // One that succeeded has new registers, and a record of its own.
    if result >= 0 {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let asked = asked(hook, &entered());
    let time_ns = kernel::boot_ns();
    let header = record::header(Kind::FailedExec, hook, time_ns, pid_tgid, &state);
    let Some(mut draft) = Draft::<FailedExec>::begin(Kind::FailedExec, &header) else {
        return;
    };
    let (dirfd, filename, argv) = match asked {
        Ok(asked) => (asked.dirfd, asked.filename, asked.argv),
        Err(_) => (AT_FDCWD, 0, 0),
    };
    let failed = draft.fixed();
    // SAFETY: the slot is large enough and aligned for the fixed part, here and below.
    unsafe {
        (*failed).result = result as i32;
        (*failed).dirfd = dirfd;
        (*failed).argc = 0;
        (*failed).is_cut = 0;
    }
    let start = draft.len();
    if filename == 0 || draft.user_str::<PATH_MAX>(filename).is_err() {
        draft.missing(MISSING_FILENAME);
    }
    // SAFETY: as above.
    unsafe { (*failed).filename_len = (draft.len() - start) as u16 };
    let start = draft.len();
    if arguments(&mut draft, argv).is_err() {
        draft.missing(MISSING_ARGV);
    }
    // SAFETY: as above.
    unsafe { (*failed).argv_len = (draft.len() - start) as u16 };
    draft.send(Urgency::Whenever);
}

#[inline(always)]
fn asked(hook: Hook, entered: &Entered) -> Read<Asked> {
    Ok(match hook {
        Hook::TpExecveat | Hook::FexitExecveat => Asked {
            dirfd: entered.argument(0)? as i32,
            filename: entered.argument(1)?,
            argv: entered.argument(2)?,
        },
        _ => Asked {
            dirfd: AT_FDCWD,
            filename: entered.argument(0)?,
            argv: entered.argument(1)?,
        },
    })
}

/// Appends the arguments an array of user addresses points to; null ends it, and may be the array.
#[inline(always)]
fn arguments(draft: &mut Draft<FailedExec>, argv: u64) -> Read<()> {
    let failed = draft.fixed();
    let start = draft.len();
    if argv == 0 {
        return Ok(());
    }
    // One more, to see whether it ends there.
    for n in 0..=TRIED_ARGUMENTS {
        let at = argv + n as u64 * POINTER;
        // SAFETY: the helper checks the address.
        let argument: u64 =
            unsafe { bpf_probe_read_user(at as *const u64) }.map_err(|_| Unreadable)?;
        if argument == 0 {
            return Ok(());
        }
        if n == TRIED_ARGUMENTS || draft.len() - start > ARGV_MAX - TRIED_ARGUMENT_MAX {
            break;
        }
        let taken = draft.user_str::<TRIED_ARGUMENT_MAX>(argument)?;
        // SAFETY: the fixed part of a draft.
        unsafe {
            (*failed).argc = n as u16 + 1;
            if taken == TRIED_ARGUMENT_MAX {
                (*failed).is_cut = 1;
            }
        }
    }
    // SAFETY: as above.
    unsafe { (*failed).is_cut = 1 };
    Ok(())
}
