use super::*;

#[test]
fn a_command_of_wide_characters_ends_where_the_exit_begins() {
    let process = |argument: &str| Process {
        argv: Some(vec!["cat".to_owned(), argument.repeat(200)]),
        exit: Some(crate::story::Exit {
            time: String::new(),
            code: Some(7),
            signal: None,
        }),
        ..Process::seen(12, None)
    };
    let arguments = ["a", "日本", "🦀", "e\u{301}", "👍🏽"];
    let story = Story {
        session: Header::default(),
        findings: Vec::new(),
        processes: arguments.map(process).into(),
        too_deep: 0,
        child_sessions: Vec::new(),
        not_vouched_for: Vec::new(),
        cut: Vec::new(),
    };
    let tree = draw(&story, 60);
    let lines = tree.lines().filter(|line| line.starts_with("12 "));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), arguments.len());
    for line in lines {
        assert!(line.ends_with("…  [exit 7]"), "{line}");
        // A character of two columns leaves one empty where it does not fit.
        assert!(
            (59..=60).contains(&width(line)),
            "{} columns: {line}",
            width(line)
        );
    }
}

#[test]
fn only_the_systems_libraries_and_locale_are_told_by_number() {
    for path in [
        "/etc/ld.so.cache",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/libm.so",
        "/usr/lib/locale/C.utf8/LC_CTYPE",
        "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
    ] {
        assert!(is_startup(path), "{path}");
    }
    for path in [
        "/etc/localtime",
        "/tmp/.a1b2c3d4.so",
        "/home/dev/.cache/agent/libevil.so.1",
        "/usr/lib/node_modules/npm/package.json",
        "/etc/machine-id",
        "/usr/share/zoneinfo/Asia/Shanghai",
    ] {
        assert!(!is_startup(path), "{path}");
    }
}

#[test]
fn what_was_destroyed_is_marked_and_a_file_has_the_name_it_got() {
    let change = |op: &str, path: &str, was: Option<&str>, many, result, count| Change {
        op: op.to_owned(),
        path: Some(path.to_owned()),
        was: was.map(str::to_owned),
        many,
        result,
        count,
        first: String::new(),
        last: String::new(),
    };
    let tried = |filename: &str, result| FailedExec {
        time: String::new(),
        filename: Some(filename.to_owned()),
        argv: Some(vec!["nmap".to_owned(), "-sV".to_owned()]),
        result,
    };
    let written = File {
        path: Some("/home/dev/a.tmp".to_owned()),
        access: "create".to_owned(),
        result: Some(0),
        links: Some(1),
        became: Some("/home/dev/a".to_owned()),
        count: 1,
        first: String::new(),
        last: String::new(),
    };
    let process = Process {
        files: vec![written],
        changes: vec![
            change(
                "rename",
                "/home/dev/a",
                Some("/home/dev/a.tmp"),
                false,
                Some(0),
                1,
            ),
            change("unlink", "/home/dev/old", None, true, None, 1_234),
            change(
                "rmdir",
                "/home/dev/full",
                None,
                false,
                Some(-libc_enotempty()),
                1,
            ),
            change("truncate", "/home/dev/log", None, false, Some(0), 2),
        ],
        failed_execs: vec![
            tried("/usr/local/bin/nmap", -2),
            tried("/usr/bin/nmap", -2),
            tried("/bin/nmap", -13),
        ],
        ..Process::seen(12, None)
    };
    let story = Story {
        session: Header::default(),
        findings: Vec::new(),
        processes: vec![process],
        too_deep: 0,
        child_sessions: Vec::new(),
        not_vouched_for: Vec::new(),
        cut: Vec::new(),
    };
    let tree = draw(&story, 120);
    let lines = tree.lines().skip_while(|line| !line.starts_with("12 "));
    let lines: Vec<_> = lines.skip(1).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "tried    /usr/local/bin/nmap -sV  ×2  ENOENT",
            "/bin/nmap -sV  EACCES",
            "created  /home/dev/a.tmp → /home/dev/a",
            "DELETED  unlink /home/dev/old  1,234 files in it",
            "truncate /home/dev/log  ×2",
            "changed  rename /home/dev/a.tmp → /home/dev/a",
            "rmdir /home/dev/full  ENOTEMPTY",
        ]
    );
}

/// `ENOTEMPTY` (asm-generic/errno.h).
fn libc_enotempty() -> i32 {
    39
}
