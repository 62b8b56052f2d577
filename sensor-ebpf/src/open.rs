//! open, by tier:
//!
//! 1. fentry `vfs_open(const struct path *path, struct file *file)` and `finish_open(struct file
//!    *file, struct dentry *dentry, …)` (5.5, trampolines). Every open ends in one of the two,
//!    however it was asked for (io_uring, `open_by_handle_at`, a re-open through `/proc/self/fd`,
//!    `O_PATH`): the second serves `O_TMPFILE` and file systems that look up and open in one go
//!    (NFS, FUSE). Runs before the outcome.
//! 2. LSM `file_open(struct file *file)`: 5.7, BPF in the LSM list. The same but for `O_PATH`, which
//!    gives no access to contents and passes no LSM hook.
//! 3. fentry `security_file_open(struct file *file)`: 5.5, the same view as the LSM's.
//! 4. Tracepoints of the system calls: `open_syscall`.
//!
//! Opens that fail in the look-up (no such file, no permission to search) reach none of 1 to 3.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fentry, lsm},
    programs::{FEntryContext, LsmContext},
};
use skep_abi::{
    Cause, FileKey, Hook, Kind, LogLine, MISSING_INODE, MISSING_PATH, MISSING_PATH_HEAD,
    MISSING_RESULT, Offset, Open, PathForm, ProcessState,
};

use crate::{
    account, fold,
    interest::watched,
    kernel::{self, INODE_WORDS, Ids, Members, Place, Read, Room, Typed, Unreadable},
    log, path,
    record::{self, Draft},
    ring::Urgency,
    target::Target,
};

/// `__FMODE_EXEC` (include/linux/fs.h): the kernel itself opens a program or its interpreter during
/// exec. That is reported as the exec.
const FMODE_EXEC: u32 = 0x20;
/// `AT_FDCWD` (linux/fcntl.h).
pub const AT_FDCWD: i32 = -100;

/// Who opens, how.
pub struct Opening<'a> {
    pub hook: Hook,
    pub pid_tgid: u64,
    pub state: &'a ProcessState,
    pub flags: u32,
    /// Where the hook knows it.
    pub result: Option<i32>,
}

#[fentry(function = "vfs_open")]
pub fn fentry_vfs_open(ctx: FEntryContext) -> i32 {
    let hook = Hook::FentryVfsOpen;
    let (path, file) = (ctx.arg::<*const u8>(0), ctx.arg::<*const u8>(1));
    with_watched(hook, Typed(file), || {
        let path = Typed(path);
        Target::at(
            path.follow(Offset::PathMnt)?,
            path.follow(Offset::PathDentry)?,
        )
    });
    0
}

#[fentry(function = "finish_open")]
pub fn fentry_finish_open(ctx: FEntryContext) -> i32 {
    let hook = Hook::FentryFinishOpen;
    let (file, dentry) = (ctx.arg::<*const u8>(0), ctx.arg::<*const u8>(1));
    with_watched(hook, Typed(file), || {
        // The dentry is not in the file yet; the mount is (fs/namei.c, `atomic_open`).
        let path = Typed(file).member(Offset::FilePath)?;
        Target::at(path.follow(Offset::PathMnt)?, Typed(dentry))
    });
    0
}

#[lsm(hook = "file_open")]
pub fn lsm_file_open(ctx: LsmContext) -> i32 {
    let file = Typed(ctx.arg::<*const u8>(0));
    with_watched(Hook::LsmFileOpen, file, || Target::of_typed(file));
    // The verdict of the LSM before us (the kernel passes it as the last argument since 5.7).
    ctx.arg::<i32>(1)
}

#[fentry(function = "security_file_open")]
pub fn fentry_file_open(ctx: FEntryContext) -> i32 {
    let file = Typed(ctx.arg::<*const u8>(0));
    with_watched(Hook::FentryFileOpen, file, || Target::of_typed(file));
    0
}

