//! Changes of names and attributes, last tier: one program on the tracepoints `syscalls:sys_exit_*` of
//! every system call that makes one (5.15, [`crate::syscall`]).
//!
//! Sees the outcome, and what fails. A name is what the program passed, with the folder it is relative
//! to as the kernel knows it; where the call was given a descriptor (or the name `/proc/self/fd/N`, as
//! for a file that has none yet), the path is that of its file. Does not see io_uring, nor 32-bit system
//! calls; those that make an io_uring are reported by the open hook of this tier.
//!
//! What a call asks for goes through the slot of the record (`Slot::names`): the verifier then sees the
//! same unknown numbers whichever call it was, and walks the rest once.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_task},
    macros::tracepoint,
    programs::TracePointContext,
};
use skep_abi::{
    CHANGE_FOLLOWS, Cause, Change, ChangeOp, FileKey, Hook, Kind, MISSING_CWD, MISSING_FILENAME,
    MISSING_INODE, MISSING_PATH, MISSING_PATH_HEAD, MISSING_TO, MISSING_TO_FOLDER, MISSING_TO_HEAD,
    NAME_MAX, Offset, PATH_MAX,
};

use crate::{
    account,
    change::{RENAME_EXCHANGE, UNCHANGED},
    interest::watched,
    kernel::{self, Address, Members, Read},
    maps::Names,
    open::AT_FDCWD,
    open_syscall::file_of,
    path,
    record::{self, Draft},
    ring::Urgency,
    syscall::{Entered, result},
};

/// System calls of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
mod nr {
    pub const TRUNCATE: u32 = 76;
    pub const FTRUNCATE: u32 = 77;
    pub const RENAME: u32 = 82;
    pub const MKDIR: u32 = 83;
    pub const RMDIR: u32 = 84;
    pub const LINK: u32 = 86;
    pub const UNLINK: u32 = 87;
    pub const SYMLINK: u32 = 88;
    pub const CHMOD: u32 = 90;
    pub const FCHMOD: u32 = 91;
    pub const CHOWN: u32 = 92;
    pub const FCHOWN: u32 = 93;
    pub const LCHOWN: u32 = 94;
    pub const SETXATTR: u32 = 188;
    pub const LSETXATTR: u32 = 189;
    pub const FSETXATTR: u32 = 190;
    pub const REMOVEXATTR: u32 = 197;
    pub const LREMOVEXATTR: u32 = 198;
    pub const FREMOVEXATTR: u32 = 199;
    pub const MKDIRAT: u32 = 258;
    pub const FCHOWNAT: u32 = 260;
    pub const UNLINKAT: u32 = 263;
    pub const RENAMEAT: u32 = 264;
    pub const LINKAT: u32 = 265;
    pub const SYMLINKAT: u32 = 266;
    pub const FCHMODAT: u32 = 268;
    pub const RENAMEAT2: u32 = 316;
    pub const FCHMODAT2: u32 = 452;
    pub const SETXATTRAT: u32 = 463;
    pub const REMOVEXATTRAT: u32 = 466;
}

/// `AT_*` (linux/fcntl.h).
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_REMOVEDIR: u64 = 0x200;
const AT_SYMLINK_FOLLOW: u64 = 0x400;
/// In place of a descriptor: a text that is relative to nothing.
const NO_FOLDER: i32 = i32::MIN;
/// Where the number of the system call is (tracefs: events/syscalls/*/format).
const NR_AT: usize = 8;
/// A name of a descriptor of the process itself.
const OWN_DESCRIPTOR: &[u8; 14] = b"/proc/self/fd/";
/// Digits of a descriptor.
const DIGITS: usize = 7;

/// A name as it was given; without one, the file of the descriptor.
#[derive(Clone, Copy)]
struct At {
    folder: i32,
    given: u64,
}

/// What a call was asked.
struct Asked {
    op: ChangeOp,
    path: At,
    to: At,
    attribute: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    follows: bool,
}

impl Asked {
    #[inline(always)]
    fn of(op: ChangeOp, path: At) -> Self {
        Self {
            op,
            path,
            to: At::NOWHERE,
            attribute: 0,
            mode: 0,
            uid: UNCHANGED,
            gid: UNCHANGED,
            size: 0,
            follows: false,
        }
    }

    #[inline(always)]
    fn to(self, to: At) -> Self {
        Self { to, ..self }
    }

