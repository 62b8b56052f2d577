//! What takes the means from a process that is about to read hostile files.
//!
//! Three layers, none of which it can take off again:
//! - limits: no file grows, no core is written, few descriptors, so much memory and processor time;
//! - Landlock, where the kernel has it (Linux 5.13): nothing is opened for writing, made or removed. The filter
//!   of system calls cannot see that: `openat2` takes its flags in memory;
//! - a filter of system calls: those that read files and answer. No exec, no new socket, no signal to others,
//!   no call that writes a file; memory is never executable. What is refused is refused with `EPERM`.

use std::{collections::BTreeMap, io};

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// What it needs: a root, an executable, an environment, eight descriptors, and one path at a time.
const DESCRIPTORS: u64 = 64;
const CPU_SECONDS_MAX: u64 = 600;

/// Confines this process: `memory` bytes beyond what it has, and so long on the processor.
///
/// # Errors
///
/// The kernel refuses a layer that every supported one has.
pub fn confine(memory: u64, millis: u64) -> io::Result<()> {
    let limit = |resource, value| {
        setrlimit(
            resource,
            Rlimit {
                current: Some(value),
                maximum: Some(value),
            },
        )
    };
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, DESCRIPTORS)?;
    limit(Resource::Cpu, (millis / 1000 + 1).min(CPU_SECONDS_MAX))?;
    limit(Resource::Data, data_bytes()?.saturating_add(memory))?;
    rustix::thread::set_no_new_privs(true)?;
    // Ids have changed, which takes it back: it ends with the inspector.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    landlock();
    let filter: seccompiler::BpfProgram = filter()?.try_into().map_err(io::Error::other)?;
    apply_filter(&filter).map_err(io::Error::other)
}

/// Private memory of this process, which `RLIMIT_DATA` bounds.
fn data_bytes() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let data = text.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kilobytes = data.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes << 10)
        .ok_or_else(|| io::Error::other("/proc does not say how much memory this process has"))
}

/// `struct landlock_ruleset_attr` (linux/landlock.h) of its first version.
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
}

/// Refuses everything that is no reading (`LANDLOCK_ACCESS_FS_*`): each version of Landlock knows more.
fn landlock() {
    const CREATE_RULESET_VERSION: u32 = 1;
    const READ_FILE_AND_DIRECTORY: u64 = 1 << 2 | 1 << 3;
    let null = std::ptr::null::<Ruleset>();
    // SAFETY: asks for the version, and takes no memory.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            null,
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    let known: u64 = match version {
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        5.. => (1 << 16) - 1,
        // A kernel without it.
        _ => return,
    };
    let ruleset = Ruleset {
        handled_access_fs: known & !READ_FILE_AND_DIRECTORY,
    };
    // SAFETY: the structure outlives the call, which reads no more than its size.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size_of::<Ruleset>(),
            0u32,
        )
    };
    if fd >= 0 {
        // SAFETY: a descriptor made above; without a rule nothing of what it handles is allowed.
        unsafe {
            libc::syscall(libc::SYS_landlock_restrict_self, fd, 0u32);
            libc::close(fd as libc::c_int);
        }
    }
}

fn filter() -> io::Result<SeccompFilter> {
    let condition = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
            .map_err(io::Error::other)
    };
    let rule = |conditions| SeccompRule::new(conditions).map_err(io::Error::other);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in READING {
        rules.insert(*call, Vec::new());
    }
    // Nothing is opened to be written, made, or cut.
    let temporary = libc::O_TMPFILE & !libc::O_DIRECTORY;
    let writing =
        (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | temporary) as u64;
    let reads = condition(2, SeccompCmpOp::MaskedEq(writing), 0)?;
    rules.insert(libc::SYS_openat, vec![rule(vec![reads])?]);
    let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(
            call,
            vec![rule(vec![condition(2, executable.clone(), 0)?])?],
        );
    }
    // An answer on the socket it has, to nobody else.
    let nobody = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0);
    let nobody = nobody.map_err(io::Error::other)?;
    rules.insert(libc::SYS_sendto, vec![rule(vec![nobody])?]);
    let commands = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL];
    let commands =
        commands.map(|command| rule(vec![condition(1, SeccompCmpOp::Eq, command as u64)?]));
    rules.insert(
        libc::SYS_fcntl,
        commands.into_iter().collect::<Result<_, _>>()?,
    );
    // It may abort, and signals nobody else.
    let itself = condition(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    for call in [libc::SYS_tgkill, libc::SYS_tkill] {
        rules.insert(call, vec![rule(vec![itself.clone()])?]);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        arch,
    )
    .map_err(io::Error::other)
}

