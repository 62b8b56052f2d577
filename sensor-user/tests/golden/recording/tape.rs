//! The tape: actors, programs, and the records that they leave.

use std::collections::BTreeMap;
use std::fmt::Write;

use skep_abi::{
    Claim, Connect, Exec, Exit, FileKey, FoldCount, Fork, Header, Hook, Kind, Open, PathForm,
    STATE_AGENT, STATE_PENDING, Socket, Task, Uring,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// Boot clock at the first record.
pub const BEGIN_NS: u64 = 1_000_000_000_000;
/// Between two records; no multiple of a microsecond, which is all that tables keep.
pub const APART_NS: u64 = 1_000_123;
pub const SECOND_NS: u64 = 1_000_000_000;
/// Pids that no Linux gives (`PID_MAX_LIMIT` is 4,194,304), so that no process is looked at.
pub const FIRST_PID: u32 = 5_000_000;

/// Who does it.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    pub pid: u32,
    pub start_ns: u64,
    /// Kernel id of its session; 0 while it waits for a verdict.
    pub session: u64,
    pub claim: Claim,
    pub image: u64,
}

/// What is executed.
pub struct Program<'a> {
    pub file: FileKey,
    /// Names from the file up to its root, each ended by NUL.
    pub exe: &'a [u8],
    pub filename: &'a [u8],
    pub cwd: &'a [u8],
    /// Each ended by NUL.
    pub argv: &'a [u8],
    pub tty: &'a [u8],
    pub uid: u32,
    pub loginuid: u32,
}

/// A record's fixed part.
pub trait Fixed: FromZeros + IntoBytes + Immutable {
    const KIND: Kind;
    fn header(&mut self) -> &mut Header;
}

macro_rules! fixed {
    ($($kind:ident)*) => {$(
        impl Fixed for $kind {
            const KIND: Kind = Kind::$kind;

            fn header(&mut self) -> &mut Header {
                &mut self.header
            }
        }
    )*};
}

fixed!(Exec Fork Exit Open Connect Task Uring Socket);

pub struct Tape {
    pub text: String,
    pub time_ns: u64,
    /// User ids of processes, where they are not [`UID`].
    pub ids: BTreeMap<u32, u32>,
}

/// Who runs most programs.
pub const UID: u32 = 1000;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

pub fn key(ino: u64) -> FileKey {
    FileKey {
        ino,
        ctime_sec: 1_763_000_000,
        ctime_nsec: 500,
        dev: 8 << 20 | 1,
    }
}

impl Actor {
    pub fn new(pid: u32, session: u64, image: u64) -> Self {
        Self {
            pid: FIRST_PID + pid,
            start_ns: BEGIN_NS - SECOND_NS + u64::from(pid),
            session,
            claim: Claim::NONE,
            image,
        }
    }

    /// Waits for the verdict on an exec at this time.
    pub fn pending(pid: u32, exec_ns: u64) -> Self {
        let actor = Self::new(pid, 0, 0);
        Self {
            claim: Claim {
                exec_ns,
                tgid: actor.pid,
                pad: 0,
            },
            ..actor
        }
    }

    pub fn runs(self, file: FileKey) -> Self {
        Self {
            image: file.image(),
            ..self
        }
    }
}

impl Default for Program<'_> {
    fn default() -> Self {
        Self {
            file: key(900),
            exe: b"bash\0bin\0usr\0",
            filename: b"/bin/bash\0",
            cwd: b"project\0golden\0nonexistent\0",
            argv: b"bash\0",
            tty: b"",
            uid: 1000,
            loginuid: 1000,
        }
    }
}