    #[inline(always)]
    fn owner(self, uid: u64, gid: u64) -> Self {
        Self {
            uid: uid as u32,
            gid: gid as u32,
            ..self
        }
    }

    #[inline(always)]
    fn mode(self, mode: u64) -> Self {
        Self {
            mode: mode as u32,
            ..self
        }
    }

    #[inline(always)]
    fn size(self, size: u64) -> Self {
        Self { size, ..self }
    }

    #[inline(always)]
    fn attribute(self, attribute: u64) -> Self {
        Self { attribute, ..self }
    }

    #[inline(always)]
    fn follows(self, follows: bool) -> Self {
        Self { follows, ..self }
    }
}

impl At {
    const NOWHERE: Self = Self {
        folder: NO_FOLDER,
        given: 0,
    };

    #[inline(always)]
    fn new(folder: u64, given: u64) -> Self {
        Self {
            folder: folder as i32,
            given,
        }
    }

    #[inline(always)]
    fn here(given: u64) -> Self {
        Self {
            folder: AT_FDCWD,
            given,
        }
    }

    #[inline(always)]
    fn descriptor(fd: u64) -> Self {
        Self {
            folder: fd as i32,
            given: 0,
        }
    }
}

#[tracepoint(category = "syscalls", name = "sys_exit_rename")]
pub fn exit_change(ctx: TracePointContext) -> u32 {
    try_exit(&ctx);
    0
}

#[inline(always)]
fn try_exit(ctx: &TracePointContext) {
    let hook = Hook::TpChange;
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(state) = watched(pid_tgid) else {
        return;
    };
    // SAFETY: within the context of the tracepoint; the verifier checks it.
    let call = unsafe {
        ctx.as_ptr()
            .cast::<u8>()
            .add(NR_AT)
            .cast::<u32>()
            .read_volatile()
    };
    let Ok(arguments) = arguments() else {
        return account::lost(hook as u8, Kind::Change, Cause::Unreadable, state.session);
    };
    let Some(asked) = asked(call, arguments) else {
        return;
    };
    let header = record::header(Kind::Change, hook, kernel::boot_ns(), pid_tgid, &state);
    let Some(mut draft) = Draft::<Change>::begin(Kind::Change, &header) else {
        return;
    };
    let change = draft.fixed();
    let names = draft.names();
    // SAFETY: the slot is large enough and aligned for the fixed part, here and below; every field is
    // written here or by the steps below. Volatile: the names must go through memory.
    unsafe {
        names.write_volatile(Names {
            given: asked.path.given,
            to_given: asked.to.given,
            attribute: asked.attribute,
            folder: asked.path.folder,
            to_folder: asked.to.folder,
        });
        (*change).file = FileKey::UNKNOWN;
        (*change).size = asked.size;
        (*change).mode = asked.mode;
        (*change).uid = asked.uid;
        (*change).gid = asked.gid;
        (*change).result = match result(ctx) {
            errno if errno < 0 => errno as i32,
            _ => 0,
        };
        (*change).op = asked.op as u16;
        (*change).flags = if asked.follows { CHANGE_FOLLOWS } else { 0 };
        (*change).to_folder_len = 0;
        (*change).to_given_len = 0;
        (*change).attribute_len = 0;
        (*change).pad = 0;
    }
    first_name(&mut draft);
    second_name(&mut draft);
    let start = draft.len();
    // SAFETY: as above.
    let attribute = unsafe { (&raw const (*names).attribute).read_volatile() };
    if attribute != 0 {
        if draft.user_str::<NAME_MAX>(attribute).is_err() {
            draft.missing(MISSING_FILENAME);
        }
        // SAFETY: as above.
        unsafe { (*change).attribute_len = (draft.len() - start) as u16 };
    }
    draft.send(Urgency::Whenever);
}

#[inline(always)]
fn arguments() -> Read<[u64; 5]> {
    let entered = Entered::now();
    Ok([
        entered.argument(0)?,
        entered.argument(1)?,
        entered.argument(2)?,
        entered.argument(3)?,
        entered.argument(4)?,
    ])
}

