//! The serial console of a machine: printed as it comes, with the lines that are meant for this
//! program taken out.
//!
//! `SKEP-VM-BEGINS` ends what firmware and kernel print, which is shown only if the tests never
//! began. `SKEP-VM-EXIT CODE` says how the tests ended. Text files travel between `SKEP-VM-FILE NAME` and
//! `SKEP-VM-FILE-END`. The console is followed until the machine is off, or has printed nothing for so
//! long that it makes no progress; then the machine is ended by its pid. There is no limit in all: how
//! fast an emulated machine gets on depends on what else its host does.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::{Run, lines_of};
use crate::times::{Reader, Times};

/// Ends what the firmware and the kernel print.
pub const BEGINS: &str = "SKEP-VM-BEGINS";
/// Precedes the exit code of the test program.
pub const EXIT: &str = "SKEP-VM-EXIT";
/// Precedes the name of a file whose lines follow.
pub const FILE_BEGINS: &str = "SKEP-VM-FILE";
/// Ends a file.
pub const FILE_ENDS: &str = "SKEP-VM-FILE-END";

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The test program ended with 0.
    Passed,
    /// The test program ended with another code.
    Failed(i32),
    /// The machine went off before the test program ended.
    NoResult,
    /// The machine was stopped because its console was silent for so long.
    Stalled(Duration),
}

impl Outcome {
    /// `PASS` or `FAIL`.
    pub fn word(self) -> &'static str {
        if self == Self::Passed { "PASS" } else { "FAIL" }
    }

    /// Why it failed, to stand behind the word.
    pub fn reason(self) -> String {
        match self {
            Self::Passed => String::new(),
            Self::Failed(code) => format!(" (exit code {code})"),
            Self::NoResult => " (the machine ended without a result)".to_owned(),
            Self::Stalled(silence) => {
                format!(" (stopped: it printed nothing for {} s)", silence.as_secs())
            }
        }
    }
}

/// How a console is followed.
pub struct Follow<'a> {
    /// Silence after which the machine is stopped.
    pub patience: Duration,
    /// Where files that it hands out are written.
    pub files: &'a Path,
    /// Stands before each line.
    pub label: &'a str,
}

impl Follow<'_> {
    /// Starts a machine and prints its console. Returns how it ended, and the times of the tests it
    /// ran.
    pub fn run(&self, machine: &mut Command) -> Result<(Outcome, Times)> {
        println!("{}$ {}", self.label, machine.line());
        let mut child = machine
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the machine")?;
        let stdout = child
            .stdout
            .take()
            .expect("the output was asked to be piped");
        let ended = self.read(&lines_of(stdout));
        // Off already in all but one case; then this is an error that says nothing new.
        let _ = child.kill();
        child.wait().context("cannot wait for the machine")?;
        ended
    }

    fn read(&self, lines: &Receiver<String>) -> Result<(Outcome, Times)> {
        let Self {
            patience,
            files,
            label,
        } = self;
        let mut outcome = Outcome::NoResult;
        let mut reader = Reader::new(label.trim_end_matches([':', ' ']));
        let mut times = Times::default();
        let mut file: Option<File> = None;
        let mut before: Option<Vec<String>> = Some(Vec::new());
        loop {
            let line = match lines.recv_timeout(*patience) {
                Ok(line) => line,
                Err(reason) => {
                    before
                        .unwrap_or_default()
                        .iter()
                        .for_each(|line| println!("{label}{line}"));
                    let outcome = match reason {
                        RecvTimeoutError::Disconnected => outcome,
                        RecvTimeoutError::Timeout => Outcome::Stalled(*patience),
                    };
                    return Ok((outcome, times));
                }
            };
            // The firmware's last line has no end, so the mark may stand behind it.
            if line.ends_with(BEGINS) {
                before = None;
            } else if let Some(before) = &mut before {
                before.push(line);
            } else if line == FILE_ENDS {
                file = None;
            } else if let Some(open) = &mut file {
                writeln!(open, "{line}").context("cannot write a file of the guest")?;
            } else if let Some(name) = line.strip_prefix(FILE_BEGINS).and_then(safe_name) {
                std::fs::create_dir_all(files)?;
                let path = files.join(name);
                println!("{label}the guest left {}", path.display());
                file = Some(File::create(path)?);
            } else if let Some(code) = line.strip_prefix(EXIT) {
                outcome = match code.trim().parse() {
                    Ok(0) => Outcome::Passed,
                    Ok(code) => Outcome::Failed(code),
                    Err(_) => Outcome::NoResult,
                };
            } else {
                println!("{label}{line}");
                if let Some((test, time)) = reader.read(&line) {
                    times.add(test, time);
                }
            }
        }
    }
}

