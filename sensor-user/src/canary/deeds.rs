//! What a canary has done, as it says itself: a hook is judged only by a deed that was done.
//!
//! A host may stop being able to do a deed (IPv6 is turned off, `io_uring_disabled` is set, a system call
//! is filtered) after the hook on it was proven: nobody has detached anything then. A deed counts as
//! done when its outcome shows that the kernel went past every hook on it.

use std::io::Write;

use skep_abi::Hook;

/// In front of the deeds, on a line of the canary's standard output.
const MARK: &str = "skep-canary ";

/// A set of deeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds(u32);

/// Every deed with its name for people.
const NAMES: [(Deeds, &str); 28] = [
    (Deeds::LIFE, "start and end"),
    (Deeds::OPENAT, "openat"),
    (Deeds::OPENAT2, "openat2"),
    (Deeds::OPEN, "open"),
    (Deeds::CREAT, "creat"),
    (Deeds::OPEN_BY_HANDLE, "open_by_handle_at"),
    (Deeds::CONNECT4, "an IPv4 connect"),
    (Deeds::SENDMSG4, "an IPv4 datagram"),
    (Deeds::CONNECT6, "an IPv6 connect"),
    (Deeds::SENDMSG6, "an IPv6 datagram"),
    (Deeds::CONNECT_UNIX, "a unix connect"),
    (Deeds::SEND_UNIX, "a unix datagram"),
    (Deeds::IO_URING, "an io_uring"),
    (Deeds::CONNECT_OTHER, "a connect of another family"),
    (Deeds::RARE_SOCKET, "a socket of a rare kind"),
    (Deeds::EXECVE, "an execve that fails"),
    (Deeds::EXECVEAT, "an execveat that fails"),
    (Deeds::RENAME, "rename"),
    (Deeds::LINK, "link"),
    (Deeds::SYMLINK, "symlink"),
    (Deeds::UNLINK, "unlink"),
    (Deeds::RMDIR, "rmdir"),
    (Deeds::MKDIR, "mkdir"),
    (Deeds::TRUNCATE, "truncate"),
    (Deeds::CHMOD, "chmod"),
    (Deeds::CHOWN, "chown"),
    (Deeds::SETXATTR, "setxattr"),
    (Deeds::REMOVEXATTR, "removexattr"),
];

impl Deeds {
    pub const NONE: Self = Self(0);
    /// It was started, and says what it did.
    pub const LIFE: Self = Self(1);
    pub const OPENAT: Self = Self(1 << 1);
    pub const OPENAT2: Self = Self(1 << 2);
    pub const OPEN: Self = Self(1 << 3);
    pub const CREAT: Self = Self(1 << 4);
    pub const OPEN_BY_HANDLE: Self = Self(1 << 5);
    pub const CONNECT4: Self = Self(1 << 6);
    pub const SENDMSG4: Self = Self(1 << 7);
    pub const CONNECT6: Self = Self(1 << 8);
    pub const SENDMSG6: Self = Self(1 << 9);
    pub const CONNECT_UNIX: Self = Self(1 << 10);
    pub const SEND_UNIX: Self = Self(1 << 11);
    pub const IO_URING: Self = Self(1 << 12);
    pub const CONNECT_OTHER: Self = Self(1 << 13);
    pub const RARE_SOCKET: Self = Self(1 << 14);
    pub const EXECVE: Self = Self(1 << 15);
    pub const EXECVEAT: Self = Self(1 << 16);
    pub const RENAME: Self = Self(1 << 17);
    pub const LINK: Self = Self(1 << 18);
    pub const SYMLINK: Self = Self(1 << 19);
    pub const UNLINK: Self = Self(1 << 20);
    pub const RMDIR: Self = Self(1 << 21);
    pub const MKDIR: Self = Self(1 << 22);
    pub const TRUNCATE: Self = Self(1 << 23);
    pub const CHMOD: Self = Self(1 << 24);
    pub const CHOWN: Self = Self(1 << 25);
    pub const SETXATTR: Self = Self(1 << 26);
    pub const REMOVEXATTR: Self = Self(1 << 27);
    pub const ALL: Self = Self((1 << 28) - 1);
    /// Those that change names or attributes.
    pub const CHANGES: Self = Self(Self::ALL.0 & !((1 << 17) - 1));

