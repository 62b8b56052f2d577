//! Execs to be judged, and judgements.

use std::sync::Arc;

use skep_abi::FileKey;
use skep_event::{Agent, Text};

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
    pub cwd: Option<&'a Text>,
}

/// What an exec is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    pub agent: Option<Arc<Agent>>,
    /// The file can never make an agent, whatever its arguments: the kernel may skip it from now on.
    pub never: bool,
    /// An agent's own file run as one of its tools (`argv[0]` is `rg`): not a new agent.
    pub multicall: bool,
    /// It was not judged: neither the file nor the process could be looked at any more, or looking at
    /// them failed.
    pub unseen: bool,
}

impl Judgement {
    /// There was nothing to look at.
    pub const UNSEEN: Self = Self {
        agent: None,
        never: false,
        multicall: false,
        unseen: true,
    };
}
