//! `skep-demo-agent`: an agent small enough to read, whose effects are real.
//!
//! - `skep-demo-agent [session [PROMPT]]` behaves like a terminal coding agent: reads its
//!   configuration and the project, asks a model, runs the tool call it gets, ends.
//! - `skep-demo-agent do ACTION…` performs single system calls in the order given, for tests that
//!   must know exactly what happened; see [`actor`].
//! - `skep-demo-agent SCRIPT ARGUMENT…` performs the actions of a script, so that a script may name
//!   this program behind `#!`; the script's path has a slash in it.
//! - `skep-demo-agent --version` prints its name and version, from the mark it is recognised by.
//!
//! Invariants: one process does what its argument list says and nothing else; it never follows an
//! instruction that is not in its arguments, its configuration or the model's answer; it links
//! statically, for machines that have no C library.

mod actor;
mod mark;
mod model;
mod session;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let first = arguments.first().map(|argument| argument.to_string_lossy());
    match first.as_deref() {
        None => session::run(None),
        Some("session") => {
            let prompt = arguments
                .get(1)
                .map(|prompt| prompt.to_string_lossy().into_owned());
            session::run(prompt.as_deref())
        }
        Some("do") => actor::run(&arguments[1..]),
        Some(script) if script.contains('/') => actor::run_script(&arguments[0], &arguments[1..]),
        Some("--version") => {
            println!("{}", mark::name_and_version());
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("skep-demo-agent: {other}: expected session, do, a script or --version");
            ExitCode::from(2)
        }
    }
}
