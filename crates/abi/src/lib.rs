//! The kernel/user ABI of the sensor: record layouts, map keys and values, constants.
//!
//! One definition for both sides. Invariants:
//! - every struct is `#[repr(C)]` with explicit padding, no pointers, no `Option`; sizes and offsets
//!   are asserted below, so a change that moves a byte does not compile;
//! - a record is `Header`, then the fixed part of its kind, then a tail of byte strings whose lengths
//!   stand in the fixed part, in the order documented there;
//! - integers are in host byte order except where the name says network order;
//! - a value that could not be read has its bit in `Header::missing` set; the field itself is then
//!   meaningless, never "zero meaning unknown".
#![no_std]
#![deny(unsafe_code)]

mod account;
mod hook;
mod offsets;
#[cfg(feature = "user")]
mod pod;

pub use account::{
    COUNTERS, COUNTERS_PER_KIND, Cause, Counters, folded_index, lost_index, sent_index,
};
pub use hook::Hook;
pub use offsets::{ABSENT, Offset, Offsets};

use core::mem::{offset_of, size_of};

/// Most bytes of a path, a working directory, a file name as given (`PATH_MAX`, linux/limits.h).
pub const PATH_MAX: usize = 4096;
/// Most bytes of argv carried by an exec record; `Exec::argv_bytes` tells how many there were.
pub const ARGV_MAX: usize = 8192;
/// Longest path component (`NAME_MAX`, linux/limits.h) with its terminator.
pub const NAME_MAX: usize = 256;
/// Most components walked from a file to its root.
pub const COMPONENTS_MAX: usize = 64;
/// Bytes of a terminal's name (`tty_struct::name`, linux/tty.h).
pub const TTY_MAX: usize = 64;
/// Bytes of `sockaddr_un::sun_path` (linux/un.h).
pub const UNIX_PATH_MAX: usize = 108;
/// Room for one record under construction: the largest record plus what one more read may write
/// past its end. A per-CPU map value is limited to 32 KiB by the kernel.
pub const SCRATCH_BYTES: usize = 28 * 1024;
/// Records that may be under construction on one CPU at once (preempted or interrupted programs).
pub const SCRATCH_SLOTS: u32 = 3;
/// Slots of the filter in front of the process table; a power of two. A slot counts the watched
/// processes whose tgid falls into it.
pub const FILTER_SLOTS: u32 = 16 * 1024;
/// Kernel session id of the sensor's own canaries and trials. No real session's id is that but by a
/// chance of 2^-64, which [`SESSION_FIRST`] rules out.
pub const CANARY_SESSION: u64 = 1;
/// Kernel session id under which processes are accounted that wait for a verdict.
pub const PENDING_SESSION: u64 = 0;
/// Slots in which the shares of claims are counted; a power of two.
pub const PENDING_SHARES: u32 = 4096;
/// Claims of which it is remembered that records were lost.
pub const LOST_WAITING_CLAIMS: u32 = 1024;
/// Kinds of open that can be told apart at one time, those of epochs that are not taken out included.
pub const FOLD_KINDS: u32 = 32 * 1024;
/// How many of them one session may have in an epoch. As entries of three epochs can be there at once,
/// one session holds less than half of the room.
pub const FOLD_KINDS_A_SESSION: u32 = FOLD_KINDS / 8;
/// Slots in which the kinds of sessions are counted; a power of two.
pub const FOLD_SHARES: u32 = 1024;
/// Smallest kernel id of a real session.
pub const SESSION_FIRST: u64 = 2;
/// Most processes one run of the task walk reports.
pub const WALK_TASKS: u32 = 256;

