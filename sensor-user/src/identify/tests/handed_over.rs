//! Agents that reach an interpreter in another way than as its script.

mod archives;
mod python;

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use skep_testing::Killed;

use super::{
    super::{CodeFrom, Judgement, Unjudged},
    Candidate, HANGS, World, assert_agent, assert_no_agent,
    elf_file::ElfFile,
};
use skep_event::{Agent, Text};
use skep_testing::eventually;

const CLI: &str = "node_modules/@google/gemini-cli/bundle/gemini.js";

fn interpreter(world: &World, name: &str) -> PathBuf {
    world.file(&format!("usr/bin/{name}"), ElfFile::new().dynamic().bytes())
}

fn gemini() -> World {
    let world = World::new();
    world.npm("@google/gemini-cli", "0.9.0", "gemini", "bundle/gemini.js");
    world
}

/// A process of its own that stands for the interpreter: with this environment and standard input.
struct Standing {
    running: Killed,
}

impl Standing {
    fn start(environment: &[(&str, &str)], stdin: Stdio) -> Self {
        let mut command = Command::new("/bin/sleep");
        command
            .arg("60")
            .env_clear()
            .env("A", "1")
            .envs(environment.iter().copied())
            .stdin(stdin);
        let running = Killed(command.spawn().expect("starts"));
        let environ = format!("/proc/{}/environ", running.0.id());
        eventually("its environment", HANGS, || {
            let is_there = !fs::read(&environ).expect("it runs").is_empty();
            is_there.then_some(())
        });
        Self { running }
    }

    fn judge(&self, world: &mut World, exe: &Path, words: &[&str]) -> Judgement {
        let mut exec = world.exec(exe, words);
        exec.pid = self.running.0.id();
        world.judge(&exec)
    }
}

/// What `words` is, of a process with an ordinary environment and nothing on standard input.
fn judge(world: &mut World, runtime: &str, words: &[&str]) -> Judgement {
    judge_with(world, runtime, words, &[])
}

fn judge_with(
    world: &mut World,
    runtime: &str,
    words: &[&str],
    environment: &[(&str, &str)],
) -> Judgement {
    let exe = interpreter(world, runtime);
    Standing::start(environment, Stdio::null()).judge(world, &exe, words)
}

#[track_caller]
fn assert_gemini(judgement: Judgement, how: &str) {
    let agent = assert_agent(judgement, "gemini-cli", Some("0.9.0"));
    assert_says(&agent, how);
}

#[track_caller]
fn assert_says(agent: &Agent, how: &str) {
    let says = |text: &String| text.contains(how);
    assert!(agent.evidence.iter().any(says), "{how}: {agent:?}");
}

/// No agent, and nothing is left open.
#[track_caller]
fn assert_plain(judgement: &Judgement) {
    assert_no_agent(judgement);
    assert!(!judgement.waits, "{judgement:?}");
    assert_eq!(judgement.unjudged, None, "{judgement:?}");
}

#[track_caller]
fn assert_waits(judgement: &Judgement, from: CodeFrom) {
    assert_no_agent(judgement);
    assert!(judgement.waits, "{judgement:?}");
    assert_eq!(judgement.unjudged, Some(Unjudged::UnseenCode(from)));
}

