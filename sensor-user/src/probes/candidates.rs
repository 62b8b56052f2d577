//! Which hooks can serve which fact, best first. Data, not code: the trial reads it.

use skep_abi::Hook;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    RawTracepoint(&'static str),
    /// `syscalls:<name>`
    Tracepoint(&'static str),
    /// The same program on `syscalls:<name>` of each that this kernel has; the first it must have.
    Tracepoints(&'static [&'static str]),
    Lsm(&'static str),
    Fentry(&'static str),
    Fexit(&'static str),
    /// On the root of cgroup v2.
    Cgroup,
}

/// One program of the kernel object, and where it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramSpec {
    /// Function name in the object.
    pub name: &'static str,
    pub attach: Attach,
}

/// A program as a part of a candidate.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub spec: ProgramSpec,
    /// Without it the candidate is no use (some system calls do not exist on some architectures).
    pub required: bool,
    /// A kernel without its function does by another program of the candidate what this is for.
    pub only_if_there: bool,
}

/// One way to see a fact.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Shown in `status`.
    pub name: &'static str,
    pub programs: &'static [Program],
    /// What it does not see, said in `status` when it is a fallback.
    pub limits: &'static str,
    /// The hook a trial of it must be reported by.
    pub reports: Hook,
}

/// Something the sensor reports.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    pub name: &'static str,
    pub candidates: &'static [Candidate],
    /// The sensor does not start without it.
    pub required: bool,
    pub trial: Trial,
}

/// What the sensor itself does to see whether a hook reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Starts a child that ends at once (its program does not exist).
    Child,
    Open,
    ConnectInet,
    ConnectUnix,
    Socket,
    /// Executes a program that does not exist.
    FailedExec,
    /// Makes, renames and removes a file, where that is possible.
    Change,
    /// Loading and attaching is all that can be tried without running a program.
    Attach,
}

/// A program that serves a fact on some kernel, by its name in the kernel object.
pub fn program(name: &str) -> Option<ProgramSpec> {
    let candidates = FACTS.iter().flat_map(|fact| fact.candidates);
    let mut programs = candidates.flat_map(|candidate| candidate.programs);
    let program = programs.find(|program| program.spec.name == name)?;
    Some(program.spec)
}

/// Names of the hooks that can be avoided: no fact the sensor must have depends on them.
pub fn avoidable_hooks() -> Vec<&'static str> {
    let candidates = FACTS
        .iter()
        .filter(|fact| !fact.required)
        .flat_map(|fact| fact.candidates);
    let parts = candidates
        .clone()
        .flat_map(|candidate| candidate.programs)
        .filter(|program| !program.required)
        .filter_map(|program| serves(program.spec.name).map(Hook::name));
    candidates
        .map(|candidate| candidate.name)
        .chain(parts)
        .collect()
}

