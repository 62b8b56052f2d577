//! open, last tiers: tracepoints `syscalls:sys_exit_*` of open, openat, openat2, creat and
//! open_by_handle_at, alone (5.15) or together with those of the entry ([`crate::syscall`]).
//!
//! Sees the outcome, and opens that fail; does not see what is opened through an io_uring, so setting
//! one up is reported (`sys_exit_io_uring_setup`, 5.1). The path is that of the file the descriptor
//! now stands for, not the string the program passed (which another thread can change under us); only
//! a failed open has no more than that string.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, generated::bpf_get_current_task},
    macros::tracepoint,
    programs::TracePointContext,
};
use skep_abi::{Cause, Hook, Kind, Offset, ProcessState, Uring};

use crate::{
    account,
    interest::{may_be_watched, watched},
    kernel::{self, Address, Place, Read, Unreadable},
    maps::Call,
    open::{AT_FDCWD, Opening, report, report_given},
    record,
    syscall::{Entered, argument, current, enter, result, take},
    target::Target,
};

/// Flags `creat` stands for: `O_CREAT | O_WRONLY | O_TRUNC` (fs/open.c).
const CREAT_FLAGS: u64 = 0o100 | 0o1 | 0o1000;

// === exit alone ===

#[tracepoint(category = "syscalls", name = "sys_exit_open")]
pub fn exit_open(ctx: TracePointContext) -> u32 {
    try_exit(Hook::TpOpen, &ctx);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_creat")]
pub fn exit_creat(ctx: TracePointContext) -> u32 {
    try_exit(Hook::TpCreat, &ctx);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_openat")]
pub fn exit_openat(ctx: TracePointContext) -> u32 {
    try_exit(Hook::TpOpenat, &ctx);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_openat2")]
pub fn exit_openat2(ctx: TracePointContext) -> u32 {
    try_exit(Hook::TpOpenat2, &ctx);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_open_by_handle_at")]
pub fn exit_open_by_handle_at(ctx: TracePointContext) -> u32 {
    try_exit(Hook::TpOpenByHandleAt, &ctx);
    0
}

#[inline(always)]
fn try_exit(hook: Hook, ctx: &TracePointContext) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let result = result(ctx);
    match asked(hook) {
        Ok(call) => tell(hook, pid_tgid, &state, &call, result, current),
        Err(Unreadable) => {
            account::lost(hook as u8, Kind::Open, Cause::Unreadable, state.session);
        }
    }
}

/// What the call was asked, at its exit.
#[inline(always)]
fn asked(hook: Hook) -> Read<Call> {
    let entered = Entered::now();
    let (pointer, extra, dirfd) = match hook {
        Hook::TpOpen => (entered.argument(0)?, entered.argument(1)?, AT_FDCWD),
        Hook::TpCreat => (entered.argument(0)?, CREAT_FLAGS, AT_FDCWD),
        Hook::TpOpenByHandleAt => (0, entered.argument(2)?, entered.argument(0)? as i32),
        _ => (
            entered.argument(1)?,
            entered.argument(2)?,
            entered.argument(0)? as i32,
        ),
    };
    Ok(Call {
        pointer,
        extra,
        dirfd,
        pad: 0,
    })
}

// === entry and exit ===

#[tracepoint(category = "syscalls", name = "sys_enter_open")]
pub fn enter_open(ctx: TracePointContext) -> u32 {
    let (path, flags) = (argument(&ctx, 0), argument(&ctx, 1));
    enter(Hook::TpOpen, Kind::Open, path, flags, AT_FDCWD);
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_creat")]
pub fn enter_creat(ctx: TracePointContext) -> u32 {
    let path = argument(&ctx, 0);
    enter(Hook::TpCreat, Kind::Open, path, CREAT_FLAGS, AT_FDCWD);
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_openat")]
pub fn enter_openat(ctx: TracePointContext) -> u32 {
    enter(
        Hook::TpOpenat,
        Kind::Open,
        argument(&ctx, 1),
        argument(&ctx, 2),
        argument(&ctx, 0) as i32,
    );
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_openat2")]
pub fn enter_openat2(ctx: TracePointContext) -> u32 {
    enter(
        Hook::TpOpenat2,
        Kind::Open,
        argument(&ctx, 1),
        argument(&ctx, 2),
        argument(&ctx, 0) as i32,
    );
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_open_by_handle_at")]
pub fn enter_open_by_handle_at(ctx: TracePointContext) -> u32 {
    let (flags, mount) = (argument(&ctx, 2), argument(&ctx, 0) as i32);
    enter(Hook::TpOpenByHandleAt, Kind::Open, 0, flags, mount);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_open")]
pub fn leave_open(ctx: TracePointContext) -> u32 {
    try_leave(Hook::TpOpen, &ctx);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_creat")]
pub fn leave_creat(ctx: TracePointContext) -> u32 {
    try_leave(Hook::TpCreat, &ctx);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_openat")]
pub fn leave_openat(ctx: TracePointContext) -> u32 {
    try_leave(Hook::TpOpenat, &ctx);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_openat2")]
pub fn leave_openat2(ctx: TracePointContext) -> u32 {
    try_leave(Hook::TpOpenat2, &ctx);
    0
}

#[tracepoint(category = "syscalls", name = "sys_exit_open_by_handle_at")]
pub fn leave_open_by_handle_at(ctx: TracePointContext) -> u32 {
    try_leave(Hook::TpOpenByHandleAt, &ctx);
    0
}

#[inline(always)]
fn try_leave(hook: Hook, ctx: &TracePointContext) {
    let pid_tgid = bpf_get_current_pid_tgid();
    if !may_be_watched(pid_tgid) {
        return;
    }
    let Some(call) = take(pid_tgid) else { return };
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let result = result(ctx);
    tell(hook, pid_tgid, &state, &call, result, || {
        // SAFETY: no arguments, no side effects.
        Address(unsafe { bpf_get_current_task() })
    });
}

// === both ===

/// Reports an open of the current task, which has returned `result`.
#[inline(always)]
fn tell<P: Place>(
    hook: Hook,
    pid_tgid: u64,
    state: &ProcessState,
    call: &Call,
    result: i64,
    // The smallest part of what finds the file, since a closure need not be inlined.
    task: impl FnOnce() -> P,
) {
    let flags = match hook {
        // SAFETY: the helper checks the address. `open_how::flags` comes first (linux/openat2.h);
        // the kernel has just copied it, so it is resident.
        Hook::TpOpenat2 => unsafe { bpf_probe_read_user(call.extra as *const u64) }.unwrap_or(0),
        _ => call.extra,
    } as u32;
    let opening = Opening {
        hook,
        pid_tgid,
        state,
        flags,
        result: Some(if result < 0 { result as i32 } else { 0 }),
    };
    if result >= 0
        && let Ok(target) = file_of(task(), result as u32).and_then(Target::of)
    {
        return report(&opening, &target);
    }
    report_given(&opening, call.pointer, call.dirfd);
}

/// The file a descriptor of a task stands for.
#[inline(always)]
pub fn file_of<P: Place>(task: P, fd: u32) -> Read<Address> {
    let table = task.follow(Offset::TaskFiles)?.follow(Offset::FilesFdt)?;
    let max: u32 = table.read(Offset::FdtableMaxFds)?;
    if fd >= max {
        return Err(Unreadable);
    }
    // An array of pointers: its type says nothing of what they point to.
    let files: u64 = table.read(Offset::FdtableFd)?;
    Address::at(Address(files + fd as u64 * 8).value()?)
}

// === io_uring ===

#[tracepoint(category = "syscalls", name = "sys_exit_io_uring_setup")]
pub fn exit_io_uring_setup(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let result = result(&ctx);
    if let Some(state) = watched(pid_tgid)
        && result >= 0
    {
        let hook = Hook::TpIoUringSetup;
        let mut header = record::header(Kind::Uring, hook, kernel::boot_ns(), pid_tgid, &state);
        header.len = size_of::<Uring>() as u32;
        let uring = Uring {
            header,
            result: result as i32,
            pad: 0,
        };
        record::send_fixed(Kind::Uring, state.session, &uring);
    }
    0
}