#[test]
fn what_an_option_loads_is_judged_like_a_script() {
    let mut world = gemini();
    world.file("other.js", "1");
    let cli = world.path(CLI);
    let cli = cli.to_str().expect("text");
    let url = format!("file://{cli}");
    for (runtime, words, how) in [
        (
            "node",
            vec!["node", "--require", cli, "-e", "0"],
            "loaded by --require",
        ),
        ("node", vec!["node", "-r", cli, "other.js"], "loaded by -r"),
        (
            "node",
            vec![
                "node",
                "-r",
                "@google/gemini-cli/bundle/gemini.js",
                "other.js",
            ],
            "loaded by -r",
        ),
        (
            "node",
            vec!["node", "--loader", cli, "other.js"],
            "loaded by --loader",
        ),
        (
            "bun",
            vec!["bun", "--preload", CLI, "run", "other.js"],
            "loaded by --preload",
        ),
        (
            "deno",
            vec!["deno", "run", "--require", cli, "other.js"],
            "loaded by --require",
        ),
    ] {
        assert_gemini(judge(&mut world, runtime, &words), how);
    }
    let import = format!("--import={url}");
    assert_gemini(
        judge(&mut world, "node", &["node", &import, "other.js"]),
        "loaded by --import",
    );
    let data = format!("data:text/javascript,import%20'{cli}'");
    assert_gemini(
        judge(&mut world, "node", &["node", "--import", &data]),
        "loaded by --import",
    );
    for words in [
        vec!["node", "-r", "./other.js", "other.js"],
        vec!["node", "-r", "dotenv/config", "other.js"],
        vec!["node", "--title", cli, "other.js"],
        vec![
            "node",
            "-r",
            "./node_modules/@google/gemini-cli/package.json",
            "other.js",
        ],
    ] {
        assert_plain(&judge(&mut world, "node", &words));
    }
}

#[test]
fn a_package_named_to_be_loaded_is_found_by_its_manifest() {
    let mut world = gemini();
    let package = "node_modules/@google/gemini-cli";
    for manifest in [
        r#""main":"./bundle/gemini.js""#,
        r#""exports":"./bundle/gemini.js""#,
        r#""exports":{".":{"types":"./x.d.ts","node":{"import":"./bundle/gemini.js"}},"./y":"./y.js"}"#,
        r#""exports":{"import":"./bundle/gemini.js","require":"./none.cjs"}"#,
    ] {
        let whole = format!(
            r#"{{"name":"@google/gemini-cli","version":"0.9.0","bin":{{"gemini":"bundle/gemini.js"}},{manifest}}}"#
        );
        world.file(&format!("{package}/package.json"), whole);
        fs::create_dir_all(world.path("deep/er")).expect("directories");
        let exe = interpreter(&world, "node");
        let standing = Standing::start(&[], Stdio::null());
        let mut exec = world.exec(&exe, &["node", "-r", "@google/gemini-cli", "-e", "0"]);
        exec.pid = standing.running.0.id();
        exec.cwd = super::text(&world.path("deep/er"));
        assert_gemini(world.judge(&exec), "loaded by -r");
    }
    let elsewhere = world.path("node_modules");
    let path = [("NODE_PATH", elsewhere.to_str().expect("text"))];
    let exe = interpreter(&world, "node");
    let standing = Standing::start(&path, Stdio::null());
    let mut exec = world.exec(&exe, &["node", "-r", "@google/gemini-cli", "-e", "0"]);
    exec.pid = standing.running.0.id();
    exec.cwd = Text::from("/");
    assert_gemini(world.judge(&exec), "loaded by -r");
}

#[test]
fn options_in_the_environment_count_like_arguments() {
    let mut world = gemini();
    world.file("other.js", "1");
    let cli = world.path(CLI);
    let cli = cli.to_str().expect("text");
    for (runtime, variable, value) in [
        (
            "node",
            "NODE_OPTIONS",
            format!("--max-old-space-size=100 --require {cli}"),
        ),
        ("node", "NODE_OPTIONS", format!("--require \"{cli}\"")),
        ("node", "NODE_OPTIONS", format!("--import=file://{cli}")),
        ("bun", "BUN_OPTIONS", format!("--preload={cli}")),
        ("deno", "NODE_OPTIONS", format!("-r x --require {cli}")),
    ] {
        let words = [runtime, "other.js"];
        let judgement = judge_with(&mut world, runtime, &words, &[(variable, &value)]);
        assert_gemini(judgement, variable);
    }
    world.file(".env", format!("X=1\nNODE_OPTIONS='--require {cli}'\n"));
    let words = ["node", "--env-file=.env", "other.js"];
    assert_gemini(judge(&mut world, "node", &words), "NODE_OPTIONS");
    assert_plain(&judge(&mut world, "node", &["node", "other.js"]));
    let url = format!("file://{cli}");
    let words = ["node", "--entry-url", &url];
    assert_gemini(judge(&mut world, "node", &words), "named by its URL");
    let other = [("NODE_OPTIONS", "--require ./other.js"), ("X", cli)];
    assert_plain(&judge_with(
        &mut world,
        "node",
        &["node", "other.js"],
        &other,
    ));
}