/// What a record reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    Exec = 1,
    Fork = 2,
    Exit = 3,
    Open = 4,
    Connect = 5,
    /// A process found by the walk over the task list.
    Task = 6,
    /// An io_uring was set up where the open hook does not see what is asked through it.
    Uring = 7,
    /// A socket was made whose peers no connect hook sees.
    Socket = 8,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Exec,
        Kind::Fork,
        Kind::Exit,
        Kind::Open,
        Kind::Connect,
        Kind::Task,
        Kind::Uring,
        Kind::Socket,
    ];

    pub const fn from_u16(value: u16) -> Option<Self> {
        match value {
            1 => Some(Kind::Exec),
            2 => Some(Kind::Fork),
            3 => Some(Kind::Exit),
            4 => Some(Kind::Open),
            5 => Some(Kind::Connect),
            6 => Some(Kind::Task),
            7 => Some(Kind::Uring),
            8 => Some(Kind::Socket),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Kind::Exec => "exec",
            Kind::Fork => "fork",
            Kind::Exit => "exit",
            Kind::Open => "open",
            Kind::Connect => "connect",
            Kind::Task => "task",
            Kind::Uring => "io_uring",
            Kind::Socket => "socket",
        }
    }
}

/// An executable as the kernel names it: survives renames, differs for every rewritten file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FileKey {
    pub ino: u64,
    /// `inode::i_ctime`, seconds.
    pub ctime_sec: i64,
    /// `inode::i_ctime`, nanoseconds, without the multigrain flag (bit 31, `I_CTIME_QUERIED`).
    pub ctime_nsec: u32,
    /// `super_block::s_dev`, the kernel's 12:20 encoding.
    pub dev: u32,
}

impl FileKey {
    /// Inode 0: not known which.
    pub const UNKNOWN: FileKey = FileKey {
        ino: 0,
        ctime_sec: 0,
        ctime_nsec: 0,
        dev: 0,
    };

    /// Which executable a process runs, in one word: device and inode mixed. Two files of one device
    /// never give the same word; those of two devices do so by a chance of about 2^-32. Never 0.
    #[inline(always)]
    pub const fn image(&self) -> u64 {
        let word = self.ino.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.dev as u64);
        if word == 0 { 1 } else { word }
    }
}

/// Names the exec whose verdict a pending process waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Claim {
    /// Boot clock at the exec, nanoseconds.
    pub exec_ns: u64,
    pub tgid: u32,
    pub pad: u32,
}

impl Claim {
    pub const NONE: Claim = Claim {
        exec_ns: 0,
        tgid: 0,
        pad: 0,
    };

    /// Slot of its share of the ring, less than [`PENDING_SHARES`]. Two claims may meet in one.
    pub fn slot(self) -> u32 {
        let word = (self.exec_ns ^ u64::from(self.tgid)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (word >> 32) as u32 % PENDING_SHARES
    }
}

/// State of a process that is not watched, in [`Task`] records only.
pub const PROCESS_UNWATCHED: u32 = 0;
/// State of a watched process: the executable has no verdict yet.
pub const STATE_PENDING: u32 = 1;
/// State of a watched process: it belongs to an agent's session.
pub const STATE_AGENT: u32 = 2;
/// Verdict on a claim: no agent; the process and its descendants are not watched.
pub const STATE_IGNORED: u32 = 3;

/// Value of `PROCESSES` (key: tgid in the initial pid namespace). No entry: not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessState {
    /// `task_struct::start_boottime` of the group leader, nanoseconds.
    pub start_ns: u64,
    /// First eight bytes of the session id; 0 while pending.
    pub session: u64,
    /// See [`FileKey::image`]; 0 when the executable could not be read.
    pub image: u64,
    pub claim: Claim,
    /// [`STATE_PENDING`] or [`STATE_AGENT`].
    pub state: u32,
    pub pad: u32,
}

/// Value of `SESSIONS` (key: [`ProcessState::session`]), made by the daemon when a session begins
/// and counted by the kernel programs: what of a session did not reach the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SessionState {
    /// By kind (less 1) and cause; what the counter map has for the machine, for this session.
    pub lost: [[u64; Cause::ALL.len()]; Kind::ALL.len()],
    /// Boot clock of the last record that was lost or held back, nanoseconds.
    pub last_ns: u64,
    pub share: Share,
}

