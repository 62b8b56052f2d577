//! The program as it is started on a server, also through another program that makes its life hard.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

pub struct Program {
    child: Child,
    /// The collector itself, which may be a child of the child.
    pid: Pid,
    pub url: String,
}

impl Program {
    pub fn serve(data: &Path) -> Self {
        Self::through(&[], data, &[])
    }

    /// Started by another program (`strace …`), with more arguments of its own.
    pub fn through(wrapper: &[&str], data: &Path, arguments: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_skep-collector");
        let mut words = wrapper.iter().copied().chain([program]);
        let flush_every = match arguments.contains(&"--flush-every") {
            true => &[][..],
            false => &["--flush-every", "1s"],
        };
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--http", "off", "--postgres", "off"])
            .args(flush_every)
            .args(arguments)
            .arg("--data")
            .arg(data)
            .env("SKEP_LOG", "warn")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{wrapper:?}: {error}; `cargo xtask setup` installs it")
            });
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.find_map(|line| line.unwrap().strip_prefix("ready ").map(str::to_owned));
        // The rest of standard error is read, so that the program never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let pid = match wrapper {
            [] => Pid::from_child(&child),
            _ => the_collector_below(Pid::from_child(&child)),
        };
        Self {
            url: format!("http://{}", ready.expect("it said ready")),
            child,
            pid,
        }
    }

    pub fn kill(mut self) {
        kill_process(self.pid, Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(mut self) {
        kill_process(self.pid, Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Only when the test failed.
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The only child of a child, and so on, until one is the collector.
fn the_collector_below(parent: Pid) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", parent.as_raw_nonzero());
    let children = std::fs::read_to_string(children).unwrap();
    let child: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    let child = Pid::from_raw(child).unwrap();
    let name = std::fs::read_to_string(format!("/proc/{}/comm", child.as_raw_nonzero())).unwrap();
    match name.starts_with("skep-collector") {
        true => child,
        false => the_collector_below(child),
    }
}
