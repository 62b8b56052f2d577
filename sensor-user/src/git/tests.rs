//! Repositories on disk, and bytes that only look like one.

use std::{fs as disk, os::unix::fs::symlink};

use proptest::prelude::*;
use skep_testing::Finish;

use super::*;

fn write(path: &Path, text: &str) {
    disk::create_dir_all(path.parent().unwrap()).unwrap();
    disk::write(path, text).unwrap();
}

fn read(root: &Path, start: &str) -> Option<(String, Option<String>, Option<String>)> {
    let text = |text: Text| text.to_string();
    let Repository {
        root,
        remote,
        branch,
    } = read_repository(Path::new(start), root)?;
    Some((text(root), remote.map(text), branch.map(text)))
}

fn found(
    root: &str,
    remote: Option<&str>,
    branch: Option<&str>,
) -> Option<(String, Option<String>, Option<String>)> {
    Some((root.into(), remote.map(Into::into), branch.map(Into::into)))
}

const CONFIG: &str = "[core]\n\tbare = false\n[remote \"fork\"]\n\turl = git@example.com:me/app.git\n\
                      [remote \"origin\"]\n\turl = https://example.com/app.git\n";

#[test]
fn a_directory_inside_a_repository_belongs_to_it() {
    let dir = tempfile::tempdir().unwrap();
    write(
        &dir.path().join("home/app/.git/HEAD"),
        "ref: refs/heads/feature/x\n",
    );
    write(&dir.path().join("home/app/.git/config"), CONFIG);
    disk::create_dir_all(dir.path().join("home/app/src/deep")).unwrap();
    let expected = found(
        "/home/app",
        Some("https://example.com/app.git"),
        Some("feature/x"),
    );
    assert_eq!(read(dir.path(), "/home/app"), expected);
    assert_eq!(read(dir.path(), "/home/app/src/deep"), expected);
    assert_eq!(read(dir.path(), "/home"), None);
    assert_eq!(read(dir.path(), "home/app"), None);
}

#[test]
fn a_detached_head_is_its_commit_and_no_remote_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let commit = "a".repeat(40);
    write(&dir.path().join("app/.git/HEAD"), &format!("{commit}\n"));
    assert_eq!(read(dir.path(), "/app"), found("/app", None, Some(&commit)));
    write(&dir.path().join("app/.git/HEAD"), "nonsense\n");
    assert_eq!(read(dir.path(), "/app"), found("/app", None, None));
    write(
        &dir.path().join("app/.git/HEAD"),
        "ref: refs/heads/.invalid\n",
    );
    assert_eq!(read(dir.path(), "/app"), found("/app", None, None));
}

#[test]
fn a_worktree_reads_head_of_its_own_and_the_common_config() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(&root.join("app/.git/HEAD"), "ref: refs/heads/main\n");
    write(&root.join("app/.git/config"), CONFIG);
    write(
        &root.join("app/.git/worktrees/wt/HEAD"),
        "ref: refs/heads/side\n",
    );
    write(&root.join("app/.git/worktrees/wt/commondir"), "../..\n");
    write(&root.join("wt/.git"), "gitdir: /app/.git/worktrees/wt\n");
    let expected = found("/wt", Some("https://example.com/app.git"), Some("side"));
    assert_eq!(read(root, "/wt"), expected);
    write(&root.join("wt/.git"), "gitdir: ../app/.git/worktrees/wt");
    assert_eq!(read(root, "/wt"), expected);
}

#[test]
fn a_submodule_has_a_config_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(
        &root.join("app/.git/modules/lib/HEAD"),
        "ref: refs/heads/main\n",
    );
    write(
        &root.join("app/.git/modules/lib/config"),
        "[remote \"up\"]\nurl = ../lib.git\n",
    );
    write(&root.join("app/lib/.git"), "gitdir: ../.git/modules/lib\n");
    assert_eq!(
        read(root, "/app/lib"),
        found("/app/lib", Some("../lib.git"), Some("main"))
    );
}