/// How much somebody has put into the ring of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Share {
    /// Consumer position of the ring when `bytes` began to count.
    pub mark: u64,
    pub bytes: u64,
}

/// Value of `CONTROL` (one element), written by the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// Current folding epoch; never 0, which switches folding off.
    pub epoch: u32,
    pub pad: u32,
}

/// Key of `FOLDS`: opens alike in all of this and within one epoch are counted, not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FoldKey {
    pub session: u64,
    /// Which executable opened ([`ProcessState::image`]).
    pub image: u64,
    pub ino: u64,
    /// Under which name: address of the directory entry above (with [`FoldKey::name`]). Another hard
    /// link, or the same file after a rename, is another name.
    pub parent: u64,
    /// Through which mount: its address.
    pub mount: u64,
    /// The name's hash, as the kernel has it (`qstr::hash`).
    pub name: u32,
    pub dev: u32,
    pub flags: u32,
    pub epoch: u32,
}

/// Value of `FOLDS`. The record that stands for it is the one of the same time and thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FoldCount {
    /// Opens after the one that was sent.
    pub count: u64,
    /// Boot clock of the last of them, nanoseconds.
    pub last_ns: u64,
    /// `Header::time_ns` of the record that was sent.
    pub first_ns: u64,
    /// `Header::tid` of the record that was sent.
    pub first_tid: u32,
    pub pad: u32,
}

/// Value of `FOLD_SHARES`: kinds of open a session has entered in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FoldShare {
    pub kinds: u64,
    pub epoch: u32,
    pub pad: u32,
}

impl FoldShare {
    /// Slot of a session, less than [`FOLD_SHARES`]. Two sessions may meet in one, and share its room.
    pub fn slot(session: u64) -> u32 {
        (session.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % FOLD_SHARES
    }
}

/// Value of `WALK` (one element): where the walk over the task list goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Walk {
    /// Address of the task reported last; 0 before the first run.
    pub cursor: u64,
    /// Start of that task, by which it is known again.
    pub cursor_start_ns: u64,
    /// [`WALK_MORE`], [`WALK_DONE`] or [`WALK_LOST`], set by each run.
    pub outcome: u32,
    /// Processes reported by this run.
    pub reported: u32,
}

/// The walk has not come round yet: run it again.
pub const WALK_MORE: u32 = 1;
/// Every process was reported.
pub const WALK_DONE: u32 = 2;
/// The task the walk stood at is gone: begin again.
pub const WALK_LOST: u32 = 3;

/// Value of `CLAIMS` (key: [`Claim`]), written by user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ClaimVerdict {
    pub session: u64,
    /// [`STATE_AGENT`] or [`STATE_IGNORED`].
    pub state: u32,
    pub pad: u32,
}

/// Value of `VERDICTS` (key: [`FileKey`]): executing this file never makes an agent.
pub const VERDICT_NOT_AGENT: u32 = 1;

/// Start of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// Boot clock (`CLOCK_BOOTTIME`), nanoseconds.
    pub time_ns: u64,
    /// Start of the process, boot clock, nanoseconds.
    pub start_ns: u64,
    /// See [`ProcessState::session`].
    pub session: u64,
    /// The claim the process waits for, or [`Claim::NONE`].
    pub claim: Claim,
    /// See [`ProcessState::image`]: the executable as of the last exec the kernel side saw.
    pub image: u64,
    /// Length of the whole record, bytes.
    pub len: u32,
    /// Process and thread, initial pid namespace.
    pub tgid: u32,
    pub tid: u32,
    /// [`STATE_PENDING`] or [`STATE_AGENT`].
    pub state: u32,
    /// `MISSING_*`: fields that could not be read.
    pub missing: u32,
    /// [`Kind`].
    pub kind: u16,
    /// [`Hook`].
    pub hook: u8,
    pub pad: u8,
}

