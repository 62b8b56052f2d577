use std::{fs, path::PathBuf};

use super::{World, assert_agent, assert_no_agent, elf_file::ElfFile};

/// An interpreter by its name; nothing in it says so.
fn interpreter(world: &World, name: &str) -> PathBuf {
    world.file(&format!("usr/bin/{name}"), ElfFile::new().dynamic().bytes())
}

#[test]
fn node_with_an_agents_command_is_that_agent() {
    let mut world = World::new();
    let node = interpreter(&world, "node");
    for (package, bin, entry, family) in [
        (
            "@anthropic-ai/claude-code",
            "claude",
            "cli.js",
            "claude-code",
        ),
        (
            "@google/gemini-cli",
            "gemini",
            "bundle/gemini.js",
            "gemini-cli",
        ),
        ("@openai/codex", "codex", "bin/codex.js", "codex"),
        ("@qwen-code/qwen-code", "qwen", "cli-entry.js", "qwen-code"),
        (
            "@qoder-ai/qodercli",
            "qodercli",
            "bundle/qodercli.js",
            "qoder-cli",
        ),
        (
            "@github/copilot",
            "copilot",
            "npm-loader.js",
            "github-copilot-cli",
        ),
        ("@charmland/crush", "crush", "run-crush.js", "crush"),
        ("opencode-ai", "opencode", "bin/opencode", "opencode"),
    ] {
        let link = world.npm(package, "1.2.3", bin, entry);
        let link = link.to_str().expect("text");
        let judgement = world.judge(&world.exec(&node, &["node", link, "-p", "hi"]));
        let agent = assert_agent(judgement, family, Some("1.2.3"));
        let manifest = world.path(&format!("node_modules/{package}/package.json"));
        assert_eq!(
            agent.evidence[0],
            format!(
                "npm package {package} 1.2.3 at {} (entry {entry})",
                manifest.display()
            )
        );
        assert_eq!(
            agent.install_path,
            Some(super::text(manifest.parent().expect("a parent")))
        );
        let relative = format!("node_modules/.bin/{bin}");
        let words = ["node", "--max-old-space-size=4096", &relative];
        assert_agent(
            world.judge(&world.exec(&node, &words)),
            family,
            Some("1.2.3"),
        );
    }
}

#[test]
fn reading_or_passing_an_agents_script_is_not_running_it() {
    let mut world = World::new();
    world.npm("@anthropic-ai/claude-code", "2.1.91", "claude", "cli.js");
    let cli = world.path("node_modules/@anthropic-ai/claude-code/cli.js");
    let cli = cli.to_str().expect("text");
    for tool in ["cat", "vim", "env", "bash"] {
        let exe = interpreter(&world, tool);
        let judgement = world.judge(&world.exec(&exe, &[tool, cli]));
        assert_no_agent(&judgement);
        assert!(judgement.never, "{tool}");
    }
    let node = interpreter(&world, "node");
    world.file("other.js", "1");
    for words in [
        vec!["node", "other.js", cli],
        vec!["node", "-e", "1", cli],
        vec!["node", "--check", cli],
        vec!["node"],
        vec!["node", "missing.js"],
    ] {
        assert_no_agent(&world.judge(&world.exec(&node, &words)));
    }
}

#[test]
fn other_files_of_an_agents_package_are_not_the_agent() {
    let mut world = World::new();
    let node = interpreter(&world, "node");
    world.npm("@anthropic-ai/claude-code", "2.1.91", "claude", "cli.js");
    world.file("node_modules/@anthropic-ai/claude-code/install.cjs", "1");
    world.file(
        "node_modules/@anthropic-ai/claude-code/vendor/x/tool.js",
        "1",
    );
    for file in ["install.cjs", "vendor/x/tool.js"] {
        let path = format!("node_modules/@anthropic-ai/claude-code/{file}");
        assert_no_agent(&world.judge(&world.exec(&node, &["node", &path])));
    }
}