/// The hook whose records need this program; two programs may serve one hook.
pub fn serves(program: &str) -> Option<Hook> {
    Some(match program {
        "sched_process_exec" => Hook::RawTpExec,
        "sched_process_fork" => Hook::RawTpFork,
        "sched_process_exit" => Hook::RawTpExit,
        "fentry_vfs_open" => Hook::FentryVfsOpen,
        "fentry_finish_open" => Hook::FentryFinishOpen,
        "lsm_file_open" => Hook::LsmFileOpen,
        "fentry_file_open" => Hook::FentryFileOpen,
        "exit_open" | "enter_open" | "leave_open" => Hook::TpOpen,
        "exit_openat" | "enter_openat" | "leave_openat" => Hook::TpOpenat,
        "exit_openat2" | "enter_openat2" | "leave_openat2" => Hook::TpOpenat2,
        "exit_creat" | "enter_creat" | "leave_creat" => Hook::TpCreat,
        "exit_open_by_handle_at" | "enter_open_by_handle_at" | "leave_open_by_handle_at" => {
            Hook::TpOpenByHandleAt
        }
        "exit_io_uring_setup" => Hook::TpIoUringSetup,
        "cgroup_connect4" => Hook::CgroupConnect4,
        "cgroup_connect6" => Hook::CgroupConnect6,
        "cgroup_sendmsg4" => Hook::CgroupSendmsg4,
        "cgroup_sendmsg6" => Hook::CgroupSendmsg6,
        "fentry_unix_stream_connect" => Hook::FentryUnixStreamConnect,
        "lsm_socket_connect" => Hook::LsmSocketConnect,
        "fentry_socket_connect" | "fentry_other_connect" => Hook::FentrySocketConnect,
        "lsm_unix_may_send" => Hook::LsmUnixMaySend,
        "fentry_unix_may_send" => Hook::FentryUnixMaySend,
        "exit_connect" | "enter_connect" | "leave_connect" => Hook::TpConnect,
        "fentry_socket_post_create" => Hook::FentrySocketPostCreate,
        "lsm_socket_post_create" => Hook::LsmSocketPostCreate,
        "exit_socket" | "enter_socket" | "leave_socket" => Hook::TpSocket,
        "fexit_execve" => Hook::FexitExecve,
        "fexit_execveat" => Hook::FexitExecveat,
        "exit_execve" => Hook::TpExecve,
        "exit_execveat" => Hook::TpExecveat,
        "fentry_path_rename" => Hook::FentryPathRename,
        "fentry_path_link" => Hook::FentryPathLink,
        "fentry_path_symlink" => Hook::FentryPathSymlink,
        "fentry_path_unlink" => Hook::FentryPathUnlink,
        "fentry_path_rmdir" => Hook::FentryPathRmdir,
        "fentry_path_mkdir" => Hook::FentryPathMkdir,
        "fentry_path_truncate" => Hook::FentryPathTruncate,
        "fentry_file_truncate" => Hook::FentryFileTruncate,
        "fentry_path_chmod" => Hook::FentryPathChmod,
        "fentry_path_chown" => Hook::FentryPathChown,
        "fentry_inode_setxattr" => Hook::FentryInodeSetxattr,
        "fentry_inode_removexattr" => Hook::FentryInodeRemovexattr,
        "exit_change" => Hook::TpChange,
        _ => return None,
    })
}

const fn required(name: &'static str, attach: Attach) -> Program {
    Program {
        spec: ProgramSpec { name, attach },
        required: true,
        only_if_there: false,
    }
}

const fn optional(name: &'static str, attach: Attach) -> Program {
    Program {
        spec: ProgramSpec { name, attach },
        required: false,
        only_if_there: false,
    }
}

const fn if_there(name: &'static str, attach: Attach) -> Program {
    Program {
        only_if_there: true,
        ..optional(name, attach)
    }
}