#[test]
fn an_environment_that_cannot_be_read_is_not_a_no() {
    let mut world = gemini();
    world.file("other.js", "1");
    let exe = interpreter(&world, "node");
    let mut exec = world.exec(&exe, &["node", "other.js"]);
    let mut ended = Command::new("/bin/true").spawn().expect("starts");
    exec.pid = ended.id();
    ended.wait().expect("ends");
    let judgement = world.judge(&exec);
    assert_eq!(judgement.unjudged, Some(Unjudged::UnreadEnvironment));
    exec.argv = ["node", CLI].map(Text::from).to_vec();
    assert_agent(world.judge(&exec), "gemini-cli", Some("0.9.0"));
    // A process without one has been told nothing.
    let mut command = Command::new("/bin/sleep");
    let running = Killed(command.arg("60").env_clear().spawn().expect("starts"));
    let exe_of = format!("/proc/{}/exe", running.0.id());
    eventually("its image", HANGS, || {
        fs::read_link(&exe_of)
            .ok()
            .filter(|exe| exe.ends_with("sleep"))
    });
    exec.argv = ["node", "other.js"].map(Text::from).to_vec();
    exec.pid = running.0.id();
    assert_plain(&world.judge(&exec));
}

#[test]
fn code_in_an_argument_is_judged_by_what_it_loads() {
    let mut world = gemini();
    world.file("other.js", "1");
    let cli = world.path(CLI);
    let cli = cli.to_str().expect("text");
    for (runtime, words) in [
        ("node", vec!["node", "-e", "require('CLI')"]),
        ("node", vec!["node", "-p", "import('CLI')"]),
        ("node", vec!["node", "--eval=import 'file://CLI'"]),
        (
            "node",
            vec![
                "node",
                "-e",
                "require('./node_modules/@google/gemini-cli/bundle/gemini.js')",
            ],
        ),
        (
            "node",
            vec![
                "node",
                "-e",
                "require('@google/gemini-cli/bundle/gemini.js')",
            ],
        ),
        ("bun", vec!["bun", "-e", "await import('CLI')"]),
        ("deno", vec!["deno", "eval", "import 'CLI'"]),
    ] {
        let words: Vec<String> = words.iter().map(|word| word.replace("CLI", cli)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_gemini(judge(&mut world, runtime, &words), "named in the code");
    }
    for code in [
        "console.log('gemini')",
        "require('fs').readFileSync('node_modules/@google/gemini-cli/package.json')",
        "require('./other.js')",
        "require('./node_modules/@google/gemini-cli/package.json').version",
    ] {
        assert_plain(&judge(&mut world, "node", &["node", "-e", code, cli]));
    }
    let made = judge(
        &mut world,
        "node",
        &["node", "-e", "require(process.argv[1])", cli],
    );
    assert_waits(&made, CodeFrom::Code);
}

#[test]
fn code_on_a_pipe_or_a_terminal_waits_and_nothing_there_is_a_no() {
    let mut world = gemini();
    for runtime in ["node", "python3.11"] {
        let exe = interpreter(&world, runtime);
        let piped = Standing::start(&[], Stdio::piped());
        assert_waits(&piped.judge(&mut world, &exe, &[runtime]), CodeFrom::Stream);
        assert_waits(
            &piped.judge(&mut world, &exe, &[runtime, "-"]),
            CodeFrom::Stream,
        );
        let nothing = Standing::start(&[], Stdio::null());
        assert_plain(&nothing.judge(&mut world, &exe, &[runtime]));
        assert_plain(&piped.judge(&mut world, &exe, &[runtime, "--version"]));
    }
    let exe = interpreter(&world, "bun");
    let piped = Standing::start(&[], Stdio::piped());
    assert_plain(&piped.judge(&mut world, &exe, &["bun"]));
    assert_waits(
        &piped.judge(&mut world, &exe, &["bun", "run", "-"]),
        CodeFrom::Stream,
    );
    // A pipe with a name, as a script.
    let fifo = world.path("fifo");
    let name = std::ffi::CString::new(fifo.to_str().expect("text")).expect("no zero byte");
    // SAFETY: a terminated string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    assert_waits(
        &judge(&mut world, "node", &["node", "fifo"]),
        CodeFrom::Stream,
    );
}