#[test]
fn a_fifo_a_loop_or_a_directory_in_place_of_a_file_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let git = dir.path().join("app/.git");
    disk::create_dir_all(git.join("config")).unwrap();
    fs::mknodat(CWD, git.join("HEAD"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(read(dir.path(), "/app"), None);
    disk::remove_file(git.join("HEAD")).unwrap();
    symlink("HEAD", git.join("HEAD")).unwrap();
    assert_eq!(read(dir.path(), "/app"), None);
    symlink("/dev/zero", git.join("commondir")).unwrap();
    disk::remove_file(git.join("HEAD")).unwrap();
    write(&git.join("HEAD"), "ref: refs/heads/main");
    assert_eq!(read(dir.path(), "/app"), found("/app", None, Some("main")));
}

#[test]
fn links_stay_inside_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("container");
    write(&dir.path().join("outside/HEAD"), "ref: refs/heads/secret\n");
    disk::create_dir_all(root.join("app")).unwrap();
    symlink(dir.path().join("outside"), root.join("app/.git")).unwrap();
    assert_eq!(read(&root, "/app"), None);
    write(&root.join("real/HEAD"), "ref: refs/heads/inside\n");
    disk::remove_file(root.join("app/.git")).unwrap();
    symlink("/real", root.join("app/.git")).unwrap();
    assert_eq!(read(&root, "/app"), found("/app", None, Some("inside")));
}

#[test]
fn remotes_are_read_as_git_reads_them() {
    let cases: [(&str, Option<&str>); 12] = [
        ("", None),
        ("[remote \"origin\"]\nurl = a # note\n", Some("a")),
        ("[remote \"origin\"]\nurl = \"a # b\" \n", Some("a # b")),
        ("[remote \"origin\"]\nurl = a\\\nb\n", Some("ab")),
        ("[REMOTE \"origin\"] URL=a b  ;c", Some("a b")),
        ("[remote.origin]\nurl = a\n", Some("a")),
        ("[remote \"o\\\"x\"]\nurl = a\n[core]\nurl = b\n", Some("a")),
        ("[remote \"origin\"]\nurl\npushurl = p\n", None),
        ("[remote \"origin\"\nurl = a\n", None),
        ("[branch \"origin\"]\nurl = a\n", None),
        (
            "\u{feff}[remote \"x\"]\r\nurl = a\r\n[remote \"origin\"]\r\nurl = b\r\n",
            Some("b"),
        ),
        ("= 3\n]\n\"\n[remote \"x\"]\nurl = a\n", Some("a")),
    ];
    for (config, expected) in cases {
        let found = remote(config.as_bytes()).map(|text| text.to_string());
        assert_eq!(found.as_deref(), expected, "{config:?}");
    }
}

#[test]
fn agrees_with_git_itself() {
    let dir = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        std::process::Command::new("git")
            .arg("-C")
            .arg(dir.path())
            .args(arguments)
            .finish()
    };
    let output = git(&["init", "-q", "-b", "trunk", "app"]);
    assert!(output.status.success(), "{output:?}");
    let url = "https://example.com/a \"b\" #c;d\\e.git";
    let output = git(&["-C", "app", "remote", "add", "origin", url]);
    assert!(output.status.success(), "{output:?}");
    let start = dir.path().join("app");
    let repository = read_repository(&start, Path::new("/")).unwrap();
    assert_eq!(repository.remote, Some(Text::from(url)));
    assert_eq!(repository.branch, Some(Text::from("trunk")));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (remote(&bytes), branch(&bytes), line(&bytes), pointed_to(Path::new("/a"), &bytes));
    }

    #[test]
    fn config_like_text_is_read_without_panic(text in "[\\[\\]\"\\\\a-c =\n#;.]{0,60}") {
        let _ = remote(text.as_bytes());
    }
}
