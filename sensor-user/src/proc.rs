//! Reads what a process that runs already executes, from `/proc`.
//!
//! A pid can be another process by the time it is read: what is read counts only if, after the
//! reading, the process with that pid still has the exact start the kernel's task list gave (as far as
//! `/proc` shows it, in hundredths of a second). Whether its executable is the file the task list named, whoever
//! reads that file says.
//! Arguments are as the process shows them *now*: it may have written over them.
//!
//! `docs/decisions/0015-what-we-keep-by-hand.md` says why the procfs crate does not parse these files.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
};

use skep_abi::{ARGV_END_MAX, ARGV_MAX};
use skep_event::Text;

use crate::{
    cgroup,
    decode::{self, ArgvEnd},
    place::Namespaces,
};

/// `USER_HZ` (asm/param.h): the unit of times in `/proc/PID/stat` is 1/100 s on every architecture
/// the sensor runs on.
const TICK_NS: u64 = 10_000_000;
/// `PF_EXITING` (include/linux/sched.h): the thread has begun to end. It is set before the exit hook is
/// called; a zombie it is much later, when its memory and files have been let go.
const PF_EXITING: u64 = 0x4;
/// How often a list of threads is read again of which one had ended since.
const THREADS_TRIES: u32 = 8;

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Whether pids here are those the kernel side names: a process that `/proc` does not show has ended.
pub fn shows_every_process() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|meta| meta.ino() == INITIAL_PID_NAMESPACE)
}

/// The processes of this host.
#[derive(Clone, Copy, Debug)]
pub struct Proc;

/// The fields of `/proc/PID/stat` that matter here (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `Z` …
    pub state: u8,
    /// Device number of the terminal, 0 when there is none.
    pub tty: u32,
    /// `PF_*`, of the first thread.
    pub flags: u64,
    pub threads: u64,
    /// In hundredths of a second since the boot.
    pub start_ticks: u64,
}

/// What a process that runs already executes, as far as `/proc` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub exe: Option<Text>,
    pub argv: Vec<Text>,
    pub argv_truncated: bool,
    pub argv_end: Option<ArgvEnd>,
    pub cwd: Option<Text>,
    pub login_uid: Option<u32>,
    pub terminal: Option<Text>,
    pub cgroup: Option<Text>,
    pub namespaces: Namespaces,
    /// Of the executable; `None` when its file system does not say.
    pub size: Option<u64>,
    pub mode: u16,
}

// === impl Image ===

impl Image {
    /// Of the process that started then; `None` when the pid is another's, or it has ended. Reads its
    /// arguments, which waits while somebody holds its memory map, and nothing of its executable.
    pub fn read(pid: u32, start_ns: u64) -> Option<Self> {
        let exe = link(&format!("/proc/{pid}/exe"))?;
        let Arguments {
            argv,
            truncated,
            end,
        } = Arguments::of(pid);
        let cwd = link(&format!("/proc/{pid}/cwd"));
        let cgroup = cgroup::of_process(pid);
        let namespaces = Namespaces::of(&pid.to_string());
        let stat = stat(pid)?;
        let login_uid = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok();
        let login_uid = login_uid.and_then(|uid| uid.trim().parse().ok());
        if !stat.is_running() || stat.start_ticks != start_ns / TICK_NS {
            return None;
        }
        Some(Self {
            exe: Some(exe),
            argv,
            argv_truncated: truncated,
            argv_end: end,
            cwd,
            login_uid: login_uid.filter(|uid| *uid != decode::LOGINUID_UNSET),
            terminal: terminal(stat.tty),
            cgroup,
            namespaces,
            size: None,
            mode: 0,
        })
    }