/// Calls without which nothing is read, or memory is not had.
const READING: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_futex,
    libc::SYS_getdents64,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What a confined child of this process says of each attempt, as its exit status: which have gone through.
    fn in_confinement(attempts: &[fn() -> bool]) -> i32 {
        // SAFETY: until it ends the child makes system calls and small allocations, which the C library has
        // made ready for a fork.
        match unsafe { libc::fork() } {
            0 => {
                let mut through = 0;
                match confine(64 << 20, 10_000) {
                    Ok(()) => {
                        for (at, attempt) in attempts.iter().enumerate() {
                            through |= i32::from(attempt()) << at;
                        }
                    }
                    Err(_) => through = 255,
                }
                // SAFETY: ends the child, and nothing else.
                unsafe { libc::_exit(through) }
            }
            child => {
                let mut status = 0;
                // SAFETY: writes one number.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert!(libc::WIFEXITED(status), "{status:#x}");
                libc::WEXITSTATUS(status)
            }
        }
    }

    fn opens_at(flags: libc::c_int) -> bool {
        // SAFETY: a terminated string.
        unsafe { libc::open(c"/tmp/skep-confined".as_ptr(), flags, 0o600) >= 0 }
    }

    #[test]
    fn nothing_is_executed_sent_or_written() {
        std::fs::write("/tmp/skep-confined", "kept").expect("a directory for everybody");
        let attempts: [fn() -> bool; 7] = [
            || {
                let nothing = [std::ptr::null()];
                // SAFETY: terminated, and returns only when it is refused; otherwise the exit status tells.
                unsafe { libc::execve(c"/bin/false".as_ptr(), nothing.as_ptr(), nothing.as_ptr()) };
                false
            },
            // SAFETY: plain numbers.
            || unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) >= 0 },
            || opens_at(libc::O_WRONLY),
            || opens_at(libc::O_RDONLY | libc::O_TRUNC),
            // SAFETY: plain numbers; to the parent, which ignores it.
            || unsafe { libc::kill(libc::getppid(), 0) == 0 },
            // SAFETY: a terminated string.
            || unsafe { libc::unlink(c"/tmp/skep-confined".as_ptr()) == 0 },
            // SAFETY: the child ends at once.
            || unsafe { libc::fork() >= 0 },
        ];
        assert_eq!(in_confinement(&attempts), 0);
        let kept = std::fs::read("/tmp/skep-confined").expect("still there");
        std::fs::remove_file("/tmp/skep-confined").expect("removed");
        assert_eq!(kept, b"kept");
    }

    #[test]
    fn files_are_still_read() {
        let attempts: [fn() -> bool; 2] = [
            || std::fs::read("/proc/self/status").is_ok_and(|bytes| !bytes.is_empty()),
            || std::fs::read_dir("/").is_ok_and(|names| names.count() > 0),
        ];
        assert_eq!(in_confinement(&attempts), 0b11);
    }

    #[test]
    fn through_a_structure_nothing_is_opened_for_writing_where_landlock_is() {
        // SAFETY: asks for the version.
        let version = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                std::ptr::null::<u8>(),
                0usize,
                1u32,
            )
        };
        if version < 1 {
            println!("this kernel has no Landlock");
            return;
        }
        let attempts: [fn() -> bool; 1] = [|| {
            use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
            let flags = OFlags::WRONLY | OFlags::CREATE;
            let path = "/tmp/skep-confined-openat2";
            openat2(CWD, path, flags, Mode::RUSR, ResolveFlags::empty()).is_ok()
        }];
        assert_eq!(in_confinement(&attempts), 0);
        assert!(!std::path::Path::new("/tmp/skep-confined-openat2").exists());
    }
}