#[inline(always)]
fn with_watched(hook: Hook, file: Typed, target: impl FnOnce() -> Read<Target<Typed>>) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    let Ok(flags) = file.read::<u32>(Offset::FileFlags) else {
        return account::lost(hook as u8, Kind::Open, Cause::Unreadable, state.session);
    };
    if flags & FMODE_EXEC != 0 {
        return;
    }
    let Ok(target) = target() else {
        return account::lost(hook as u8, Kind::Open, Cause::Unreadable, state.session);
    };
    let opening = Opening {
        hook,
        pid_tgid,
        state: &state,
        flags,
        result: None,
    };
    report(&opening, &target);
}

/// Counts an open that repeats one of this epoch, reports any other.
#[inline(always)]
pub fn report<P: Place>(opening: &Opening<'_>, target: &Target<P>) {
    let Opening {
        hook,
        pid_tgid,
        state,
        flags,
        result,
    } = *opening;
    let mut room = Room::<INODE_WORDS>::new();
    let inode = match &target.inode {
        Ok(inode) => inode.start(&mut room),
        Err(_) => Err(Unreadable),
    };
    let ids = Ids::now();
    let fold = match &inode {
        Ok(inode) => fold::key(state, &ids, inode, target, flags),
        Err(_) => None,
    };
    let time_ns = kernel::boot_ns();
    if let Some(key) = &fold
        && fold::repeated(key, time_ns)
    {
        return account::folded(Kind::Open);
    }
    let header = record::header_as(ids, Kind::Open, hook, time_ns, pid_tgid, state);
    let Some(mut draft) = Draft::<Open>::begin(Kind::Open, &header) else {
        return;
    };
    let open = draft.fixed();
    let inode = match &inode {
        Ok(inode) => kernel::inode_from(inode),
        Err(_) => Err(Unreadable),
    };
    match inode {
        // SAFETY: the slot is large enough and aligned for the fixed part, here and below.
        Ok(inode) => unsafe {
            (*open).file = inode.key;
            (*open).mode = inode.mode as u32;
            (*open).links = inode.links;
        },
        Err(_) => {
            log::debug!(hook, LogLine::NoInode);
            draft.missing(MISSING_INODE);
        }
    }
    if result.is_none() {
        draft.missing(MISSING_RESULT);
    }
    let start = draft.len();
    match path::walk_typed(&mut draft, target.mount, target.dentry) {
        Ok(true) => {}
        Ok(false) => {
            log::debug!(hook, LogLine::PathCut, draft.len() - start);
            draft.missing(MISSING_PATH_HEAD);
        }
        Err(_) => draft.missing(MISSING_PATH),
    }
    // SAFETY: as above.
    unsafe {
        (*open).flags = flags;
        (*open).result = result.unwrap_or(0);
        (*open).dirfd = AT_FDCWD;
        (*open).epoch = match &fold {
            Some(key) => key.epoch,
            None => 0,
        };
        (*open).path_len = (draft.len() - start) as u16;
        (*open).path_form = PathForm::Components as u8;
        (*open).pad = [0; 5];
    }
    let sent = draft.send(Urgency::Whenever);
    if sent && let Some(key) = &fold {
        fold::begin(hook, key, time_ns, pid_tgid as u32);
    }
}

/// Reports an open of which there is no more than what the program passed.
#[inline(always)]
pub fn report_given(opening: &Opening<'_>, pointer: u64, dirfd: i32) {
    let Opening {
        hook,
        pid_tgid,
        state,
        flags,
        result,
    } = *opening;
    let header = record::header(Kind::Open, hook, kernel::boot_ns(), pid_tgid, state);
    let Some(mut draft) = Draft::<Open>::begin(Kind::Open, &header) else {
        return;
    };
    draft.missing(MISSING_INODE);
    let start = draft.len();
    if pointer == 0 || draft.user_str::<{ skep_abi::PATH_MAX }>(pointer).is_err() {
        draft.missing(MISSING_PATH);
    }
    let open = draft.fixed();
    // SAFETY: the slot is large enough and aligned for the fixed part.
    unsafe {
        (*open).file = FileKey::UNKNOWN;
        (*open).flags = flags;
        (*open).mode = 0;
        (*open).result = result.unwrap_or(0);
        (*open).dirfd = dirfd;
        (*open).links = 0;
        (*open).epoch = 0;
        (*open).path_len = (draft.len() - start) as u16;
        (*open).path_form = PathForm::Given as u8;
        (*open).pad = [0; 5];
    }
    draft.send(Urgency::Whenever);
}
