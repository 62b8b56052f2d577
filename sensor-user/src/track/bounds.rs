//! How much the tracker may know, and what it had to forget or refuse.

use skep_event::SessionId;

use crate::accounts::OfSessions;

/// What the tracker holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Processes in sessions at once.
    pub processes: usize,
    /// Sessions that live, or ended lately.
    pub sessions: usize,
    /// Memory of what the processes run: executable, arguments, working directory.
    pub image_bytes: usize,
    /// Memory of the sessions' facts.
    pub session_bytes: usize,
    /// Claims remembered of one session.
    pub claims: usize,
    /// Processes found by a walk, and canaries, until they are asked for.
    pub walked: usize,
    /// Memory of records that wait for a verdict.
    pub held_bytes: usize,
}

/// What a bound made the tracker forget, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Programs whose arguments, and maybe paths, are no longer known.
    pub images: u64,
    /// Processes there was no room for. What they do is told, without what they run.
    pub processes: u64,
    /// Sessions of which working directory and repository are not known.
    pub facts: u64,
    /// Claims: a process whose fork was lost may not be found by them any more.
    pub claims: u64,
    /// Processes found by a walk, and canaries, that nobody asked for in time.
    pub walked: u64,
}

/// What there was no room for: records that gave no event.
#[derive(Debug, Default)]
pub struct Refused {
    total: u64,
    /// Of sessions that are followed, until they are asked for.
    of: OfSessions,
}

impl Refused {
    /// One more; of a session if it has a gap by that.
    pub fn add(&mut self, session: Option<SessionId>) {
        self.total += 1;
        if let Some(id) = session {
            self.of.entry(id.kernel()).or_default().table_full += 1;
        }
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// What is of sessions, since the last time.
    pub fn take(&mut self) -> OfSessions {
        std::mem::take(&mut self.of)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            processes: 32 * 1024,
            sessions: 4 * 1024,
            image_bytes: 16 << 20,
            session_bytes: 4 << 20,
            claims: 256,
            walked: 16 * 1024,
            held_bytes: 2 << 20,
        }
    }
}

impl Bounds {
    /// For a sensor that may take so many bytes in all.
    pub fn within(memory_bytes: usize) -> Self {
        Self {
            image_bytes: memory_bytes / 4,
            session_bytes: memory_bytes / 16,
            held_bytes: memory_bytes / 32,
            ..Self::default()
        }
    }
}

impl Evicted {
    pub fn total(&self) -> u64 {
        let Self {
            images,
            processes,
            facts,
            claims,
            walked,
        } = *self;
        images + processes + facts + claims + walked
    }

    /// One sentence on what was forgotten since then.
    pub fn since(&self, before: &Self) -> String {
        let Self {
            images,
            processes,
            facts,
            claims,
            walked,
        } = *self;
        let parts = [
            (images - before.images, "command lines were cut"),
            (processes - before.processes, "processes were not followed"),
            (
                facts - before.facts,
                "sessions lost directory and repository",
            ),
            (claims - before.claims, "claims were forgotten"),
            (
                walked - before.walked,
                "processes of a walk were not looked at",
            ),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!("the sensor's memory is bounded: {}", parts.join(", "))
    }
}
