//! open, by tier:
//!
//! 1. LSM `file_open(struct file *file)`: 5.7, BPF in the LSM list. Sees every open however it was
//!    asked for (io_uring, `open_by_handle_at`, a re-open through `/proc/self/fd`), but neither the
//!    opens that fail before it nor the outcome.
//! 2. fentry `security_file_open(struct file *file)`: 5.5, the same view.
//! 3. Tracepoints `syscalls:sys_enter_*` and `sys_exit_*` of open, openat, openat2, creat and
//!    open_by_handle_at: sees the outcome and failed opens; does not see io_uring. The path is that
//!    of the file the descriptor now stands for, not the string the program passed (which another
//!    thread can change under us); only a failed open has no more than that string.
//!
//! `O_PATH` descriptors give no access to contents and pass no LSM hook: tier 3 alone reports them.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, generated::bpf_get_current_task},
    macros::{fentry, lsm, tracepoint},
    programs::{FEntryContext, LsmContext, TracePointContext},
};
use skep_abi::{
    Cause, FileKey, Hook, Kind, MISSING_INODE, MISSING_PATH, MISSING_PATH_HEAD, MISSING_RESULT,
    Offset, Open, PATH_MAX, PathForm, ProcessState,
};

use crate::{
    interest::watched,
    kernel::{Address, Read, inode_of},
    maps::{IN_FLIGHT, InFlight},
    path,
    record::{self, Draft},
};

/// `__FMODE_EXEC` (include/linux/fs.h): the kernel itself opens a program or its interpreter during
/// exec. That is reported as the exec.
const FMODE_EXEC: u32 = 0x20;
/// `AT_FDCWD` (linux/fcntl.h).
const AT_FDCWD: i32 = -100;
/// Flags `creat` stands for: `O_CREAT | O_WRONLY | O_TRUNC` (fs/open.c).
const CREAT_FLAGS: u64 = 0o100 | 0o1 | 0o1000;

// === tiers 1 and 2 ===

#[lsm(hook = "file_open")]
pub fn lsm_file_open(ctx: LsmContext) -> i32 {
    try_file_open(Hook::LsmFileOpen, Address::of(ctx.arg::<*const u8>(0)));
    // The verdict of the LSM before us (the kernel passes it as the last argument since 5.7).
    ctx.arg::<i32>(1)
}

#[fentry(function = "security_file_open")]
pub fn fentry_file_open(ctx: FEntryContext) -> i32 {
    try_file_open(Hook::FentryFileOpen, Address::of(ctx.arg::<*const u8>(0)));
    0
}

#[inline(always)]
fn try_file_open(hook: Hook, file: Address) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let Ok(flags) = file.read::<u32>(Offset::FileFlags) else {
        return record::lost(Kind::Open, Cause::Unreadable);
    };
    if flags & FMODE_EXEC == 0 {
        send_file(hook, pid_tgid, &state, file, flags, None);
    }
}

/// Reports an open whose `struct file` is at hand.
#[inline(always)]
fn send_file(
    hook: Hook,
    pid_tgid: u64,
    state: &ProcessState,
    file: Address,
    flags: u32,
    result: Option<i32>,
) {
    let header = record::header(Kind::Open, hook, record::boot_ns(), pid_tgid, state);
    let Some(mut draft) = Draft::<Open>::begin(Kind::Open, &header) else {
        return;
    };
    let open = draft.fixed();
    match inode_of(file) {
        // SAFETY: the slot is large enough and aligned for the fixed part, here and below.
        Ok(inode) => unsafe {
            (*open).file = inode.key;
            (*open).mode = inode.mode as u32;
        },
        Err(_) => draft.missing(MISSING_INODE),
    }
    if result.is_none() {
        draft.missing(MISSING_RESULT);
    }
    let start = draft.len();
    let walked = file
        .member(Offset::FilePath)
        .and_then(|at| path::append(&mut draft, at));
    match walked {
        Ok(true) => {}
        Ok(false) => draft.missing(MISSING_PATH_HEAD),
        Err(_) => draft.missing(MISSING_PATH),
    }
    // SAFETY: as above.
    unsafe {
        (*open).flags = flags;
        (*open).result = result.unwrap_or(0);
        (*open).dirfd = AT_FDCWD;
        (*open).path_len = (draft.len() - start) as u16;
        (*open).path_form = PathForm::Components as u8;
        (*open).pad = [0; 5];
    }
    draft.send();
}

// === tier 3 ===

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
    if watched(pid_tgid).is_none() {
        return;
    }
    let call = InFlight {
        pointer,
        extra,
        dirfd,
        pad: 0,
    };
    if IN_FLIGHT.insert(pid_tgid, call, 0).is_err() {
        record::lost(kind, Cause::MapFull);
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
    if result >= 0
        && let Ok(file) = file_of(result as u32)
    {
        return send_file(hook, pid_tgid, &state, file, flags, Some(0));
    }
    let header = record::header(Kind::Open, hook, record::boot_ns(), pid_tgid, &state);
    let Some(mut draft) = Draft::<Open>::begin(Kind::Open, &header) else {
        return;
    };
    draft.missing(MISSING_INODE);
    let start = draft.len();
    if call.pointer == 0 || draft.user_str::<PATH_MAX>(call.pointer).is_err() {
        draft.missing(MISSING_PATH);
    }
    let open = draft.fixed();
    // SAFETY: the slot is large enough and aligned for the fixed part.
    unsafe {
        (*open).file = FileKey {
            ino: 0,
            ctime_sec: 0,
            ctime_nsec: 0,
            dev: 0,
        };
        (*open).flags = flags;
        (*open).mode = 0;
        (*open).result = if result < 0 { result as i32 } else { 0 };
        (*open).dirfd = call.dirfd;
        (*open).path_len = (draft.len() - start) as u16;
        (*open).path_form = PathForm::Given as u8;
        (*open).pad = [0; 5];
    }
    draft.send();
}

/// The file a descriptor of the current process stands for.
#[inline(always)]
fn file_of(fd: u32) -> Read<Address> {
    // SAFETY: no arguments, no side effects.
    let task = Address(unsafe { bpf_get_current_task() });
    let table = task.follow(Offset::TaskFiles)?.follow(Offset::FilesFdt)?;
    let max: u32 = table.read(Offset::FdtableMaxFds)?;
    if fd >= max {
        return Err(crate::kernel::Unreadable);
    }
    let files = table.follow(Offset::FdtableFd)?;
    let file: u64 = Address(files.0 + fd as u64 * 8).value()?;
    if file == 0 {
        Err(crate::kernel::Unreadable)
    } else {
        Ok(Address(file))
    }
}
