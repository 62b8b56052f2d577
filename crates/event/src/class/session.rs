//! A session began, changed or ended.

use crate::{
    Column, Repository, SessionId, Text,
    field::why,
    named::{named_in_column, numbered},
};

class! {
    /// Facts of a session.
    SessionInfo = SessionInfo at "session_info", "session_info" of Session;

    phase: Phase {
        wire: phase,
        column: text(Column::at(37, "session_phase", "start, update or end")),
        secrets: none,
        meaning: "start, update or end",
        example: "start",
        why: "marks a run's beginning and end",
        sample: Phase::Start,
    }
    /// The session of the agent that started this one.
    parent: Option<SessionId> {
        wire: parent,
        column: text(Column::at(38, "session_parent", "session of the agent that started this one")),
        secrets: none,
        meaning: "session of the agent that started this one",
        example: "09ab…",
        why: "follows agents that start agents",
        sample: Some(SessionId([9; 16])),
    }
    user: Option<String> {
        wire: user,
        column: text(Column::at(39, "user_name", "user of the session")),
        secrets: text,
        meaning: "user name, from /etc/passwd",
        example: "dev",
        why: why::WHO,
        sample: Some("dev".into()),
    }
    uid: Option<u32> {
        wire: uid,
        column: long(Column::at(40, "user_uid", "user id of the session")),
        secrets: none,
        meaning: "user id",
        example: "1000",
        why: why::WHO,
        sample: Some(1000),
    }
    /// Audit login uid; `None` when unset.
    login_uid: Option<u32> {
        wire: login_uid,
        column: long(Column::at(41, "login_uid", "audit login id; null when unset")),
        secrets: none,
        meaning: "user id that logged in, whatever sudo did since",
        example: "1000",
        why: why::WHO,
        sample: Some(1001),
    }
    terminal: Option<Text> {
        wire: terminal,
        column: text(Column::at(42, "terminal", "terminal of the session")),
        secrets: text,
        meaning: "terminal",
        example: "/dev/pts/3",
        why: "tells sessions of a person from those of a service",
        sample: Some("/dev/pts/3".into()),
    }
    cwd: Option<Text> {
        wire: cwd,
        column: text(Column::at(43, "session_cwd", "working directory in which the session began")),
        secrets: text,
        meaning: "directory the agent was started in",
        example: "/home/dev/app",
        why: why::WHERE_WORKED,
        sample: Some("/home/dev/app".into()),
    }
    part repository: Option<Repository> { wire: repository }
    /// Known gaps so far: losses, throttling, times nobody watched. More than 0: the story is
    /// incomplete.
    gaps: u64 {
        wire: gaps,
        column: long(Column::at(56, "session_gaps", "known gaps in the session's story so far")),
        secrets: none,
        meaning: "how many gaps in this run's story are known of",
        example: "0",
        why: why::COMPLETENESS,
        sample: 0,
    }
    found: Found {
        wire: found,
        column: text(Column::at(57, "session_found", "observed, resumed or running: how the sensor came to know of the session")),
        secrets: none,
        meaning: "observed from its start, resumed after a restart of the sensor, or found running",
        example: "observed",
        why: why::COMPLETENESS,
        sample: Found::Observed,
    }
}

numbered! {
    /// Which moment of a session an event reports.
    pub enum Phase {
        Start = 1,
        End = 2,
        Update = 3,
    }
}

numbered! {
    /// How the sensor came to know of a session.
    pub enum Found {
        /// Its first exec was seen.
        Observed = 1,
        /// Known before a restart of the sensor, and found again.
        Resumed = 2,
        /// Was running before the sensor first saw it; its identity was read from `/proc`.
        Running = 3,
    }
}

named_in_column! { Phase }
named_in_column! { Found or unknown }

#[cfg(test)]
impl SessionInfo {
    /// Part of the JSON form of its sample.
    pub(crate) const SAMPLE_JSON: &'static str = r#""session_info":{"phase":"start","parent":"09090909090909090909090909090909","user":"dev","uid":1000,"login_uid":1001,"terminal":"/dev/pts/3","cwd":"/home/dev/app","repository":{"root":"/home/dev/app","remote":"https://example.com/app.git","branch":"main"},"gaps":0,"found":"observed"}"#;
}
