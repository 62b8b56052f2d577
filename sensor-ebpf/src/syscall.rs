//! What a system call was asked, for the programs on tracepoints `syscalls:sys_exit_*`, by what the kernel
//! has:
//!
//! 1. At the exit, from the registers the process entered with (`bpf_task_pt_regs`, 5.15): the call itself
//!    takes its arguments from there, and nobody can change them while it runs. Nothing is hooked at the
//!    entry, which every call of every process would pay for.
//! 2. At the entry, by a program on `sys_enter_*`, kept until the exit.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    },
    programs::TracePointContext,
};
use skep_abi::{Cause, Hook, Kind, Offset};

use crate::{
    account,
    interest::watched,
    kernel::{Members, Read, Typed},
    maps::{Call, IN_FLIGHT},
};

/// The registers a system call was entered with.
pub struct Entered(Typed);

/// Argument `n` of a `sys_enter_*` tracepoint. Layout: common fields 8 bytes, system call number
/// padded to 8, then the arguments, 8 bytes each (tracefs: events/syscalls/*/format).
#[inline(always)]
pub fn argument(ctx: &TracePointContext, n: usize) -> u64 {
    // SAFETY: within the context of the tracepoint; the verifier checks it.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(2 + n)) }
}

/// What the call returned, of a `sys_exit_*` tracepoint: `long ret`, where the arguments begin in those of
/// the entry.
#[inline(always)]
pub fn result(ctx: &TracePointContext) -> i64 {
    argument(ctx, 0) as i64
}

/// The current task, as the verifier knows it. Kernel 5.11 or newer.
#[inline(always)]
pub fn current() -> Typed {
    // SAFETY: no arguments, no side effects.
    Typed(unsafe { bpf_get_current_task_btf() }.cast_const().cast())
}

impl Entered {
    /// Of the system call the current task is in. Kernel 5.15 or newer.
    #[inline(always)]
    pub fn now() -> Self {
        // SAFETY: the current task is valid as long as the program runs.
        let registers = unsafe { bpf_task_pt_regs(current().0.cast_mut().cast()) };
        Self(Typed(registers as *const u8))
    }

    /// Of a function of a system call (`__x64_sys_*`), which has them as its argument.
    #[inline(always)]
    pub fn of(registers: *const u8) -> Self {
        Self(Typed(registers))
    }

    /// One of the first five arguments, by the calling convention of x86-64.
    #[inline(always)]
    pub fn argument(&self, n: usize) -> Read<u64> {
        self.0.read(match n {
            0 => Offset::RegistersDi,
            1 => Offset::RegistersSi,
            2 => Offset::RegistersDx,
            3 => Offset::RegistersR10,
            _ => Offset::RegistersR8,
        })
    }
}

/// Remembers what a system call of a watched thread was asked, until its exit, where `hook` reports it.
#[inline(always)]
pub fn enter(hook: Hook, kind: Kind, pointer: u64, extra: u64, dirfd: i32) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let call = Call {
        pointer,
        extra,
        dirfd,
        pad: 0,
    };
    if IN_FLIGHT.insert(pid_tgid, call, 0).is_err() {
        account::lost(hook as u8, kind, Cause::MapFull, state.session);
    }
}

/// Takes back what [`enter`] remembered for this thread.
#[inline(always)]
pub fn take(pid_tgid: u64) -> Option<Call> {
    let call = *IN_FLIGHT.get_ptr(pid_tgid).map(|call| {
        // SAFETY: a live map value; only this thread writes it, and it is in a system call.
        unsafe { &*call }
    })?;
    let _ = IN_FLIGHT.remove(pid_tgid);
    Some(call)
}