#[test]
fn a_package_or_script_that_is_only_named_like_an_agent_is_none() {
    let mut world = World::new();
    let node = interpreter(&world, "node");
    let link = world.npm("cursor-agent", "1.0.3", "cursor-agent", "index.js");
    assert_no_agent(&world.judge(&world.exec(&node, &["node", link.to_str().expect("text")])));
    world.file("bin/claude", "1");
    assert_no_agent(&world.judge(&world.exec(&node, &["node", "bin/claude"])));
    world.file("bin/codex.js", "1");
    world.file("package.json", r#"{"name":"mine","version":"1.0.0"}"#);
    assert_no_agent(&world.judge(&world.exec(&node, &["node", "bin/codex.js"])));
}

#[test]
fn the_nearest_named_package_counts_and_unnamed_ones_are_passed() {
    let mut world = World::new();
    let node = interpreter(&world, "node");
    let link = world.npm("@google/gemini-cli", "0.61.0", "gemini", "bundle/gemini.js");
    let link = link.to_str().expect("text");
    let package = "node_modules/@google/gemini-cli";
    world.file(
        &format!("{package}/bundle/package.json"),
        r#"{"type":"module"}"#,
    );
    assert_agent(
        world.judge(&world.exec(&node, &["node", link])),
        "gemini-cli",
        Some("0.61.0"),
    );
    world.file(
        &format!("{package}/bundle/package.json"),
        r#"{"name":"inner"}"#,
    );
    assert_no_agent(&world.judge(&world.exec(&node, &["node", link])));
}

#[test]
fn node_finds_scripts_without_extension_and_in_directories() {
    let mut world = World::new();
    let node = interpreter(&world, "node");
    world.npm("@anthropic-ai/claude-code", "2.1.91", "claude", "cli.js");
    let package = "node_modules/@anthropic-ai/claude-code";
    let words = ["node", &format!("{package}/cli")];
    assert_agent(
        world.judge(&world.exec(&node, &words)),
        "claude-code",
        Some("2.1.91"),
    );
    assert_no_agent(&world.judge(&world.exec(&node, &["node", package])));
    let manifest = r#"{"name":"@anthropic-ai/claude-code","version":"2.1.91","main":"cli.js"}"#;
    world.file(&format!("{package}/package.json"), manifest);
    assert_agent(
        world.judge(&world.exec(&node, &["node", package])),
        "claude-code",
        Some("2.1.91"),
    );
}

#[test]
fn a_copied_script_is_known_by_what_its_head_says() {
    let mut world = World::new();
    let node = interpreter(&world, "node");
    let head = "#!/usr/bin/env node\n// (c) Anthropic PBC. All rights reserved. Use is subject to \
        x.\n\n// Version: 2.1.91\n\n// Want to see the unminified source? We're hiring!\n1\n";
    world.file("tmp/harmless.js", head);
    let judgement = world.judge(&world.exec(&node, &["node", "tmp/harmless.js"]));
    let agent = assert_agent(judgement, "claude-code", Some("2.1.91"));
    assert!(
        agent.confidence < 80,
        "less sure than with its package: {agent:?}"
    );
    let copyright_only = head.replace("// Want to see", "// Do not want to see");
    world.file("tmp/sdk.js", copyright_only);
    assert_no_agent(&world.judge(&world.exec(&node, &["node", "tmp/sdk.js"])));
}

#[test]
fn cursor_is_known_by_its_documented_layout() {
    let mut world = World::new();
    let version = "u/.local/share/cursor-agent/versions/2026.10.02-abc1234";
    let node = world.file(&format!("{version}/node"), ElfFile::new().dynamic().bytes());
    world.file(&format!("{version}/cursor-agent"), "#!/usr/bin/env bash\n");
    let index = world.file(&format!("{version}/index.js"), "1");
    let argv0 = world.path("u/.local/bin/cursor-agent");
    let words = [
        argv0.to_str().expect("text"),
        "--use-system-ca",
        index.to_str().expect("text"),
    ];
    let judgement = world.judge(&world.exec(&node, &words));
    let agent = assert_agent(judgement, "cursor-agent", Some("2026.10.02-abc1234"));
    assert!(
        agent.confidence < 80,
        "nothing in the files was looked at: {agent:?}"
    );
    fs::remove_file(world.path(&format!("{version}/cursor-agent"))).expect("removes");
    assert_no_agent(&world.judge(&world.exec(&node, &words)));
}

pub(super) fn aider(world: &World, prefix: &str) -> String {
    let site = format!("{prefix}/lib/python3.11/site-packages");
    let metadata = "Metadata-Version: 2.4\nName: aider-chat\nVersion: 0.86.2\n\nName: other\n";
    world.file(
        &format!("{site}/aider_chat-0.86.2.dist-info/METADATA"),
        metadata,
    );
    world.file(
        &format!("{site}/aider/__main__.py"),
        "from .main import main\n",
    );
    let script = "#!/x/bin/python3\nimport sys\nfrom aider.main import main\nsys.exit(main())\n";
    world.file(&format!("{prefix}/bin/aider"), script);
    site
}

#[test]
fn a_console_script_is_known_by_its_distribution() {
    let mut world = World::new();
    let python = interpreter(&world, "python3.11");
    aider(&world, "venv");
    let exec = world.exec(
        &python,
        &["venv/bin/python3", "venv/bin/aider", "--model", "x"],
    );
    let agent = assert_agent(world.judge(&exec), "aider", Some("0.86.2"));
    assert!(
        agent.evidence[0].starts_with("Python distribution aider-chat 0.86.2 at "),
        "{agent:?}"
    );
    assert_eq!(agent.install_path, Some(super::text(&world.path("venv"))));
    let copied = fs::read(world.path("venv/bin/aider")).expect("reads");
    world.file("tmp/renamed", copied);
    let words = [world.path("venv/bin/python3"), world.path("tmp/renamed")];
    let words: Vec<&str> = words
        .iter()
        .map(|path| path.to_str().expect("text"))
        .collect();
    assert_agent(
        world.judge(&world.exec(&python, &words)),
        "aider",
        Some("0.86.2"),
    );
}

#[test]
fn a_module_is_known_by_the_distribution_of_its_environment() {
    let mut world = World::new();
    let python = interpreter(&world, "python3.11");
    let site = aider(&world, "venv");
    let module = ["venv/bin/python3", "-m", "aider"];
    assert_agent(
        world.judge(&world.exec(&python, &module)),
        "aider",
        Some("0.86.2"),
    );
    let file = format!("{site}/aider/__main__.py");
    assert_agent(
        world.judge(&world.exec(&python, &["python3", &file])),
        "aider",
        Some("0.86.2"),
    );
    for words in [
        vec!["elsewhere/bin/python3", "-m", "aider"],
        vec!["venv/bin/python3", "-m", "pip"],
        vec!["venv/bin/python3", "-c", "import aider"],
        vec!["venv/bin/python3", "other.py", "venv/bin/aider"],
    ] {
        assert_no_agent(&world.judge(&world.exec(&python, &words)));
    }
}

#[test]
fn a_script_that_only_uses_aider_is_none() {
    let mut world = World::new();
    let python = interpreter(&world, "python3.11");
    world.file("bin/aider", "from aider.main import main\n");
    assert_no_agent(&world.judge(&world.exec(&python, &["python3", "bin/aider"])));
}
