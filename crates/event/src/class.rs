//! The classes of events.

/// What kind of fact an event is; the value of the column `class`, and the name of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Exec,
    Exit,
    Open,
    Connect,
    Session,
    Lost,
    Coverage,
    Finding,
}

// === impl Class ===

impl Class {
    pub const COUNT: usize = 8;
    pub const ALL: [Self; Self::COUNT] = [
        Self::Exec,
        Self::Exit,
        Self::Open,
        Self::Connect,
        Self::Session,
        Self::Lost,
        Self::Coverage,
        Self::Finding,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Exit => "exit",
            Self::Open => "open",
            Self::Connect => "connect",
            Self::Session => "session",
            Self::Lost => "lost",
            Self::Coverage => "coverage",
            Self::Finding => "finding",
        }
    }

    /// Place in [`Class::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}
