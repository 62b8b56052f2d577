//! The process of an event.

use crate::{Class, Column, Text, UnixNanos, field::why};

/// Bytes that an allocation costs in addition to its own, about.
const ALLOCATION: usize = 16;

/// All but `lost`: a record that did not arrive names no process.
pub(crate) const PROCESSES: &[Class] = &[
    Class::Exec,
    Class::Exit,
    Class::Open,
    Class::Connect,
    Class::Session,
    Class::Coverage,
    Class::Finding,
    Class::Change,
];

facts! {
    /// The process an event belongs to, as of its last exec.
    Process = Process at "process", "process" of PROCESSES;

    pid: u32 {
        wire: pid,
        column: int(Column::at(13, "pid", "process id")),
        secrets: none,
        meaning: "process id",
        example: "812",
        why: why::WHICH_PROCESS,
        sample: 812,
    }
    start: Option<UnixNanos> {
        wire: start_unix_nano,
        column: time(Column::at(14, "start", "start of the process; with pid it names the process")),
        secrets: none,
        meaning: "when the process began",
        example: "2026-07-01T08:15:02.120000000Z",
        why: why::WHICH_PROCESS,
        sample: Some(UnixNanos(1_699_999_999_000_000_000)),
    }
    ppid: Option<u32> {
        wire: ppid,
        column: int(Column::at(15, "ppid", "parent's process id, measured at fork")),
        secrets: none,
        meaning: "process that started it",
        example: "800",
        why: why::WHICH_PROCESS,
        sample: Some(800),
    }
    exe: Option<Text> {
        wire: exe,
        column: text(Column::at(16, "exe", "executable of the process")),
        secrets: text,
        meaning: "the program's file",
        example: "/usr/bin/bash",
        why: why::COMMANDS,
        sample: Some("/usr/bin/bash".into()),
    }
    argv: Vec<Text> {
        wire: argv,
        column: arguments(Column::at(17, "argv", "arguments, taken at exec")),
        secrets: command(argv_truncated),
        meaning: "the command line, argument by argument",
        example: "[\"bash\",\"-c\",\"echo hi\"]",
        why: why::COMMANDS,
        sample: ["bash", "-c", "echo hi"].map(Into::into).to_vec(),
    }
    argv_truncated: bool {
        wire: argv_truncated,
        column: flag(Column::at(18, "argv_truncated", "argv was longer than what the sensor records")),
        secrets: none,
        meaning: "whether the command line was longer than what is recorded",
        example: "false",
        why: why::COMPLETENESS,
        sample: false,
    }
    cwd: Option<Text> {
        wire: cwd,
        column: text(Column::at(19, "cwd", "working directory of the process")),
        secrets: text,
        meaning: "its working directory",
        example: "/home/dev/app",
        why: why::WHERE_WORKED,
        sample: Some("/home/dev/app".into()),
    }
    uid: Option<u32> {
        wire: uid,
        column: long(Column::at(20, "uid", "real user id of the process, at that moment")),
        secrets: none,
        meaning: "real user id it runs as, at that moment",
        example: "1000",
        why: why::WHO,
        sample: Some(1000),
    }
    euid: Option<u32> {
        wire: euid,
        column: long(Column::at(78, "euid", "effective user id of the process: whose rights it has")),
        secrets: none,
        meaning: "effective user id: whose rights it has",
        example: "0",
        why: why::WHO,
        sample: Some(1000),
    }
    /// Lineage or image were not observed by the kernel programs but read from `/proc`, or inherited
    /// from a process of which that is so: it may have written over its arguments, its parent may
    /// have ended.
    inferred: bool {
        wire: inferred,
        column: flag(Column::at(55, "process_inferred", "process was read from /proc, not observed from its start")),
        secrets: none,
        meaning: "whether the process was read from /proc instead of observed from its start",
        example: "false",
        why: why::COMPLETENESS,
        sample: false,
    }
    /// This and the ones below: `None` where it is that of the session.
    cgroup: Option<Text> {
        wire: cgroup,
        column: text(Column::at(90, "process_cgroup", "cgroup of the process, where it is not its session's")),
        secrets: text,
        meaning: "which control group it is in, where that is not the session's",
        example: "/system.slice/docker-3f1e….scope",
        why: why::CONTAINER,
        sample: Some("/docker/x".into()),
    }
    container_id: Option<Text> {
        wire: container_id,
        column: text(Column::at(91, "process_container_id", "container of the process, where it is not its session's")),
        secrets: text,
        meaning: "which container it is in, where that is not the session's",
        example: "3f1e5c0b9a7d…",
        why: why::CONTAINER,
        sample: Some("web1".into()),
    }
    pid_namespace: Option<u32> {
        wire: pid_namespace,
        column: long(Column::at(92, "process_pid_namespace", "pid namespace of the process, where it is not its session's")),
        secrets: none,
        meaning: "its pid namespace, where that is not the session's",
        example: "4026532281",
        why: why::CONTAINER,
        sample: Some(4_026_532_281),
    }
    user_namespace: Option<u32> {
        wire: user_namespace,
        column: long(Column::at(93, "process_user_namespace", "user namespace of the process, where it is not its session's")),
        secrets: none,
        meaning: "its user namespace, where that is not the session's",
        example: "4026532280",
        why: why::CONTAINER,
        sample: Some(4_026_532_280),
    }
    mount_namespace: Option<u32> {
        wire: mount_namespace,
        column: long(Column::at(94, "process_mount_namespace", "mount namespace of the process, where it is not its session's")),
        secrets: none,
        meaning: "its mount namespace, where that is not the session's",
        example: "4026532279",
        why: why::CONTAINER,
        sample: Some(4_026_532_279),
    }
}

/// Memory of a process with all it says.
pub fn process_bytes(process: &Process) -> usize {
    let text = |text: &Text| size_of::<Text>() + text.as_bytes().len() + ALLOCATION;
    let argv = process.argv.iter().map(text).sum::<usize>();
    let paths = process
        .exe
        .iter()
        .chain(&process.cwd)
        .chain(&process.cgroup)
        .chain(&process.container_id)
        .map(text)
        .sum::<usize>();
    size_of::<Process>() + ALLOCATION + argv + paths
}
