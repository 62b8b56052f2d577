//! Lines of the kernel programs' log: fixed words and two numbers, never data.

/// What a line of the kernel programs' log says. A line has a hook, a pid and two numbers; its words stand
/// here and not in the kernel, so that nothing else can be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LogLine {
    ClaimMade = 1,
    Sent = 2,
    SentPending = 3,
    RingFull = 4,
    ScratchBusy = 5,
    MapFull = 6,
    Unreadable = 7,
    Throttled = 8,
    TooLong = 9,
    PathCut = 10,
    NoInode = 11,
    NoAddress = 12,
    FoldShareUsed = 13,
    FoldRefused = 14,
    WalkUpset = 15,
}

impl LogLine {
    pub const ALL: [LogLine; 15] = [
        LogLine::ClaimMade,
        LogLine::Sent,
        LogLine::SentPending,
        LogLine::RingFull,
        LogLine::ScratchBusy,
        LogLine::MapFull,
        LogLine::Unreadable,
        LogLine::Throttled,
        LogLine::TooLong,
        LogLine::PathCut,
        LogLine::NoInode,
        LogLine::NoAddress,
        LogLine::FoldShareUsed,
        LogLine::FoldRefused,
        LogLine::WalkUpset,
    ];

    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|line| *line as u8 == value)
    }

    pub const fn words(self) -> &'static str {
        match self {
            LogLine::ClaimMade => "claim made",
            LogLine::Sent => "record sent",
            LogLine::SentPending => "record sent, verdict pending",
            LogLine::RingFull => "record lost: ring full",
            LogLine::ScratchBusy => "record lost: no scratch slot is free",
            LogLine::MapFull => "record lost: map full",
            LogLine::Unreadable => "record lost: kernel structure unreadable",
            LogLine::Throttled => "record lost: session throttled",
            LogLine::TooLong => "record longer than its slot",
            LogLine::PathCut => "path cut",
            LogLine::NoInode => "inode unreadable",
            LogLine::NoAddress => "address unreadable",
            LogLine::FoldShareUsed => "open not folded: the session has used its share",
            LogLine::FoldRefused => "open not folded: the map refused it",
            LogLine::WalkUpset => "walk over the tasks has to begin again",
        }
    }

    /// What its two numbers are; an empty name for one it does not have.
    pub const fn numbers(self) -> [&'static str; 2] {
        match self {
            LogLine::ClaimMade => ["exec_ns", ""],
            LogLine::Sent | LogLine::SentPending => ["missing", "bytes"],
            LogLine::RingFull
            | LogLine::ScratchBusy
            | LogLine::MapFull
            | LogLine::Unreadable
            | LogLine::Throttled
            | LogLine::TooLong => ["kind", ""],
            LogLine::PathCut => ["bytes", ""],
            LogLine::NoInode => ["", ""],
            LogLine::NoAddress => ["family", "length"],
            LogLine::FoldShareUsed => ["epoch", ""],
            LogLine::FoldRefused => ["errno", ""],
            LogLine::WalkUpset => ["reported", ""],
        }
    }
}
