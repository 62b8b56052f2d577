//! What a process executes, as the wire has it.

use prost::Message;
use skep_event::Text;

use super::texts::{all_bytes, bytes, texts};
use crate::{decode::ArgvEnd, place::Namespaces, proc::Image};

#[derive(Clone, PartialEq, Message)]
pub struct FoundImage {
    #[prost(bytes = "vec", optional, tag = "1")]
    exe: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    argv: Vec<Vec<u8>>,
    #[prost(bool, tag = "3")]
    argv_truncated: bool,
    #[prost(bytes = "vec", optional, tag = "4")]
    cwd: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "5")]
    login_uid: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "6")]
    terminal: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "7")]
    size: Option<u64>,
    #[prost(uint32, tag = "8")]
    mode: u32,
    #[prost(message, optional, tag = "9")]
    argv_end: Option<FoundEnd>,
    #[prost(bytes = "vec", optional, tag = "10")]
    cgroup: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "11")]
    pid_namespace: Option<u32>,
    #[prost(uint32, optional, tag = "12")]
    user_namespace: Option<u32>,
    #[prost(uint32, optional, tag = "13")]
    mount_namespace: Option<u32>,
}

/// See [`ArgvEnd`].
#[derive(Clone, PartialEq, Message)]
struct FoundEnd {
    #[prost(uint64, tag = "1")]
    left_out: u64,
    #[prost(bool, tag = "2")]
    cuts: bool,
    #[prost(uint32, tag = "3")]
    arguments: u32,
    #[prost(bytes = "vec", repeated, tag = "4")]
    words: Vec<Vec<u8>>,
}

// === impl FoundImage ===

impl FoundImage {
    pub fn of(image: &Image) -> Self {
        let Image {
            exe,
            argv,
            argv_truncated,
            argv_end,
            cwd,
            login_uid,
            terminal,
            cgroup,
            namespaces,
            size,
            mode,
        } = image;
        Self {
            exe: bytes(exe.as_ref()),
            argv: all_bytes(argv),
            argv_truncated: *argv_truncated,
            cwd: bytes(cwd.as_ref()),
            login_uid: *login_uid,
            terminal: bytes(terminal.as_ref()),
            size: *size,
            mode: u32::from(*mode),
            argv_end: argv_end.as_ref().map(FoundEnd::of),
            cgroup: bytes(cgroup.as_ref()),
            pid_namespace: namespaces.pid,
            user_namespace: namespaces.user,
            mount_namespace: namespaces.mount,
        }
    }

    /// `None`: it is none that can be.
    pub fn image(self) -> Option<Image> {
        let Self {
            exe,
            argv,
            argv_truncated,
            cwd,
            login_uid,
            terminal,
            size,
            mode,
            argv_end,
            cgroup,
            pid_namespace,
            user_namespace,
            mount_namespace,
        } = self;
        Some(Image {
            exe: exe.map(Text::new),
            argv: texts(argv),
            argv_truncated,
            cwd: cwd.map(Text::new),
            login_uid,
            terminal: terminal.map(Text::new),
            size,
            mode: u16::try_from(mode).ok()?,
            argv_end: argv_end.map(FoundEnd::end),
            cgroup: cgroup.map(Text::new),
            namespaces: Namespaces {
                pid: pid_namespace,
                user: user_namespace,
                mount: mount_namespace,
            },
        })
    }
}

// === impl FoundEnd ===

impl FoundEnd {
    fn of(end: &ArgvEnd) -> Self {
        let ArgvEnd {
            left_out,
            cuts,
            arguments,
            words,
        } = end;
        Self {
            left_out: *left_out,
            cuts: *cuts,
            arguments: *arguments,
            words: all_bytes(words),
        }
    }

    fn end(self) -> ArgvEnd {
        let Self {
            left_out,
            cuts,
            arguments,
            words,
        } = self;
        ArgvEnd {
            left_out,
            cuts,
            arguments,
            words: texts(words),
        }
    }
}
