//! What redaction costs: nanoseconds for each of a few typical command lines and paths.
//!
//! `cargo run --release -p skep-redact --example redact_cost [CASE]`

use std::{hint::black_box, time::Instant};

use skep_event::Text;
use skep_redact::Redactor;

const ROUNDS: u32 = 20_000;

fn main() {
    let redactor = Redactor::new();
    let cases: &[(&str, &[&str])] = &[
        ("short", &["ls", "-la"]),
        (
            "shell",
            &[
                "/bin/bash",
                "-c",
                "cargo build --workspace && cargo test -- --nocapture",
            ],
        ),
        (
            "search",
            &[
                "rg",
                "--json",
                "-n",
                "fn main",
                "/home/dev/app/src",
                "--type",
                "rust",
            ],
        ),
        (
            "wrapper",
            &[
                "/bin/bash",
                "-c",
                "shopt -u extglob 2>/dev/null || true && eval 'cd /home/dev/app && git status --short && ls -la \
                 src/components | head -40' < /dev/null && pwd -P >| /tmp/claude-4f2a-cwd",
            ],
        ),
        (
            "compile",
            &[
                "/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
                "-quiet",
                "-I",
                "include",
                "-imultiarch",
                "x86_64-linux-gnu",
                "-MMD",
                "build/CMakeFiles/core.dir/src/lexer.c.d",
                "-D",
                "NDEBUG",
                "-D",
                "VERSION=\"1.4.2\"",
                "src/lexer.c",
                "-dumpdir",
                "build/CMakeFiles/core.dir/src/",
                "-dumpbase",
                "lexer.c",
                "-mtune=generic",
                "-march=x86-64",
                "-O2",
                "-Wall",
                "-std=gnu11",
                "-o",
                "/tmp/ccQ3xZ1b.s",
            ],
        ),
        (
            "prose",
            &[
                "git",
                "commit",
                "-m",
                "Fold repeated opens in the kernel\n\nA build opens the same headers thousands of times. The \
                 program counts them by executable, name and flags, and hands over one record for each half \
                 a second, so that the ring does not fill up while a compiler runs. It's off for files that \
                 are written, since each write is news. Measured with the benchmark of the kernel: 31 \
                 percent fewer records, no difference in what the events say.",
            ],
        ),
        (
            "url",
            &[
                "curl",
                "-sS",
                "-o",
                "out.json",
                "https://example.com/v1/models?page=2",
            ],
        ),
        (
            "named",
            &["bash", "-c", "grep -rn \"api_key\" src | head -20"],
        ),
        (
            "secret",
            &[
                "curl",
                "-H",
                "Authorization: Bearer abcdefgh12345678",
                "https://example.com/",
            ],
        ),
    ];
    let only = std::env::args().nth(1);
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    for (name, words) in cases.iter().filter(|(name, _)| wanted(name)) {
        let argv: Vec<Text> = words.iter().map(|word| Text::from(*word)).collect();
        let nanos = measure(|| {
            black_box(redactor.argv(black_box(&argv), false));
        });
        let bytes: usize = words.iter().map(|word| word.len()).sum();
        println!("argv {name:<8} {bytes:>4} bytes  {nanos:>7.0} ns");
    }
    for path in [
        "/etc/localtime",
        "/home/dev/app/node_modules/@scope/package/dist/index.js",
    ] {
        if !wanted("path") {
            continue;
        }
        let nanos = measure(|| {
            black_box(redactor.text(black_box(path.as_bytes())));
        });
        println!("path          {:>4} bytes  {nanos:>7.0} ns", path.len());
    }
}

fn measure(mut work: impl FnMut()) -> f64 {
    for _ in 0..ROUNDS / 10 {
        work();
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    start.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
}