    /// Those of which each makes the hook report; none for a hook no canary reaches.
    pub const fn reaching(hook: Hook) -> Self {
        const OPENS: Deeds = Deeds::OPENAT
            .and(Deeds::OPENAT2)
            .and(Deeds::OPEN)
            .and(Deeds::CREAT);
        match hook {
            Hook::RawTpExec | Hook::RawTpFork | Hook::RawTpExit => Self::LIFE,
            Hook::LsmFileOpen | Hook::FentryFileOpen | Hook::FentryVfsOpen => OPENS,
            Hook::TpOpen => Self::OPEN,
            Hook::TpOpenat => Self::OPENAT,
            Hook::TpOpenat2 => Self::OPENAT2,
            Hook::TpCreat => Self::CREAT,
            Hook::TpOpenByHandleAt => Self::OPEN_BY_HANDLE,
            Hook::CgroupConnect4 => Self::CONNECT4,
            Hook::CgroupConnect6 => Self::CONNECT6,
            Hook::CgroupSendmsg4 => Self::SENDMSG4,
            Hook::CgroupSendmsg6 => Self::SENDMSG6,
            // Where cgroup programs serve, these leave inet to them.
            Hook::LsmSocketConnect | Hook::TpConnect => Self::CONNECT_UNIX,
            // Where `unix_stream_connect` can be hooked, it leaves unix to that.
            Hook::FentrySocketConnect => Self::CONNECT_OTHER,
            Hook::FentryUnixStreamConnect => Self::CONNECT_UNIX,
            Hook::LsmUnixMaySend | Hook::FentryUnixMaySend => Self::SEND_UNIX,
            Hook::TpIoUringSetup => Self::IO_URING,
            Hook::FentrySocketPostCreate | Hook::LsmSocketPostCreate | Hook::TpSocket => {
                Self::RARE_SOCKET
            }
            Hook::FexitExecve | Hook::TpExecve => Self::EXECVE,
            Hook::FexitExecveat | Hook::TpExecveat => Self::EXECVEAT,
            Hook::FentryPathRename => Self::RENAME,
            Hook::FentryPathLink => Self::LINK,
            Hook::FentryPathSymlink => Self::SYMLINK,
            Hook::FentryPathUnlink => Self::UNLINK,
            Hook::FentryPathRmdir => Self::RMDIR,
            Hook::FentryPathMkdir => Self::MKDIR,
            Hook::FentryPathTruncate | Hook::FentryFileTruncate => Self::TRUNCATE,
            Hook::FentryPathChmod => Self::CHMOD,
            Hook::FentryPathChown => Self::CHOWN,
            Hook::FentryInodeSetxattr => Self::SETXATTR,
            Hook::FentryInodeRemovexattr => Self::REMOVEXATTR,
            Hook::TpChange => Self::CHANGES,
            Hook::FentryFinishOpen | Hook::TaskWalk => Self::NONE,
        }
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// `self` if it was `done`.
    pub const fn when(self, done: bool) -> Self {
        if done { self } else { Self::NONE }
    }

    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those that were not done, for people.
    pub fn missing(self) -> Vec<&'static str> {
        let missing = NAMES.iter().filter(|(deed, _)| !self.meets(*deed));
        missing.map(|(_, name)| *name).collect()
    }

    /// Says them to whoever started this process. Nobody may listen.
    pub fn report(self) {
        let line = format!("\n{MARK}{:x}\n", self.0);
        let _ = std::io::stdout().write_all(line.as_bytes());
    }

    /// What a canary has said.
    pub fn from_report(output: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(output);
        let deeds = text.lines().find_map(|line| line.strip_prefix(MARK))?;
        u32::from_str_radix(deeds, 16).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_but_those_no_canary_reaches_has_a_step() {
        for hook in Hook::ALL {
            let reached = Deeds::reaching(hook).meets(Deeds::ALL);
            let expected = !matches!(hook, Hook::FentryFinishOpen | Hook::TaskWalk);
            assert_eq!(reached, expected, "{hook:?}");
        }
    }

    #[test]
    fn what_was_done_is_read_back_and_what_was_not_has_a_name() {
        let deeds = Deeds::LIFE.and(Deeds::OPENAT);
        let output = format!("running 1 test\n{MARK}{:x}\nok", deeds.0);
        assert_eq!(Deeds::from_report(output.as_bytes()), Some(deeds));
        assert_eq!(Deeds::from_report(b"\xff nothing"), None);
        assert_eq!(Deeds::from_report(b"skep-canary \n"), None);
        assert_eq!(Deeds::ALL.missing(), Vec::<&str>::new());
        assert_eq!(deeds.missing().len(), NAMES.len() - 2);
    }
}
