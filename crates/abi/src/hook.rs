//! The hooks records come from.

/// The hook that made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Hook {
    RawTpExec = 1,
    RawTpFork = 2,
    RawTpExit = 3,
    LsmFileOpen = 10,
    FentryFileOpen = 11,
    TpOpen = 12,
    TpOpenat = 13,
    TpOpenat2 = 14,
    TpCreat = 15,
    TpOpenByHandleAt = 16,
    FentryVfsOpen = 17,
    FentryFinishOpen = 18,
    CgroupConnect4 = 20,
    CgroupConnect6 = 21,
    CgroupSendmsg4 = 22,
    CgroupSendmsg6 = 23,
    LsmSocketConnect = 24,
    FentrySocketConnect = 25,
    TpConnect = 26,
    LsmUnixMaySend = 27,
    FentryUnixMaySend = 28,
    FentryUnixStreamConnect = 29,
    TpIoUringSetup = 30,
    FentrySocketPostCreate = 31,
    LsmSocketPostCreate = 32,
    TpSocket = 33,
    TaskWalk = 40,
}

impl Hook {
    pub const ALL: [Hook; 27] = [
        Hook::RawTpExec,
        Hook::RawTpFork,
        Hook::RawTpExit,
        Hook::LsmFileOpen,
        Hook::FentryFileOpen,
        Hook::TpOpen,
        Hook::TpOpenat,
        Hook::TpOpenat2,
        Hook::TpCreat,
        Hook::TpOpenByHandleAt,
        Hook::CgroupConnect4,
        Hook::CgroupConnect6,
        Hook::CgroupSendmsg4,
        Hook::CgroupSendmsg6,
        Hook::LsmSocketConnect,
        Hook::FentrySocketConnect,
        Hook::TpConnect,
        Hook::FentryVfsOpen,
        Hook::FentryFinishOpen,
        Hook::LsmUnixMaySend,
        Hook::FentryUnixMaySend,
        Hook::FentryUnixStreamConnect,
        Hook::TpIoUringSetup,
        Hook::FentrySocketPostCreate,
        Hook::LsmSocketPostCreate,
        Hook::TpSocket,
        Hook::TaskWalk,
    ];

    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| *hook as u8 == value)
    }

    /// The kernel's name of the hook, prefixed with the program type.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::RawTpExec => "raw_tp/sched_process_exec",
            Hook::RawTpFork => "raw_tp/sched_process_fork",
            Hook::RawTpExit => "raw_tp/sched_process_exit",
            Hook::LsmFileOpen => "lsm/file_open",
            Hook::FentryFileOpen => "fentry/security_file_open",
            Hook::TpOpen => "tp/sys_exit_open",
            Hook::TpOpenat => "tp/sys_exit_openat",
            Hook::TpOpenat2 => "tp/sys_exit_openat2",
            Hook::TpCreat => "tp/sys_exit_creat",
            Hook::TpOpenByHandleAt => "tp/sys_exit_open_by_handle_at",
            Hook::CgroupConnect4 => "cgroup/connect4",
            Hook::CgroupConnect6 => "cgroup/connect6",
            Hook::CgroupSendmsg4 => "cgroup/sendmsg4",
            Hook::CgroupSendmsg6 => "cgroup/sendmsg6",
            Hook::LsmSocketConnect => "lsm/socket_connect",
            Hook::FentrySocketConnect => "fentry/security_socket_connect",
            Hook::TpConnect => "tp/sys_exit_connect",
            Hook::FentryVfsOpen => "fentry/vfs_open",
            Hook::FentryFinishOpen => "fentry/finish_open",
            Hook::LsmUnixMaySend => "lsm/unix_may_send",
            Hook::FentryUnixMaySend => "fentry/security_unix_may_send",
            Hook::FentryUnixStreamConnect => "fentry/unix_stream_connect",
            Hook::TpIoUringSetup => "tp/sys_exit_io_uring_setup",
            Hook::FentrySocketPostCreate => "fentry/security_socket_post_create",
            Hook::LsmSocketPostCreate => "lsm/socket_post_create",
            Hook::TpSocket => "tp/sys_exit_socket",
            Hook::TaskWalk => "raw_tp/task_walk",
        }
    }
}