#[test]
fn a_file_on_standard_input_is_read_as_code() {
    let mut world = gemini();
    let cli = world.path(CLI);
    let code = world.file("here", format!("require('{}')", cli.display()));
    let exe = interpreter(&world, "node");
    let standing = Standing::start(&[], fs::File::open(code).expect("opens").into());
    assert_gemini(
        standing.judge(&mut world, &exe, &["node", "-"]),
        "on a descriptor",
    );
    let code = world.file("there", "console.log(1)");
    let standing = Standing::start(&[], fs::File::open(code).expect("opens").into());
    assert_plain(&standing.judge(&mut world, &exe, &["node"]));
}

#[test]
fn a_specifier_is_looked_up_where_deno_keeps_its_packages() {
    let mut world = World::new();
    let cache = world.path("cache");
    let cache = cache.to_str().expect("text").to_owned();
    for version in ["0.8.1", "0.9.0", "0.10.0-rc.1"] {
        let directory = format!("cache/npm/registry.example/@google/gemini-cli/{version}");
        let manifest = format!(
            r#"{{"name":"@google/gemini-cli","version":"{version}","bin":{{"gemini":"./bundle/gemini.js"}}}}"#
        );
        world.file(&format!("{directory}/package.json"), manifest);
        world.file(&format!("{directory}/bundle/gemini.js"), "1");
    }
    let environment = [("DENO_DIR", cache.as_str())];
    for (words, version) in [
        (
            &["deno", "run", "-A", "npm:@google/gemini-cli"][..],
            "0.9.0",
        ),
        (
            &["deno", "run", "npm:@google/gemini-cli@0.8.1", "x"],
            "0.8.1",
        ),
        (&["deno", "npm:@google/gemini-cli@^0.8/gemini"], "0.8.1"),
        (&["deno", "x", "-A", "@google/gemini-cli"], "0.9.0"),
        (
            &["deno", "eval", "import 'npm:@google/gemini-cli@0.8.1'"],
            "0.8.1",
        ),
    ] {
        let judgement = judge_with(&mut world, "deno", words, &environment);
        assert_agent(judgement, "gemini-cli", Some(version));
    }
    world.file(
        "deno.lock",
        r#"{"specifiers":{"npm:@google/gemini-cli@*":"0.8.1_x@1"}}"#,
    );
    let words = ["deno", "run", "npm:@google/gemini-cli"];
    let judgement = judge_with(&mut world, "deno", &words, &environment);
    assert_agent(judgement, "gemini-cli", Some("0.8.1"));
    fs::rename(world.path("cache"), world.path("home-cache")).expect("moves");
    fs::create_dir_all(world.path("home/.cache")).expect("directories");
    fs::rename(world.path("home-cache"), world.path("home/.cache/deno")).expect("moves");
    let home = world.path("home");
    let home = [("HOME", home.to_str().expect("text"))];
    let judgement = judge_with(&mut world, "deno", &words, &home);
    assert_agent(judgement, "gemini-cli", Some("0.8.1"));
}

