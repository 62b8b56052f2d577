//! Reports: which hook serves a fact, which programs are attached, and why not the better ones.

use skep_abi::Hook;

/// State of a hook, or of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookStatus {
    /// The best one, whole.
    Live,
    /// Not the best one, or without a part of it; `reason` says what the better ones answered and what
    /// this one misses.
    Fallback,
    Off,
}

/// What serves a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookReport {
    pub fact: &'static str,
    pub hook: Option<&'static str>,
    pub status: HookStatus,
    pub reason: String,
}

/// Names a program that was attached, or was to be; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramId(pub(super) u32);

/// State of one program of the kernel object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramReport {
    pub id: ProgramId,
    /// Function name in the object.
    pub program: &'static str,
    /// The hook that its records name.
    pub hook: Option<Hook>,
    /// A fallback serves a fact for which there is a better program.
    pub status: HookStatus,
    /// Why it is no better than that; empty when it is live.
    pub reason: String,
}

/// A hook that is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedHook {
    pub fact: &'static str,
    pub hook: Hook,
    /// It was seen to report when it was tried at the start, or it cannot but report if any does.
    pub proven: bool,
}

/// Two reasons as one.
pub fn join(left: &str, right: &str) -> String {
    match (left.is_empty(), right.is_empty()) {
        (true, _) => right.to_owned(),
        (_, true) => left.to_owned(),
        _ => format!("{left}; {right}"),
    }
}
