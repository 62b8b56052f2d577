//! The variables of a process's environment that say what its runtime loads.
//!
//! Invariants: only variables whose names the caller gives are kept, and only for the question; what was not
//! read to its end is not known at all. Bounds: [`BYTES_MAX`] in all (the kernel allows three quarters of 8 MiB,
//! fs/exec.c), of which one entry and one chunk are in memory at a time.

use std::{
    fs::File,
    io::{Read as _, Seek},
};

use super::looks::Looks;

const BYTES_MAX: usize = 8 << 20;
const CHUNK: usize = 64 << 10;

/// The values of the wanted variables that are set.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Variables(Vec<(String, Vec<u8>)>);

/// What an environment file held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Not one byte: the process has no environment, or has ended.
    Nothing,
    Variables(Variables),
}

// === impl Variables ===

impl Variables {
    /// The value of a variable that was asked for; an empty one is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(known, _)| known == name)?;
        Some(found.1.as_slice()).filter(|value| !value.is_empty())
    }

    /// The variables `names` out of `/proc/PID/environ`; `None` when it cannot be read to its end.
    pub(super) fn read(mut file: &File, names: &[&str], looks: &Looks) -> Option<Read> {
        file.rewind().ok()?;
        let mut found = Self::default();
        let mut rest: Vec<u8> = Vec::new();
        let mut chunk = vec![0; CHUNK];
        let mut total = 0;
        loop {
            let filled = match file.read(&mut chunk) {
                Ok(filled) => filled,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            total += filled;
            if total > BYTES_MAX || looks.read(filled).is_err() {
                return None;
            }
            if filled == 0 {
                found.take(&rest, names);
                return Some(match total {
                    0 => Read::Nothing,
                    _ => Read::Variables(found),
                });
            }
            let mut entries = chunk[..filled].split(|byte| *byte == 0);
            if let Some(first) = entries.next() {
                rest.extend_from_slice(first);
            }
            for entry in entries {
                found.take(&rest, names);
                rest.clear();
                rest.extend_from_slice(entry);
            }
        }
    }

    /// The first entry of a name counts, as getenv(3) finds it.
    fn take(&mut self, entry: &[u8], names: &[&str]) {
        let Some(at) = entry.iter().position(|byte| *byte == b'=') else {
            return;
        };
        let (name, value) = (&entry[..at], &entry[at + 1..]);
        let is_new = |name: &str| self.0.iter().all(|(known, _)| known != name);
        if let Some(name) = names.iter().find(|known| known.as_bytes() == name)
            && is_new(name)
        {
            self.0.push(((*name).to_owned(), value.to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::looks::Budget;
    use super::*;

    fn read(bytes: &[u8]) -> Option<Read> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("writes");
        let looks = Looks::within(Budget::UNBOUNDED);
        Variables::read(&file, &["NODE_OPTIONS", "HOME"], &looks)
    }

    fn variables(bytes: &[u8]) -> Variables {
        match read(bytes) {
            Some(Read::Variables(variables)) => variables,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wanted_variables_are_read_wherever_they_stand_and_others_are_not_kept() {
        let long = "X=".to_owned() + &"x".repeat(3 * CHUNK + 17);
        let text = format!("A=1\0{long}\0NODE_OPTIONS=-r /x=y\0HOME=\0NODE_OPTIONS=2\0SECRET=s\0");
        let several = variables(text.as_bytes());
        assert_eq!(several.get("NODE_OPTIONS"), Some(&b"-r /x=y"[..]));
        assert_eq!(several.get("HOME"), None, "empty");
        assert_eq!(several.0.len(), 2);
        let last = variables(b"A=1\0HOME=/root");
        assert_eq!(last.get("HOME"), Some(&b"/root"[..]));
    }

    #[test]
    fn an_environment_that_is_not_read_to_its_end_is_not_known() {
        assert_eq!(read(b""), Some(Read::Nothing));
        let huge = "X=1\0".repeat(BYTES_MAX / 4 + 1);
        assert_eq!(read(huge.as_bytes()), None);
    }
}