#[test]
fn a_package_that_is_not_there_yet_is_known_by_its_specifier() {
    let mut world = World::new();
    let judgement = judge(
        &mut world,
        "deno",
        &["deno", "run", "npm:@google/gemini-cli"],
    );
    let agent = assert_agent(judgement, "gemini-cli", None);
    assert!(agent.confidence < 80, "{agent:?}");
    assert_says(&agent, "nothing of it is there");
    let judgement = judge(
        &mut world,
        "deno",
        &["deno", "run", "npm:@google/gemini-cli@1.2.3"],
    );
    assert_agent(judgement, "gemini-cli", Some("1.2.3"));
    for words in [
        ["deno", "run", "npm:gemini-cli"],
        ["deno", "run", "npm:@anthropic-ai/claude-code-x"],
        ["deno", "run", "gemini"],
    ] {
        assert_plain(&judge(&mut world, "deno", &words));
    }
    let remote = judge(
        &mut world,
        "deno",
        &["deno", "run", "https://x.example/y.ts"],
    );
    assert_waits(&remote, CodeFrom::Network);
}

#[test]
fn deno_takes_a_package_from_node_modules() {
    let mut world = gemini();
    let words = ["deno", "run", "npm:@google/gemini-cli@0.9.0"];
    assert_gemini(
        judge(&mut world, "deno", &words),
        "named npm:@google/gemini-cli@0.9.0",
    );
    let store = "node_modules/.deno/@google+gemini-cli@0.7.0/node_modules/@google/gemini-cli";
    let manifest = r#"{"name":"@google/gemini-cli","version":"0.7.0","bin":"bundle/gemini.js"}"#;
    world.file(&format!("{store}/package.json"), manifest);
    world.file(&format!("{store}/bundle/gemini.js"), "1");
    let words = ["deno", "run", "npm:@google/gemini-cli@0.7.0"];
    assert_agent(
        judge(&mut world, "deno", &words),
        "gemini-cli",
        Some("0.7.0"),
    );
}

#[test]
fn the_rest_of_a_long_command_line_is_read_of_its_process() {
    let mut world = gemini();
    let exe = interpreter(&world, "node");
    // `cat` has no opinion on many `-u`, prints the script, and waits for standard input.
    let mut command = Command::new("/bin/cat");
    command.arg0("node").current_dir(world.directory.path());
    command
        .args(std::iter::repeat_n("-u", 5_000))
        .args([CLI, "/dev/stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let running = Killed(command.spawn().expect("starts"));
    let cmdline = format!("/proc/{}/cmdline", running.0.id());
    eventually("its arguments", HANGS, || {
        fs::read(&cmdline)
            .ok()
            .filter(|bytes| bytes.ends_with(b"/dev/stdin\0"))
    });
    let judged = |world: &mut World, first: &str| {
        let (file, file_size) = super::key(&exe);
        let mut argv = vec![Text::from("-u"); 2_700];
        argv[0] = Text::from(first);
        // Cut in the middle of an argument.
        argv.push(Text::from("-"));
        let (path, cwd) = (super::text(&exe), super::text(world.directory.path()));
        world.identifier.judge(&Candidate {
            pid: running.0.id(),
            file,
            file_size,
            exe: Some(&path),
            filename: None,
            argv: &argv,
            argv_truncated: true,
            cwd: Some(&cwd),
            uid: None,
            switches: None,
            since: None,
        })
    };
    assert_agent(judged(&mut world, "node"), "gemini-cli", Some("0.9.0"));
    let judgement = judged(&mut world, "bun");
    assert_eq!(judgement.agent, None);
    assert_eq!(
        judgement.unjudged,
        Some(Unjudged::CutArguments),
        "it was overwritten"
    );
}
