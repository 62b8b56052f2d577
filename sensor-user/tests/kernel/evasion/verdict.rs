//! What became of a technique.

/// Computed from events alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Reported as what it was, in the session of the agent that did it.
    Seen { hook: String },
    /// Reported, with something missing that the sensor itself says is missing.
    Gap { hook: String, why: String },
    /// Nothing in the session tells of it.
    NotSeen { why: String },
    /// This kernel does not let anybody do it.
    NotPossible { why: String },
}

// === impl Verdict ===

impl Verdict {
    pub fn seen(hook: Option<&str>) -> Self {
        Self::Seen {
            hook: hook.expect("a kernel event names its hook").to_owned(),
        }
    }

    pub fn gap(hook: Option<&str>, why: impl Into<String>) -> Self {
        Self::Gap {
            hook: hook.unwrap_or_default().to_owned(),
            why: why.into(),
        }
    }

    pub fn not_seen(why: impl Into<String>) -> Self {
        Self::NotSeen { why: why.into() }
    }

    /// This one if it is not plainly "seen", else the other: for techniques with several parts.
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        if matches!(self, Self::Seen { .. }) {
            other()
        } else {
            self
        }
    }

    /// The other one if nothing was seen.
    pub fn or(self, other: impl FnOnce() -> Option<Self>) -> Self {
        match self {
            Self::NotSeen { .. } => other().unwrap_or(self),
            verdict => verdict,
        }
    }
}
