//! Durations of tests, as Rust's test harness says them, and the slowest of them.
//!
//! A harness is asked for the times with `--report-time`, which a stable one gives only to a program
//! that has `RUSTC_BOOTSTRAP` in its environment. [`run`] sets it through cargo's runner: the tests have
//! it, and the compiler, for which it would mean another build, has not.

use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::{Run, lines_of};

/// How long a silent program may have ended before that is seen.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a test program needs in its environment to report times.
pub const ENVIRONMENT: &str = "RUSTC_BOOTSTRAP=1";
/// Arguments of a test program that then reports them.
pub const ARGUMENTS: [&str; 3] = ["-Z", "unstable-options", "--report-time"];

/// Times of tests, in the order in which they came.
#[derive(Debug, Default)]
pub struct Times {
    tests: Vec<(String, Duration)>,
}

/// Reads the output of test programs, line by line.
#[derive(Debug)]
pub struct Reader {
    /// Stands before the name of each test.
    program: String,
}

// === impl Times ===

impl Times {
    pub fn add(&mut self, test: String, time: Duration) {
        self.tests.push((test, time));
    }

    pub fn extend(&mut self, others: Self) {
        self.tests.extend(others.tests);
    }

    /// The slowest tests, slowest first, at most `count`.
    pub fn slowest(&self, count: usize) -> Vec<&(String, Duration)> {
        let mut tests: Vec<_> = self.tests.iter().collect();
        tests.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        tests.truncate(count);
        tests
    }
}

// === impl Reader ===

impl Reader {
    /// `program` is the one whose output is read, until a line of cargo names another.
    pub fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    /// The test that this line ends, and its time.
    pub fn read(&mut self, line: &str) -> Option<(String, Duration)> {
        if let Some(program) = program_of(line) {
            self.program = program;
            return None;
        }
        let (test, time) = test_of(line)?;
        Some((format!("{} {test}", self.program), time))
    }
}

/// The name of the test program that cargo says it runs:
/// `Running tests/NAME/main.rs (target/debug/deps/NAME-0123456789abcdef)`.
fn program_of(line: &str) -> Option<String> {
    let path = line.trim_start().strip_prefix("Running ")?;
    let path = path.strip_suffix(')')?.rsplit_once('(')?.1;
    let name = path.rsplit('/').next()?;
    Some(name.rsplit_once('-')?.0.to_owned())
}

/// `test NAME ... ok <1.234s>`.
fn test_of(line: &str) -> Option<(&str, Duration)> {
    let (test, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let seconds = outcome.strip_suffix("s>")?.rsplit_once('<')?.1;
    let time = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    Some((test, time))
}

/// Runs `cargo test`, to whose arguments nothing behind `--` has been added yet, with these arguments for
/// the test programs. Shows all it prints and keeps the times of its tests.
pub fn run(cargo_test: &mut Command, arguments: &[&str], times: &mut Times) -> Result<()> {
    cargo_test
        .arg("--config")
        .arg(format!("target.'cfg(all())'.runner = 'env {ENVIRONMENT}'"))
        .arg("--")
        .args(ARGUMENTS)
        .args(arguments);
    let line = cargo_test.line();
    println!("$ {line}");
    // One pipe for both, so that what cargo says stays before what the program it speaks of prints.
    let (output, end) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = cargo_test
        .stdout(end.try_clone().context("cannot share a pipe")?)
        .stderr(end)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {line}"))?;
    // This program's own ends of the pipe would keep it open.
    cargo_test.stdout(Stdio::null()).stderr(Stdio::null());
    let lines = lines_of(output);
    let mut reader = Reader::new("");
    let status = loop {
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(line) => show(&line, &mut reader, times),
            Err(RecvTimeoutError::Disconnected) => break child.wait()?,
            Err(RecvTimeoutError::Timeout) => {
                // What a test left running has the pipe too, and may keep it for ever.
                if let Some(status) = child.try_wait()? {
                    break status;
                }
            }
        }
    };
    lines
        .try_iter()
        .for_each(|line| show(&line, &mut reader, times));
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

fn show(line: &str, reader: &mut Reader, times: &mut Times) {
    println!("{line}");
    if let Some((test, time)) = reader.read(line) {
        times.add(test, time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_test_has_its_programs_name_and_its_time() {
        let mut reader = Reader::new("kernel on 6.1");
        let first = reader.read("test opens::one ... ok <1.500s>");
        assert_eq!(
            first,
            Some(("kernel on 6.1 opens::one".into(), seconds(1.5)))
        );
        let running =
            "     Running unittests src/lib.rs (target/debug/deps/skep_spool-0f1e2d3c4b5a6978)";
        assert_eq!(reader.read(running), None);
        let second = reader.read("test lanes - should panic ... FAILED <0.250s>");
        let named = "skep_spool lanes - should panic";
        assert_eq!(second, Some((named.into(), seconds(0.25))));
    }

    #[test]
    fn other_lines_are_no_test() {
        let mut reader = Reader::new("x");
        for line in [
            "test result: ok. 3 passed; 0 failed; finished in 0.10s",
            "test one ... ignored, needs a package",
            "test two ... ok",
            "running 3 tests",
            "test three ... ok <s>",
            "test four ... ok <-1.0s>",
            "",
        ] {
            assert_eq!(reader.read(line), None, "{line}");
        }
    }

    #[test]
    fn the_slowest_come_first_and_are_no_more_than_asked_for() {
        let mut times = Times::default();
        for (name, time) in [("a", 1.0), ("b", 3.0), ("c", 2.0)] {
            times.add(name.into(), seconds(time));
        }
        let names: Vec<_> = times.slowest(2).iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "c"]);
    }
}