    /// As an exec would have told it.
    pub fn exec(self, task: &decode::Task) -> decode::Exec {
        let Self {
            exe,
            argv,
            argv_truncated,
            argv_end,
            cwd,
            login_uid,
            terminal,
            cgroup,
            namespaces,
            size,
            mode,
        } = self;
        decode::Exec {
            file: size.map(|size| decode::ExecFile {
                key: task.file,
                size,
                mode,
            }),
            previous_claim: None,
            ppid: Some(task.ppid),
            parent_start_ns: Some(task.parent_start_ns),
            uid: Some(task.uid),
            euid: Some(task.euid),
            login_uid,
            cgroup_id: 0,
            cgroup,
            namespaces,
            filename: None,
            exe,
            cwd,
            argv,
            argv_truncated,
            argv_end,
            switches: None,
            terminal,
        }
    }
}

// === impl Proc ===

impl Proc {
    /// See [`crate::track::adopt::Running::alive`].
    pub fn alive(&self, tgid: u32, start_ns: Option<u64>) -> bool {
        running(tgid, start_ns).is_some()
    }

    /// See [`crate::track::adopt::Running::end_is_to_come`].
    pub fn end_is_to_come(&self, tgid: u32, start_ns: u64) -> bool {
        let Some(first) = running(tgid, Some(start_ns)) else {
            return false;
        };
        if !first.is_ending() {
            return true;
        }
        for _ in 0..THREADS_TRIES {
            if let Some(to_come) = any_thread_goes_on(tgid) {
                return to_come;
            }
        }
        // One thread after the other ends, and new ones come: that it goes on is the better guess,
        // which the next census corrects.
        true
    }
}

impl Stat {
    /// A process whose first thread has ended shows as a zombie while others run.
    fn is_running(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x') || self.threads > 1
    }

    /// Of the thread it was read of.
    fn is_ending(&self) -> bool {
        self.flags & PF_EXITING != 0
    }
}

fn stat(pid: u32) -> Option<Stat> {
    stat_of(&format!("/proc/{pid}/stat"))
}

fn stat_of(path: &str) -> Option<Stat> {
    parse_stat(&fs::read(path).ok()?)
}

/// The process, if it runs and started then; `None` as a start is any.
fn running(tgid: u32, start_ns: Option<u64>) -> Option<Stat> {
    let started = |stat: &Stat| start_ns.is_none_or(|ns| stat.start_ticks == ns / TICK_NS);
    stat(tgid).filter(|stat| stat.is_running() && started(stat))
}

/// Whether a thread of the process has not begun to end; `None` when one was gone before it could be
/// looked at. An exec gives the pid to the thread that makes it, so that none may have been the one
/// that goes on.
fn any_thread_goes_on(tgid: u32) -> Option<bool> {
    let Ok(threads) = fs::read_dir(format!("/proc/{tgid}/task")) else {
        return Some(false);
    };
    let mut all_seen = true;
    for thread in threads.map_while(Result::ok) {
        let tid = thread.file_name();
        match stat_of(&format!("/proc/{tgid}/task/{}/stat", tid.display())) {
            Some(stat) if !stat.is_ending() => return Some(true),
            Some(_) => {}
            None => all_seen = false,
        }
    }
    all_seen.then_some(false)
}

/// A file `stat`. The second field is the name in parentheses, which may hold anything, parentheses too.
pub fn parse_stat(text: &[u8]) -> Option<Stat> {
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(text.get(after..)?).ok()?;
    // `rest` begins with field 3.
    let mut fields = rest.split_ascii_whitespace();
    let [state] = *fields.next()?.as_bytes() else {
        return None;
    };
    Some(Stat {
        state,
        // Each skips the fields between it and the one before.
        tty: fields.nth(7 - 4)?.parse::<i64>().ok()? as u32,
        flags: fields.nth(9 - 8)?.parse().ok()?,
        threads: fields.nth(20 - 10)?.parse().ok()?,
        start_ticks: fields.nth(22 - 21)?.parse().ok()?,
    })
}

/// Where a link of `/proc` leads; a file that was deleted keeps its name, as in the kernel's paths.
fn link(path: &str) -> Option<Text> {
    let target = OsString::from(fs::read_link(path).ok()?).into_vec();
    let target = target.strip_suffix(b" (deleted)").unwrap_or(&target);
    Some(Text::from(target))
}

