//! Opens that come at a file by another way than its path.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use super::{
    Group, Technique,
    stage::{Stage, agent},
    verdict::Verdict,
};

/// Folders of 200 letters, for a path beyond `PATH_MAX`.
const DEEP: usize = 22;
/// Folders, more than the sensor walks (`COMPONENTS_MAX`).
const MANY: usize = 80;

pub const GROUP: Group = Group {
    title: "Files",
    techniques: &[
        Technique {
            id: "io-uring-open",
            title: "io_uring open",
            tries: "`IORING_OP_OPENAT`: no open system call is made",
            attempt: |stage| uring(stage, "uring-open"),
        },
        Technique {
            id: "io-uring-open-worker",
            title: "io_uring open by a kernel worker",
            tries: "`IOSQE_ASYNC`: a kernel thread performs the open",
            attempt: |stage| uring(stage, "uring-open-worker"),
        },
        Technique {
            id: "io-uring-open-polled",
            title: "io_uring open by the polling thread",
            tries: "`IORING_SETUP_SQPOLL`: the agent makes no system call to submit it",
            attempt: |stage| uring(stage, "uring-open-polled"),
        },
        Technique {
            id: "int80-open",
            title: "32-bit system call: open",
            tries: "`int 0x80` from a 64-bit program: not the system call that is traced",
            attempt: int80,
        },
        Technique {
            id: "openat2",
            title: "openat2",
            tries: "the newer system call, which older filters do not know",
            attempt: |stage| plain(stage, "openat2"),
        },
        Technique {
            id: "open-by-handle",
            title: "open_by_handle_at",
            tries: "a file handle instead of a path",
            attempt: |stage| plain(stage, "open-handle"),
        },
        Technique {
            id: "o-path",
            title: "O_PATH, re-opened through `/proc/self/fd`",
            tries: "a bare handle, then an open of `/proc/self/fd/N` for reading",
            attempt: |stage| plain(stage, "open-path-again"),
        },
        Technique {
            id: "symlink-secret",
            title: "symbolic link to a secret",
            tries: "an open of a harmless name that is a link",
            attempt: symbolic_link,
        },
        Technique {
            id: "hard-link-secret",
            title: "hard link to a secret",
            tries: "a second name, in another folder, of the same file",
            attempt: |stage| other_name(stage, &["hard-link-open"]),
        },
        Technique {
            id: "bind-mount-secret",
            title: "bind mount of a secret",
            tries: "the secret mounted over a harmless file, in a mount namespace of its own",
            attempt: |stage| other_name(stage, &["new-mount", "bind-open"]),
        },
        Technique {
            id: "rename-secret",
            title: "rename, then open",
            tries: "the secret under a new name when it is opened",
            attempt: |stage| other_name(stage, &["rename-open"]),
        },
        Technique {
            id: "path-256",
            title: "path over 256 bytes",
            tries: "a file below two folders of 200 letters",
            attempt: long_path,
        },
        Technique {
            id: "path-4096",
            title: "path over 4,096 bytes",
            tries: "longer than any call can name: reached one folder at a time, then opened relative",
            attempt: longest_path,
        },
        Technique {
            id: "path-deep",
            title: "path of 80 folders",
            tries: "more components than a kernel program can afford to walk",
            attempt: deep_path,
        },
        Technique {
            id: "path-not-utf8",
            title: "name that is not UTF-8",
            tries: "bytes that are no text, and a line break",
            attempt: odd_name,
        },
    ],
};

/// The action of this name opens the secret.
fn plain(stage: &Stage, action: &str) -> Verdict {
    let secret = stage.secret();
    stage.act(&[action, &secret]).opened(&secret)
}

fn uring(stage: &Stage, action: &str) -> Verdict {
    let secret = stage.secret();
    let attempt = stage.try_to_act(&[action, &secret]);
    attempt
        .refused("io_uring")
        .unwrap_or_else(|| attempt.opened(&secret).or(|| attempt.has_uring()))
}

fn int80(stage: &Stage) -> Verdict {
    let secret = stage.secret();
    let attempt = stage.try_to_act(&["int80-open", &secret]);
    attempt
        .refused("`int 0x80`")
        .unwrap_or_else(|| attempt.opened(&secret))
}

fn symbolic_link(stage: &Stage) -> Verdict {
    let secret = stage.secret();
    stage
        .act(&["symlink-open", &secret, &stage.path("harmless")])
        .opened(&secret)
}

/// The actions make `harmless` another name of the secret and open it.
fn other_name(stage: &Stage, actions: &[&str]) -> Verdict {
    let secret = stage.secret();
    let file = fs::metadata(&secret).expect("own folder");
    stage.subfolder("elsewhere");
    let harmless = stage.path("elsewhere/harmless");
    if actions.contains(&"bind-open") {
        fs::write(&harmless, "x").expect("own folder");
    }
    let actions = [actions, &[&secret, &harmless]].concat();
    stage.act(&actions).opened_by_other_name(&harmless, &file)
}

fn long_path(stage: &Stage) -> Verdict {
    let folder = stage.subfolder(&format!("{}/{}", "a".repeat(200), "b".repeat(200)));
    let secret = crate::sensor::file(std::path::Path::new(&folder), "secret");
    stage.act(&["open", &secret]).opened(&secret)
}

fn longest_path(stage: &Stage) -> Verdict {
    let folder = stage.subfolder("deep");
    let path = format!(
        "{folder}{}/leaf",
        format!("/{}", "d".repeat(200)).repeat(DEEP)
    );
    assert!(path.len() > 4_096);
    stage
        .act(&["deep-create", &folder, &DEEP.to_string()])
        .opened_too_long(&path)
}

fn deep_path(stage: &Stage) -> Verdict {
    let folder = stage.subfolder(&vec!["e"; MANY].join("/"));
    let secret = crate::sensor::file(std::path::Path::new(&folder), "leaf");
    stage.act(&["open", &secret]).opened_too_long(&secret)
}

fn odd_name(stage: &Stage) -> Verdict {
    let name = b"caf\xe9 \\ \nx";
    let path = stage.folder().join(OsString::from_vec(name.to_vec()));
    fs::write(&path, "x").expect("own folder");
    let shown = skep_event::Text::from(path.as_os_str().as_bytes()).escaped();
    assert!(shown.ends_with("/caf\\xe9 \\\\ \\x0ax"));
    let mut command = agent(&["open"]);
    command.arg(path);
    stage.act_as(command).opened(&shown)
}
