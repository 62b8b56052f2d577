//! Every process there is, from the kernel's own list: for a daemon that starts after them.
//!
//! Not attached to anything: the daemon runs it (`BPF_PROG_TEST_RUN` of a raw tracepoint program,
//! 5.10), in its own context, until it says that it has come round. `/proc` has the same list, but
//! start times in hundredths of a second only; a session's id is made of the exact one. A run reports
//! up to [`WALK_TASKS`] processes, or as many as the ring takes, and leaves where it stands; the process that
//! did not fit is the first of the next run. A run holds the RCU read lock (the test
//! run does), so what it reads does not go away meanwhile. Between two runs it may: then the next one
//! says so and the daemon begins again. Kernel threads are left out.

use aya_ebpf::{
    helpers::generated::bpf_get_current_task, macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use skep_abi::{
    Claim, Header, Hook, Kind, LogLine, Offset, PROCESS_UNWATCHED, Task, WALK_DONE, WALK_LOST,
    WALK_MORE, WALK_TASKS, Walk,
};
use zerocopy::IntoBytes;

use crate::{
    kernel::{self, Address, Ids, Members, Read},
    log,
    maps::{PROCESSES, WALK},
    ring,
};

/// `LIST_POISON2` (include/linux/poison.h) on x86-64: `list_head::prev` of what was taken out.
const LIST_POISON2: u64 = 0xdead_0000_0000_0122;
/// Bytes of a pointer: `prev` comes after `next`.
const PREV: u64 = 8;

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn walk_tasks(_ctx: RawTracePointContext) -> i32 {
    if let Some(walk) = WALK.get_ptr_mut(0) {
        // SAFETY: a live map value; the daemon runs one walk at a time.
        let walk = unsafe { &mut *walk };
        walk.reported = 0;
        walk.outcome = match step(walk) {
            Ok(outcome) => outcome,
            Err(_) => WALK_LOST,
        };
        if walk.outcome == WALK_LOST {
            log::debug!(Hook::TaskWalk, LogLine::WalkUpset, walk.reported);
        }
    }
    0
}

#[inline(always)]
fn step(walk: &mut Walk) -> Read<u32> {
    // SAFETY: no arguments, no side effects.
    let me = Address(unsafe { bpf_get_current_task() }).follow(Offset::TaskGroupLeader)?;
    let mut task = me;
    if walk.cursor != 0 {
        task = Address(walk.cursor);
        let links = task.member(Offset::TaskTasks)?;
        if task.read::<u64>(Offset::TaskStartBoottime)? != walk.cursor_start_ns
            || Address(links.0 + PREV).value::<u64>()? == LIST_POISON2
        {
            return Ok(WALK_LOST);
        }
    }
    for _ in 0..WALK_TASKS {
        let next =
            Address(task.member(Offset::TaskTasks)?.value()?).container(Offset::TaskTasks)?;
        match report(next) {
            Ok(true) => walk.reported += 1,
            Ok(false) => break,
            Err(_) => {}
        }
        if next == me {
            return Ok(WALK_DONE);
        }
        task = next;
    }
    walk.cursor = task.0;
    walk.cursor_start_ns = task.read(Offset::TaskStartBoottime)?;
    Ok(WALK_MORE)
}

/// Reports one process, false when the ring is full; an error for what has no memory of its own (kernel
/// threads, zombies).
#[inline(always)]
fn report(task: Address) -> Read<bool> {
    let mm = task.follow(Offset::TaskMm)?;
    let tgid: u32 = task.read(Offset::TaskTgid)?;
    let start_ns: u64 = task.read(Offset::TaskStartBoottime)?;
    let parent = task.follow(Offset::TaskRealParent)?;
    let inode = kernel::inode(mm.follow(Offset::MmExeFile)?.follow(Offset::FileInode)?)?;
    let ids = Ids::of(task)?;
    let mut header = Header {
        time_ns: kernel::boot_ns(),
        start_ns,
        session: 0,
        claim: Claim::NONE,
        image: inode.key.image(),
        len: size_of::<Task>() as u32,
        tgid,
        tid: tgid,
        state: PROCESS_UNWATCHED,
        missing: 0,
        kind: Kind::Task as u16,
        hook: Hook::TaskWalk as u8,
        pad: 0,
        uid: ids.uid,
        euid: ids.euid,
    };
    // SAFETY: the value is copied out at once.
    if let Some(state) = unsafe { PROCESSES.get(tgid) }.copied()
        && state.start_ns == start_ns
    {
        header.session = state.session;
        header.claim = state.claim;
        header.state = state.state;
    }
    let record = Task {
        header,
        file: inode.key,
        parent_start_ns: parent
            .follow(Offset::TaskGroupLeader)?
            .read(Offset::TaskStartBoottime)?,
        ppid: parent.read(Offset::TaskTgid)?,
        pad: 0,
    };
    Ok(ring::offer(Kind::Task, record.as_bytes()))
}
