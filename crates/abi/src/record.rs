//! Records: the header, then the fixed part of each kind.
//!
//! The tail of byte strings that follows a fixed part is documented there.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    limits::{ARGV_END_MAX, ARGV_MAX, NAME_MAX, PATH_MAX, SCRATCH_BYTES, TTY_MAX},
    process::{Claim, FileKey},
};

/// Start of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Boot clock (`CLOCK_BOOTTIME`), nanoseconds.
    pub time_ns: u64,
    /// Start of the process, boot clock, nanoseconds.
    pub start_ns: u64,
    /// See [`ProcessState::session`](crate::ProcessState::session).
    pub session: u64,
    /// The claim the process waits for, or [`Claim::NONE`].
    pub claim: Claim,
    /// See [`ProcessState::image`](crate::ProcessState::image): the executable as of the last exec the kernel side saw.
    pub image: u64,
    /// Length of the whole record, bytes.
    pub len: u32,
    /// Process and thread, initial pid namespace.
    pub tgid: u32,
    pub tid: u32,
    /// [`STATE_PENDING`](crate::STATE_PENDING) or [`STATE_AGENT`](crate::STATE_AGENT).
    pub state: u32,
    /// `MISSING_*`: fields that could not be read.
    pub missing: u32,
    /// [`Kind`](crate::Kind).
    pub kind: u16,
    /// [`Hook`](crate::Hook).
    pub hook: u8,
    pub pad: u8,
    /// Real and effective user id of the thread at that moment, initial user namespace.
    pub uid: u32,
    pub euid: u32,
}

/// The path or executable path could not be read.
pub const MISSING_PATH: u32 = 1 << 0;
/// The path walk stopped at [`COMPONENTS_MAX`](crate::COMPONENTS_MAX) or [`PATH_MAX`]: the leading part is absent.
pub const MISSING_PATH_HEAD: u32 = 1 << 1;
/// The working directory could not be read.
pub const MISSING_CWD: u32 = 1 << 2;
/// argv could not be read, wholly or from some byte on.
pub const MISSING_ARGV: u32 = 1 << 3;
/// Device, inode, mode or change time could not be read.
pub const MISSING_INODE: u32 = 1 << 4;
/// Parent pid or start time could not be read.
pub const MISSING_PARENT: u32 = 1 << 5;
/// User ids could not be read.
pub const MISSING_CRED: u32 = 1 << 6;
/// The file name as given could not be read.
pub const MISSING_FILENAME: u32 = 1 << 7;
/// The login uid could not be read (audit not built in).
pub const MISSING_LOGINUID: u32 = 1 << 8;
/// The outcome is not known at this hook.
pub const MISSING_RESULT: u32 = 1 << 9;
/// The socket address could not be read.
pub const MISSING_ADDR: u32 = 1 << 10;
/// The start time of the process could not be read.
pub const MISSING_START: u32 = 1 << 11;
/// The transport protocol is not known at this hook.
pub const MISSING_PROTO: u32 = 1 << 12;
/// The size a file was to get is not known at this hook.
pub const MISSING_SIZE: u32 = 1 << 13;
/// The second name of a change could not be read.
pub const MISSING_TO: u32 = 1 << 14;
/// What the second name is relative to could not be read.
pub const MISSING_TO_FOLDER: u32 = 1 << 15;
/// The walk of the second name stopped early: the leading part is absent.
pub const MISSING_TO_HEAD: u32 = 1 << 16;
/// The environment could not be read to its end.
pub const MISSING_ENVIRONMENT: u32 = 1 << 17;

/// An exec. Tail: executable path (components, see [`PathForm`]), file name as given,
/// working directory (components), argv (NUL-terminated strings), the end of argv where the record
/// does not hold all of it, terminal name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exec {
    pub header: Header,
    /// The file that was executed (`bprm->file`; the interpreter for a script).
    pub file: FileKey,
    /// What the process waited for before this exec, or [`Claim::NONE`].
    pub previous_claim: Claim,
    /// Start of the parent, boot clock, nanoseconds.
    pub parent_start_ns: u64,
    /// cgroup v2 id.
    pub cgroup_id: u64,
    /// Bytes of the file.
    pub file_size: u64,
    /// `real_parent->tgid` at the exec.
    pub ppid: u32,
    pub gid: u32,
    /// `task_struct::loginuid`; `u32::MAX` is "not set" (linux/audit.h).
    pub loginuid: u32,
    pub argc: u32,
    /// Bytes argv had in all.
    pub argv_bytes: u32,
    /// Inode numbers of its namespaces (`ns_common::inum`); 0: not read, which no namespace has.
    pub pid_namespace: u32,
    pub user_namespace: u32,
    pub mount_namespace: u32,
    pub exe_len: u16,
    pub filename_len: u16,
    pub cwd_len: u16,
    pub argv_len: u16,
    pub argv_end_len: u16,
    pub tty_len: u16,
    /// Permission and type bits of the file (`inode::i_mode`).
    pub mode: u16,
    /// Bit N: the Nth of the [`Switches`](crate::Switches) is on.
    pub switches: u16,
}