const LSM_SOCKET_CONNECT: Candidate = Candidate {
    name: "lsm/socket_connect",
    programs: &[
        required("lsm_socket_connect", Attach::Lsm("socket_connect")),
        required("lsm_unix_may_send", Attach::Lsm("unix_may_send")),
    ],
    limits: "",
    reports: Hook::LsmSocketConnect,
};
/// What these do not see of inet.
const UNCONNECTED: &str = "what is sent without a connect (datagrams, TCP fast open) is not seen";
const FENTRY_SOCKET_CONNECT: Candidate = Candidate {
    name: "fentry/security_socket_connect",
    programs: &[
        required(
            "fentry_socket_connect",
            Attach::Fentry("security_socket_connect"),
        ),
        required(
            "fentry_unix_may_send",
            Attach::Fentry("security_unix_may_send"),
        ),
    ],
    limits: "",
    reports: Hook::FentrySocketConnect,
};
const FENTRY_UNIX_CONNECT: Candidate = Candidate {
    name: "fentry/unix_stream_connect",
    programs: &[
        required(
            "fentry_unix_stream_connect",
            Attach::Fentry("unix_stream_connect"),
        ),
        required(
            "fentry_other_connect",
            Attach::Fentry("security_socket_connect"),
        ),
        required(
            "fentry_unix_may_send",
            Attach::Fentry("security_unix_may_send"),
        ),
    ],
    limits: "",
    reports: Hook::FentryUnixStreamConnect,
};
/// At the exit alone, by arguments taken from the registers (5.15).
const TP_CONNECT: Candidate = Candidate {
    name: "tp/sys_connect",
    programs: &[required(
        "exit_connect",
        Attach::Tracepoint("sys_exit_connect"),
    )],
    limits: "connects made through io_uring or by 32-bit system calls, and what is sent without a connect \
             (datagrams, TCP fast open), are not seen",
    reports: Hook::TpConnect,
};
/// By arguments kept from the entry.
const TP_ENTER_CONNECT: Candidate = Candidate {
    name: "tp/sys_enter_connect",
    programs: &[
        required("leave_connect", Attach::Tracepoint("sys_exit_connect")),
        required("enter_connect", Attach::Tracepoint("sys_enter_connect")),
    ],
    ..TP_CONNECT
};
const TP_OPEN: Candidate = Candidate {
    name: "tp/sys_open*",
    programs: &[
        required("exit_openat", Attach::Tracepoint("sys_exit_openat")),
        optional("exit_openat2", Attach::Tracepoint("sys_exit_openat2")),
        optional("exit_open", Attach::Tracepoint("sys_exit_open")),
        optional("exit_creat", Attach::Tracepoint("sys_exit_creat")),
        optional(
            "exit_open_by_handle_at",
            Attach::Tracepoint("sys_exit_open_by_handle_at"),
        ),
        optional(
            "exit_io_uring_setup",
            Attach::Tracepoint("sys_exit_io_uring_setup"),
        ),
    ],
    limits: "opens made by 32-bit system calls are not seen, nor those made through io_uring, only that one \
             was set up",
    reports: Hook::TpOpenat,
};
const TP_ENTER_OPEN: Candidate = Candidate {
    name: "tp/sys_enter_open*",
    programs: &[
        required("leave_openat", Attach::Tracepoint("sys_exit_openat")),
        required("enter_openat", Attach::Tracepoint("sys_enter_openat")),
        optional("leave_openat2", Attach::Tracepoint("sys_exit_openat2")),
        optional("enter_openat2", Attach::Tracepoint("sys_enter_openat2")),
        optional("leave_open", Attach::Tracepoint("sys_exit_open")),
        optional("enter_open", Attach::Tracepoint("sys_enter_open")),
        optional("leave_creat", Attach::Tracepoint("sys_exit_creat")),
        optional("enter_creat", Attach::Tracepoint("sys_enter_creat")),
        optional(
            "leave_open_by_handle_at",
            Attach::Tracepoint("sys_exit_open_by_handle_at"),
        ),
        optional(
            "enter_open_by_handle_at",
            Attach::Tracepoint("sys_enter_open_by_handle_at"),
        ),
        optional(
            "exit_io_uring_setup",
            Attach::Tracepoint("sys_exit_io_uring_setup"),
        ),
    ],
    ..TP_OPEN
};
const TP_SOCKET: Candidate = Candidate {
    name: "tp/sys_socket",
    programs: &[required(
        "exit_socket",
        Attach::Tracepoint("sys_exit_socket"),
    )],
    limits: "sockets made through io_uring or by 32-bit system calls are not seen",
    reports: Hook::TpSocket,
};
const TP_ENTER_SOCKET: Candidate = Candidate {
    name: "tp/sys_enter_socket",
    programs: &[
        required("leave_socket", Attach::Tracepoint("sys_exit_socket")),
        required("enter_socket", Attach::Tracepoint("sys_enter_socket")),
    ],
    ..TP_SOCKET
};

