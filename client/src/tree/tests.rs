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
