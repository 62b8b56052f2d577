//! What redaction costs: nanoseconds for each of a few typical command lines and paths.
//!
//! `cargo run --release -p skep-sensor --example redact_cost`

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
    for (name, words) in cases {
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