const FENTRY_CHANGE: Candidate = Candidate {
    name: "fentry/security_path_*",
    programs: &[
        required("fentry_path_rename", Attach::Fentry("security_path_rename")),
        required("fentry_path_link", Attach::Fentry("security_path_link")),
        required(
            "fentry_path_symlink",
            Attach::Fentry("security_path_symlink"),
        ),
        required("fentry_path_unlink", Attach::Fentry("security_path_unlink")),
        required("fentry_path_rmdir", Attach::Fentry("security_path_rmdir")),
        required("fentry_path_mkdir", Attach::Fentry("security_path_mkdir")),
        required(
            "fentry_path_truncate",
            Attach::Fentry("security_path_truncate"),
        ),
        // Since 6.2, in place of the other where there is a descriptor.
        if_there(
            "fentry_file_truncate",
            Attach::Fentry("security_file_truncate"),
        ),
        required("fentry_path_chmod", Attach::Fentry("security_path_chmod")),
        required("fentry_path_chown", Attach::Fentry("security_path_chown")),
        required(
            "fentry_inode_setxattr",
            Attach::Fentry("security_inode_setxattr"),
        ),
        required(
            "fentry_inode_removexattr",
            Attach::Fentry("security_inode_removexattr"),
        ),
    ],
    limits: "",
    reports: Hook::FentryPathRename,
};
/// The system calls that change a name or an attribute; the newest do not exist on older kernels.
const TP_CHANGE: Candidate = Candidate {
    name: "tp/sys_change*",
    programs: &[required(
        "exit_change",
        Attach::Tracepoints(&[
            "sys_exit_renameat2",
            "sys_exit_rename",
            "sys_exit_renameat",
            "sys_exit_link",
            "sys_exit_linkat",
            "sys_exit_symlink",
            "sys_exit_symlinkat",
            "sys_exit_unlink",
            "sys_exit_unlinkat",
            "sys_exit_rmdir",
            "sys_exit_mkdir",
            "sys_exit_mkdirat",
            "sys_exit_truncate",
            "sys_exit_ftruncate",
            "sys_exit_chmod",
            "sys_exit_fchmod",
            "sys_exit_fchmodat",
            "sys_exit_fchmodat2",
            "sys_exit_chown",
            "sys_exit_fchown",
            "sys_exit_lchown",
            "sys_exit_fchownat",
            "sys_exit_setxattr",
            "sys_exit_lsetxattr",
            "sys_exit_fsetxattr",
            "sys_exit_setxattrat",
            "sys_exit_removexattr",
            "sys_exit_lremovexattr",
            "sys_exit_fremovexattr",
            "sys_exit_removexattrat",
        ]),
    )],
    limits: "changes made through io_uring or by 32-bit system calls are not seen, and names are as the \
             program gave them",
    reports: Hook::TpChange,
};

