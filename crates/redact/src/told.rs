//! Passwords that another program writes for a command: `$(echo X)`, `<(echo X)`, `--password-command 'echo
//! X'`, and those that a command writes into a file that is called after them.

use crate::{
    argument::{self, Active},
    name::Class,
    program::Value,
    reader::{Group, Reader},
    script::Script,
    table,
    word::{Placed, Source},
};

/// How much of a name is looked at.
const NAME: usize = 96;

impl Reader<'_> {
    /// Marks what commands write that stand in the words of a command.
    pub fn told(&mut self, words: &[Placed<'_>], active: &[Active], depth: usize) {
        for (at, placed) in words.iter().enumerate() {
            let bytes = placed.bytes();
            let before = at.checked_sub(1).map_or(&b""[..], |at| words[at].bytes());
            if memchr::memchr(b' ', bytes).is_some() {
                self.commands_for_passwords(*placed, before, depth);
            }
            if placed.word.substitutions.is_empty() {
                continue;
            }
            for inner in &placed.word.substitutions {
                let head = &bytes[..inner.start.saturating_sub(2)];
                let head = head.strip_suffix(b"\"").unwrap_or(head);
                let name = match memchr::memchr(b'=', &head[..head.len().min(NAME)]) {
                    Some(equals) => &bytes[..equals],
                    None if matches!(head, b"" | b"file:") => before,
                    None => continue,
                };
                let process = inner.start >= 2 && bytes[inner.start - 2] == b'<';
                let tells = match process {
                    true => {
                        let option = name.first() == Some(&b'-');
                        is_password_file(name)
                            || argument::reads_from(active, name)
                            || (head == b"file:" && name.starts_with(b"-pass"))
                            || (!option && head.is_empty() && argument::input(active).is_some())
                    }
                    false => self.is_password(name),
                };
                if tells {
                    let of = &Source::Within {
                        word: placed.word,
                        from: inner.start,
                        of: placed.of,
                    };
                    self.writers(&bytes[inner.clone()], of, Value::Whole, depth + 1);
                }
            }
        }
    }

    fn is_password(&self, name: &[u8]) -> bool {
        let class = match name.first() {
            Some(b'-') => self.names().option_class(name),
            _ => self.names().class(name),
        };
        class == Some(Class::Password)
    }

    /// `--password-command 'echo X'`, `BORG_PASSCOMMAND='echo X'`
    fn commands_for_passwords(&mut self, placed: Placed<'_>, before: &[u8], depth: usize) {
        let bytes = placed.bytes();
        let equals = memchr::memchr(b'=', &bytes[..bytes.len().min(NAME)]);
        let (name, from) = match equals {
            Some(equals) => (&bytes[..equals], equals + 1),
            None => (before, 0),
        };
        if !is_password_command(name) {
            return;
        }
        let of = &Source::Within {
            word: placed.word,
            from,
            of: placed.of,
        };
        self.writers(&bytes[from..], of, Value::Whole, depth + 1);
    }

    /// Marks what a command of a script writes into a file of passwords.
    pub fn filed(
        &mut self,
        script: &Script<'_, '_>,
        number: usize,
        words: &[Placed<'_>],
        groups: &[Group],
        text: &[u8],
    ) {
        let outputs = &script.commands[number].outputs;
        let tee = words.iter().position(|word| word.bytes().ends_with(b"tee"));
        if outputs.is_empty() && tee.is_none() {
            return;
        }
        let outputs = outputs.iter().filter_map(|index| script.word(*index));
        let after_tee = tee.map_or(&words[words.len()..], |at| &words[at + 1..]);
        let mut files = outputs.chain(after_tee.iter().copied());
        let Some(value) = files.find_map(|file| self.of_file(file.bytes())) else {
            return;
        };
        self.written(words, value);
        self.fed(script, number, value, text, 0);
        for group in groups {
            for writer in &group.upstream {
                self.written(&script.words(*writer), value);
                self.fed(script, *writer, value, text, 0);
            }
        }
    }

    /// What of a line of the file is a password.
    fn of_file(&self, path: &[u8]) -> Option<Value> {
        if path.len() > 512 {
            return None;
        }
        for [file, line, _] in table::rows::<3>(table::FILES) {
            let rest = path.strip_suffix(file.as_bytes());
            if rest.is_some_and(|rest| matches!(rest.last(), None | Some(b'/' | b'.'))) {
                return Some(match line {
                    "l:X" => Value::LastColon,
                    "* X" => Value::LastWord,
                    "_ _ X" => Value::ThirdWord,
                    _ => Value::Whole,
                });
            }
        }
        let slash = memchr::memrchr(b'/', path);
        let base = slash.map_or(path, |slash| &path[slash + 1..]);
        let dot = base
            .iter()
            .skip(1)
            .position(|b| *b == b'.')
            .map(|at| at + 1);
        let (name, extension) = base.split_at(dot.unwrap_or(base.len()));
        let plain: [&[u8]; 5] = [b"", b".txt", b".pass", b".pw", b".secret"];
        if !plain.contains(&extension) {
            return None;
        }
        let folder = &path[..slash.unwrap_or(0)];
        let of_secrets = folder.ends_with(b"/secrets") || folder == b"secrets";
        let etc = folder.ends_with(b"/etc");
        let tells = !etc && self.names().class(name) == Some(Class::Password);
        (tells || of_secrets || matches!(extension, b".pass" | b".pw")).then_some(Value::Whole)
    }
}

/// An option that names a file with a password: `--password-file`, `--key-file`, `--tls-psk-file`.
fn is_password_file(option: &[u8]) -> bool {
    let name = option[..option.len().min(NAME)].to_ascii_lowercase();
    let has = |part: &&[u8]| memchr::memmem::find(&name, part).is_some();
    let kinds: [&[u8]; 6] = [b"pass", b"psk", b"secret", b"key", b"token", b"pwfile"];
    option.starts_with(b"-") && has(&&b"file"[..]) && kinds.iter().any(has)
}

/// An option or variable that says by which command a password is had.
fn is_password_command(name: &[u8]) -> bool {
    let ends_with = |end: &&[u8]| {
        name.len() > end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end)
    };
    // Few words get beyond their last letter.
    let ends: &[&[u8]] = match name.last().map(u8::to_ascii_lowercase) {
        Some(b'd') => &[b"command", b"cmd"],
        Some(b'l') => &[b"eval"],
        Some(b'm') => &[b"program"],
        Some(b's') => return name == b"-extpass" || name == b"--extpass",
        _ => return false,
    };
    let name = &name[name.len().saturating_sub(NAME)..];
    let mut parts = name.windows(4);
    ends.iter().any(ends_with) && parts.any(|part| part.eq_ignore_ascii_case(b"pass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(command: &str) -> String {
        let argv = ["bash", "-c", command].map(skep_event::Text::from);
        let out = crate::Redactor::new().argv(&argv, false);
        out.map_or(command.to_owned(), |out| out[2].escaped().to_string())
    }

    #[test]
    fn what_is_written_into_a_file_of_the_table_is_secret() {
        for [file, line, _] in table::rows::<3>(table::FILES) {
            let line = match line {
                "l:X" => "h:1:Hunter2zz",
                "* X" => "a b Hunter2zz",
                "_ _ X" => "a b Hunter2zz d",
                _ => "Hunter2zz",
            };
            let command = format!("echo '{line}' > /x/{file}");
            assert!(!out(&command).contains("Hunter2"), "{command}");
        }
        let names = "echo Hunter2zz | sudo tee /run/secrets/db";
        assert!(!out(names).contains("Hunter2"));
        let kept = "echo notes > docs/password.md; echo bob > name.txt; echo x > /etc/passwd";
        assert_eq!(out(kept), kept);
    }

    #[test]
    fn what_a_command_writes_for_another_is_secret() {
        for command in [
            "gpg --passphrase-file <(echo Hunter2zz) -d a",
            "BORG_PASSCOMMAND='echo Hunter2zz' borg list",
            "gocryptfs --extpass 'echo Hunter2zz' a b",
            "DB_PASSWORD=$(printf %s Hunter2zz)",
        ] {
            assert!(!out(command).contains("Hunter2"), "{command}");
        }
        for command in ["diff <(echo a1) <(echo b1)", "DB_PASSWORD=$(cat file)"] {
            assert_eq!(out(command), command);
        }
    }
}
