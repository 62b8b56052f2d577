//! A program of the project in the background: started, waited for until it is ready, ended.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, channel},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{Finish, eventually};

/// Time in which a program is ready, unless it hangs.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A child that is killed when dropped, ended already or not.
#[derive(Debug)]
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail if it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that runs; asked to end with SIGTERM when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// The program itself, which may be a child of the child.
    pid: Pid,
    ready: String,
    said: Said,
}

/// The last lines of its standard error.
type Said = Arc<Mutex<VecDeque<String>>>;

/// So many lines are kept.
const SAID_MAX: usize = 1000;

// === impl Program ===

impl Program {
    /// Starts it and waits for a line of its standard error that is `ready`, or begins with that word.
    ///
    /// # Panics
    /// When it ends before that, or does not say it; the message has what it said instead.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?}: {error}; `cargo xtask setup` installs what tests start")
            });
        let stderr = child.stderr.take().expect("a pipe");
        let (sender, lines) = channel();
        let said = Said::default();
        let kept = Arc::clone(&said);
        // Reads to the end, so that the program never waits for a reader.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == SAID_MAX {
                    kept.pop_front();
                }
                kept.push_back(line.clone());
                drop(kept);
                // Nobody asks for what comes after it is ready.
                let _ = sender.send(line);
            }
        });
        let pid = Pid::from_child(&child);
        let mut program = Self {
            child,
            pid,
            ready: String::new(),
            said,
        };
        let mut said = Vec::new();
        loop {
            let line = match lines.recv_timeout(READY_WITHIN) {
                Ok(line) => line,
                // Dropping the program ends it.
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{command:?} was not ready after {READY_WITHIN:?}: {said:#?}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{command:?} ended before it was ready: {said:#?}")
                }
            };
            match line.strip_prefix("ready") {
                Some(rest) if rest.is_empty() || rest.starts_with(' ') => {
                    program.ready = rest.trim().to_owned();
                    return program;
                }
                _ => said.push(line),
            }
        }
    }

    /// The same for a program that another one starts (`strace …`); `name` is how the kernel knows it.
    pub fn start_through(command: &mut Command, name: &str) -> Self {
        let mut program = Self::start(command);
        program.pid = below(program.pid, name);
        program
    }

    /// What it said behind `ready`.
    pub fn ready(&self) -> &str {
        &self.ready
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Its standard output, once, if that was asked to be a pipe.
    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("a pipe")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("an own child")
    }

    /// Ends it with SIGTERM.
    pub fn terminate(&mut self) -> ExitStatus {
        self.end(Signal::TERM)
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) -> ExitStatus {
        self.end(Signal::KILL)
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        if let Some(status) = self.ended() {
            return status;
        }
        // It is not waited for yet, so that its number is its own; a child of it may have ended.
        let _ = kill_process(self.pid, signal);
        self.child.finish()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has failed: what it says is said, and nothing is left behind.
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            for line in said.iter() {
                eprintln!("{}: {line}", self.pid());
            }
            drop(said);
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        } else {
            self.terminate();
        }
    }
}

/// The process of this name below another: its first child, or the first child of that, and so on. It
/// may not have executed its program yet.
fn below(parent: Pid, name: &str) -> Pid {
    let what = format!("a process below it named {name}");
    eventually(&what, READY_WITHIN, || named_below(parent, name))
}

fn named_below(parent: Pid, name: &str) -> Option<Pid> {
    let children = format!("/proc/{0}/task/{0}/children", parent.as_raw_nonzero());
    let children = std::fs::read_to_string(children).ok()?;
    let child = children.split_whitespace().next()?;
    let child = Pid::from_raw(child.parse().ok()?)?;
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", child.as_raw_nonzero()));
    match comm.is_ok_and(|comm| comm.trim_end() == name) {
        true => Some(child),
        false => named_below(child, name),
    }
}

/// A program of the workspace that tests start and that is no part of the product. `variable` in the
/// environment names it; else it was built beside the test program.
///
/// # Panics
/// When it was not built.
fn built(variable: &str, program: &str, package: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    // target/PROFILE/deps/TEST-… → target/PROFILE/PROGRAM
    let mut path = std::env::current_exe().expect("a test program has a path");
    path.pop();
    path.pop();
    path.push(OsString::from(program));
    assert!(
        path.exists(),
        "{}: build it with `cargo build -p {package}`",
        path.display()
    );
    path
}

/// The agent that tests run: it does what its arguments say.
pub fn demo_agent() -> PathBuf {
    built("SKEP_DEMO_AGENT", "skep-demo-agent", "skep-demo-agent")
}

/// What tests start and end as a process of its own: a sensor, a feeder, a canary.
pub fn test_program() -> PathBuf {
    built(
        "SKEP_TEST_PROGRAM",
        "skep-test-program",
        "skep-test-program",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const LOOP: &str = "while :; do sleep 0.01; done";

    #[test]
    fn a_program_is_ready_when_it_says_so_and_ends_on_sigterm() {
        let script =
            format!("trap 'exit 7' TERM; echo readying >&2; echo ready 127.0.0.1:1 >&2; {LOOP}");
        let mut program = Program::start(&mut shell(&script));
        assert_eq!(program.ready(), "127.0.0.1:1");
        assert_eq!(program.ended(), None);
        assert_eq!(program.terminate().code(), Some(7));
    }

    #[test]
    fn a_killed_program_has_not_ended_by_itself() {
        let mut program = Program::start(&mut shell(&format!("echo ready >&2; {LOOP}")));
        assert_eq!(program.kill().signal(), Some(9));
    }

    #[test]
    #[should_panic(expected = "no kernel")]
    fn a_program_that_ends_first_is_reported_with_what_it_said() {
        Program::start(&mut shell("echo no kernel >&2; exit 3"));
    }

    #[test]
    fn a_program_is_ended_when_its_handle_is_dropped() {
        let program = Program::start(&mut shell(&format!("echo ready >&2; {LOOP}")));
        let process = format!("/proc/{}", program.pid());
        assert!(std::path::Path::new(&process).exists());
        drop(program);
        assert!(!std::path::Path::new(&process).exists());
    }

    #[test]
    fn a_program_below_another_is_the_one_that_is_ended() {
        // The outer shell has a child of its own: what follows keeps it from replacing itself.
        let mut command = shell("sleep 600 & echo ready >&2; wait; exit 5");
        let mut program = Program::start_through(&mut command, "sleep");
        let sleep = program.pid();
        assert_eq!(program.terminate().code(), Some(5));
        assert!(!std::path::Path::new(&format!("/proc/{sleep}")).exists());
    }
}