/// An exec that failed. The header is the process that tried. Tail: file name as given, arguments
/// (NUL-terminated strings).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FailedExec {
    pub header: Header,
    /// A negative errno.
    pub result: i32,
    /// What the name is relative to (`AT_FDCWD` is -100).
    pub dirfd: i32,
    pub filename_len: u16,
    pub argv_len: u16,
    /// Arguments in the tail.
    pub argc: u16,
    /// 1: there were more, or longer ones.
    pub is_cut: u16,
}

/// A new process (not a thread). The header is the parent's; the child starts in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fork {
    pub header: Header,
    pub child_start_ns: u64,
    pub child_tgid: u32,
    /// `real_parent->tgid` of the child: differs from the header's tgid under `CLONE_PARENT`.
    pub child_ppid: u32,
}

/// The last thread of a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exit {
    pub header: Header,
    /// Wait status: signal in bits 0..7 (bit 7: core dumped), exit status in bits 8..16.
    pub status: u32,
    pub pad: u32,
}

/// How the bytes of a path are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PathForm {
    /// Names from the file up to its root, each ended by NUL, as walked over dentries and mounts.
    Components = 1,
    /// The string the program passed, one NUL at the end; relative to `dirfd`.
    Given = 2,
}

/// An open. Tail: path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Open {
    pub header: Header,
    pub file: FileKey,
    /// `O_*` flags.
    pub flags: u32,
    /// `inode::i_mode`, 0 in the upper half.
    pub mode: u32,
    /// 0 or a negative errno.
    pub result: i32,
    /// For [`PathForm::Given`]: the directory descriptor (`AT_FDCWD` is -100).
    pub dirfd: i32,
    /// `inode::i_nlink`: more than 1, and the file has other names.
    pub links: u32,
    /// Folding epoch ([`Control::epoch`](crate::Control::epoch)) in which repeats of this open are counted; 0: they are not.
    pub epoch: u32,
    pub path_len: u16,
    /// [`PathForm`].
    pub path_form: u8,
    pub pad: [u8; 5],
}

/// A process that runs, as found by the task walk. The header is that process's; its session and
/// state are 0 when it is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Task {
    pub header: Header,
    /// The executable (`mm->exe_file`).
    pub file: FileKey,
    /// Start of the parent, boot clock, nanoseconds.
    pub parent_start_ns: u64,
    /// `real_parent->tgid` now: another than the one that forked it if that has ended.
    pub ppid: u32,
    pub pad: u32,
}

/// A watched process set up an io_uring. The header says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Uring {
    pub header: Header,
    /// The new descriptor or a negative errno.
    pub result: i32,
    pub pad: u32,
}

/// A watched process made a socket whose peers no connect hook sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Socket {
    pub header: Header,
    /// `AF_*` (linux/socket.h).
    pub family: u16,
    /// `SOCK_*` (linux/net.h).
    pub kind: u16,
    /// As given to `socket`: `IPPROTO_*` for inet.
    pub protocol: u32,
}

/// A connect, or a datagram sent to a named peer. Tail: path of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Connect {
    pub header: Header,
    /// IPv6 address, or IPv4 address in the first four bytes; network order. Of vsock, port and
    /// context id, four bytes each; host order.
    pub addr: [u8; 16],
    /// 0 or a negative errno (`-EINPROGRESS` for a non-blocking connect).
    pub result: i32,
    /// `AF_*` (linux/socket.h): 1 unix, 2 inet, 10 inet6, 40 vsock; of others there is no address.
    pub family: u16,
    /// Host byte order.
    pub port: u16,
    /// `IPPROTO_*` (linux/in.h).
    pub proto: u8,
    pub pad: u8,
    pub path_len: u16,
    pub pad2: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 80);
    assert!(offset_of!(Header, claim) == 24);
    assert!(offset_of!(Header, len) == 48);
    assert!(offset_of!(Header, kind) == 68);
    assert!(offset_of!(Header, uid) == 72);
    assert!(size_of::<Exec>() == 80 + 24 + 16 + 24 + 20 + 12 + 16);
    assert!(offset_of!(Exec, exe_len) == 176);
    assert!(size_of::<FailedExec>() == 96);
    assert!(size_of::<Fork>() == 96);
    assert!(size_of::<Exit>() == 88);
    assert!(size_of::<Open>() == 136);
    assert!(size_of::<Connect>() == 112);
    assert!(size_of::<Task>() == 80 + 24 + 8 + 8);
    assert!(size_of::<Uring>() == 88);
    assert!(size_of::<Socket>() == 88);
    // Its environment is looked at in the room behind it.
    assert!(
        size_of::<Exec>() + 3 * PATH_MAX + ARGV_MAX + ARGV_END_MAX + TTY_MAX + 4 * NAME_MAX
            <= SCRATCH_BYTES
    );
};
