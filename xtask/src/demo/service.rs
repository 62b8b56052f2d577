//! A program of the project that runs in the background: started, waited for until it says it is
//! ready, stopped by SIGTERM to its pid, and required to end with 0.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::command::{Run, last_lines};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// A running service. Ended when dropped.
pub struct Service {
    name: String,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Service {
    /// Starts a program and waits for the line of standard error that begins with `ready`.
    /// Returns the rest of that line.
    pub fn start(command: &mut Command) -> Result<(Self, String)> {
        println!("$ {}", command.line());
        let program = Path::new(command.get_program());
        let name = program
            .file_name()
            .unwrap_or_default()
            .display()
            .to_string();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stderr = BufReader::new(child.stderr.take().expect("standard error was piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let ready = follow(stderr, Arc::clone(&log));
        let service = Self { name, child, log };
        match ready.recv_timeout(READY_WITHIN) {
            Ok(rest) => Ok((service, rest)),
            Err(_) => bail!(
                "{} never said it was ready; it said:\n{}",
                service.name,
                service.log()
            ),
        }
    }

    /// The end of what the program wrote to standard error.
    pub fn log(&self) -> String {
        last_lines(&self.log.lock().expect("no holder of the lock panics"), 30)
    }

    /// Resident memory of the program, in kibibytes (`VmRSS` of proc(5)).
    pub fn resident_kib(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&file)
            .with_context(|| format!("{} has ended; it said:\n{}", self.name, self.log()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .with_context(|| format!("no VmRSS in {file}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the program as a crash does, and waits until it has ended.
    pub fn kill(&mut self) -> Result<()> {
        println!("$ kill -KILL {} ({})", self.child.id(), self.name);
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "{} had already ended with {status}; it said:\n{}",
                self.name,
                self.log()
            );
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the program to end and waits until it has, with 0.
    pub fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("the system numbers processes with positive ints");
        println!("$ kill -TERM {} ({})", pid, self.name);
        rustix::process::kill_process(pid, Signal::TERM).with_context(|| {
            format!("{} had already ended; it said:\n{}", self.name, self.log())
        })?;
        let deadline = Instant::now() + STOPPED_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!(
                    "{} ended with {status}; it said:\n{}",
                    self.name,
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!(
            "{} did not end on SIGTERM within {} s",
            self.name,
            STOPPED_WITHIN.as_secs()
        );
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects the lines of a program in a thread; what follows `ready` is sent once.
fn follow(stderr: impl BufRead + Send + 'static, log: Arc<Mutex<String>>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in stderr.lines() {
            let Ok(line) = line else { break };
            if let Some(rest) = line.strip_prefix("ready")
                && (rest.is_empty() || rest.starts_with(' '))
            {
                // The receiver is gone after the first.
                let _ = sender.send(rest.trim().to_owned());
            }
            let mut log = log.lock().expect("no holder of the lock panics");
            log.push_str(&line);
            log.push('\n');
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_service_is_ready_when_it_says_so_and_ends_on_sigterm() {
        let script = "trap 'exit 0' TERM; echo ready 127.0.0.1:1 >&2; while :; do sleep 0.01; done";
        let (mut service, rest) = Service::start(&mut shell(script)).unwrap();
        assert_eq!(rest, "127.0.0.1:1");
        service.stop().unwrap();
    }

    #[test]
    fn a_service_that_ends_first_reports_what_it_said() {
        let Err(error) = Service::start(&mut shell("echo no kernel >&2; exit 3")) else {
            panic!("it never was ready");
        };
        assert!(error.to_string().contains("no kernel"), "{error}");
    }

    #[test]
    fn a_service_that_ends_badly_is_an_error() {
        let script = "trap 'exit 4' TERM; echo ready >&2; while :; do sleep 0.01; done";
        let (mut service, _) = Service::start(&mut shell(script)).unwrap();
        assert!(
            service
                .stop()
                .unwrap_err()
                .to_string()
                .contains("exit status: 4")
        );
    }
}
