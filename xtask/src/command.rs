//! External commands, shown before they run.

use std::fmt::Write;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, bail};

/// How a [`Command`] is run here.
pub trait Run {
    /// Shows the command, runs it with this program's input and output, and fails if it fails.
    fn run(&mut self) -> Result<()>;
    /// Runs the command without showing it and returns its standard output, which must be UTF-8.
    /// On failure the error carries the end of its standard error.
    fn quiet_output(&mut self) -> Result<String>;
    /// Whether the command can be started and ends with success; prints nothing.
    fn succeeds(&mut self) -> bool;
    /// The command as one would type it.
    fn line(&self) -> String;
}

impl Run for Command {
    fn run(&mut self) -> Result<()> {
        let line = self.line();
        println!("$ {line}");
        let status = self
            .status()
            .with_context(|| format!("cannot run {line}"))?;
        if !status.success() {
            bail!("{line}: {status}");
        }
        Ok(())
    }

    fn quiet_output(&mut self) -> Result<String> {
        let line = self.line();
        let output = self
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {line}"))?;
        if !output.status.success() {
            let messages = String::from_utf8_lossy(&output.stderr);
            bail!("{line}: {}: {}", output.status, last_lines(&messages, 20));
        }
        String::from_utf8(output.stdout).with_context(|| format!("{line}: output is not UTF-8"))
    }

    fn succeeds(&mut self) -> bool {
        self.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    fn line(&self) -> String {
        let mut line = String::new();
        for (name, value) in self.get_envs() {
            if let Some(value) = value {
                let assignment = format!("{}={} ", name.display(), quote(&value.to_string_lossy()));
                line.push_str(&assignment);
            }
        }
        line.push_str(&quote(&self.get_program().to_string_lossy()));
        for argument in self.get_args() {
            write!(line, " {}", quote(&argument.to_string_lossy()))
                .expect("writing to a string does not fail");
        }
        line
    }
}

/// The lines of a program's output, without their ends, read in a thread of its own, so that waiting
/// for one can have a limit. The channel is closed when the output is.
pub fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The last lines of a text, at most `count`.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A word as a shell takes it.
pub fn quote(word: &str) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:=@%+,".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else if word.contains('\'') && !word.contains(['"', '$', '`', '\\', '!']) {
        format!("\"{word}\"")
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo it's", "echo $it's"])
            .env("KEY", "a b");
        assert_eq!(
            command.line(),
            r#"KEY='a b' sh -c "echo it's" 'echo $it'\''s'"#
        );
    }

    #[test]
    fn a_failing_command_reports_what_it_said() {
        let error = Command::new("sh")
            .args(["-c", "echo why >&2; exit 3"])
            .quiet_output();
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("exit status: 3") && text.ends_with("why"),
            "{text}"
        );
    }
}
