//! Who answers the queries: each engine is one warm process that takes SQL by the line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::collector::{Row, script};
use crate::command::Run;

/// A process that answers.
pub struct Engine {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// One answer.
#[derive(Debug, Deserialize)]
pub struct Answer {
    pub micros: Option<u64>,
    /// From the peers; the collector's are asked for by its client.
    pub rows: Option<Vec<Row>>,
    pub error: Option<String>,
}

impl Engine {
    /// The collector, over the client's own protocol.
    pub fn collector(programs: &Path, server: &str) -> Result<Self> {
        let mut command = Command::new(programs.join("skep-load"));
        command.args(["ask", "--server", server]);
        Self::start(&mut command)
    }

    /// `duckdb` or `chdb` over the files of the tables; returns what it calls itself as well.
    pub fn peer(python: &Path, engine: &str, tables: &Path) -> Result<(Self, String)> {
        #[derive(Deserialize)]
        struct Hello {
            version: String,
        }
        let mut command = Command::new(python);
        command.arg(script("peers.py")).arg(engine).arg(tables);
        let mut peer = Self::start(&mut command)?;
        let Hello { version } = peer.line()?;
        Ok((peer, version))
    }

    fn start(command: &mut Command) -> Result<Self> {
        println!("$ {}", command.line());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = child.stdout.take().expect("standard output was piped");
        Ok(Self {
            questions: child.stdin.take(),
            answers: BufReader::new(answers),
            child,
        })
    }

    pub fn ask(&mut self, sql: &str) -> Result<Answer> {
        let questions = self.questions.as_mut().expect("taken only when dropped");
        writeln!(questions, "{}", serde_json::to_string(sql)?)?;
        questions.flush()?;
        self.line()
    }

    fn line<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("an engine said: {line:?}"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // No more questions: it ends by itself.
        self.questions = None;
        let _ = self.child.wait();
    }
}
