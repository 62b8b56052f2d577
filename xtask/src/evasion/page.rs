//! `docs/evasion.md`, from the verdicts alone.

use std::fmt::Write;

use super::results::{Book, Column, Place, Technique, Verdict, Word};

/// Facts of the table of hooks, with their headings.
const FACTS: [(&str, &str); 9] = [
    ("exec", "exec"),
    ("fork", "fork"),
    ("exit", "exit"),
    ("open", "open"),
    ("failed_exec", "failed exec"),
    ("change", "change"),
    ("connect_inet", "inet connect"),
    ("connect_unix", "unix connect"),
    ("socket", "other sockets"),
];

const OPENING: &str = "\
# Evasion

Written by `cargo xtask evasion` from `docs/evasion.json`, the verdicts of the tests; do not edit.
`cargo xtask test` fails when what it sees is not what is written here.

Ways for a program not to be seen, each one done for real by a small program (`tools/demo-agent`) under
a running sensor, and what the sensor made of it. A verdict is computed from the events of the one
session that the agent's own exec started, by the same code on every kernel
(`sensor-user/tests/kernel/evasion/`): an event that belongs to another session, or to none, counts for
nothing, and an exec without what the program then did is not enough.

- **`hook`**: seen, as what it was, by the hook named.
- **gap**: not all of it is known, and the sensor says by itself what is missing. The hook named is the one
  that saw the rest; the number leads to the note that says what is missing.
- **NOT SEEN**: nothing in the session tells of it. The note says why.
- **not possible**: this kernel does not let anybody do it.
";

const UNTRIED: &str = "\
## What is not tried here

- **Root against the sensor.** A program with `CAP_BPF` or `CAP_SYS_ADMIN` can detach programs, write
  maps or load a module. That is a question of noticing it, not of hooks.
- **Somebody else's hands.** What cron, at, systemd, sshd or a container engine do when an agent asks them
  to belongs to their own lineage. The asking is seen: a connection to a socket, or a file that is opened.
- **Descriptors from elsewhere.** A file that another process opened and passed on (`SCM_RIGHTS`,
  `pidfd_getfd`) is not opened by the agent, so there is no open to see.
- **Memory instead of files.** Reading another process with `process_vm_readv` or `ptrace`.
- **An agent in no catalogue.** What is not recognised is not watched.
";

/// The whole document.
pub fn write(book: &Book) -> String {
    let mut notes = Notes::default();
    let mut tables = String::new();
    let mut group = "";
    for technique in &book.techniques {
        if technique.group != group {
            group = &technique.group;
            let _ = write!(tables, "\n## {group}\n\n{}", heading("technique", book));
        }
        tables.push_str(&row(technique, &mut notes));
    }
    let mut page = format!("{OPENING}{}", summary(book));
    page.push_str(&hooks(book));
    page.push_str(&tables);
    page.push_str("\n## Notes\n\n");
    for (number, note) in notes.0.iter().enumerate() {
        let _ = writeln!(page, "{}. {}", number + 1, sentence(note));
    }
    format!("{page}\n{UNTRIED}")
}

/// Texts of the notes, in the order they are first needed.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, text: &str) -> usize {
        if let Some(at) = self.0.iter().position(|note| note == text) {
            return at + 1;
        }
        self.0.push(text.to_owned());
        self.0.len()
    }
}

/// How a column is headed: what it is, for people.
fn title(column: &Column) -> String {
    let tier = match column.tier.as_str() {
        "best" => "best tier",
        "tracepoints" => "tracepoints alone",
        "fallback" => "what it allows",
        other => other,
    };
    format!("{}: {tier}", column.series())
}

fn heading(first: &str, book: &Book) -> String {
    let mut line = format!("| {first} |");
    for column in &book.columns {
        let _ = write!(line, " {} |", title(column));
    }
    line.push('\n');
    line.push_str("|---|");
    line.push_str(&"---|".repeat(book.columns.len()));
    line.push('\n');
    line
}

fn row(technique: &Technique, notes: &mut Notes) -> String {
    let mut line = format!("| **{}**: {} |", technique.title, technique.tries);
    for verdict in &technique.verdicts {
        let _ = write!(line, " {} |", cell(verdict, notes));
    }
    line.push('\n');
    line
}

