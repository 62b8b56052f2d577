//! Trees and files that are large.

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Instant,
};

use skep_sensor::{identify::Unjudged, inspect::Limits};

use crate::desk::{Place, Running, inspector, judge, judge_counting, limits, me, str_of};

/// Names in a directory of Python packages.
const NAMES: usize = 20_000;
/// Bytes of a program's section.
const SECTION: u64 = 512 << 20;

#[test]
fn a_distribution_is_found_among_twenty_thousand_names() {
    let place = Place::new();
    // How long it takes depends on what else the machine does.
    let mut inspector = inspector(Limits {
        millis: 20_000,
        ..limits()
    });
    let python = place.program("venv/bin/python3");
    let process = Running::start(&python, None);
    let site = "venv/lib/python3.12/site-packages";
    for name in 0..NAMES {
        let path = place.path(&format!("{site}/package_{name}"));
        if name == 0 {
            fs::create_dir_all(path).expect("directory");
        } else {
            fs::write(path, "").expect("writes");
        }
    }
    place.file(
        &format!("{site}/aider_chat-0.86.1.dist-info/METADATA"),
        "Metadata-Version: 2.1\nName: aider-chat\nVersion: 0.86.1\n\n",
    );
    let script = place.file(
        "venv/bin/aider",
        "#!x\nfrom aider.main import main\nmain()\n",
    );
    let judgement = judge(
        &mut inspector,
        &python,
        (process.pid(), me()),
        &["python3", str_of(&script)],
    );
    let agent = judgement
        .agent
        .unwrap_or_else(|| panic!("{:?}", judgement.unjudged));
    assert_eq!(agent.family, "aider");
}

#[test]
fn what_needs_more_entries_or_bytes_than_it_may_is_over_budget() {
    let place = Place::new();
    let python = place.program("bin/python3");
    let process = Running::start(&python, None);
    let script = place.file("bin/aider", "from aider.main import main\n");
    for name in 0..100 {
        fs::create_dir_all(place.path(&format!("lib/python3.{name}/site-packages"))).expect("made");
    }
    let few = Limits {
        entries: 50,
        ..limits()
    };
    let short = Limits {
        bytes: 10,
        ..limits()
    };
    for limits in [few, short] {
        let mut inspector = inspector(limits);
        let judgement = judge(
            &mut inspector,
            &python,
            (process.pid(), me()),
            &["python3", str_of(&script)],
        );
        assert_eq!(judgement.unjudged, Some(Unjudged::OverBudget), "{limits:?}");
        assert_eq!(inspector.counts().over_budget, 1);
    }
}

#[test]
fn what_needs_more_memory_than_it_may_is_over_budget() {
    let place = Place::new();
    let node = place.program("node");
    let process = Running::start(&node, None);
    let manifest = format!(r#"{{"name":"x","main":"{}"}}"#, "y".repeat(900 << 10));
    place.file("package/package.json", manifest);
    let script = place.file("package/x.js", "1\n");
    let words = ["node", str_of(&script)];
    let who = (process.pid(), me());
    let mut scarce = inspector(Limits {
        memory: 0,
        ..limits()
    });
    let judgement = judge(&mut scarce, &node, who, &words);
    assert_eq!(judgement.unjudged, Some(Unjudged::OverBudget));
    let mut usual = inspector(limits());
    let judgement = judge(&mut usual, &node, who, &words);
    assert_eq!((judgement.agent, judgement.unjudged), (None, None));
}

/// A program of sixty-four bits with one section, as large as wanted, with a hole in it.
fn sections(path: &Path, bytes: u64) -> PathBuf {
    let names = b"\0.bun\0.shstrtab\0";
    let file = fs::File::create(path).expect("creates");
    let (names_at, table_at) = (4096 + bytes, 4096 + bytes + 64);
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    header.extend(0u64.to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend(table_at.to_le_bytes());
    header.extend(0u32.to_le_bytes());
    for word in [64u16, 56, 0, 64, 3, 2] {
        header.extend(word.to_le_bytes());
    }
    let section = |name: u32, kind: u32, offset: u64, len: u64| {
        let mut bytes = Vec::new();
        bytes.extend(name.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        for value in [0, 0, offset, len] {
            bytes.extend(u64::to_le_bytes(value));
        }
        bytes.resize(64, 0);
        bytes
    };
    file.write_all_at(&header, 0).expect("writes");
    // Its length, and at its end what says that it is one.
    let trailer = b"\n---- Bun! ----\n";
    file.write_all_at(&(bytes - 8).to_le_bytes(), 4096)
        .expect("writes");
    file.write_all_at(trailer, 4096 + bytes - trailer.len() as u64)
        .expect("writes");
    file.write_all_at(names, names_at).expect("writes");
    let table = [
        section(0, 0, 0, 0),
        section(1, 1, 4096, bytes),
        section(6, 3, names_at, names.len() as u64),
    ];
    file.write_all_at(&table.concat(), table_at)
        .expect("writes");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
    path.to_owned()
}

#[test]
fn a_section_of_half_a_gigabyte_is_read_or_late_and_records_go_on() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let program = sections(&place.path("bundle"), SECTION);
    let sleeper = place.program("sleeper");
    let process = Running::start(&sleeper, None);
    let began = Instant::now();
    let (judgement, meanwhile) =
        judge_counting(&mut inspector, &program, (process.pid(), me()), &["bundle"]);
    assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
    assert!(meanwhile > 10, "{meanwhile} looks at the ring");
    assert_eq!(judgement.agent, None);
    assert!(
        matches!(judgement.unjudged, None | Some(Unjudged::Late)),
        "{judgement:?}"
    );
}

#[test]
fn a_large_script_of_no_family_is_searched_within_the_memory_of_a_question_and_remembered() {
    let place = Place::new();
    let mut inspector = inspector(Limits {
        millis: 20_000,
        ..limits()
    });
    let node = place.program("bin/node");
    let process = Running::start(&node, None);
    let package = "node_modules/some-agent";
    place.file(
        &format!("{package}/package.json"),
        r#"{"name":"some-agent","version":"1.2.3","bin":"cli.js"}"#,
    );
    let mut text = "x".repeat(24 << 20);
    text.push_str("child_process tool_calls name:\"bash\" anthropic-version AGENTS.md --yolo");
    let script = place.file(&format!("{package}/cli.js"), &text);
    let words = ["node", str_of(&script)];
    for is_first in [true, false] {
        let judgement = judge(&mut inspector, &node, (process.pid(), me()), &words);
        let agent = judgement
            .agent
            .unwrap_or_else(|| panic!("{:?}", judgement.unjudged));
        assert_eq!(agent.family, "unknown");
        assert_eq!(agent.name.as_deref(), Some("some-agent"));
        if is_first {
            // Another process looks at it again, and would find no package.
            fs::remove_file(place.path(&format!("{package}/package.json"))).expect("removes");
        }
    }
}
