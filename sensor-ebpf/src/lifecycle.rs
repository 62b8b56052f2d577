//! fork and exit: raw tracepoints `sched_process_fork` and `sched_process_exit`.
//!
//! Prototypes (include/trace/events/sched.h): `sched_process_fork(struct task_struct *parent, struct
//! task_struct *child)`; `sched_process_exit(struct task_struct *p)`, since 6.16 with a second
//! argument this code does not need. Minimum 5.8; no fallback is needed.
//!
//! Lineage is fork lineage: the child inherits the state of the process that called fork, before it
//! can run, and whatever its parent pid is made to be (`CLONE_PARENT`, re-parenting to pid 1).

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint, programs::RawTracePointContext,
};
use skep_abi::{
    Cause, Exit, Fork, Hook, Kind, MISSING_PARENT, MISSING_RESULT, MISSING_START, Offset,
    ProcessState,
};

use crate::{
    account,
    interest::{unwatch, watch, watched},
    kernel::{self, Address, Members, Read},
    record,
};

/// `SIGNAL_GROUP_EXIT` (include/linux/sched/signal.h): the group's exit code is the process's.
const SIGNAL_GROUP_EXIT: u32 = 0x4;

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if let Some(parent) = watched(pid_tgid) {
        let child = Address::of(ctx.arg::<*const u8>(1));
        if try_fork(pid_tgid, &parent, child).is_err() {
            let hook = Hook::RawTpFork as u8;
            account::lost(hook, Kind::Fork, Cause::Unreadable, parent.session);
        }
    }
    0
}

#[inline(always)]
fn try_fork(pid_tgid: u64, parent: &ProcessState, child: Address) -> Read<()> {
    let child_tgid: u32 = child.read(Offset::TaskTgid)?;
    if child_tgid == (pid_tgid >> 32) as u32 {
        return Ok(()); // a thread
    }
    let mut missing = 0;
    let child_start_ns = child.read(Offset::TaskStartBoottime).unwrap_or_else(|_| {
        missing |= MISSING_START;
        0
    });
    let child_ppid = child
        .follow(Offset::TaskRealParent)
        .and_then(|real_parent| real_parent.read(Offset::TaskTgid))
        .unwrap_or_else(|_| {
            missing |= MISSING_PARENT;
            0
        });
    let state = ProcessState {
        start_ns: child_start_ns,
        ..*parent
    };
    if !watch(child_tgid, &state) {
        // What the child does is not seen.
        let hook = Hook::RawTpFork as u8;
        account::lost(hook, Kind::Task, Cause::MapFull, parent.session);
    }
    let mut header = record::header(
        Kind::Fork,
        Hook::RawTpFork,
        kernel::boot_ns(),
        pid_tgid,
        parent,
    );
    header.missing |= missing;
    header.len = size_of::<Fork>() as u32;
    record::send_fixed(
        Kind::Fork,
        parent.session,
        &Fork {
            header,
            child_start_ns,
            child_tgid,
            child_ppid,
        },
    );
    Ok(())
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if let Some(state) = watched(pid_tgid) {
        try_exit(pid_tgid, &state, Address::of(ctx.arg::<*const u8>(0)));
    }
    0
}

#[inline(always)]
fn try_exit(pid_tgid: u64, state: &ProcessState, task: Address) {
    // `do_exit` has already counted this thread out. The leader may go before other threads, so
    // neither its exit nor "tid equals tgid" says that the process has ended.
    let live = task
        .follow(Offset::TaskSignal)
        .and_then(|signal| signal.read::<i32>(Offset::SignalLive));
    if let Ok(live) = live
        && live > 0
    {
        return;
    }
    let mut header = record::header(
        Kind::Exit,
        Hook::RawTpExit,
        kernel::boot_ns(),
        pid_tgid,
        state,
    );
    let status = status(task).unwrap_or_else(|_| {
        header.missing |= MISSING_RESULT;
        0
    });
    header.len = size_of::<Exit>() as u32;
    record::send_fixed(
        Kind::Exit,
        state.session,
        &Exit {
            header,
            status,
            pad: 0,
        },
    );
    unwatch((pid_tgid >> 32) as u32);
}

/// What `wait` will report (kernel/exit.c, `wait_task_zombie`).
#[inline(always)]
fn status(task: Address) -> Read<u32> {
    let signal = task.follow(Offset::TaskSignal)?;
    let flags: u32 = signal.read(Offset::SignalFlags)?;
    if flags & SIGNAL_GROUP_EXIT != 0 {
        signal.read(Offset::SignalGroupExitCode)
    } else {
        task.follow(Offset::TaskGroupLeader)?
            .read(Offset::TaskExitCode)
    }
}