impl Tape {
    pub fn say(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    pub fn after(&mut self, milliseconds: u64) {
        self.time_ns += milliseconds * 1_000_000;
        self.say(&format!("after {milliseconds}"));
    }

    fn uid(&self, pid: u32) -> u32 {
        self.ids.get(&pid).copied().unwrap_or(UID)
    }

    /// One record; what `about` says stands above it. Gives its time.
    pub fn put<T: Fixed>(
        &mut self,
        about: &str,
        (actor, hook, missing): (&Actor, Hook, u32),
        tail: &[&[u8]],
        fill: impl FnOnce(&mut T),
    ) -> u64 {
        self.time_ns += APART_NS;
        let mut fixed = T::new_zeroed();
        *fixed.header() = Header {
            time_ns: self.time_ns,
            start_ns: actor.start_ns,
            session: actor.session,
            claim: actor.claim,
            image: actor.image,
            len: (size_of::<T>() + tail.concat().len()) as u32,
            tgid: actor.pid,
            tid: actor.pid + 7,
            state: if actor.session == 0 {
                STATE_PENDING
            } else {
                STATE_AGENT
            },
            missing,
            kind: T::KIND as u16,
            hook: hook as u8,
            pad: 0,
            uid: self.uid(actor.pid),
            euid: self.uid(actor.pid),
        };
        fill(&mut fixed);
        let bytes = [&[fixed.as_bytes()], tail].concat().concat();
        self.say(&format!("# {}: {about}", T::KIND.name()));
        self.say(&format!("record {}", hex(&bytes)));
        self.time_ns
    }

    pub fn exec(
        &mut self,
        about: &str,
        actor: &Actor,
        missing: u32,
        program: &Program<'_>,
        fill: impl FnOnce(&mut Exec),
    ) {
        let Program {
            file,
            exe,
            filename,
            cwd,
            argv,
            tty,
            uid,
            loginuid,
        } = *program;
        let tail = [exe, filename, cwd, argv, b"", tty];
        self.ids.insert(actor.pid, uid);
        self.put(
            about,
            (actor, Hook::RawTpExec, missing),
            &tail,
            |exec: &mut Exec| {
                exec.file = file;
                exec.parent_start_ns = 1;
                exec.cgroup_id = 1;
                exec.file_size = 100_000;
                exec.ppid = FIRST_PID;
                (exec.gid, exec.loginuid) = (uid, loginuid);
                exec.argc = argv.iter().filter(|byte| **byte == 0).count() as u32;
                exec.argv_bytes = argv.len() as u32;
                let lengths = tail.map(|part| part.len() as u16);
                [
                    exec.exe_len,
                    exec.filename_len,
                    exec.cwd_len,
                    exec.argv_len,
                    exec.argv_end_len,
                    exec.tty_len,
                ] = lengths;
                exec.mode = 0o100_755;
                exec.switches = 0;
                fill(exec);
            },
        );
    }

    pub fn fork(&mut self, about: &str, actor: &Actor, missing: u32, child: &Actor, ppid: u32) {
        self.put(
            about,
            (actor, Hook::RawTpFork, missing),
            &[],
            |fork: &mut Fork| {
                fork.child_start_ns = child.start_ns;
                fork.child_tgid = child.pid;
                fork.child_ppid = ppid;
            },
        );
    }

    pub fn exit(&mut self, about: &str, actor: &Actor, missing: u32, status: u32) {
        self.put(
            about,
            (actor, Hook::RawTpExit, missing),
            &[],
            |exit: &mut Exit| {
                exit.status = status;
            },
        );
    }

    /// An open of a regular file for reading that succeeded, but for what `fill` says.
    pub fn open(
        &mut self,
        about: &str,
        by: (&Actor, Hook, u32),
        path: &[u8],
        fill: impl FnOnce(&mut Open),
    ) -> u64 {
        self.put(about, by, &[path], |open: &mut Open| {
            open.file = key(2_000);
            open.mode = 0o100_644;
            open.dirfd = -100;
            open.links = 1;
            open.path_len = path.len() as u16;
            open.path_form = PathForm::Components as u8;
            fill(open);
        })
    }

    pub fn connect(
        &mut self,
        about: &str,
        by: (&Actor, Hook, u32),
        family: u16,
        path: &[u8],
        fill: impl FnOnce(&mut Connect),
    ) {
        self.put(about, by, &[path], |connect: &mut Connect| {
            connect.family = family;
            connect.path_len = path.len() as u16;
            fill(connect);
        });
    }

    /// Repeats of the open that was recorded at `first_ns`.
    pub fn count(&mut self, about: &str, actor: &Actor, first_ns: u64, count: u64) {
        let mut fixed = FoldCount::new_zeroed();
        fixed.count = count;
        fixed.last_ns = first_ns + 5 * APART_NS;
        fixed.first_ns = first_ns;
        fixed.first_tid = actor.pid + 7;
        self.say(&format!("# count: {about}"));
        self.say(&format!("count {}", hex(fixed.as_bytes())));
    }
}
