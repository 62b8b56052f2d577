//! exec: raw tracepoint `sched_process_exec`.
//!
//! Kernel prototype: `(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
//! (include/trace/events/sched.h). Minimum 5.8 (ring buffer, boot clock); no fallback is needed, the
//! tracepoint is in every kernel since 3.4 and raw tracepoints since 4.17.
//!
//! It fires in the new image, after the point of no return: argv is read from the new stack, before
//! the program has run one instruction and could overwrite it; `bprm->file` is the file that was
//! really executed, whatever name led to it. For a `#!` script that is the interpreter, and the
//! script's own inode is no longer held (`bprm->executable` is set for binfmt_misc only), so the
//! verdict cache is keyed by the interpreter and `bprm->filename` names the script.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_cgroup_id},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use skep_abi::{
    ARGV_END_MAX, ARGV_MAX, Cause, Claim, Exec, Hook, Kind, LogLine, MISSING_ARGV, MISSING_CRED,
    MISSING_CWD, MISSING_ENVIRONMENT, MISSING_FILENAME, MISSING_INODE, MISSING_LOGINUID,
    MISSING_PARENT, MISSING_PATH, MISSING_PATH_HEAD, Offset, PATH_MAX, ProcessState, STATE_PENDING,
    TTY_MAX, VERDICT_NOT_AGENT,
};

use crate::{
    account, environment,
    interest::{watch, watched},
    kernel::{self, Address, Members, Read},
    log,
    maps::VERDICTS,
    namespace, path,
    record::{self, Draft},
    ring::Urgency,
};

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    try_exec(
        Address::of(ctx.arg::<*const u8>(0)),
        Address::of(ctx.arg::<*const u8>(2)),
    );
    0
}

#[inline(always)]
fn try_exec(task: Address, bprm: Address) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let before = watched(pid_tgid);
    let inode = bprm
        .follow(Offset::BinprmFile)
        .and_then(|file| file.follow(Offset::FileInode))
        .and_then(kernel::inode);
    let mut state = ProcessState {
        start_ns: 0,
        session: 0,
        image: 0,
        claim: Claim::NONE,
        state: STATE_PENDING,
        pad: 0,
    };
    let mut previous_claim = Claim::NONE;
    let time_ns = kernel::boot_ns();
    if let Some(before) = before {
        state = before;
        previous_claim = before.claim;
    }
    state.image = match &inode {
        Ok(inode) => inode.key.image(),
        Err(_) => 0,
    };
    let tgid = (pid_tgid >> 32) as u32;
    let mut urgency = Urgency::Whenever;
    if state.state == STATE_PENDING {
        let never = match &inode {
            // SAFETY: the value is copied out at once.
            Ok(inode) => unsafe { VERDICTS.get(inode.key) }.copied() == Some(VERDICT_NOT_AGENT),
            Err(_) => false,
        };
        if never {
            if before.is_none() {
                return; // an ordinary program of an unwatched process: the common case
            }
        } else {
            urgency = Urgency::Now;
            state.claim = Claim {
                exec_ns: time_ns,
                tgid,
                pad: 0,
            };
            // 0, which no process but the first has, is decoded as unknown.
            state.start_ns = task.read(Offset::TaskStartBoottime).unwrap_or(0);
            log::debug!(Hook::RawTpExec, LogLine::ClaimMade, time_ns);
        }
    }
    if !watch(tgid, &state) {
        // What the process does from here on is not seen.
        let hook = Hook::RawTpExec as u8;
        account::lost(hook, Kind::Task, Cause::MapFull, state.session);
    }
    let header = record::header(Kind::Exec, Hook::RawTpExec, time_ns, pid_tgid, &state);
    let Some(mut draft) = Draft::<Exec>::begin(Kind::Exec, &header) else {
        return;
    };
    let exec = draft.fixed();
    // SAFETY: the slot is large enough and aligned for the fixed part; every field is written
    // here or by the steps below.
    unsafe {
        (*exec).previous_claim = previous_claim;
        // SAFETY: no arguments, no side effects.
        (*exec).cgroup_id = bpf_get_current_cgroup_id();
        match inode {
            Ok(inode) => {
                (*exec).file = inode.key;
                (*exec).mode = inode.mode;
                (*exec).file_size = inode.size;
            }
            Err(_) => {
                log::debug!(Hook::RawTpExec, LogLine::NoInode);
                draft.missing(MISSING_INODE);
            }
        }
    }
    identity(&mut draft, task);
    tail(&mut draft, task, bprm);
    draft.send(urgency);
}

/// Parent and user ids.
#[inline(always)]
fn identity(draft: &mut Draft<Exec>, task: Address) {
    let exec = draft.fixed();
    if parent(task, exec).is_err() {
        draft.missing(MISSING_PARENT);
    }
    if credentials(task, exec).is_err() {
        draft.missing(MISSING_CRED);
    }
    match task.read(Offset::TaskLoginuid) {
        // SAFETY: the fixed part of a draft.
        Ok(loginuid) => unsafe { (*exec).loginuid = loginuid },
        Err(_) => draft.missing(MISSING_LOGINUID),
    }
    // SAFETY: the fixed part of a draft. 0 is decoded as unknown.
    unsafe {
        (*exec).pid_namespace = namespace::pid(task).unwrap_or(0);
        (*exec).user_namespace = namespace::user(task).unwrap_or(0);
        (*exec).mount_namespace = namespace::mount(task).unwrap_or(0);
    }
}

