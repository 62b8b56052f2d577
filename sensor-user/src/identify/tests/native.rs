use std::fs;

use super::{
    World, assert_agent, assert_no_agent,
    elf_file::{ElfFile, bun_graph, bun_section},
};

const CLAUDE: &str = "// @bun\n// (c) Anthropic PBC. All rights reserved. Use is subject to the \
    Legal Agreements.\n\n// Version: 2.1.400\nvar m={PACKAGE_URL:\"@anthropic-ai/claude-code\",\
    README_URL:\"x\",VERSION:\"2.1.400\",B:1};";

fn claude() -> ElfFile {
    let modules = [
        ("/$bunfs/root/chunk.js", "// chunk"),
        ("/$bunfs/root/cli", CLAUDE),
    ];
    ElfFile::new()
        .dynamic()
        .section(".bun", bun_section(&bun_graph("--x", &modules, 1)))
}

fn opencode() -> ElfFile {
    let modules = [("/$bunfs/root/src/index.js", "OPENCODE_CONFIG_CONTENT")];
    let graph = bun_graph(
        "--user-agent=opencode/1.18.40 --use-system-ca --",
        &modules,
        0,
    );
    ElfFile::new()
        .dynamic()
        .section(".bun", bun_section(&graph))
}

fn copilot(fuse: &str) -> ElfFile {
    let blob = br#"..sea-loader.js..process.env.COPILOT_CLI_BINARY_VERSION="1.0.200";"#;
    ElfFile::new()
        .dynamic()
        .section(
            ".rodata",
            format!("..NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:{fuse}.."),
        )
        .note("GNU", &[0; 20])
        .note("NODE_SEA_BLOB", blob)
        .exports("_ZN4node5StartEiPPc")
}

#[test]
fn a_bun_agent_is_known_by_its_entry_module_under_any_name() {
    let mut world = World::new();
    let real = world.file("opt/kworker", claude().bytes());
    let hard = world.path("hard/systemd");
    fs::create_dir(world.path("hard")).expect("directory");
    fs::hard_link(&real, &hard).expect("links");
    let copy = world.file("copy/vim", claude().bytes());
    let soft = world.link("../opt/kworker", "soft/ls");
    for path in [real, hard, copy, soft] {
        let name = path
            .file_name()
            .expect("a name")
            .to_str()
            .expect("text")
            .to_owned();
        let judgement = world.judge(&world.exec(&path, &[&name]));
        let agent = assert_agent(judgement, "claude-code", Some("2.1.400"));
        assert!(agent.confidence >= 80, "{agent:?}");
        assert!(
            agent.evidence[0].starts_with("ELF section .bun with marker"),
            "{agent:?}"
        );
    }
}

#[test]
fn a_native_layout_agent_whose_name_is_its_version_is_known() {
    let mut world = World::new();
    let exe = world.file("u/.local/share/claude/versions/2.1.400", claude().bytes());
    let judgement = world.judge(&world.exec(&exe, &["claude"]));
    let agent = assert_agent(judgement, "claude-code", Some("2.1.400"));
    assert!(
        agent
            .evidence
            .iter()
            .any(|text| text.starts_with("install layout")),
        "{agent:?}"
    );
}

#[test]
fn the_layout_alone_does_not_make_a_native_agent() {
    let mut world = World::new();
    let exe = world.file(
        "u/.local/share/claude/versions/2.1.400",
        ElfFile::new().bytes(),
    );
    assert_no_agent(&world.judge(&world.exec(&exe, &["claude"])));
}

#[test]
fn a_graph_at_the_end_of_the_file_counts_too() {
    let mut world = World::new();
    let graph = bun_graph("", &[("/$bunfs/root/cli", CLAUDE)], 0);
    let total = (graph.len() as u64 + 8).to_le_bytes();
    let elf = ElfFile::new()
        .dynamic()
        .section(".text", [0; 64])
        .tail([&graph[..], &total].concat());
    let exe = world.file("old", elf.bytes());
    assert_agent(
        world.judge(&world.exec(&exe, &["old"])),
        "claude-code",
        Some("2.1.400"),
    );
}

