//! Kinds of record.

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
    /// An exec was tried and failed: the process goes on as what it was.
    FailedExec = 9,
    /// A name or the attributes of a file were changed.
    Change = 10,
}

impl Kind {
    pub const ALL: [Kind; 10] = [
        Kind::Exec,
        Kind::Fork,
        Kind::Exit,
        Kind::Open,
        Kind::Connect,
        Kind::Task,
        Kind::Uring,
        Kind::Socket,
        Kind::FailedExec,
        Kind::Change,
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
            9 => Some(Kind::FailedExec),
            10 => Some(Kind::Change),
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
            Kind::FailedExec => "failed_exec",
            Kind::Change => "change",
        }
    }
}
