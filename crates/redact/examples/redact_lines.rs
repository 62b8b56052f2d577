//! Command lines on standard input, one a line; those that redaction changes come out, before and after.
//!
//! `cargo run --release -p skep-redact --example redact_lines < history.txt`

use std::io::{BufRead, Write};

use skep_event::Text;
use skep_redact::Redactor;

fn main() -> std::io::Result<()> {
    let redactor = Redactor::new();
    let mut out = std::io::stdout().lock();
    let (mut lines, mut changed) = (0, 0);
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line?;
        lines += 1;
        let argv = [Text::from("bash"), Text::from("-c"), Text::from(line)];
        if let Some(after) = redactor.argv(&argv, false) {
            changed += 1;
            writeln!(out, "- {}\n+ {}", argv[2].escaped(), after[2].escaped())?;
        }
    }
    writeln!(out, "{changed} of {lines} lines changed")
}
