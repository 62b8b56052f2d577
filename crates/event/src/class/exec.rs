//! A program was executed, or was to be.

use crate::{Column, Text, field::why};

class! {
    /// A program was executed; it is the event's process. With a result other than 0 it was not: the
    /// event's process is the one that tried.
    Exec = Exec at "exec", "exec" of Exec;

    /// The name given to `execve`; differs from the executable for scripts and links.
    filename: Option<Text> {
        wire: filename,
        column: text(Column::at(34, "exec_filename", "name given to execve; differs from exe for scripts and links")),
        secrets: text,
        meaning: "the name the program was started by, e.g. a script's",
        example: "/usr/local/bin/codex",
        why: why::COMMANDS,
        sample: Some("/bin/bash".into()),
    }
    /// Of an exec that failed; those of one that did not are the process's.
    argv: Vec<Text> {
        wire: argv,
        column: arguments(Column::at(69, "exec_argv", "arguments of an exec that failed")),
        secrets: command(argv_truncated),
        meaning: "the command line that a failed exec was to have, argument by argument",
        example: "[\"nmap\",\"-sV\"]",
        why: why::COMMANDS,
        sample: ["nmap", "-sV"].map(Into::into).to_vec(),
    }
    argv_truncated: bool {
        wire: argv_truncated,
        column: flag(Column::at(70, "exec_argv_truncated", "arguments of a failed exec were longer than what the sensor records")),
        secrets: none,
        meaning: "whether that command line was longer than what is recorded, or not readable",
        example: "false",
        why: why::COMPLETENESS,
        sample: false,
    }
}

// === impl Exec ===

impl Exec {
    /// Of a program that was executed.
    pub fn done(filename: Option<Text>) -> Self {
        Self {
            filename,
            argv: Vec::new(),
            argv_truncated: false,
        }
    }
}

#[cfg(test)]
impl Exec {
    /// Part of the JSON form of its sample that failed.
    pub(crate) const SAMPLE_FAILED_JSON: &'static str = r#""exec":{"filename":"/bin/bash","argv":["nmap","-sV"],"argv_truncated":false},"exit":null,"file":null,"net":null,"result":"ENOENT""#;
}
