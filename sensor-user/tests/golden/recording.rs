//! The recorded sequence: kernel records byte for byte, and what else reaches the sensor between them.
//!
//! [`recorded`] makes `tests/golden/records.txt` from the structures of the ABI: every kind of record,
//! each fact present and absent. A fixed part begins as zeros and is filled in by name, so that a field
//! that is added later changes neither this file nor, while it is zero, anything but the records.

use std::fmt::Write;

use skep_abi::{
    CANARY_SESSION, Claim, Connect, Exec, Exit, FileKey, FoldCount, Fork, Header, Hook, Kind,
    MISSING_ADDR, MISSING_ARGV, MISSING_CRED, MISSING_CWD, MISSING_FILENAME, MISSING_INODE,
    MISSING_LOGINUID, MISSING_PARENT, MISSING_PATH, MISSING_PATH_HEAD, MISSING_PROTO,
    MISSING_RESULT, MISSING_START, Open, PathForm, STATE_AGENT, STATE_PENDING, Socket, Task, Uring,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::product;

/// Boot clock at the first record.
const BEGIN_NS: u64 = 1_000_000_000_000;
/// Between two records; no multiple of a microsecond, which is all that tables keep.
const APART_NS: u64 = 1_000_123;
const SECOND_NS: u64 = 1_000_000_000;
/// Pids that no Linux gives (`PID_MAX_LIMIT` is 4,194,304), so that no process is looked at.
pub const FIRST_PID: u32 = 5_000_000;

/// What reaches the sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record out of the ring.
    Record(Vec<u8>),
    /// A count of repeats out of the kernel's table.
    Count(Vec<u8>),
    /// No count of this epoch is still to come.
    Close(u32),
    /// So many milliseconds pass.
    After(u64),
    /// What the walk over the task list found is taken in.
    Walk,
    /// What no walk has found is gone.
    Settle,
    /// Pid and start of a process that the census found dead.
    Dead(u32, u64),
    /// The sensor missed something: a gap of every live session.
    Gap,
    /// What the sensor tells of itself, and of losses.
    Told,
    /// The last round.
    End,
}

/// Who does it.
#[derive(Clone, Copy, Debug)]
struct Actor {
    pid: u32,
    start_ns: u64,
    /// Kernel id of its session; 0 while it waits for a verdict.
    session: u64,
    claim: Claim,
    image: u64,
}

/// What is executed.
struct Program<'a> {
    file: FileKey,
    /// Names from the file up to its root, each ended by NUL.
    exe: &'a [u8],
    filename: &'a [u8],
    cwd: &'a [u8],
    /// Each ended by NUL.
    argv: &'a [u8],
    tty: &'a [u8],
    uid: u32,
    loginuid: u32,
}

/// A record's fixed part.
trait Fixed: FromZeros + IntoBytes + Immutable {
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

struct Tape {
    text: String,
    time_ns: u64,
}

/// The steps in a text that [`recorded`] made.
pub fn steps(text: &str) -> Vec<Step> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(step).collect()
}

