//! A program was executed.

use crate::{Column, Text, field::why};

class! {
    /// A program was executed; it is the event's process.
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
}
