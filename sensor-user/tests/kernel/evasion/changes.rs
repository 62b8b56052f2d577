//! Changes of names and attributes, and execs that come to nothing.

use std::fs;

use skep_event::ChangeOp;

use super::{Group, Technique, stage::Stage, verdict::Verdict};

pub const GROUP: Group = Group {
    title: "Changes and attempts",
    techniques: &[
        Technique {
            id: "rename-into-place",
            title: "temporary name, then rename",
            tries: "a file is written as `NAME.tmp.1.2` and then renamed: no open has the name it got",
            attempt: |stage| into_place(stage, ChangeOp::Rename, "final"),
        },
        Technique {
            id: "link-into-place",
            title: "O_TMPFILE, then link",
            tries: "a file is written without a name and then linked from `/proc/self/fd/N`",
            attempt: |stage| into_place(stage, ChangeOp::Link, "dropped"),
        },
        Technique {
            id: "rename-relative",
            title: "rename relative to a descriptor",
            tries: "`renameat` with names that say nothing of the folder",
            attempt: |stage| by_descriptor(stage, ChangeOp::Rename, Some("b")),
        },
        Technique {
            id: "truncate-descriptor",
            title: "truncate by a descriptor",
            tries: "`ftruncate`: the call names no file",
            attempt: |stage| by_descriptor(stage, ChangeOp::Truncate, None),
        },
        Technique {
            id: "chmod-descriptor",
            title: "chmod by a descriptor",
            tries: "`fchmod`: the call names no file",
            attempt: |stage| by_descriptor(stage, ChangeOp::Chmod, None),
        },
        Technique {
            id: "io-uring-rename",
            title: "io_uring rename",
            tries: "`IORING_OP_RENAMEAT`: no rename system call is made",
            attempt: uring_rename,
        },
        Technique {
            id: "io-uring-unlink",
            title: "io_uring unlink",
            tries: "`IORING_OP_UNLINKAT`: no unlink system call is made",
            attempt: |stage| unlink(stage, "uring-unlink", "io_uring"),
        },
        Technique {
            id: "int80-unlink",
            title: "32-bit system call: unlink",
            tries: "`int 0x80` from a 64-bit program: not the system call that is traced",
            attempt: |stage| unlink(stage, "int80-unlink", "`int 0x80`"),
        },
        Technique {
            id: "exec-missing",
            title: "exec that fails",
            tries: "a program that is not there: nothing is executed",
            attempt: missing,
        },
    ],
};

fn into_place(stage: &Stage, op: ChangeOp, name: &str) -> Verdict {
    let folder = stage.subfolder("place");
    let attempt = stage.act(&["into-place", &folder]);
    let file = fs::metadata(format!("{folder}/{name}")).expect("own folder");
    let inode = std::os::unix::fs::MetadataExt::ino(&file);
    // Without a name it has one by its inode (mm/shmem.c, fs/dcache.c: `d_tmpfile`).
    let before = match op {
        ChangeOp::Link => format!("{folder}/#{inode}"),
        _ => format!("{folder}/final.tmp.1.2"),
    };
    attempt.changed(op, &before, Some(&format!("{folder}/{name}")))
}

fn by_descriptor(stage: &Stage, op: ChangeOp, to: Option<&str>) -> Verdict {
    let folder = stage.subfolder("changed");
    let to = to.map(|name| format!("{folder}/{name}"));
    let attempt = stage.act(&["changes-by-descriptor", &folder]);
    attempt.changed(op, &format!("{folder}/a"), to.as_deref())
}

fn uring_rename(stage: &Stage) -> Verdict {
    let (secret, new) = (stage.secret(), stage.path("new"));
    let attempt = stage.try_to_act(&["uring-rename", &secret, &new]);
    let seen = || attempt.changed(ChangeOp::Rename, &secret, Some(&new));
    attempt
        .refused("io_uring")
        .unwrap_or_else(|| seen().or(|| attempt.has_uring()))
}

fn unlink(stage: &Stage, action: &str, means: &str) -> Verdict {
    let secret = stage.secret();
    let attempt = stage.try_to_act(&[action, &secret]);
    let seen = || attempt.changed(ChangeOp::Unlink, &secret, None);
    attempt
        .refused(means)
        .unwrap_or_else(|| seen().or(|| attempt.has_uring()))
}

fn missing(stage: &Stage) -> Verdict {
    let program = stage.path("no-such-program");
    let script = format!("{program} --steal");
    let attempt = stage.try_to_act(&["exec", "/bin/sh", "-c", &script, "--"]);
    attempt.tried(&program)
}
