//! Execs, forks and exits: how processes begin, what runs in them, how they end.

use skep_abi::{
    CANARY_SESSION, Claim, Hook, MISSING_ARGV, MISSING_CRED, MISSING_CWD, MISSING_FILENAME,
    MISSING_INODE, MISSING_LOGINUID, MISSING_PARENT, MISSING_PATH, MISSING_PATH_HEAD,
    MISSING_RESULT, MISSING_START, Socket, Task, Uring,
};

use super::tape::{Actor, BEGIN_NS, FIRST_PID, Program, SECOND_NS, Tape, key};
use crate::product;

/// Processes that ran before the sensor, found by the walk.
pub fn ran_before(tape: &mut Tape) {
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
            },
        );
    }
    tape.say("walk");
    tape.say("settle");
    tape.after(200);
    tape.say("gap");
}

/// An agent whose launcher executes it; gives it as it is then.
pub fn begins(tape: &mut Tape) -> Actor {
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
pub fn descendants(tape: &mut Tape, root: &Actor) -> Actor {
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

/// Execs with facts missing, and agents within agents; gives the one within.
pub fn execs(tape: &mut Tape, root: &Actor) -> Actor {
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
pub fn others(tape: &mut Tape) {
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
pub fn unseen(tape: &mut Tape, root: &Actor, shell: &Actor) {
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

pub fn ends(tape: &mut Tape, root: &Actor, shell: &Actor, within: &Actor) {
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