/// Most bytes of a command line that are read: the kernel refuses more (execve(2), a quarter of a stack of 8 MiB).
const COMMAND_LINE_MAX: u64 = 2 << 20;

/// A command line as the kernel side takes it: the beginning, and the end where there is more.
struct Arguments {
    argv: Vec<Text>,
    truncated: bool,
    end: Option<ArgvEnd>,
}

impl Arguments {
    fn of(pid: u32) -> Self {
        use std::io::Read;
        let mut bytes = Vec::new();
        let read = fs::File::open(format!("/proc/{pid}/cmdline"))
            .and_then(|file| file.take(COMMAND_LINE_MAX).read_to_end(&mut bytes));
        if read.is_err() {
            return Self {
                argv: Vec::new(),
                truncated: true,
                end: None,
            };
        }
        Self::from_bytes(&bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let (head, rest) = if bytes.len() > ARGV_MAX {
            bytes.split_at(ARGV_MAX - ARGV_END_MAX)
        } else {
            (bytes, &[][..])
        };
        let end = &rest[rest.len().saturating_sub(ARGV_END_MAX)..];
        // How many there are `/proc` does not say.
        let ends = bytes.iter().filter(|byte| **byte == 0).count();
        let argc = u32::try_from(ends).unwrap_or(u32::MAX);
        Self {
            argv: decode::arguments(head, if head.is_empty() { 0 } else { u32::MAX }),
            truncated: !rest.is_empty(),
            end: ArgvEnd::of(head, end, bytes.len() as u64, argc).filter(|_| !rest.is_empty()),
        }
    }
}

/// The kernel's name of a terminal by its number (Documentation/admin-guide/devices.txt).
pub fn terminal(number: u32) -> Option<Text> {
    let major = number >> 8 & 0xfff;
    let minor = number & 0xff | number >> 12 & 0xfff00;
    let name = match (major, minor) {
        (136..=143, _) => format!("pts{}", (major - 136) * 256 + minor),
        (4, 0..=63) => format!("tty{minor}"),
        (4, _) => format!("ttyS{}", minor - 64),
        _ => return None,
    };
    Some(Text::from(name.as_str()))
}

#[cfg(test)]
mod tests {
    use skep_abi::{FileKey, Hook};

    use super::*;
    use crate::decode::Common;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = b"812 (a) S (b)) R 1 812 812 34817 812 4194560 1 0 0 0 5 6 0 0 20 0 3 0 77 1 1";
        let stat = parse_stat(line).unwrap();
        assert_eq!(
            (stat.state, stat.tty, stat.threads, stat.start_ticks),
            (b'R', 34817, 3, 77)
        );
        assert!(!stat.is_ending());
        let ending = Stat {
            flags: 4194304 | PF_EXITING,
            ..stat
        };
        assert!(ending.is_ending());
        for cut in [&b"812 (a"[..], b"812 (a) R 1", b"", b"\xff"] {
            assert_eq!(parse_stat(cut), None);
        }
    }

