//! Execs to be judged, and judgements.

use std::sync::Arc;

use skep_abi::FileKey;
use skep_event::{Agent, Text, UnixNanos};

/// An exec to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub pid: u32,
    /// The file that was executed (the interpreter of a script); inode 0: not known.
    pub file: FileKey,
    pub file_size: u64,
    /// The kernel's path of the executed file.
    pub exe: Option<&'a Text>,
    /// As given to `execve`.
    pub filename: Option<&'a Text>,
    pub argv: &'a [Text],
    /// There were more arguments, or longer ones.
    pub argv_truncated: bool,
    pub cwd: Option<&'a Text>,
    /// As whom it runs, as far as is known.
    pub uid: Option<u32>,
    /// Switches of the environment as the kernel side saw them at the exec ([`super::switches`]); `None`: it
    /// did not.
    pub switches: Option<u16>,
    /// When it began to run that, or before: files that changed later may not be what it has read. `None`: not
    /// known, and they are taken for that.
    pub since: Option<UnixNanos>,
}

/// What an exec is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    pub agent: Option<Arc<Agent>>,
    /// The file can never make an agent, whatever its arguments: the kernel may skip it from now on.
    pub never: bool,
    /// An agent's own file called as one of its tools (`argv[0]` is `rg`): not a new agent within a session of
    /// its family, and one outside.
    pub multicall: bool,
    /// It is no agent as far as could be seen, and something could not be looked at.
    pub unjudged: Option<Unjudged>,
    /// What that was, if it has a path.
    pub place: Option<Text>,
    /// What it runs is decided by what it does: the files it opens first may tell an agent
    /// ([`crate::track::Judge::opened`]). If they do not, the rest of the judgement holds.
    pub waits: bool,
}

/// Why an exec was not judged, or not to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unjudged {
    /// Neither the file nor the process was there any more.
    Gone,
    /// Something is there and could not be read.
    Unreadable { errno: i32 },
    /// It lies on a file system that is not read: one of the kernel's own, or another user's FUSE.
    Refused,
    /// It took longer than it may.
    Late,
    /// It would have needed more bytes, directory entries or memory than it may.
    OverBudget,
    /// The script may stand among the arguments that were cut off.
    CutArguments,
    /// The script is named relative to a directory that is not known.
    UnknownDirectory,
    /// What should have looked at it did not work.
    NotLookedAt,
    /// The variables that say what its runtime loads could not be read.
    UnreadEnvironment,
    /// Its code cannot be read as a file.
    UnseenCode(CodeFrom),
}

/// Where the code of a program comes from that is in no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeFrom {
    /// A pipe, a socket, a device.
    Stream,
    /// A person at a terminal.
    Terminal,
    /// A descriptor that was not there any more.
    Descriptor,
    /// Code that makes code, or the names of what it loads.
    Code,
    Network,
}

// === impl Unjudged ===

impl std::fmt::Display for Unjudged {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Gone => "it had ended, and its file was gone, before it could be looked at",
            Self::Unreadable { errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                return write!(out, "it could not be read: {error}");
            }
            Self::Refused => {
                "it lies on a file system that is not read (of the kernel, or another user's FUSE)"
            }
            Self::Late => {
                "looking at it took longer than it may ([inspector] question_milliseconds)"
            }
            Self::OverBudget => {
                "looking at it would have cost more than it, or its user, may ([inspector])"
            }
            Self::CutArguments => "its script may be among the arguments that were cut off",
            Self::UnknownDirectory => {
                "its script is named relative to a directory that is not known"
            }
            Self::NotLookedAt => "the inspector could not look at it",
            Self::UnreadEnvironment => {
                "the environment, which says what it loads, could not be read"
            }
            Self::UnseenCode(CodeFrom::Stream) => "its code came through a pipe or a device",
            Self::UnseenCode(CodeFrom::Terminal) => "its code is typed at a terminal",
            Self::UnseenCode(CodeFrom::Descriptor) => {
                "its code came through a descriptor that was closed before it could be looked at"
            }
            Self::UnseenCode(CodeFrom::Code) => {
                "what it loads is put together by its code while that runs"
            }
            Self::UnseenCode(CodeFrom::Network) => "its code comes from the network",
        })
    }
}

// === impl Judgement ===

impl Judgement {
    /// There was nothing to look at.
    pub const UNSEEN: Self = Self::not(Unjudged::Gone);

    /// Not judged, for this reason.
    pub const fn not(unjudged: Unjudged) -> Self {
        Self {
            agent: None,
            never: false,
            multicall: false,
            unjudged: Some(unjudged),
            place: None,
            waits: false,
        }
    }
}
