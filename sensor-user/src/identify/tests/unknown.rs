//! Agents that no family describes, on made-up files; `unknown_packages` has the published ones.

use std::path::PathBuf;

use super::{Exec, Judgement, World, assert_no_agent, elf_file::ElfFile, text};
use skep_catalogue::UNKNOWN;
use skep_event::Agent;

/// Parts of scripts that are evidence, each of one kind.
const COMMANDS: &str = "import{spawn}from'node:child_process';tool_calls.map(c=>c.name);const tools=[{name:\"bash\"}];";
const MCP: &str = "import {Client} from '@modelcontextprotocol/sdk/client/index.js';";
const INSTRUCTIONS: &str = "read('AGENTS.md');";

fn node(world: &World) -> PathBuf {
    world.file("usr/bin/node", ElfFile::new().dynamic().bytes())
}

/// A package with one command, and what else its `package.json` says.
fn package(world: &World, name: &str, more: &str, script: &str) -> PathBuf {
    let manifest =
        format!(r#"{{"name":"{name}","version":"1.2.3","bin":{{"x":"./dist/cli.js"}}{more}}}"#);
    world.file(&format!("node_modules/{name}/package.json"), manifest);
    world.file(&format!("node_modules/{name}/dist/cli.js"), script)
}

fn run(world: &mut World, program: &std::path::Path, words: &[&str]) -> Judgement {
    let exec = world.exec(program, words);
    world.judge(&exec)
}

#[track_caller]
fn assert_unknown(judgement: Judgement, name: &str, version: Option<&str>) -> Agent {
    let agent = super::assert_agent(judgement, UNKNOWN, version);
    assert_eq!(agent.name.as_deref(), Some(name), "{agent:?}");
    assert!(agent.confidence >= 50);
    Agent::clone(&agent)
}

#[test]
fn a_command_with_a_models_sdk_and_an_agents_machinery_is_an_unknown_agent() {
    let mut world = World::new();
    let node = node(&world);
    let more = r#","dependencies":{"openai":"1"}"#;
    let script = package(&world, "some-agent", more, &format!("{COMMANDS}{MCP}"));
    let judgement = run(&mut world, &node, &["node", script.to_str().expect("text")]);
    let agent = assert_unknown(judgement, "some-agent", Some("1.2.3"));
    let evidence = agent.evidence.join("\n");
    for word in [
        "npm package some-agent 1.2.3",
        "depends on openai",
        "child_process",
        "tool_calls",
        "an MCP client",
    ] {
        assert!(evidence.contains(word), "{word}: {evidence}");
    }
    let install = world.path("node_modules/some-agent");
    assert_eq!(agent.install_path, Some(text(&install)));
}

#[test]
fn neither_half_alone_is_an_agent() {
    let mut world = World::new();
    let node = node(&world);
    let sdk = r#","dependencies":{"openai":"1"}"#;
    let described = r#","dependencies":{"openai":"1"},"description":"A coding agent"}"#;
    for (name, more, script) in [
        (
            "writes-commits",
            sdk,
            "import{spawn}from'node:child_process'".to_owned(),
        ),
        ("chats", sdk, MCP.to_owned()),
        (
            "only-says-so",
            described.trim_end_matches('}'),
            INSTRUCTIONS.to_owned(),
        ),
        ("runs-commands", sdk, COMMANDS.to_owned()),
        ("has-no-model", "", format!("{COMMANDS}{INSTRUCTIONS}")),
    ] {
        let script = package(&world, name, more, &script);
        let judgement = run(&mut world, &node, &["node", script.to_str().expect("text")]);
        assert_no_agent(&judgement);
        assert_eq!(judgement.unjudged, None, "{name}");
    }
}

#[test]
fn what_is_no_command_of_a_named_package_is_not_looked_at() {
    let mut world = World::new();
    let node = node(&world);
    let all = format!("{COMMANDS}{MCP}{INSTRUCTIONS}// anthropic-version");
    let more = r#","dependencies":{"openai":"1"}"#;
    package(&world, "some-agent", more, "1");
    let other = world.file("node_modules/some-agent/dist/other.js", &all);
    let lone = world.file("work/script.js", &all);
    for script in [other, lone] {
        assert_no_agent(&run(
            &mut world,
            &node,
            &["node", script.to_str().expect("text")],
        ));
    }
}

#[test]
fn a_bench_or_a_server_that_describes_itself_is_none_and_an_agent_that_does_is_one() {
    let mut world = World::new();
    let node = node(&world);
    let script = format!("{COMMANDS}{MCP}{INSTRUCTIONS}");
    for (description, is_agent) in [
        ("LLM evals and red teaming", false),
        ("An MCP server for everything", false),
        ("Does things", true),
        ("A coding agent for your terminal, with evals", true),
    ] {
        let more = format!(r#","dependencies":{{"openai":"1"}},"description":"{description}""#);
        let script = package(&world, &format!("p{}", description.len()), &more, &script);
        let judgement = run(&mut world, &node, &["node", script.to_str().expect("text")]);
        assert_eq!(
            judgement.agent.is_some(),
            is_agent,
            "{description}: {judgement:?}"
        );
    }
}

#[test]
fn evidence_is_found_in_what_a_script_imports_and_in_what_its_packages_depend_on() {
    let mut world = World::new();
    let node = node(&world);
    let more = r#","dependencies":{"models":"1"}"#;
    let script = package(
        &world,
        "some-agent",
        more,
        "#!/usr/bin/env node\nimport './main.js'",
    );
    let main = format!("import a from './lib/a';{MCP}");
    world.file("node_modules/some-agent/dist/main.js", main);
    world.file(
        "node_modules/some-agent/dist/lib/a/index.js",
        format!("{COMMANDS}import '../../main.js'"),
    );
    let models = r#"{"name":"models","version":"1","dependencies":{"@anthropic-ai/sdk":"1"}}"#;
    world.file("node_modules/models/package.json", models);
    let judgement = run(&mut world, &node, &["node", script.to_str().expect("text")]);
    let agent = assert_unknown(judgement, "some-agent", Some("1.2.3"));
    assert!(
        agent
            .evidence
            .iter()
            .any(|piece| piece.contains("@anthropic-ai/sdk")),
        "{agent:?}"
    );
}

#[test]
fn a_console_script_of_a_python_distribution_is_known_by_its_modules() {
    let mut world = World::new();
    let python = world.file("v/bin/python3", ElfFile::new().dynamic().bytes());
    let script = |world: &World, name: &str, module: &str| {
        world.file(
            &format!("v/bin/{name}"),
            format!(
                "#!/v/bin/python3\nimport sys\nfrom {module}.main import run\nsys.exit(run())\n"
            ),
        )
    };
    let distribution = |world: &World, name: &str, module: &str, requires: &str, code: &str| {
        let site = "v/lib/python3.13/site-packages";
        let info = format!("{site}/{name}-2.0.dist-info");
        world.file(
            &format!("{info}/METADATA"),
            format!("Name: {name}\nVersion: 2.0\n{requires}\n\n"),
        );
        let points = format!("[console_scripts]\n{name} = {module}.main:run\n");
        world.file(&format!("{info}/entry_points.txt"), points);
        world.file(
            &format!("{info}/RECORD"),
            format!("{module}/main.py,,\n{module}/x.so,,\n"),
        );
        world.file(&format!("{site}/{module}/main.py"), code);
    };
    let code =
        "import subprocess\nif message.tool_calls: pass\nTOOL = {\"name\": \"bash\"}\n--yolo\n";
    distribution(&world, "mini", "minimal", "Requires-Dist: litellm>=1", code);
    distribution(
        &world,
        "other",
        "others",
        "Requires-Dist: litellm>=1",
        "import subprocess",
    );
    for (name, module, is_agent) in [("mini", "minimal", true), ("other", "others", false)] {
        let script = script(&world, name, module);
        let words = ["python3", script.to_str().expect("text")];
        let judgement = run(&mut world, &python, &words);
        if is_agent {
            assert_unknown(judgement, name, Some("2.0"));
        } else {
            assert_no_agent(&judgement);
        }
    }
    // A module is known where the distribution has its name.
    distribution(&world, "minimal", "minimal", "Requires-Dist: openai", code);
    let judgement = run(&mut world, &python, &["v/bin/python3", "-m", "minimal"]);
    assert_unknown(judgement, "minimal", Some("2.0"));
}

/// A Bun executable with this script.
fn bun(script: &str) -> Vec<u8> {
    let trailer = b"\n---- Bun! ----\n";
    let mut graph = script.as_bytes().to_vec();
    graph.extend([0; 32]);
    graph.extend(trailer);
    let mut section = (graph.len() as u64).to_le_bytes().to_vec();
    section.extend(&graph);
    ElfFile::new().dynamic().section(".bun", section).bytes()
}

#[test]
fn a_bun_program_is_known_by_its_script_in_either_encoding() {
    let mut world = World::new();
    let all = format!("{COMMANDS}{MCP}{INSTRUCTIONS}'anthropic-version'");
    let wide: String = all.chars().flat_map(|c| [c, '\0']).collect();
    for script in [all, wide] {
        let agent = world.file("opt/some-agent", bun(&script));
        let judgement = run(&mut world, &agent, &["x"]);
        let agent = assert_unknown(judgement, "some-agent", None);
        assert!(agent.evidence[0].contains("ELF section .bun"), "{agent:?}");
        // Remembered, and the same.
        let path = world.path("opt/some-agent");
        let again = run(&mut world, &path, &["x"]);
        assert_eq!(again.agent.as_deref(), Some(&agent));
    }
    let other = world.file("opt/other", bun(COMMANDS));
    assert_no_agent(&run(&mut world, &other, &["x"]));
}

#[test]
fn the_package_of_one_platform_gives_a_bun_program_its_name_and_version() {
    let mut world = World::new();
    let all = format!("{COMMANDS}{MCP}{INSTRUCTIONS}'anthropic-version'");
    let manifest = r#"{"name":"@v/agent-linux-x64","version":"4.5.6"}"#;
    world.file("node_modules/@v/agent-linux-x64/package.json", manifest);
    let agent = world.file("node_modules/@v/agent-linux-x64/bin/agent", bun(&all));
    assert_unknown(
        run(&mut world, &agent, &["agent"]),
        "@v/agent",
        Some("4.5.6"),
    );
}

#[test]
fn a_go_program_is_known_by_its_modules_and_a_rust_program_by_its_crates() {
    let mut world = World::new();
    let info = "\u{1}path\tx.org/agent/cmd\nmod\tx.org/agent\tv0.3.0\th1:a\ndep\tgithub.com/openai/openai-go\tv1.0.0\th1:b\n";
    let data = "os/exec tool_calls run_shell_command mcp-go/client AGENTS.md";
    let go = ElfFile::new()
        .section(".go.buildinfo", info)
        .section(".rodata", data);
    let agent = world.file("opt/agent", go.bytes());
    assert_unknown(
        run(&mut world, &agent, &["agent"]),
        "x.org/agent",
        Some("0.3.0"),
    );
    let without = info.replace("openai", "others");
    let go = ElfFile::new()
        .section(".go.buildinfo", without)
        .section(".rodata", data);
    let other = world.file("opt/other", go.bytes());
    assert_no_agent(&run(&mut world, &other, &["other"]));

    let data = "/c/registry/src/index/async-openai-0.30.0/src/client.rs portable-pty tool_calls \"bash\" \
        /c/rmcp-1.2.3/src/service.rs AGENTS.md";
    let rust = |data: &str| {
        ElfFile::new()
            .dynamic()
            .section(".comment", "rustc version 1.90.0")
            .section(".rodata", data)
            .tail(vec![0; 5 << 20])
            .bytes()
    };
    let agent = world.file("opt/crab", rust(data));
    let agent = assert_unknown(run(&mut world, &agent, &["crab"]), "crab", None);
    assert!(
        agent
            .evidence
            .iter()
            .any(|piece| piece.contains("async-openai")),
        "{agent:?}"
    );
    let other = world.file(
        "opt/tool",
        rust(
            &data
                .replace("async-openai", "reqwest")
                .replace("AGENTS.md", ""),
        ),
    );
    let other = run(&mut world, &other, &["tool"]);
    assert_no_agent(&other);
    assert!(other.never);
}

#[test]
fn nothing_of_a_familys_package_is_an_unknown_agent() {
    let mut world = World::new();
    let node = node(&world);
    let all = format!("{COMMANDS}{MCP}{INSTRUCTIONS}'anthropic-version'");
    let script = package(&world, "@zed-industries/codex-acp-helper", "", &all);
    assert_no_agent(&run(
        &mut world,
        &node,
        &["node", script.to_str().expect("text")],
    ));
    let helper = "node_modules/@openai/codex-linux-x64";
    world.file(
        &format!("{helper}/package.json"),
        r#"{"name":"@openai/codex-linux-x64","version":"1"}"#,
    );
    let helper = world.file(&format!("{helper}/helper"), bun(&all));
    assert_no_agent(&run(&mut world, &helper, &["helper"]));
}

#[test]
fn hostile_packages_give_no_agent_and_no_panic() {
    let mut world = World::new();
    let node = node(&world);
    let all = format!("{COMMANDS}{MCP}{INSTRUCTIONS}'anthropic-version'");
    for (at, more) in [
        r#","description":7,"dependencies":[1,2]"#,
        r#","dependencies":{"../../../etc":"1","":"","a/..":"1"}"#,
        r#","dependencies":"openai","optionalDependencies":{"openai":{}}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let script = package(&world, &format!("p{at}"), more, &all);
        let judgement = run(&mut world, &node, &["node", script.to_str().expect("text")]);
        assert!(
            judgement.agent.is_some(),
            "{more}: what does not fit is as good as not there"
        );
    }
    // Imports in a circle, out of the root, and thousands of them.
    let many: String = (0..20_000)
        .map(|n| format!("import './m{n}.js';"))
        .collect();
    let circle = format!("import './cli.js';import '../../../../../../../../etc/passwd.js';{many}");
    let script = package(&world, "many", "", &circle);
    assert_no_agent(&run(
        &mut world,
        &node,
        &["node", script.to_str().expect("text")],
    ));
    for info in [
        &b"\xff\xff"[..],
        b"mod\t",
        b"dep\tx\nmod\n\t\t\n",
        &[b'\t'; 4096],
    ] {
        let go = ElfFile::new()
            .section(".go.buildinfo", info)
            .section(".rodata", "x");
        let program = world.file("opt/go", go.bytes());
        assert_no_agent(&run(&mut world, &program, &["go"]));
    }
}

#[test]
fn what_an_sdk_bundles_is_the_agent_it_runs() {
    let mut world = World::new();
    let node = node(&world);
    let sdk = "@anthropic-ai/claude-agent-sdk";
    let manifest = format!(r#"{{"name":"{sdk}","version":"0.1.30"}}"#);
    world.file(&format!("node_modules/{sdk}/package.json"), manifest);
    let head = "#!/usr/bin/env node\n// (c) Anthropic PBC. All rights reserved. Use is subject to terms.\n// Version: 2.0.30\n";
    let cli = world.file(&format!("node_modules/{sdk}/cli.js"), head);
    let judgement = run(
        &mut world,
        &node,
        &[
            "node",
            cli.to_str().expect("text"),
            "--output-format",
            "stream-json",
        ],
    );
    let agent = super::assert_agent(judgement, "claude-code", Some("2.0.30"));
    assert!(
        agent.evidence.iter().any(|piece| piece.contains(sdk)),
        "{agent:?}"
    );
    let acp = "@zed-industries/claude-code-acp";
    let link = world.npm(acp, "0.16.2", "claude-code-acp", "dist/index.js");
    let judgement = run(&mut world, &node, &["node", link.to_str().expect("text")]);
    // The adapter's version is not the agent's.
    super::assert_agent(judgement, "claude-code", None);
    let python = "v/lib/python3.13/site-packages/claude_agent_sdk/_bundled/claude";
    let marked = bun("PACKAGE_URL:\"@anthropic-ai/claude-code\",VERSION:\"2.1.332\"");
    let bundled = world.file(python, marked);
    let exec = Exec::new(&bundled, &["claude"], world.directory.path());
    let agent = super::assert_agent(world.judge(&exec), "claude-code", Some("2.1.332"));
    assert!(
        agent
            .evidence
            .iter()
            .any(|piece| piece.contains("claude_agent_sdk")),
        "{agent:?}"
    );
}

#[test]
fn the_copies_of_editors_are_known_wherever_they_lie() {
    let mut world = World::new();
    let marked = bun("PACKAGE_URL:\"@anthropic-ai/claude-code\",VERSION:\"2.1.332\"");
    let path =
        ".vscode/extensions/anthropic.claude-code-2.1.332-linux-x64/resources/native-binary/claude";
    let copy = world.file(path, &marked);
    let agent = super::assert_agent(
        run(&mut world, &copy, &["claude"]),
        "claude-code",
        Some("2.1.332"),
    );
    assert!(
        agent
            .evidence
            .iter()
            .any(|piece| piece.contains("extensions/anthropic")),
        "{agent:?}"
    );
    let other = world.file(".local/share/JetBrains/acp/claude", &marked);
    super::assert_agent(
        run(&mut world, &other, &["claude"]),
        "claude-code",
        Some("2.1.332"),
    );
    for name in ["kiro-cli", "kiro-cli-chat"] {
        world.file(
            &format!("home/.local/bin/{name}"),
            ElfFile::new().dynamic().bytes(),
        );
    }
    let kiro = world.path("home/.local/bin/kiro-cli");
    super::assert_agent(run(&mut world, &kiro, &["kiro-cli"]), "kiro-cli", None);
    let lone = world.file("other/bin/kiro-cli", ElfFile::new().dynamic().bytes());
    assert_no_agent(&run(&mut world, &lone, &["kiro-cli"]));
}

#[test]
fn a_go_or_rust_marker_counts_in_a_large_program_of_that_language_alone() {
    let mut world = World::new();
    let program = |section: &str, contents: &str, text: &str| {
        ElfFile::new()
            .dynamic()
            .section(section, contents)
            .section(".rodata", text)
            .tail(vec![0; 33 << 20])
            .bytes()
    };
    let text = "at crates/goose-cli/src/main.rs:7";
    let goose = world.file("opt/g", program(".comment", "rustc version 1.90.0", text));
    super::assert_agent(run(&mut world, &goose, &["g"]), "goose", None);
    let other = world.file("opt/h", program(".comment", "GCC: (Debian)", text));
    assert_no_agent(&run(&mut world, &other, &["h"]));
}
