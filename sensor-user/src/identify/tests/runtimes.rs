//! Runtimes under other names, and processes that really run.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    Candidate, HANGS, World, assert_agent, assert_no_agent,
    elf_file::{ElfFile, bun_graph},
};
use skep_event::Text;
use skep_testing::{Killed, eventually};

#[test]
fn a_renamed_runtime_is_known_by_its_symbols() {
    let mut world = World::new();
    world.npm("@google/gemini-cli", "0.61.0", "gemini", "bundle/gemini.js");
    let node = ElfFile::new()
        .dynamic()
        .exports("other")
        .exports("_ZN4node5StartEiPPc");
    let exe = world.file("tmp/kworker", node.bytes());
    let words = ["kworker", "node_modules/.bin/gemini"];
    assert_agent(
        world.judge(&world.exec(&exe, &words)),
        "gemini-cli",
        Some("0.61.0"),
    );
    let judgement = world.judge(&world.exec(&exe, &["kworker", "other.js"]));
    assert_no_agent(&judgement);
    assert!(!judgement.never, "it may run an agent the next time");
}

#[test]
fn renamed_runtimes_are_told_apart_by_what_each_defines() {
    let mut world = World::new();
    world.npm("@google/gemini-cli", "0.61.0", "gemini", "bundle/gemini.js");
    let bun = "_ZN4node25AddEnvironmentCleanupHookEPN2v87IsolateEPFvPvES3_";
    let all = ["_ZN4node5StartEiPPc", bun, "napi_create_string_utf8"];
    // Each defines what those after it define; only Bun and Deno know the word `run`.
    for (defines, runs_run) in [(&all[..], false), (&all[1..], true), (&all[2..], true)] {
        let elf = defines
            .iter()
            .fold(ElfFile::new(), |elf, symbol| elf.exports(symbol));
        let exe = world.file("x", elf.bytes());
        let judgement = world.judge(&world.exec(&exe, &["x", "run", "node_modules/.bin/gemini"]));
        assert_eq!(judgement.agent.is_some(), runs_run, "{defines:?}");
        assert!(!judgement.never);
    }
}

#[test]
fn a_program_that_embeds_python_is_not_python() {
    let mut world = World::new();
    let needs = "libpython3.13.so.1.0";
    let launcher = ElfFile::new().dynamic().imports("Py_BytesMain", needs);
    let exe = world.file("x", launcher.bytes());
    assert!(!world.judge(&world.exec(&exe, &["x"])).never);
    let editor = ElfFile::new().dynamic().imports("Py_Initialize", needs);
    let exe = world.file("vim", editor.bytes());
    assert!(world.judge(&world.exec(&exe, &["vim"])).never);
}

#[test]
fn bun_itself_is_a_runtime_under_any_name() {
    let mut world = World::new();
    world.npm("@google/gemini-cli", "0.61.0", "gemini", "bundle/gemini.js");
    let exe = world.file(
        "tmp/x",
        ElfFile::new().dynamic().section(".bun", [0; 64]).bytes(),
    );
    let words = ["x", "run", "node_modules/.bin/gemini"];
    assert_agent(
        world.judge(&world.exec(&exe, &words)),
        "gemini-cli",
        Some("0.61.0"),
    );
}

#[test]
fn a_program_given_to_the_dynamic_linker_is_judged_in_its_place() {
    let mut world = World::new();
    world.npm("@google/gemini-cli", "0.61.0", "gemini", "bundle/gemini.js");
    let linker = world.file("lib/ld-linux-x86-64.so.2", ElfFile::new().bytes());
    world.file("usr/bin/node", ElfFile::new().dynamic().bytes());
    let words = [
        "ld.so",
        "--library-path",
        "/lib",
        "usr/bin/node",
        "node_modules/.bin/gemini",
    ];
    assert_agent(
        world.judge(&world.exec(&linker, &words)),
        "gemini-cli",
        Some("0.61.0"),
    );
    world.file("bin/true", ElfFile::new().dynamic().bytes());
    let judgement = world.judge(&world.exec(&linker, &["ld.so", "bin/true"]));
    assert_no_agent(&judgement);
    assert!(
        !judgement.never,
        "said of what was loaded, not of the linker"
    );
    let itself = [
        "ld.so",
        "lib/ld-linux-x86-64.so.2",
        "lib/ld-linux-x86-64.so.2",
        "bin/true",
    ];
    assert_no_agent(&world.judge(&world.exec(&linker, &itself)));
}

/// `/bin/sleep` with a Bun graph at its end: a program that runs and carries an agent's marks.
fn runnable(graph: &[u8]) -> Vec<u8> {
    let sleep = fs::read("/bin/sleep").expect("coreutils are installed");
    [&sleep[..], graph, &(graph.len() as u64 + 8).to_le_bytes()].concat()
}

fn opencode_graph() -> Vec<u8> {
    let modules = [("/$bunfs/root/src/index.js", "OPENCODE_CONFIG_CONTENT")];
    bun_graph("--user-agent=opencode/1.18.40 --", &modules, 0)
}

/// Starts `exe` and waits until its environment stands: `spawn` returns when the old program is
/// gone, which is before the kernel has set up the new one (the exec event comes after that).
fn start(exe: &Path, environment: &[(&str, &str)]) -> Killed {
    let mut command = Command::new(exe);
    command
        .arg0("sleep")
        .arg("60")
        .env_clear()
        .env("A", "1")
        .envs(environment.iter().copied());
    let running = Killed(command.stdin(Stdio::null()).spawn().expect("starts"));
    let environ = format!("/proc/{}/environ", running.0.id());
    eventually("its environment", HANGS, || {
        let is_there = !fs::read(&environ).expect("it runs").is_empty();
        is_there.then_some(())
    });
    running
}