/// Every fact, in the order of attaching: what ends or follows a process before what starts one.
pub const FACTS: [Fact; 9] = [
    Fact {
        name: "exit",
        candidates: &[Candidate {
            name: "raw_tp/sched_process_exit",
            programs: &[required(
                "sched_process_exit",
                Attach::RawTracepoint("sched_process_exit"),
            )],
            limits: "",
            reports: Hook::RawTpExit,
        }],
        required: true,
        trial: Trial::Attach, // tried together with fork: it needs one
    },
    Fact {
        name: "fork",
        candidates: &[Candidate {
            name: "raw_tp/sched_process_fork",
            programs: &[required(
                "sched_process_fork",
                Attach::RawTracepoint("sched_process_fork"),
            )],
            limits: "",
            reports: Hook::RawTpFork,
        }],
        required: true,
        trial: Trial::Child,
    },
    Fact {
        name: "open",
        candidates: &[
            Candidate {
                name: "fentry/vfs_open",
                programs: &[
                    required("fentry_vfs_open", Attach::Fentry("vfs_open")),
                    optional("fentry_finish_open", Attach::Fentry("finish_open")),
                ],
                limits: "",
                reports: Hook::FentryVfsOpen,
            },
            Candidate {
                name: "lsm/file_open",
                programs: &[required("lsm_file_open", Attach::Lsm("file_open"))],
                limits: "descriptors opened with O_PATH are not seen",
                reports: Hook::LsmFileOpen,
            },
            Candidate {
                name: "fentry/security_file_open",
                programs: &[required(
                    "fentry_file_open",
                    Attach::Fentry("security_file_open"),
                )],
                limits: "descriptors opened with O_PATH are not seen",
                reports: Hook::FentryFileOpen,
            },
            TP_OPEN,
            TP_ENTER_OPEN,
        ],
        required: false,
        trial: Trial::Open,
    },
    Fact {
        name: "connect_inet",
        candidates: &[
            Candidate {
                name: "cgroup/connect4,6 sendmsg4,6",
                programs: &[
                    required("cgroup_connect4", Attach::Cgroup),
                    required("cgroup_connect6", Attach::Cgroup),
                    optional("cgroup_sendmsg4", Attach::Cgroup),
                    optional("cgroup_sendmsg6", Attach::Cgroup),
                ],
                limits: "",
                reports: Hook::CgroupConnect4,
            },
            Candidate {
                limits: UNCONNECTED,
                ..LSM_SOCKET_CONNECT
            },
            Candidate {
                limits: UNCONNECTED,
                ..FENTRY_SOCKET_CONNECT
            },
            TP_CONNECT,
            TP_ENTER_CONNECT,
        ],
        required: false,
        trial: Trial::ConnectInet,
    },
    Fact {
        name: "connect_unix",
        candidates: &[
            FENTRY_UNIX_CONNECT,
            LSM_SOCKET_CONNECT,
            FENTRY_SOCKET_CONNECT,
            TP_CONNECT,
            TP_ENTER_CONNECT,
        ],
        required: false,
        trial: Trial::ConnectUnix,
    },
    Fact {
        name: "socket",
        candidates: &[
            Candidate {
                name: "fentry/security_socket_post_create",
                programs: &[required(
                    "fentry_socket_post_create",
                    Attach::Fentry("security_socket_post_create"),
                )],
                limits: "",
                reports: Hook::FentrySocketPostCreate,
            },
            Candidate {
                name: "lsm/socket_post_create",
                programs: &[required(
                    "lsm_socket_post_create",
                    Attach::Lsm("socket_post_create"),
                )],
                limits: "",
                reports: Hook::LsmSocketPostCreate,
            },
            TP_SOCKET,
            TP_ENTER_SOCKET,
        ],
        required: false,
        trial: Trial::Socket,
    },
    Fact {
        name: "failed_exec",
        candidates: &[
            Candidate {
                name: "fexit/__x64_sys_execve",
                programs: &[
                    required("fexit_execve", Attach::Fexit("__x64_sys_execve")),
                    required("fexit_execveat", Attach::Fexit("__x64_sys_execveat")),
                ],
                limits: "",
                reports: Hook::FexitExecve,
            },
            Candidate {
                name: "tp/sys_execve*",
                programs: &[
                    required("exit_execve", Attach::Tracepoint("sys_exit_execve")),
                    required("exit_execveat", Attach::Tracepoint("sys_exit_execveat")),
                ],
                // It sees as much; every system call of every process costs more.
                limits: "system calls are traced",
                reports: Hook::TpExecve,
            },
        ],
        required: false,
        trial: Trial::FailedExec,
    },
    Fact {
        name: "change",
        candidates: &[FENTRY_CHANGE, TP_CHANGE],
        required: false,
        trial: Trial::Change,
    },
    Fact {
        name: "exec",
        candidates: &[Candidate {
            name: "raw_tp/sched_process_exec",
            programs: &[required(
                "sched_process_exec",
                Attach::RawTracepoint("sched_process_exec"),
            )],
            limits: "",
            reports: Hook::RawTpExec,
        }],
        required: true,
        trial: Trial::Attach,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_serves_a_hook_and_every_candidate_the_one_it_is_tried_by() {
        for candidate in FACTS.iter().flat_map(|fact| fact.candidates) {
            let served: Vec<_> = candidate
                .programs
                .iter()
                .map(|p| serves(p.spec.name))
                .collect();
            assert!(served.iter().all(Option::is_some), "{}", candidate.name);
            assert!(
                served.contains(&Some(candidate.reports)),
                "{}",
                candidate.name
            );
        }
    }
}
