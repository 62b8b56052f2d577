//! Opens, sent one by one and counted in the kernel.

use skep_abi::{
    Hook, MISSING_INODE, MISSING_PATH, MISSING_PATH_HEAD, MISSING_RESULT, MISSING_START, Open,
    PathForm,
};

use super::tape::{Actor, Program, Tape, key};

pub fn opens(tape: &mut Tape, shell: &Actor) {
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
pub fn folded(tape: &mut Tape, root: &Actor, shell: &Actor) {
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