#[test]
fn a_graph_whose_tables_are_not_understood_is_searched_as_a_whole() {
    let mut world = World::new();
    let mut graph = bun_graph("", &[("/$bunfs/root/cli", CLAUDE)], 0);
    let entry_at = graph.len() - 16 - 32 + 16;
    graph[entry_at..entry_at + 4].copy_from_slice(&999_u32.to_le_bytes());
    let exe = world.file(
        "x",
        ElfFile::new().section(".bun", bun_section(&graph)).bytes(),
    );
    assert_agent(
        world.judge(&world.exec(&exe, &["x"])),
        "claude-code",
        Some("2.1.400"),
    );
}

#[test]
fn the_tools_in_the_binary_are_said_to_be_called_as_such() {
    let mut world = World::new();
    let exe = world.file("claude", claude().bytes());
    let sure = assert_agent(
        world.judge(&world.exec(&exe, &["claude"])),
        "claude-code",
        Some("2.1.400"),
    );
    for tool in ["rg", "ugrep", "bfs", "/x/y/rg"] {
        let judgement = world.judge(&world.exec(&exe, &[tool, "--files"]));
        assert!(judgement.multicall && !judgement.never, "{tool}");
        // Whether it is a tool depends on whose it is, which only the tracker knows.
        let agent = judgement.agent.expect("evidence, not silence");
        assert_eq!(agent.family, "claude-code");
        let range = skep_catalogue::MIN_CONFIDENCE..sure.confidence;
        assert!(range.contains(&agent.confidence), "{agent:?}");
        let says = |text: &String| text.contains("called as one of its tools");
        assert!(agent.evidence.iter().any(says), "{agent:?}");
    }
    assert_agent(
        world.judge(&world.exec(&exe, &["grep"])),
        "claude-code",
        Some("2.1.400"),
    );
}

#[test]
fn a_bun_program_of_no_known_family_is_none() {
    let mut world = World::new();
    let graph = bun_graph("", &[("/$bunfs/root/app", "console.log('PACKAGE_URL')")], 0);
    let exe = world.file(
        "claude",
        ElfFile::new().section(".bun", bun_section(&graph)).bytes(),
    );
    let judgement = world.judge(&world.exec(&exe, &["claude"]));
    assert_no_agent(&judgement);
    assert!(!judgement.never, "BUN_BE_BUN may still make it a runtime");
}

#[test]
fn an_unreadable_environment_makes_a_switchable_agent_less_sure() {
    let mut world = World::new();
    let exe = world.file("opencode", opencode().bytes());
    let sure = assert_agent(
        world.judge(&world.exec(&exe, &["opencode"])),
        "opencode",
        Some("1.18.40"),
    );
    let mut ended = world.exec(&exe, &["opencode"]);
    // Larger than any pid the kernel gives (PID_MAX_LIMIT, 4,194,304).
    ended.pid = 5_000_000;
    let unsure = assert_agent(world.judge(&ended), "opencode", Some("1.18.40"));
    assert!(unsure.confidence < sure.confidence);
    assert!(
        unsure
            .evidence
            .iter()
            .any(|text| text.contains("environment not readable"))
    );
}

#[test]
fn a_node_application_is_known_by_its_blob_when_the_fuse_is_on() {
    let mut world = World::new();
    let exe = world.file("anything", copilot("1").bytes());
    let judgement = world.judge(&world.exec(&exe, &["anything"]));
    let agent = assert_agent(judgement, "github-copilot-cli", Some("1.0.200"));
    assert!(
        agent.evidence[0].starts_with("ELF note NODE_SEA_BLOB"),
        "{agent:?}"
    );
    let off = world.file("off", copilot("0").bytes());
    assert_no_agent(&world.judge(&world.exec(&off, &["copilot"])));
}

#[test]
fn a_go_agent_is_known_by_its_build_information() {
    let mut world = World::new();
    let info = "..go1.26.1..path\tgithub.com/charmbracelet/crush\nmod\tgithub.com/charmbracelet/crush\tv0.96.1\th1:x\n";
    let exe = world.file("x", ElfFile::new().section(".go.buildinfo", info).bytes());
    assert_agent(
        world.judge(&world.exec(&exe, &["x"])),
        "crush",
        Some("0.96.1"),
    );
    let user = "path\texample.org/x\ndep\tgithub.com/charmbracelet/crush\tv0.96.1\n";
    let exe = world.file(
        "crush",
        ElfFile::new().section(".go.buildinfo", user).bytes(),
    );
    assert_no_agent(&world.judge(&world.exec(&exe, &["crush"])));
}