/// `None` for a call that is none of these.
#[inline(always)]
fn asked(call: u32, [a, b, c, d, e]: [u64; 5]) -> Option<Asked> {
    let exchange = |flags: u64| match flags & RENAME_EXCHANGE {
        0 => ChangeOp::Rename,
        _ => ChangeOp::Exchange,
    };
    let follows = |flags: u64| flags & AT_SYMLINK_NOFOLLOW == 0;
    Some(match call {
        nr::RENAME => Asked::of(ChangeOp::Rename, At::here(a)).to(At::here(b)),
        nr::RENAMEAT => Asked::of(ChangeOp::Rename, At::new(a, b)).to(At::new(c, d)),
        nr::RENAMEAT2 => Asked::of(exchange(e), At::new(a, b)).to(At::new(c, d)),
        nr::LINK => Asked::of(ChangeOp::Link, At::here(a)).to(At::here(b)),
        nr::LINKAT => Asked::of(ChangeOp::Link, At::new(a, b))
            .to(At::new(c, d))
            .follows(e & AT_SYMLINK_FOLLOW != 0),
        nr::SYMLINK => Asked::of(ChangeOp::Symlink, At::here(b)).to(At {
            given: a,
            ..At::NOWHERE
        }),
        nr::SYMLINKAT => Asked::of(ChangeOp::Symlink, At::new(b, c)).to(At {
            given: a,
            ..At::NOWHERE
        }),
        nr::UNLINK => Asked::of(ChangeOp::Unlink, At::here(a)),
        nr::UNLINKAT => match c & AT_REMOVEDIR {
            0 => Asked::of(ChangeOp::Unlink, At::new(a, b)),
            _ => Asked::of(ChangeOp::Rmdir, At::new(a, b)),
        },
        nr::RMDIR => Asked::of(ChangeOp::Rmdir, At::here(a)),
        nr::MKDIR => Asked::of(ChangeOp::Mkdir, At::here(a)).mode(b),
        nr::MKDIRAT => Asked::of(ChangeOp::Mkdir, At::new(a, b)).mode(c),
        nr::TRUNCATE => Asked::of(ChangeOp::Truncate, At::here(a))
            .size(b)
            .follows(true),
        nr::FTRUNCATE => Asked::of(ChangeOp::Truncate, At::descriptor(a)).size(b),
        nr::CHMOD => Asked::of(ChangeOp::Chmod, At::here(a))
            .mode(b)
            .follows(true),
        nr::FCHMOD => Asked::of(ChangeOp::Chmod, At::descriptor(a)).mode(b),
        nr::FCHMODAT => Asked::of(ChangeOp::Chmod, At::new(a, b))
            .mode(c)
            .follows(true),
        nr::FCHMODAT2 => Asked::of(ChangeOp::Chmod, At::new(a, b))
            .mode(c)
            .follows(follows(d)),
        nr::CHOWN => Asked::of(ChangeOp::Chown, At::here(a))
            .owner(b, c)
            .follows(true),
        nr::LCHOWN => Asked::of(ChangeOp::Chown, At::here(a)).owner(b, c),
        nr::FCHOWN => Asked::of(ChangeOp::Chown, At::descriptor(a)).owner(b, c),
        nr::FCHOWNAT => Asked::of(ChangeOp::Chown, At::new(a, b))
            .owner(c, d)
            .follows(follows(e)),
        nr::SETXATTR => Asked::of(ChangeOp::Setxattr, At::here(a))
            .attribute(b)
            .follows(true),
        nr::LSETXATTR => Asked::of(ChangeOp::Setxattr, At::here(a)).attribute(b),
        nr::FSETXATTR => Asked::of(ChangeOp::Setxattr, At::descriptor(a)).attribute(b),
        nr::SETXATTRAT => Asked::of(ChangeOp::Setxattr, At::new(a, b))
            .attribute(d)
            .follows(follows(c)),
        nr::REMOVEXATTR => Asked::of(ChangeOp::Removexattr, At::here(a))
            .attribute(b)
            .follows(true),
        nr::LREMOVEXATTR => Asked::of(ChangeOp::Removexattr, At::here(a)).attribute(b),
        nr::FREMOVEXATTR => Asked::of(ChangeOp::Removexattr, At::descriptor(a)).attribute(b),
        nr::REMOVEXATTRAT => Asked::of(ChangeOp::Removexattr, At::new(a, b))
            .attribute(d)
            .follows(follows(c)),
        _ => return None,
    })
}

