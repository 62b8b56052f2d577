//! A session began, changed or ended.

use crate::{
    Column, Invalid, Repository, SessionId, Text, Wire,
    column::text_in_column,
    field::why,
    named::{named_in_column, names, numbered},
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
        meaning: "user name, from /etc/passwd or the name service",
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
    /// `None` while it is not known yet.
    user_source: Option<UserSource> {
        wire: user_source,
        column: text(Column::at(83, "user_source", "who says what user_name is, files or name_service, or why there is none: unknown, late, unavailable, user_namespace; null while it is not known yet")),
        secrets: none,
        meaning: "who says what the user's name is, or why there is none",
        example: "name_service",
        why: why::COMPLETENESS,
        sample: Some(UserSource::Files),
    }
    /// This and the ones below: as of its first exec.
    cgroup: Option<Text> {
        wire: cgroup,
        column: text(Column::at(84, "session_cgroup", "cgroup in which the session began")),
        secrets: text,
        meaning: "which control group the agent was started in",
        example: "/system.slice/docker-3f1e….scope",
        why: why::CONTAINER,
        sample: Some("/system.slice/ssh.service".into()),
    }
    /// `None`: none, or one that its id alone speaks of.
    container_runtime: Option<&'static str> {
        wire: container_runtime,
        column: text(Column::at(85, "container_runtime", "what made the container of the session: docker, podman, containerd, cri-o, kubernetes, lxc …")),
        secrets: none,
        meaning: "which program made the container",
        example: "docker",
        why: why::CONTAINER,
        sample: Some("docker"),
    }
    container_id: Option<Text> {
        wire: container_id,
        column: text(Column::at(86, "container_id", "id of the session's container, as the name of its cgroup has it")),
        secrets: text,
        meaning: "which container the agent was started in",
        example: "3f1e5c0b9a7d…",
        why: why::CONTAINER,
        sample: Some("web".into()),
    }
    pid_namespace: Option<u32> {
        wire: pid_namespace,
        column: long(Column::at(87, "pid_namespace", "pid namespace in which the session began, by its inode")),
        secrets: none,
        meaning: "its pid namespace",
        example: "4026531836",
        why: why::CONTAINER,
        sample: Some(4_026_531_836),
    }
    user_namespace: Option<u32> {
        wire: user_namespace,
        column: long(Column::at(88, "user_namespace", "user namespace in which the session began, by its inode")),
        secrets: none,
        meaning: "its user namespace",
        example: "4026531837",
        why: why::CONTAINER,
        sample: Some(4_026_531_837),
    }
    mount_namespace: Option<u32> {
        wire: mount_namespace,
        column: long(Column::at(89, "mount_namespace", "mount namespace in which the session began, by its inode")),
        secrets: none,
        meaning: "its mount namespace",
        example: "4026531841",
        why: why::CONTAINER,
        sample: Some(4_026_531_841),
    }
}

/// Who says what a user's name is, or why there is none.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum UserSource {
    /// `/etc/passwd`.
    Files,
    /// The host's name service (getent(1)).
    NameService,
    /// Neither knows the number.
    Unknown,
    /// The name service did not answer in time.
    Late,
    /// It could not be asked.
    Unavailable,
    /// The process is in a user namespace of its own, where the host's names mean nothing.
    UserNamespace,
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
names! { UserSource }
text_in_column! { UserSource }

// === impl UserSource ===

impl Wire<String> for UserSource {
    fn to_wire(&self) -> String {
        self.name().to_owned()
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        wire.parse().map_err(|_| Invalid("a source of names"))
    }
}

#[cfg(test)]
impl SessionInfo {
    /// Part of the JSON form of its sample.
    pub(crate) const SAMPLE_JSON: &'static str = r#""session_info":{"phase":"start","parent":"09090909090909090909090909090909","user":"dev","uid":1000,"login_uid":1001,"terminal":"/dev/pts/3","cwd":"/home/dev/app","repository":{"root":"/home/dev/app","remote":"https://example.com/app.git","branch":"main"},"gaps":0,"found":"observed","user_source":"files","cgroup":"/system.slice/ssh.service","container_runtime":"docker","container_id":"web","pid_namespace":4026531836,"user_namespace":4026531837,"mount_namespace":4026531841}"#;
}