#[test]
fn the_demonstration_agent_is_known_by_its_section() {
    let mut world = World::new();
    let elf = ElfFile::new()
        .dynamic()
        .section(".skep_agent", "skep-demo-agent\x000.1.0\0");
    let exe = world.file("anything", elf.bytes());
    assert_agent(
        world.judge(&world.exec(&exe, &["x"])),
        "skep-demo-agent",
        Some("0.1.0"),
    );
}

#[test]
fn platform_packages_count_for_native_files_and_their_helpers_do_not() {
    let mut world = World::new();
    let package = "node_modules/@openai/codex-linux-x64";
    let manifest = r#"{"name":"@openai/codex","version":"0.180.0-linux-x64"}"#;
    world.file(&format!("{package}/package.json"), manifest);
    let vendor = format!("{package}/vendor/x86_64-unknown-linux-musl");
    let codex = world.file(&format!("{vendor}/bin/codex"), ElfFile::new().bytes());
    assert_agent(
        world.judge(&world.exec(&codex, &["codex"])),
        "codex",
        Some("0.180.0"),
    );
    for tool in ["codex-linux-sandbox", "apply_patch"] {
        assert!(
            world.judge(&world.exec(&codex, &[tool])).multicall,
            "{tool}"
        );
    }
    let step = ["/proc/self/exe", "--codex-run-as-process-setup"];
    assert!(world.judge(&world.exec(&codex, &step)).multicall);
    for helper in [
        "bin/codex-code-mode-host",
        "codex-path/rg",
        "codex-resources/bwrap",
    ] {
        let exe = world.file(&format!("{vendor}/{helper}"), ElfFile::new().bytes());
        let judgement = world.judge(&world.exec(&exe, &["codex"]));
        assert_no_agent(&judgement);
        assert!(judgement.never, "{helper}");
    }
}

#[test]
fn ordinary_programs_are_never_agents_whatever_they_are_called() {
    let mut world = World::new();
    for name in ["claude", "codex", "opencode", "ls", "bash"] {
        let exe = world.file(
            name,
            ElfFile::new().dynamic().section(".text", [1; 64]).bytes(),
        );
        let judgement = world.judge(&world.exec(&exe, &[name, "--version"]));
        assert_no_agent(&judgement);
        assert!(judgement.never, "{name}");
    }
}

#[test]
fn a_file_that_is_not_the_one_executed_is_not_judged() {
    let mut world = World::new();
    let exe = world.file("claude", claude().bytes());
    let exec = world.exec(&exe, &["claude"]);
    let (mut file, file_size) = super::key(&exe);
    file.ino += 1;
    let path = super::text(&exe);
    let candidate = super::Candidate {
        pid: exec.pid,
        file,
        file_size,
        exe: Some(&path),
        filename: None,
        argv: &exec.argv,
        argv_truncated: false,
        uid: None,
        switches: None,
        cwd: None,
        since: None,
    };
    assert_eq!(world.identifier.judge(&candidate), super::Judgement::UNSEEN);
}

#[test]
fn another_device_for_the_same_inode_is_believed_less() {
    let mut world = World::new();
    let exe = world.file("claude", claude().bytes());
    let exec = world.exec(&exe, &["claude"]);
    let sure = assert_agent(world.judge(&exec), "claude-code", Some("2.1.400"));
    let (mut file, file_size) = super::key(&exe);
    file.dev ^= 1;
    let path = super::text(&exe);
    let candidate = super::Candidate {
        pid: exec.pid,
        file,
        file_size,
        exe: Some(&path),
        filename: None,
        argv: &exec.argv,
        argv_truncated: false,
        uid: None,
        switches: None,
        cwd: None,
        since: None,
    };
    let agent = assert_agent(
        world.identifier.judge(&candidate),
        "claude-code",
        Some("2.1.400"),
    );
    assert!(agent.confidence < sure.confidence);
    assert!(
        agent
            .evidence
            .iter()
            .any(|text| text.contains("another device")),
        "{agent:?}"
    );
}