/// The path or executable path could not be read.
pub const MISSING_PATH: u32 = 1 << 0;
/// The path walk stopped at [`COMPONENTS_MAX`] or [`PATH_MAX`]: the leading part is absent.
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

/// An exec. Tail: executable path (components, see [`PathForm`]), file name as given,
/// working directory (components), argv (NUL-terminated strings), terminal name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    /// `task_struct::loginuid`; `u32::MAX` is "not set" (linux/audit.h).
    pub loginuid: u32,
    pub argc: u32,
    /// Bytes argv had in all.
    pub argv_bytes: u32,
    pub exe_len: u16,
    pub filename_len: u16,
    pub cwd_len: u16,
    pub argv_len: u16,
    pub tty_len: u16,
    /// Permission and type bits of the file (`inode::i_mode`).
    pub mode: u16,
}

/// A new process (not a thread). The header is the parent's; the child starts in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Fork {
    pub header: Header,
    pub child_start_ns: u64,
    pub child_tgid: u32,
    /// `real_parent->tgid` of the child: differs from the header's tgid under `CLONE_PARENT`.
    pub child_ppid: u32,
}

/// The last thread of a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Folding epoch ([`Control::epoch`]) in which repeats of this open are counted; 0: they are not.
    pub epoch: u32,
    pub path_len: u16,
    /// [`PathForm`].
    pub path_form: u8,
    pub pad: [u8; 5],
}

/// A process that runs, as found by the task walk. The header is that process's; its session and
/// state are 0 when it is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Task {
    pub header: Header,
    /// The executable (`mm->exe_file`).
    pub file: FileKey,
    /// Start of the parent, boot clock, nanoseconds.
    pub parent_start_ns: u64,
    /// `real_parent->tgid` now: another than the one that forked it if that has ended.
    pub ppid: u32,
    pub uid: u32,
}

/// A watched process set up an io_uring. The header says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Uring {
    pub header: Header,
    /// The new descriptor or a negative errno.
    pub result: i32,
    pub pad: u32,
}

/// A watched process made a socket whose peers no connect hook sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    assert!(size_of::<FileKey>() == 24);
    assert!(size_of::<Claim>() == 16);
    assert!(size_of::<ProcessState>() == 48);
    assert!(size_of::<SessionState>() == 40 * 8 + 24);
    assert!(size_of::<Control>() == 8);
    assert!(size_of::<FoldKey>() == 56);
    assert!(size_of::<FoldCount>() == 32);
    assert!(size_of::<FoldShare>() == 16);
    assert!(size_of::<Walk>() == 24);
    assert!(FILTER_SLOTS.is_power_of_two());
    assert!(PENDING_SHARES.is_power_of_two());
    assert!(FOLD_SHARES.is_power_of_two());
    assert!(size_of::<ClaimVerdict>() == 16);
    assert!(size_of::<Header>() == 72);
    assert!(offset_of!(Header, claim) == 24);
    assert!(offset_of!(Header, len) == 48);
    assert!(offset_of!(Header, kind) == 68);
    assert!(size_of::<Exec>() == 72 + 24 + 16 + 24 + 28 + 12);
    assert!(offset_of!(Exec, exe_len) == 164);
    assert!(size_of::<Fork>() == 88);
    assert!(size_of::<Exit>() == 80);
    assert!(size_of::<Open>() == 128);
    assert!(size_of::<Connect>() == 104);
    assert!(size_of::<Task>() == 72 + 24 + 8 + 8);
    assert!(size_of::<Uring>() == 80);
    assert!(size_of::<Socket>() == 80);
    assert!(size_of::<Exec>() + 3 * PATH_MAX + ARGV_MAX + TTY_MAX + 4 * NAME_MAX <= SCRATCH_BYTES);
};