/// Appends the name of the file that is changed and what it is relative to; without a name, the file of
/// the descriptor, and which file that is.
#[inline(always)]
fn first_name(draft: &mut Draft<Change>) {
    let change = draft.fixed();
    let names = draft.names();
    let start = draft.len();
    // SAFETY: the slot's own, written before; volatile, as everything of a draft.
    let (given, mut folder) = unsafe {
        (
            (&raw const (*names).given).read_volatile(),
            (&raw const (*names).folder).read_volatile(),
        )
    };
    if given != 0 && draft.user_str::<PATH_MAX>(given).is_err() {
        draft.missing(MISSING_PATH);
    }
    // SAFETY: the fixed part of a draft.
    let flags = unsafe { (&raw const (*change).flags).read_volatile() };
    if given != 0
        && flags & CHANGE_FOLLOWS != 0
        && let Some(fd) = own_descriptor(draft)
    {
        folder = fd;
        draft.cut(start);
    }
    let given_len = draft.len() - start;
    let first = if given_len > 0 {
        first_byte(draft, start)
    } else {
        0
    };
    // SAFETY: the fixed part of a draft, here and below.
    unsafe { (*change).given_len = given_len as u16 };
    let start = draft.len();
    if first != b'/' {
        append_folder(draft, folder, MISSING_CWD, MISSING_PATH_HEAD);
    }
    unsafe { (*change).folder_len = (draft.len() - start) as u16 };
    // No name, or an empty one.
    let inode = match first {
        0 => descriptor(folder)
            .and_then(|file| file.follow(Offset::FileInode))
            .and_then(kernel::inode),
        _ => Err(kernel::Unreadable),
    };
    match inode {
        Ok(inode) => unsafe { (*change).file = inode.key },
        Err(_) => draft.missing(MISSING_INODE),
    }
}

/// Appends the second name and what it is relative to, if there is one.
#[inline(always)]
fn second_name(draft: &mut Draft<Change>) {
    let change = draft.fixed();
    let names = draft.names();
    let start = draft.len();
    // SAFETY: the slot's own, written before; volatile, as everything of a draft.
    let (given, folder) = unsafe {
        (
            (&raw const (*names).to_given).read_volatile(),
            (&raw const (*names).to_folder).read_volatile(),
        )
    };
    if given == 0 {
        return;
    }
    if draft.user_str::<PATH_MAX>(given).is_err() {
        draft.missing(MISSING_TO);
    }
    let given_len = draft.len() - start;
    let first = if given_len > 0 {
        first_byte(draft, start)
    } else {
        0
    };
    // SAFETY: the fixed part of a draft, here and below.
    unsafe { (*change).to_given_len = given_len as u16 };
    let start = draft.len();
    if first != b'/' && folder != NO_FOLDER {
        append_folder(draft, folder, MISSING_TO_FOLDER, MISSING_TO_HEAD);
    }
    unsafe { (*change).to_folder_len = (draft.len() - start) as u16 };
}

/// Appends the components of what a name is relative to.
#[inline(always)]
fn append_folder(draft: &mut Draft<Change>, folder: i32, missing: u32, missing_head: u32) {
    let at = if folder == AT_FDCWD {
        task()
            .follow(Offset::TaskFs)
            .and_then(|fs| fs.member(Offset::FsPwd))
    } else {
        descriptor(folder).and_then(|file| file.member(Offset::FilePath))
    };
    match at.and_then(|at| path::append(draft, at)) {
        Ok(true) => {}
        Ok(false) => draft.missing(missing_head),
        Err(_) => draft.missing(missing),
    }
}

#[inline(always)]
fn task() -> Address {
    // SAFETY: no arguments, no side effects.
    Address(unsafe { bpf_get_current_task() })
}

#[inline(always)]
fn descriptor(fd: i32) -> Read<Address> {
    if fd < 0 {
        return Err(kernel::Unreadable);
    }
    file_of(task(), fd as u32)
}

/// The byte of the tail at `start`.
#[inline(always)]
fn first_byte(draft: &Draft<Change>, start: usize) -> u8 {
    draft.byte(start).unwrap_or(0)
}

/// The descriptor that the first name, which has just been appended, is a name of.
#[inline(always)]
fn own_descriptor(draft: &Draft<Change>) -> Option<i32> {
    let at = size_of::<Change>();
    for (index, expected) in OWN_DESCRIPTOR.iter().enumerate() {
        if draft.byte(at + index) != Some(*expected) {
            return None;
        }
    }
    let mut fd = 0;
    for index in 0..=DIGITS {
        match draft.byte(at + OWN_DESCRIPTOR.len() + index)? {
            0 if index > 0 => return Some(fd),
            digit @ b'0'..=b'9' if index < DIGITS => fd = fd * 10 + i32::from(digit - b'0'),
            _ => return None,
        }
    }
    None
}