    #[test]
    fn odd_lines_are_no_process_and_no_panic() {
        for odd in [
            "812 (a)",
            "(a) R 1",
            "812 )a( R",
            "812 (a)é R",
            ")",
            "812 (a) R 1 2 3 x",
        ] {
            assert_eq!(parse_stat(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn a_state_is_one_letter() {
        let line = |state: &str| {
            format!("812 (a) {state} 1 812 812 0 812 0 1 0 0 0 5 6 0 0 20 0 3 0 77 1 1")
        };
        let state = |text: &str| parse_stat(line(text).as_bytes()).map(|stat| stat.state);
        assert_eq!(state("R"), Some(b'R'));
        assert_eq!(state("RS"), None);
        assert_eq!(state("\u{5cf}R"), None);
    }

    #[test]
    fn terminals_have_the_names_the_kernel_gives_them() {
        let named = |number| terminal(number).map(|name| name.escaped());
        assert_eq!(named(136 << 8 | 3).as_deref(), Some("pts3"));
        assert_eq!(named(136 << 8 | 1 << 20).as_deref(), Some("pts256"));
        assert_eq!(named(4 << 8 | 2).as_deref(), Some("tty2"));
        assert_eq!(named(4 << 8 | 64).as_deref(), Some("ttyS0"));
        assert_eq!(named(0), None);
    }

    fn myself() -> (Common, decode::Task) {
        let pid = std::process::id();
        let exe = fs::metadata("/proc/self/exe").unwrap();
        let start_ns = stat(pid).unwrap().start_ticks * TICK_NS + 1;
        let common = Common {
            time_ns: 0,
            tgid: pid,
            tid: pid,
            start_ns: Some(start_ns),
            session: None,
            claim: None,
            image: None,
            ids: None,
            hook: Hook::TaskWalk,
        };
        let task = decode::Task {
            watched: false,
            file: FileKey {
                ino: exe.ino(),
                ctime_sec: 0,
                ctime_nsec: 0,
                dev: 0,
            },
            ppid: 1,
            parent_start_ns: 1,
            uid: 0,
            euid: 0,
        };
        (common, task)
    }

    #[test]
    fn a_running_process_shows_what_it_executes() {
        let (common, task) = myself();
        let image = Image::read(common.tgid, common.start_ns.unwrap()).unwrap();
        let exec = image.exec(&task);
        assert_eq!(exec.file, None, "nobody has looked at it");
        let exe = std::env::current_exe().unwrap();
        assert_eq!(
            exec.exe.unwrap().as_bytes(),
            exe.as_os_str().as_encoded_bytes()
        );
        let argv: Vec<_> = std::env::args()
            .map(|arg| Text::from(arg.as_str()))
            .collect();
        assert_eq!(exec.argv, argv);
        assert!(exec.cwd.is_some());
        assert!(Proc.alive(common.tgid, common.start_ns));
        assert!(Proc.end_is_to_come(common.tgid, common.start_ns.unwrap()));
        assert_eq!(any_thread_goes_on(common.tgid), Some(true));
    }

    #[test]
    fn a_long_command_line_is_taken_at_both_ends() {
        let long = [
            b"sh\0-c\0".as_slice(),
            &[b'x'; 20_000],
            b" a b c echo marker\0",
        ]
        .concat();
        let taken = Arguments::from_bytes(&long);
        assert!(taken.truncated);
        let argv = taken.end.expect("it has an end").join(taken.argv);
        assert_eq!(argv.len(), 3);
        assert!(argv[2].as_bytes().ends_with(b"echo marker"));
        let short = Arguments::from_bytes(b"sh\0-c\0x\0");
        assert_eq!(
            (short.argv.len(), short.truncated, short.end),
            (3, false, None)
        );
        let none = Arguments::from_bytes(b"");
        assert_eq!(
            (none.argv.len(), none.truncated, none.end),
            (0, false, None)
        );
    }

    #[test]
    fn a_pid_that_is_another_process_now_shows_nothing() {
        let (common, _) = myself();
        let other = Common {
            start_ns: common.start_ns.map(|ns| ns - TICK_NS),
            ..common
        };
        assert!(Image::read(other.tgid, other.start_ns.unwrap()).is_none());
        assert!(!Proc.alive(other.tgid, other.start_ns));
        assert!(Proc.alive(other.tgid, None), "of whatever start");
        assert!(!Proc.end_is_to_come(other.tgid, other.start_ns.unwrap()));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        let start = stat(pid).unwrap().start_ticks * TICK_NS;
        while stat(pid).unwrap().state != b'Z' {
            std::thread::yield_now();
        }
        assert!(!Proc.alive(pid, Some(start)));
        assert!(!Proc.end_is_to_come(pid, start));
        child.wait().unwrap();
        assert!(!Proc.alive(pid, Some(start)));
        assert!(!Proc.end_is_to_come(pid, start));
    }
}