#[test]
fn a_running_agent_whose_file_was_deleted_or_moved_is_still_known() {
    let mut world = World::new();
    let exe = world.file("opencode", runnable(&opencode_graph()));
    let (mut file, file_size) = super::key(&exe);
    let running = start(&exe, &[]);
    fs::remove_file(&exe).expect("removes");
    // Removing the last link changed the time the kernel would have seen at the exec.
    file.ctime_nsec ^= 1;
    let path = super::text(&exe);
    let argv = [Text::from("sleep"), Text::from("60")];
    let candidate = Candidate {
        pid: running.0.id(),
        file,
        file_size,
        exe: Some(&path),
        filename: None,
        argv: &argv,
        argv_truncated: false,
        uid: None,
        switches: None,
        cwd: None,
        since: None,
    };
    assert_agent(
        world.identifier.judge(&candidate),
        "opencode",
        Some("1.18.40"),
    );
}

#[test]
fn a_switch_in_the_environment_makes_an_agents_binary_a_plain_runtime() {
    let mut world = World::new();
    world.npm("@google/gemini-cli", "0.61.0", "gemini", "bundle/gemini.js");
    let exe = world.file("opencode", runnable(&opencode_graph()));
    for (value, is_agent) in [
        ("1", false),
        ("yes", false),
        ("0", true),
        ("False", true),
        ("", true),
    ] {
        let running = start(&exe, &[("X", "BUN_BE_BUN=1"), ("BUN_BE_BUN", value)]);
        let mut exec = world.exec(&exe, &["bun", "other.js"]);
        exec.pid = running.0.id();
        let judgement = world.judge(&exec);
        assert_eq!(judgement.agent.is_some(), is_agent, "BUN_BE_BUN={value}");
        assert!(!judgement.never);
        if !is_agent {
            let mut exec = world.exec(&exe, &["bun", "node_modules/.bin/gemini"]);
            exec.pid = running.0.id();
            assert_agent(world.judge(&exec), "gemini-cli", Some("0.61.0"));
        }
    }
}

#[test]
fn what_the_kernel_saw_of_the_switch_counts_whatever_the_process_shows_of_it_later() {
    let mut world = World::new();
    let exe = world.file("opencode", runnable(&opencode_graph()));
    for (seen, shown, is_agent) in [(1, "0", false), (0, "1", true)] {
        let running = start(&exe, &[("BUN_BE_BUN", shown)]);
        let mut exec = world.exec(&exe, &["bun", "other.js"]);
        exec.pid = running.0.id();
        exec.switches = Some(seen);
        assert_eq!(world.judge(&exec).agent.is_some(), is_agent, "{seen}");
    }
}

#[test]
fn the_switch_makes_a_runtime_of_any_bun_program() {
    let mut world = World::new();
    world.npm("@google/gemini-cli", "0.61.0", "gemini", "bundle/gemini.js");
    let exe = world.file(
        "app",
        runnable(&bun_graph("", &[("/$bunfs/root/app", "1")], 0)),
    );
    let words = ["app", "node_modules/.bin/gemini"];
    for (environment, is_agent) in [(&[][..], false), (&[("BUN_BE_BUN", "1")], true)] {
        let running = start(&exe, environment);
        let mut exec = world.exec(&exe, &words);
        exec.pid = running.0.id();
        assert_eq!(world.judge(&exec).agent.is_some(), is_agent);
    }
}

#[test]
fn a_script_on_standard_input_or_a_descriptor_is_found() {
    let mut world = World::new();
    world.npm("@anthropic-ai/claude-code", "2.1.91", "claude", "cli.js");
    let script = world.path("node_modules/@anthropic-ai/claude-code/cli.js");
    let node = world.file(
        "usr/bin/node",
        fs::read("/bin/sleep").expect("coreutils are installed"),
    );
    let mut command = Command::new(&node);
    command
        .arg("60")
        .stdin(fs::File::open(&script).expect("opens"));
    let running = Killed(command.spawn().expect("starts"));
    for words in [vec!["node"], vec!["node", "-"], vec!["node", "/dev/fd/0"]] {
        let mut exec = world.exec(&node, &words);
        exec.pid = running.0.id();
        assert_agent(world.judge(&exec), "claude-code", Some("2.1.91"));
    }
    let mut exec = world.exec(&node, &["node", "-e", "1"]);
    exec.pid = running.0.id();
    assert_no_agent(&world.judge(&exec));
}

#[test]
fn an_unknown_inode_is_judged_with_less_confidence_and_not_remembered() {
    let mut world = World::new();
    let exe = world.file(
        "sleep",
        fs::read("/bin/sleep").expect("coreutils are installed"),
    );
    let running = start(&exe, &[]);
    let (mut file, file_size) = super::key(&exe);
    file.ino = 0;
    let path = super::text(&exe);
    let mut candidate = Candidate {
        pid: running.0.id(),
        file,
        file_size,
        exe: Some(&path),
        filename: None,
        argv: &[],
        argv_truncated: false,
        uid: None,
        switches: None,
        cwd: None,
        since: None,
    };
    let judgement = world.identifier.judge(&candidate);
    assert_no_agent(&judgement);
    assert!(!judgement.never);
    let agent = world.file("opencode", runnable(&opencode_graph()));
    let running = start(&agent, &[]);
    candidate.pid = running.0.id();
    let judgement = world.identifier.judge(&candidate);
    let agent = assert_agent(judgement, "opencode", Some("1.18.40"));
    assert!(
        agent.evidence.iter().any(|text| text.contains("inode")),
        "{agent:?}"
    );
}
