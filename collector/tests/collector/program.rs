//! The program as it is started on a server, also through another program that makes its life hard.

use std::{path::Path, process::Command};

/// Its name, as the kernel knows it.
const NAME: &str = "skep-collector";

pub struct Program {
    running: skep_testing::Program,
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
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--http", "off", "--postgres", "off"])
            .args(flush_every)
            .args(arguments)
            .arg("--data")
            .arg(data)
            .env("SKEP_LOG", "warn");
        let running = match wrapper {
            [] => skep_testing::Program::start(&mut command),
            _ => skep_testing::Program::start_through(&mut command, NAME),
        };
        Self {
            url: format!("http://{}", running.ready()),
            running,
        }
    }

    pub fn kill(mut self) {
        self.running.kill();
    }

    pub fn terminate(mut self) {
        assert!(self.running.terminate().success());
    }
}
