//! open, last tier: tracepoints `syscalls:sys_enter_*` and `sys_exit_*` of open, openat, openat2,
//! creat and open_by_handle_at.
//!
//! Sees the outcome, and opens that fail; does not see what is opened through an io_uring, so setting
//! one up is reported (`sys_exit_io_uring_setup`, 5.1). The path is that of the file the descriptor
//! now stands for, not the string the program passed (which another thread can change under us); only
//! a failed open has no more than that string.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, generated::bpf_get_current_task},
    macros::tracepoint,
    programs::TracePointContext,
};
use skep_abi::{Cause, Hook, Kind, Offset, Uring};

use crate::{
    interest::{may_be_watched, watched},
    kernel::{Address, Place, Read, Unreadable},
    maps::{IN_FLIGHT, InFlight},
    open::{AT_FDCWD, Opening, Target, report, report_given},
    record,
};

/// Flags `creat` stands for: `O_CREAT | O_WRONLY | O_TRUNC` (fs/open.c).
const CREAT_FLAGS: u64 = 0o100 | 0o1 | 0o1000;

/// Argument `n` of a `sys_enter_*` tracepoint. Layout: common fields 8 bytes, system call number
/// padded to 8, then the arguments, 8 bytes each (tracefs: events/syscalls/*/format).
#[inline(always)]
pub fn argument(ctx: &TracePointContext, n: usize) -> u64 {
    // SAFETY: within the context of the tracepoint; the verifier checks it.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(2 + n)) }
}

/// Remembers what a system call of a watched thread was asked, until its exit.
#[inline(always)]
pub fn enter(kind: Kind, pointer: u64, extra: u64, dirfd: i32) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let call = InFlight {
        pointer,
        extra,
        dirfd,
        pad: 0,
    };
    if IN_FLIGHT.insert(pid_tgid, call, 0).is_err() {
        record::lost(kind, Cause::MapFull, state.session);
    }
}

/// Takes back what [`enter`] remembered for this thread.
#[inline(always)]
pub fn take(pid_tgid: u64) -> Option<InFlight> {
    let call = *IN_FLIGHT.get_ptr(pid_tgid).map(|call| {
        // SAFETY: a live map value; only this thread writes it, and it is in a system call.
        unsafe { &*call }
    })?;
    let _ = IN_FLIGHT.remove(pid_tgid);
    Some(call)
}

#[tracepoint(category = "syscalls", name = "sys_enter_open")]
pub fn enter_open(ctx: TracePointContext) -> u32 {
    enter(Kind::Open, argument(&ctx, 0), argument(&ctx, 1), AT_FDCWD);
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_creat")]
pub fn enter_creat(ctx: TracePointContext) -> u32 {
    enter(Kind::Open, argument(&ctx, 0), CREAT_FLAGS, AT_FDCWD);
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_openat")]
pub fn enter_openat(ctx: TracePointContext) -> u32 {
    enter(
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
        Kind::Open,
        argument(&ctx, 1),
        argument(&ctx, 2),
        argument(&ctx, 0) as i32,
    );
    0
}

#[tracepoint(category = "syscalls", name = "sys_enter_open_by_handle_at")]
pub fn enter_open_by_handle_at(ctx: TracePointContext) -> u32 {
    enter(Kind::Open, 0, argument(&ctx, 2), argument(&ctx, 0) as i32);
    0
}

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
    if !may_be_watched(pid_tgid) {
        return;
    }
    let Some(call) = take(pid_tgid) else { return };
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    // The same place in `sys_exit_*`: `long ret`.
    let result = argument(ctx, 0) as i64;
    let flags = match hook {
        // SAFETY: the helper checks the address. `open_how::flags` comes first (linux/openat2.h);
        // the kernel has just copied it, so it is resident.
        Hook::TpOpenat2 => unsafe { bpf_probe_read_user(call.extra as *const u64) }.unwrap_or(0),
        _ => call.extra,
    } as u32;
    let opening = Opening {
        hook,
        pid_tgid,
        state: &state,
        flags,
        result: Some(if result < 0 { result as i32 } else { 0 }),
    };
    if result >= 0
        && let Ok(target) = file_of(result as u32).and_then(Target::of)
    {
        return report(&opening, &target);
    }
    report_given(&opening, call.pointer, call.dirfd);
}

#[tracepoint(category = "syscalls", name = "sys_exit_io_uring_setup")]
pub fn exit_io_uring_setup(ctx: TracePointContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let result = argument(&ctx, 0) as i64;
    if let Some(state) = watched(pid_tgid)
        && result >= 0
    {
        let hook = Hook::TpIoUringSetup;
        let mut header = record::header(Kind::Uring, hook, record::boot_ns(), pid_tgid, &state);
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

/// The file a descriptor of the current process stands for.
#[inline(always)]
fn file_of(fd: u32) -> Read<Address> {
    // SAFETY: no arguments, no side effects.
    let task = Address(unsafe { bpf_get_current_task() });
    let table = task.follow(Offset::TaskFiles)?.follow(Offset::FilesFdt)?;
    let max: u32 = table.read(Offset::FdtableMaxFds)?;
    if fd >= max {
        return Err(Unreadable);
    }
    let files = table.follow(Offset::FdtableFd)?;
    let file: u64 = Address(files.0 + fd as u64 * 8).value()?;
    if file == 0 {
        Err(Unreadable)
    } else {
        Ok(Address(file))
    }
}
