//! Opens: paths, flags, outcomes, ways of asking.

use std::{fs, os::unix::ffi::OsStringExt};

use crate::sensor::{file, scratch, sensor, shown};

#[test]
fn an_open_has_the_files_own_path_flags_and_mode() {
    let directory = scratch("open");
    let file = directory.join("real");
    fs::write(&file, "x").expect("own directory");
    let link = directory.join("link");
    std::os::unix::fs::symlink(&file, &link).expect("own directory");
    let run = sensor().run(&["open", link.to_str().expect("text")]);
    let (event, open) = run.open(file.to_str().expect("text"));
    assert!(open.resolved);
    assert_eq!(open.flags.0 & 0o3, 0, "read only");
    assert_eq!(
        open.mode.map(|mode| mode.0 & 0o170_000),
        Some(0o100_000),
        "a regular file"
    );
    assert!(matches!(event.result, None | Some(0)));
    fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn creating_and_every_call_that_opens_is_seen() {
    let directory = scratch("calls");
    for action in ["create", "creat", "openat2", "thread-open"] {
        let file = directory.join(action);
        if action == "openat2" || action == "thread-open" {
            fs::write(&file, "x").expect("own directory");
        }
        let path = file.to_str().expect("text");
        let run = sensor().run(&[action, path]);
        let (_, open) = run.open(path);
        if action.starts_with("creat") {
            assert_ne!(open.flags.0 & 0o100, 0, "{action}: O_CREAT");
            assert_ne!(open.flags.0 & 0o3, 0, "{action}: for writing");
        }
    }
    fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn a_failed_open_is_reported_where_the_hook_sees_it() {
    let missing = "/no/such/file/here";
    let run = sensor().run(&["open", missing]);
    let seen = run.opens(missing);
    if sensor().hook("open").hook == Some("tp/sys_open*") {
        assert_eq!(seen.len(), 1, "{}", run.describe());
        assert_eq!(seen[0].0.result, Some(-2), "ENOENT");
        assert!(!seen[0].1.resolved, "nothing to resolve");
    } else {
        assert!(
            seen.is_empty(),
            "the LSM is asked only about files that exist"
        );
    }
}

#[test]
fn long_deep_and_odd_paths_are_whole_or_said_to_be_cut() {
    let directory = scratch("paths");
    // Deep, within the limit of components.
    let mut deep = directory.clone();
    for _ in 0..40 {
        deep.push("d".repeat(60));
    }
    fs::create_dir_all(&deep).expect("own directory");
    let file = deep.join("leaf");
    fs::write(&file, "x").expect("own directory");
    let path = file.to_str().expect("text").to_owned();
    assert!(path.len() > 2_400);
    let run = sensor().run(&["open", &path]);
    assert!(run.open(&path).1.resolved);
    // Deeper than the walk goes: the head is missing, and that is visible.
    let mut deeper = directory.clone();
    for _ in 0..80 {
        deeper.push("e");
    }
    fs::create_dir_all(&deeper).expect("own directory");
    let file = deeper.join("leaf-of-the-deep");
    fs::write(&file, "x").expect("own directory");
    let run = sensor().run(&["open", file.to_str().expect("text")]);
    let cut = run
        .events
        .iter()
        .find_map(|event| match &event.detail {
            skep_event::Detail::Open(open) if shown(open).ends_with("/leaf-of-the-deep") => {
                Some(open.clone())
            }
            _ => None,
        })
        .unwrap_or_else(|| panic!("{}", run.describe()));
    assert!(
        shown(&cut).starts_with('…') && !cut.resolved,
        "{:?}",
        cut.path
    );
    // Not UTF-8.
    let odd = directory.join(std::ffi::OsString::from_vec(b"caf\xe9 \\ x".to_vec()));
    fs::write(&odd, "x").expect("own directory");
    let mut command = std::process::Command::new(crate::sensor::actor());
    command.args(["do", "open"]).arg(&odd);
    let run = sensor().run_command(command);
    let escaped = format!("{}/caf\\xe9 \\\\ x", directory.display());
    assert!(run.open(&escaped).1.resolved);
    fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn a_bind_mount_gives_the_path_that_was_used() {
    use rustix::mount::{UnmountFlags, mount_bind, unmount};
    let directory = scratch("bind");
    let (real, bound) = (directory.join("real"), directory.join("bound"));
    fs::create_dir_all(&real).expect("own directory");
    fs::create_dir_all(&bound).expect("own directory");
    fs::write(real.join("secret"), "x").expect("own directory");
    let sensor = sensor(); // should it not start, nothing stays mounted
    mount_bind(&real, &bound).expect("root may bind");
    let path = bound.join("secret");
    let run = sensor.run(&["open", path.to_str().expect("text")]);
    unmount(&bound, UnmountFlags::empty()).expect("own mount");
    run.open(path.to_str().expect("text"));
    fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn everything_sent_is_read_and_nothing_is_lost() {
    let directory = scratch("counted");
    let path = file(&directory, "again");
    let actions: Vec<_> = (0..100).flat_map(|_| ["open", path.as_str()]).collect();
    let before = sensor().settled_counts();
    let run = sensor().run(&actions);
    assert_eq!(run.opens(&path).len(), 100);
    let after = sensor().settled_counts();
    let read = |counts| crate::sensor::read_count(counts, skep_abi::Kind::Open);
    assert!(read(&after) - read(&before) > 100);
    assert_eq!(sensor().lost(), Vec::<String>::new());
    fs::remove_dir_all(directory).expect("own directory");
}