#[inline(always)]
fn parent(task: Address, exec: *mut Exec) -> Read<()> {
    let parent = task.follow(Offset::TaskRealParent)?;
    // SAFETY: the fixed part of a draft.
    unsafe {
        (*exec).ppid = parent.read(Offset::TaskTgid)?;
        // `real_parent` can be any thread: the process started with its leader.
        (*exec).parent_start_ns = parent
            .follow(Offset::TaskGroupLeader)?
            .read(Offset::TaskStartBoottime)?;
    }
    Ok(())
}

#[inline(always)]
fn credentials(task: Address, exec: *mut Exec) -> Read<()> {
    let cred = task.follow(Offset::TaskCred)?;
    // SAFETY: the fixed part of a draft.
    unsafe {
        (*exec).gid = cred.read(Offset::CredGid)?;
    }
    Ok(())
}

/// Appends the tail and sets its lengths.
#[inline(always)]
fn tail(draft: &mut Draft<Exec>, task: Address, bprm: Address) {
    let exec = draft.fixed();

    let start = draft.len();
    let walked = bprm
        .follow(Offset::BinprmFile)
        .and_then(|file| file.member(Offset::FilePath))
        .and_then(|at| path::append(draft, at));
    match walked {
        Ok(true) => {}
        Ok(false) => {
            log::debug!(Hook::RawTpExec, LogLine::PathCut, draft.len() - start);
            draft.missing(MISSING_PATH_HEAD);
        }
        Err(_) => draft.missing(MISSING_PATH),
    }
    // SAFETY: the fixed part of a draft, here and below.
    unsafe { (*exec).exe_len = (draft.len() - start) as u16 };

    let start = draft.len();
    let given = bprm
        .follow(Offset::BinprmFilename)
        .and_then(|name| draft.kernel_str::<PATH_MAX>(name));
    if given.is_err() {
        draft.missing(MISSING_FILENAME);
    }
    // SAFETY: as above.
    unsafe { (*exec).filename_len = (draft.len() - start) as u16 };

    let start = draft.len();
    let walked = task
        .follow(Offset::TaskFs)
        .and_then(|fs| fs.member(Offset::FsPwd))
        .and_then(|at| path::append(draft, at));
    if !matches!(walked, Ok(true)) {
        draft.missing(MISSING_CWD);
    }
    // SAFETY: as above.
    unsafe { (*exec).cwd_len = (draft.len() - start) as u16 };

    let start = draft.len();
    if argv(draft, task, bprm).is_err() {
        draft.missing(MISSING_ARGV);
    }
    // SAFETY: as above.
    unsafe { (*exec).argv_len = (draft.len() - start) as u16 };

    let start = draft.len();
    if argv_end(draft, task).is_err() {
        draft.missing(MISSING_ARGV);
    }
    // SAFETY: as above.
    unsafe { (*exec).argv_end_len = (draft.len() - start) as u16 };

    let start = draft.len();
    // No terminal is not a missing fact: the tail is empty.
    let _ = task
        .follow(Offset::TaskSignal)
        .and_then(|signal| signal.follow(Offset::SignalTty))
        .and_then(|tty| tty.member(Offset::TtyName))
        .and_then(|name| draft.kernel_str::<TTY_MAX>(name));
    // SAFETY: as above.
    unsafe {
        (*exec).tty_len = (draft.len() - start) as u16;
        (*exec).switches = 0;
    }

    let noted = task
        .follow(Offset::TaskMm)
        .and_then(|mm| environment::note_switches(draft, mm));
    if noted.is_err() {
        draft.missing(MISSING_ENVIRONMENT);
    }
}

#[inline(always)]
fn argv(draft: &mut Draft<Exec>, task: Address, bprm: Address) -> Read<()> {
    let exec = draft.fixed();
    // SAFETY: the fixed part of a draft.
    unsafe {
        (*exec).argc = 0;
        (*exec).argv_bytes = 0;
        (*exec).argc = bprm.read(Offset::BinprmArgc)?;
    }
    let mm = task.follow(Offset::TaskMm)?;
    let start: u64 = mm.read(Offset::MmArgStart)?;
    let end: u64 = mm.read(Offset::MmArgEnd)?;
    let bytes = end.saturating_sub(start);
    // SAFETY: as above.
    unsafe { (*exec).argv_bytes = bytes as u32 };
    // The rest of the room is the end's.
    let taken = if bytes > ARGV_MAX as u64 {
        (ARGV_MAX - ARGV_END_MAX) as u64
    } else {
        bytes
    };
    draft.user_bytes::<ARGV_MAX>(start, taken)?;
    Ok(())
}

/// Appends the last bytes of argv where the record does not hold all of it.
#[inline(always)]
fn argv_end(draft: &mut Draft<Exec>, task: Address) -> Read<()> {
    let mm = task.follow(Offset::TaskMm)?;
    let start: u64 = mm.read(Offset::MmArgStart)?;
    let end: u64 = mm.read(Offset::MmArgEnd)?;
    if end.saturating_sub(start) > ARGV_MAX as u64 {
        let bytes = ARGV_END_MAX as u64;
        draft.user_bytes::<ARGV_END_MAX>(end - bytes, bytes)?;
    }
    Ok(())
}
