//! The version of what a process runs, where the files beside it are not what they were when it began.

use super::*;

/// Now, for a process that begins now. The kernel stamps files by its last tick.
fn now() -> UnixNanos {
    const TICK: Duration = Duration::from_millis(20);
    std::thread::sleep(TICK);
    let since = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970");
    std::thread::sleep(TICK);
    UnixNanos(u64::try_from(since.as_nanos()).expect("before 2554"))
}

/// Judges what began then.
fn judged_since(world: &mut World, exec: &Exec, since: UnixNanos) -> Judgement {
    let exe = fs::canonicalize(&exec.exe).expect("the executed file is there");
    let (file, file_size) = key(&exe);
    let exe = text(&exe);
    world.identifier.judge(&Candidate {
        pid: exec.pid,
        file,
        file_size,
        exe: Some(&exe),
        filename: Some(&exec.filename),
        argv: &exec.argv,
        argv_truncated: false,
        cwd: Some(&exec.cwd),
        uid: None,
        switches: None,
        since: Some(since),
    })
}

/// A package of Gemini CLI, and what runs it by the link that npm made.
fn gemini(world: &World) -> Exec {
    let script = world.npm("@google/gemini-cli", "1.0.0", "gemini", "dist/index.js");
    let node = world.file("bin/node", "no runtime is read here");
    world.exec(&node, &["node", &script.to_string_lossy()])
}

const MANIFEST: &str = "node_modules/@google/gemini-cli/package.json";

#[test]
fn a_package_that_was_there_before_tells_the_version() {
    let mut world = World::new();
    let exec = gemini(&world);
    let since = now();
    let judgement = judged_since(&mut world, &exec, since);
    assert_agent(judgement, "gemini-cli", Some("1.0.0"));
    // Another package comes, and the runtime leaves files of its own.
    world.file("node_modules/other/package.json", "{}");
    world.file("node_modules/@google/gemini-cli/dist/cache", "x");
    let judgement = judged_since(&mut world, &exec, since);
    assert_agent(judgement, "gemini-cli", Some("1.0.0"));
}

#[test]
fn a_package_that_was_changed_since_tells_none_and_says_why() {
    type Change = fn(&World);
    let changes: [(&str, Change); 4] = [
        ("edited", |world| {
            let old = fs::read_to_string(world.path(MANIFEST)).expect("reads");
            world.file(MANIFEST, old.replace("1.0.0", "2.0.0"));
        }),
        ("replaced by one that was unpacked before", |world| {
            let folder = world.path("node_modules/@google/gemini-cli");
            fs::rename(&folder, world.path("old")).expect("renames");
            fs::rename(world.path("staged"), &folder).expect("renames");
        }),
        ("its link switched to one that was there before", |world| {
            let link = world.path("node_modules/.bin/gemini");
            fs::remove_file(&link).expect("removes");
            std::os::unix::fs::symlink("../../staged/dist/index.js", &link).expect("links");
        }),
        ("its script replaced", |world| {
            world.file(
                "node_modules/@google/gemini-cli/dist/index.js",
                "#!/usr/bin/env node\n2\n",
            );
        }),
    ];
    for (what, change) in changes {
        let mut world = World::new();
        let exec = gemini(&world);
        let staged = fs::read_to_string(world.path(MANIFEST)).expect("reads");
        world.file("staged/package.json", staged.replace("1.0.0", "2.0.0"));
        world.file("staged/dist/index.js", "#!/usr/bin/env node\n1\n");
        let since = now();
        change(&world);
        let agent = assert_agent(judged_since(&mut world, &exec, since), "gemini-cli", None);
        let says = |evidence: &String| evidence.contains("changed since the process began");
        assert!(agent.evidence.iter().any(says), "{what}: {agent:?}");
        let is_of_now = judged_since(&mut world, &exec, now()).agent;
        assert!(is_of_now.expect(what).version.is_some(), "{what}");
    }
}

#[test]
fn a_python_distribution_that_was_upgraded_since_tells_no_version() {
    let mut world = World::new();
    let python = world.file("venv/bin/python3", "no runtime is read here");
    let site = "venv/lib/python3.11/site-packages";
    let metadata =
        |version: &str| format!("Metadata-Version: 2.1\nName: aider-chat\nVersion: {version}\n\n");
    world.file(
        &format!("{site}/aider_chat-0.80.0.dist-info/METADATA"),
        metadata("0.80.0"),
    );
    let exec = world.exec(&python, &[&python.to_string_lossy(), "-m", "aider"]);
    let since = now();
    assert_agent(
        judged_since(&mut world, &exec, since),
        "aider",
        Some("0.80.0"),
    );
    // As pip does it.
    fs::remove_dir_all(world.path(&format!("{site}/aider_chat-0.80.0.dist-info")))
        .expect("removes");
    world.file(
        &format!("{site}/aider_chat-0.81.0.dist-info/METADATA"),
        metadata("0.81.0"),
    );
    assert_agent(judged_since(&mut world, &exec, since), "aider", None);
    let after = now();
    assert_agent(
        judged_since(&mut world, &exec, after),
        "aider",
        Some("0.81.0"),
    );
}

#[test]
fn what_is_not_known_to_have_begun_has_the_version_of_now() {
    let mut world = World::new();
    let exec = gemini(&world);
    assert_agent(world.judge(&exec), "gemini-cli", Some("1.0.0"));
}