/// A file name from the guest, if it is one and not a path.
fn safe_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix(' ')?;
    (!name.is_empty() && !name.contains('/') && !name.starts_with('.')).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn outcome_of(lines: &[&str], files: &Path) -> Outcome {
        let (sender, receiver) = channel();
        for line in [&[BEGINS], lines].concat() {
            sender.send(line.to_owned()).unwrap();
        }
        drop(sender);
        follow(files).read(&receiver).unwrap().0
    }

    fn follow(files: &Path) -> Follow<'_> {
        Follow {
            patience: Duration::from_secs(60),
            files,
            label: "6.1: ",
        }
    }

    #[test]
    fn a_machine_that_prints_is_not_stopped_and_one_that_is_silent_is() {
        let (sender, receiver) = channel();
        let patience = Duration::from_millis(300);
        let follow = Follow {
            patience,
            ..follow(Path::new("/nonexistent"))
        };
        let printing = std::thread::spawn(move || {
            // In all longer than the patience, no pause nearly as long.
            for line in [BEGINS].into_iter().chain(["test a ... ok <0.050s>"; 12]) {
                sender.send(line.to_owned()).unwrap();
                std::thread::sleep(patience / 6);
            }
            sender
        });
        let (outcome, times) = follow.read(&receiver).unwrap();
        assert_eq!(outcome, Outcome::Stalled(patience));
        assert!(outcome.reason().contains("printed nothing"));
        let slowest = times.slowest(100);
        assert_eq!(slowest.len(), 12, "all that it printed was read");
        assert_eq!(slowest[0].0, "6.1 a");
        drop(printing.join().unwrap());
    }

    #[test]
    fn a_machine_that_goes_off_without_an_exit_line_has_failed() {
        let outcome = outcome_of(&["test result: ok. 3 passed"], Path::new("/nonexistent"));
        assert_eq!(outcome, Outcome::NoResult);
        assert_eq!(outcome.word(), "FAIL");
    }

    #[test]
    fn the_exit_line_decides() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(outcome_of(&["SKEP-VM-EXIT 0"], nowhere), Outcome::Passed);
        assert_eq!(
            outcome_of(&["SKEP-VM-EXIT 101"], nowhere),
            Outcome::Failed(101)
        );
    }

    #[test]
    fn the_lines_of_a_file_go_to_the_file() {
        let folder = std::env::temp_dir().join(format!("skep-console-{}", std::process::id()));
        let lines = [
            "SKEP-VM-FILE a.md",
            "| x |",
            "SKEP-VM-FILE-END",
            "SKEP-VM-EXIT 0",
        ];
        assert_eq!(outcome_of(&lines, &folder), Outcome::Passed);
        let content = std::fs::read_to_string(folder.join("a.md")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(content, "| x |\n");
    }

    #[test]
    fn a_guest_cannot_name_a_path() {
        assert_eq!(safe_name(" ../escape"), None);
        assert_eq!(safe_name(" /etc/passwd"), None);
        assert_eq!(safe_name(" evasion.md"), Some("evasion.md"));
    }
}