fn step(line: &str) -> Step {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["record", bytes] => Step::Record(unhex(bytes)),
        ["count", bytes] => Step::Count(unhex(bytes)),
        ["close", epoch] => Step::Close(epoch.parse().unwrap()),
        ["after", milliseconds] => Step::After(milliseconds.parse().unwrap()),
        ["walk"] => Step::Walk,
        ["settle"] => Step::Settle,
        ["dead", pid, start_ns] => Step::Dead(pid.parse().unwrap(), start_ns.parse().unwrap()),
        ["gap"] => Step::Gap,
        ["told"] => Step::Told,
        ["end"] => Step::End,
        _ => panic!("not a step: {line}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn key(ino: u64) -> FileKey {
    FileKey {
        ino,
        ctime_sec: 1_763_000_000,
        ctime_nsec: 500,
        dev: 8 << 20 | 1,
    }
}

impl Actor {
    fn new(pid: u32, session: u64, image: u64) -> Self {
        Self {
            pid: FIRST_PID + pid,
            start_ns: BEGIN_NS - SECOND_NS + u64::from(pid),
            session,
            claim: Claim::NONE,
            image,
        }
    }

    /// Waits for the verdict on an exec at this time.
    fn pending(pid: u32, exec_ns: u64) -> Self {
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

    fn runs(self, file: FileKey) -> Self {
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
    fn say(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn after(&mut self, milliseconds: u64) {
        self.time_ns += milliseconds * 1_000_000;
        self.say(&format!("after {milliseconds}"));
    }

    /// One record; what `about` says stands above it. Gives its time.
    fn put<T: Fixed>(
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
        };
        fill(&mut fixed);
        let bytes = [&[fixed.as_bytes()], tail].concat().concat();
        self.say(&format!("# {}: {about}", T::KIND.name()));
        self.say(&format!("record {}", hex(&bytes)));
        self.time_ns
    }

    fn exec(
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
        let tail = [exe, filename, cwd, argv, tty];
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
                (exec.uid, exec.euid, exec.gid, exec.loginuid) = (uid, uid, uid, loginuid);
                exec.argc = argv.iter().filter(|byte| **byte == 0).count() as u32;
                exec.argv_bytes = argv.len() as u32;
                let lengths = tail.map(|part| part.len() as u16);
                [
                    exec.exe_len,
                    exec.filename_len,
                    exec.cwd_len,
                    exec.argv_len,
                    exec.tty_len,
                ] = lengths;
                exec.mode = 0o100_755;
                fill(exec);
            },
        );
    }

    fn fork(&mut self, about: &str, actor: &Actor, missing: u32, child: &Actor, ppid: u32) {
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

    fn exit(&mut self, about: &str, actor: &Actor, missing: u32, status: u32) {
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
    fn open(
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

    fn connect(
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
    fn count(&mut self, about: &str, actor: &Actor, first_ns: u64, count: u64) {
        let mut fixed = FoldCount::new_zeroed();
        fixed.count = count;
        fixed.last_ns = first_ns + 5 * APART_NS;
        fixed.first_ns = first_ns;
        fixed.first_tid = actor.pid + 7;
        self.say(&format!("# count: {about}"));
        self.say(&format!("count {}", hex(fixed.as_bytes())));
    }
}

/// The recording.
pub fn recorded() -> String {
    let mut tape = Tape {
        text: String::new(),
        time_ns: BEGIN_NS,
    };
    tape.say("# Kernel records as they come out of the ring, and what else reaches the sensor between them.");
    tape.say(
        "# Made by sensor-user/tests/golden/recording.rs; README.md says when it is made anew.",
    );
    ran_before(&mut tape);
    let root = begins(&mut tape);
    let shell = descendants(&mut tape, &root);
    opens(&mut tape, &shell);
    folded(&mut tape, &root, &shell);
    connects(&mut tape, &shell);
    let tool = execs(&mut tape, &root);
    others(&mut tape);
    unseen(&mut tape, &root, &shell);
    tape.say("told");
    ends(&mut tape, &root, &shell, &tool);
    tape.say("end");
    tape.text
}

/// Processes that ran before the sensor, found by the walk.
fn ran_before(tape: &mut Tape) {
    let found = [
        ("an agent", 900, product::AGENT_RUNS, 1),
        (
            "its child, which has gone on by the time it is looked at",
            901,
            0,
            900,
        ),
        ("its child, a shell", 902, product::SHELL_RUNS, 900),
        ("nobody's", 903, product::SHELL_RUNS, 1),
    ];
    for (about, pid, ino, parent) in found {
        let actor = Actor {
            start_ns: 900 * SECOND_NS + u64::from(pid),
            ..Actor::new(pid, 0, key(ino).image())
        };
        let missing = 0;
        tape.put(
            about,
            (&actor, Hook::TaskWalk, missing),
            &[],
            |task: &mut Task| {
                task.header.state = skep_abi::PROCESS_UNWATCHED;
                task.file = key(ino);
                task.ppid = FIRST_PID + parent;
                task.parent_start_ns = 900 * SECOND_NS + u64::from(parent);
                task.uid = 1000;
            },
        );
    }
    tape.say("walk");
    tape.say("settle");
    tape.after(200);
    tape.say("gap");
}

/// An agent whose launcher executes it; gives it as it is then.
fn begins(tape: &mut Tape) -> Actor {
    let pending = Actor::pending(1, product::LOSING_CLAIM_NS);
    let launcher = Program {
        file: key(100),
        exe: b"launcher\0claude\0opt\0",
        filename: b"/usr/local/bin/claude\0",
        argv: b"claude\0-p\0fix it\0",
        tty: b"pts3\0",
        ..Program::default()
    };
    let waits = pending.runs(launcher.file);
    tape.exec(
        "a launcher begins a session; records were lost before",
        &waits,
        0,
        &launcher,
        |_| {},
    );
    let cli = Program {
        file: key(101),
        exe: b"cli\0claude\0opt\0",
        argv: b"claude\0-p\0fix it\0--mcp-config\0{\"token\":\"hunter2hunter2\"}\0",
        tty: b"tty1\0",
        ..Program::default()
    };
    let root = Actor {
        session: product::kernel_session(pending.pid, pending.start_ns, "claude-code"),
        ..waits.runs(cli.file)
    };
    tape.exec(
        "the agent itself; its version becomes known",
        &root,
        0,
        &cli,
        |_| {},
    );
    root
}

/// Children of all kinds; gives a shell.
fn descendants(tape: &mut Tape, root: &Actor) -> Actor {
    let child = |pid| Actor {
        claim: Claim::NONE,
        ..Actor::new(pid, root.session, root.image)
    };
    let shell = child(2);
    tape.fork("a child", root, 0, &shell, root.pid);
    tape.fork("a child of its parent's parent", root, 0, &child(3), 1);
    tape.fork(
        "the child's start is unknown",
        root,
        MISSING_START,
        &child(4),
        root.pid,
    );
    tape.fork(
        "the child's parent is unknown",
        root,
        MISSING_PARENT,
        &child(5),
        root.pid,
    );
    tape.fork(
        "a child that is not heard of again",
        root,
        0,
        &child(6),
        root.pid,
    );
    let as_root = (&shell, Hook::FentryVfsOpen, 0);
    tape.open(
        "before it executed anything",
        as_root,
        b"config.toml\0.claude\0dev\0home\0",
        |_| {},
    );
    let program = Program {
        argv: b"bash\0-c\0curl -u dev:hunter2hunter2 https://dev:hunter2@example.com/a.git\0--password=hunter2hunter2\0",
        ..Program::default()
    };
    let shell = shell.runs(program.file);
    tape.exec("secrets in a command line", &shell, 0, &program, |_| {});
    shell
}

fn opens(tape: &mut Tape, shell: &Actor) {
    let vfs = (shell, Hook::FentryVfsOpen, 0);
    let missing = |bits| (shell, Hook::FentryFinishOpen, bits);
    let path = b"notes\0project\0golden\0nonexistent\0";
    tape.open("for writing, created", vfs, b"new\0tmp\0", |open| {
        open.flags = (libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC) as u32;
        open.file.ino = u64::MAX - 1;
        open.file.dev = 259 << 20 | 0xf_ffff;
        open.links = 2;
    });
    tape.open("a directory has no links", vfs, b"tmp\0", |open| {
        open.flags = (libc::O_DIRECTORY | libc::O_PATH) as u32;
        open.mode = 0o041_777;
    });
    tape.open("the root", vfs, b"", |open| open.mode = 0o040_755);
    tape.open("a file mounted nowhere", vfs, b"memfd:x\0\0", |_| {});
    tape.open(
        "bytes that are no text",
        vfs,
        b"\xff\\\x1b[31m\xc3\xa9\n\0tmp\0",
        |_| {},
    );
    tape.open(
        "a secret in a path",
        vfs,
        b"https:dev:hunter2@example.com\0AKIAIOSFODNN7EXAMPLE\0tmp\0",
        |_| {},
    );
    tape.open("no head", missing(MISSING_PATH_HEAD), path, |_| {});
    tape.open("no path", missing(MISSING_PATH), b"", |_| {});
    tape.open("no inode", missing(MISSING_INODE), path, |_| {});
    tape.open("no result", missing(MISSING_RESULT), path, |_| {});
    tape.open("no start", missing(MISSING_START), path, |_| {});
    let all = MISSING_PATH | MISSING_INODE | MISSING_RESULT | MISSING_START;
    tape.open("nothing known", missing(all), b"", |_| {});
    let syscall = |hook, bits| (shell, hook, bits | MISSING_INODE);
    for (about, given, errno) in [
        ("relative, as given, and missing", &b"notes.txt\0"[..], 2),
        (
            "absolute, as given, and forbidden",
            &b"/root/.ssh/id_ed25519\0"[..],
            13,
        ),
        ("an errno without a name", &b"/dev/golden\0"[..], 4_095),
    ] {
        tape.open(about, syscall(Hook::TpOpenat, 0), given, |open| {
            open.path_form = PathForm::Given as u8;
            open.result = -errno;
            open.dirfd = if errno == 2 { 5 } else { -100 };
        });
    }
    let hooks = [
        Hook::LsmFileOpen,
        Hook::FentryFileOpen,
        Hook::TpOpen,
        Hook::TpOpenat2,
        Hook::TpCreat,
        Hook::TpOpenByHandleAt,
    ];
    for hook in hooks {
        tape.open(hook.name(), syscall(hook, MISSING_RESULT), path, |open| {
            open.flags = libc::O_RDWR as u32;
        });
    }
    for _ in 0..3 {
        tape.open("again and again", vfs, b"again\0tmp\0", |_| {});
    }
    tape.after(1_500);
    tape.open("again, in another window", vfs, b"again\0tmp\0", |_| {});
    tape.after(1_500);
}

/// Opens whose repeats the kernel counts.
fn folded(tape: &mut Tape, root: &Actor, shell: &Actor) {
    let in_epoch = |epoch| move |open: &mut Open| open.epoch = epoch;
    let by = (shell, Hook::FentryVfsOpen, 0);
    let first = tape.open("folded, counted", by, b"counted\0tmp\0", in_epoch(1));
    tape.open("folded, never again", by, b"once\0tmp\0", in_epoch(1));
    let of_root = (root, Hook::FentryVfsOpen, 0);
    let left = tape.open(
        "folded, leaves before it is counted",
        of_root,
        b"left\0tmp\0",
        in_epoch(1),
    );
    let twice = tape.open("folded, by two threads", by, b"twice\0tmp\0", in_epoch(1));
    tape.open("folded, by two threads", by, b"twice\0tmp\0", in_epoch(1));
    tape.count("of the first", shell, first, 41);
    tape.count("of one of two threads", shell, twice, 1);
    tape.count("of a record that never came", shell, 1, 7);
    let cli = Program {
        file: key(101),
        exe: b"cli\0claude\0opt\0",
        argv: b"claude\0",
        ..Program::default()
    };
    tape.exec("lets its opens go", root, 0, &cli, |_| {});
    tape.count("of one that has left", root, left, 3);
    tape.say("close 1");
    tape.after(2_500);
}

fn connects(tape: &mut Tape, shell: &Actor) {
    let inet = |hook, bits| (shell, hook, bits);
    let loopback = |port, proto, result| {
        move |connect: &mut Connect| {
            connect.addr[..4].copy_from_slice(&[127, 0, 0, 1]);
            (connect.port, connect.proto, connect.result) = (port, proto, result);
        }
    };
    let known = inet(Hook::CgroupConnect4, 0);
    tape.connect(
        "inet, refused",
        known,
        2,
        b"",
        loopback(8_399, 6, -libc::ECONNREFUSED),
    );
    tape.connect(
        "inet, datagram",
        inet(Hook::CgroupSendmsg4, MISSING_RESULT),
        2,
        b"",
        loopback(53, 17, 0),
    );
    tape.connect(
        "inet, a protocol without a name",
        known,
        2,
        b"",
        loopback(0, 253, 0),
    );
    tape.connect(
        "inet, not there yet",
        known,
        2,
        b"",
        loopback(1, 132, -libc::EINPROGRESS),
    );
    tape.connect(
        "no protocol",
        inet(Hook::TpConnect, MISSING_PROTO),
        2,
        b"",
        loopback(80, 6, 0),
    );
    tape.connect(
        "no address",
        inet(Hook::TpConnect, MISSING_ADDR),
        2,
        b"",
        loopback(80, 6, 0),
    );
    let inet6 = |last: [u8; 6]| {
        move |connect: &mut Connect| {
            connect.addr[10..].copy_from_slice(&last);
            (connect.port, connect.proto) = (443, 6);
        }
    };
    tape.connect(
        "inet6",
        inet(Hook::CgroupConnect6, 0),
        10,
        b"",
        inet6([0, 0, 0, 0, 0, 1]),
    );
    tape.connect(
        "inet6, mapped",
        inet(Hook::CgroupSendmsg6, 0),
        10,
        b"",
        inet6([255, 255, 10, 0, 0, 1]),
    );
    let unix = |hook, bits| (shell, hook, bits);
    for (about, hook, path) in [
        (
            "unix",
            Hook::FentryUnixStreamConnect,
            &b"/run/docker.sock\0"[..],
        ),
        (
            "unix, abstract",
            Hook::FentryUnixMaySend,
            &b"\0bus\0\xff"[..],
        ),
        ("unix, unnamed", Hook::LsmUnixMaySend, &b""[..]),
        (
            "unix, no end",
            Hook::LsmSocketConnect,
            &b"/tmp/ssh-hunter2/agent.1"[..],
        ),
    ] {
        tape.connect(about, unix(hook, 0), 1, path, |_| {});
    }
    tape.connect(
        "unix, no address",
        unix(Hook::FentrySocketConnect, MISSING_ADDR),
        1,
        b"",
        |_| {},
    );
    tape.connect(
        "vsock",
        unix(Hook::FentrySocketConnect, 0),
        40,
        b"",
        |connect| {
            connect.addr[..4].copy_from_slice(&5_000u32.to_ne_bytes());
            connect.addr[4..8].copy_from_slice(&2u32.to_ne_bytes());
        },
    );
    tape.connect(
        "another family",
        unix(Hook::FentrySocketConnect, MISSING_RESULT),
        16,
        b"",
        |_| {},
    );
    for _ in 0..3 {
        tape.connect("again and again", known, 2, b"", loopback(8_400, 6, 0));
    }
    tape.after(1_500);
}

/// Execs with facts missing, and agents within agents; gives the one within.
fn execs(tape: &mut Tape, root: &Actor) -> Actor {
    let other = Actor::new(3, root.session, 0);
    let odd = Program {
        file: key(901),
        exe: b"\xffgone (deleted)\0a\\b\0",
        filename: b"./\xfe\0",
        cwd: b"\x01\0",
        argv: b"\0\xff\xfe\0tab\tand\\\0\xf0\x9f\x90\x9d\0",
        uid: 1001,
        loginuid: u32::MAX,
        ..Program::default()
    };
    tape.exec(
        "bytes that are no text, no login",
        &other.runs(odd.file),
        0,
        &odd,
        |_| {},
    );
    let long = [
        b"a\0--token\0".repeat(64),
        b"--password\0hunter2hun".to_vec(),
    ]
    .concat();
    let long = Program {
        argv: &long,
        ..Program::default()
    };
    tape.exec(
        "longer than what is recorded",
        &other.runs(long.file),
        0,
        &long,
        |exec| {
            exec.argc += 1;
            exec.argv_bytes = 9_000;
        },
    );
    let bare = Program {
        exe: b"",
        filename: b"",
        cwd: b"",
        argv: b"",
        ..Program::default()
    };
    tape.exec(
        "no arguments at all",
        &other.runs(bare.file),
        MISSING_PATH_HEAD,
        &bare,
        |_| {},
    );
    let missing = MISSING_PATH
        | MISSING_CWD
        | MISSING_ARGV
        | MISSING_INODE
        | MISSING_PARENT
        | MISSING_CRED
        | MISSING_FILENAME
        | MISSING_LOGINUID
        | MISSING_START;
    let unknown = Actor::new(5, root.session, 0);
    tape.exec("nothing known", &unknown, missing, &bare, |_| {});
    let codex = Program {
        file: key(200),
        exe: b"codex\0codex\0opt\0",
        argv: b"codex\0exec\0",
        uid: 1001,
        loginuid: u32::MAX,
        ..Program::default()
    };
    let within = Actor::new(3, root.session, codex.file.image());
    tape.exec("an agent within", &within, MISSING_CWD, &codex, |_| {});
    let session = product::kernel_session(within.pid, within.start_ns, "codex");
    let within = Actor { session, ..within };
    let tool = Actor::new(8, session, within.image);
    tape.fork("of the agent within", &within, 0, &tool, within.pid);
    let multicall = Program {
        file: key(201),
        exe: b"rg\0claude\0opt\0",
        argv: b"rg\0TODO\0",
        ..Program::default()
    };
    tape.exec(
        "an agent's file as its tool",
        &tool.runs(multicall.file),
        0,
        &multicall,
        |_| {},
    );
    within
}

/// Processes of nobody, and the sensor's own.
fn others(tape: &mut Tape) {
    for (about, name) in [
        ("no agent", &b"ls\0bin\0usr\0"[..]),
        ("never an agent", &b"never\0bin\0usr\0"[..]),
        ("gone before it was judged", &b"gone\0bin\0usr\0"[..]),
    ] {
        let actor = Actor::pending(50, BEGIN_NS + 7);
        let program = Program {
            file: key(300),
            exe: name,
            ..Program::default()
        };
        tape.exec(about, &actor.runs(program.file), 0, &program, |_| {});
    }
    let nobody = Actor::pending(50, BEGIN_NS + 7);
    tape.open(
        "nobody's",
        (&nobody, Hook::FentryVfsOpen, 0),
        b"x\0",
        |_| {},
    );
    let own = Actor::new(51, CANARY_SESSION, 0);
    tape.open(
        "the sensor's own",
        (&own, Hook::FentryVfsOpen, 0),
        b"x\0",
        |_| {},
    );
}

/// What no record told: forks and execs that were lost, io_urings, other sockets.
fn unseen(tape: &mut Tape, root: &Actor, shell: &Actor) {
    let by_claim = Actor {
        claim: root.claim,
        ..Actor::new(60, 0, 0)
    };
    tape.open(
        "its fork was lost; known by its claim",
        (&by_claim, Hook::FentryVfsOpen, 0),
        b"x\0",
        |_| {},
    );
    let by_session = Actor::new(61, root.session, 77);
    tape.connect(
        "its fork was lost; known by its session",
        (&by_session, Hook::CgroupConnect4, 0),
        2,
        b"",
        |_| {},
    );
    let another = shell.runs(key(902));
    tape.open(
        "it executed something unseen",
        (&another, Hook::FentryVfsOpen, 0),
        b"y\0",
        |_| {},
    );
    for result in [5, 6, -1] {
        let by = (root, Hook::TpIoUringSetup, 0);
        tape.put(
            "where opens through it are not seen",
            by,
            &[],
            |uring: &mut Uring| {
                uring.result = result;
            },
        );
    }
    for (hook, family, kind, protocol) in [
        (Hook::FentrySocketPostCreate, 2, 3, 1),
        (Hook::FentrySocketPostCreate, 2, 3, 1),
        (Hook::LsmSocketPostCreate, 17, 3, 0x300),
        (Hook::TpSocket, 38, 5, 0),
    ] {
        tape.put(
            "raw, packet and the like",
            (root, hook, 0),
            &[],
            |socket: &mut Socket| {
                (socket.family, socket.kind, socket.protocol) = (family, kind, protocol);
            },
        );
    }
    tape.after(1_500);
}

fn ends(tape: &mut Tape, root: &Actor, shell: &Actor, within: &Actor) {
    tape.exit(
        "of a tool",
        &Actor::new(8, within.session, key(201).image()),
        0,
        2 << 8,
    );
    tape.exit("of the agent within, and so of its session", within, 0, 0);
    let missing_start = Actor::new(4, root.session, root.image);
    tape.exit(
        "by a signal, with a core",
        &missing_start,
        MISSING_START,
        0x80 | 11,
    );
    tape.exit(
        "how is unknown",
        &Actor::new(5, root.session, 0),
        MISSING_RESULT,
        0,
    );
    tape.exit("of the shell", &shell.runs(key(902)), 0, 255 << 8);
    for pid in [6, 60, 61] {
        let Actor { pid, start_ns, .. } = Actor::new(pid, 0, 0);
        tape.say("# its exit was lost");
        tape.say(&format!("dead {pid} {start_ns}"));
    }
    tape.exit("of the agent, and so of its session", root, 0, 9);
    for pid in [900, 901, 902] {
        tape.say("# its exit was lost; with the last the session is over");
        tape.say(&format!(
            "dead {} {}",
            FIRST_PID + pid,
            900 * SECOND_NS + u64::from(pid)
        ));
    }
    tape.after(1_500);
}