fn cell(verdict: &Verdict, notes: &mut Notes) -> String {
    let hook = verdict.hook.as_deref().unwrap_or_default();
    let why = verdict.why.as_deref().unwrap_or_default();
    match verdict.verdict {
        Word::Seen => format!("`{hook}`"),
        Word::Gap if hook.is_empty() => format!("gap {}", notes.number(why)),
        Word::Gap => format!("`{hook}`, gap {}", notes.number(why)),
        Word::NotSeen => format!("**NOT SEEN** {}", notes.number(why)),
        Word::NotPossible => format!("not possible {}", notes.number(why)),
    }
}

/// How many techniques have which verdict.
fn summary(book: &Book) -> String {
    let words = [
        (Word::Seen, "seen"),
        (Word::Gap, "gap stated"),
        (Word::NotSeen, "not seen"),
        (Word::NotPossible, "not possible"),
    ];
    let count = |at: usize, word: Word| {
        let has = |technique: &&Technique| technique.verdicts[at].verdict == word;
        book.techniques.iter().filter(has).count()
    };
    let mut text = format!(
        "\n## In short\n\n{}",
        heading(&format!("of {} techniques", book.techniques.len()), book)
    );
    for (word, name) in words {
        let counts: Vec<_> = (0..book.columns.len()).map(|at| count(at, word)).collect();
        // That nothing went unseen is worth a line; that nothing was impossible is not.
        if counts.iter().all(|count| *count == 0) && word > Word::NotSeen {
            continue;
        }
        let cells: String = counts.iter().map(|count| format!(" {count} |")).collect();
        let _ = writeln!(text, "| {name} |{cells}");
    }
    text.push('\n');
    text.push_str(&unseen(book));
    text
}

/// What is not seen, and where: a line a technique.
fn unseen(book: &Book) -> String {
    let mut text = String::new();
    for technique in &book.techniques {
        let columns: Vec<_> = book
            .columns
            .iter()
            .zip(&technique.verdicts)
            .filter(|(_, verdict)| verdict.verdict == Word::NotSeen)
            .map(|(column, _)| title(column))
            .collect();
        if !columns.is_empty() {
            let _ = writeln!(
                text,
                "- {}: not seen on {}",
                technique.title,
                columns.join("; ")
            );
        }
    }
    if text.is_empty() {
        text.push_str("Nothing goes unseen on any of them.\n");
    }
    text
}

/// Which hooks served.
fn hooks(book: &Book) -> String {
    let mut text = format!(
        "\n## Kernels and hooks\n\nThe virtual machines run kernels of Debian, once with the best hook for \
         each fact and once with nothing\nbut tracepoints, which is what a locked-down kernel leaves at the \
         least.{}\n\n{}",
        machine(book),
        heading("", book)
    );
    let releases: String = book
        .columns
        .iter()
        .map(|column| format!(" {} |", column.kernel))
        .collect();
    let _ = writeln!(text, "| release |{releases}");
    for (fact, name) in FACTS {
        let cells: String = book
            .columns
            .iter()
            .map(|column| format!(" `{}` |", column.hook(fact)))
            .collect();
        let _ = writeln!(text, "| {name} |{cells}");
    }
    text
}

fn machine(book: &Book) -> String {
    let machine = book
        .columns
        .iter()
        .find(|column| column.place == Place::Machine);
    machine.map_or_else(String::new, |column| {
        format!(
            " The last column is the machine\nthis was written down on, {}, with whatever its own kernel \
             allows.",
            column.kernel
        )
    })
}

/// A note as a sentence.
fn sentence(note: &str) -> String {
    let mut letters = note.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{book, not_seen, seen};
    use super::*;

    #[test]
    fn a_technique_that_goes_unseen_is_said_to_with_its_reason() {
        let page = write(&book(&[seen("a"), not_seen("b")]));
        assert!(page.contains("| **a**: x | `lsm/file_open` |\n"), "{page}");
        assert!(page.contains("| **b**: x | **NOT SEEN** 1 |\n"), "{page}");
        assert!(page.contains("\n1. No hook for it.\n"), "{page}");
        assert!(page.contains("| not seen | 1 |\n"), "{page}");
    }

    #[test]
    fn the_same_reason_is_one_note() {
        let page = write(&book(&[not_seen("a"), not_seen("b")]));
        assert_eq!(page.matches("**NOT SEEN** 1 |").count(), 2, "{page}");
        assert!(!page.contains("\n2. "), "{page}");
    }
}
