//! User names by uid: from the host's `/etc/passwd`, and of who is not in there from its name service.
//!
//! The file is read here. The name service (NSS) loads foreign code and may ask the network: a child of its own
//! asks it, and the answer comes later ([`name_service`]).
//!
//! Bounds: at most [`MAX_FILE`] bytes are read; a line longer than [`MAX_LINE`] is skipped.

pub mod name_service;

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use skep_event::UserSource;

use self::name_service::{GETENT, NameService};

const MAX_FILE: u64 = 16 << 20;
const MAX_LINE: usize = 4096;

/// Looks names up: in one passwd file, reading it anew each time (sessions are rare, users change), then in the
/// name service, if there is one.
#[derive(Debug)]
pub struct Users {
    file: PathBuf,
    service: Option<NameService>,
}

/// A user's name, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: Option<String>,
    pub source: UserSource,
}

// === impl Named ===

impl Named {
    /// No name, for this reason.
    pub const fn none(source: UserSource) -> Self {
        Self { name: None, source }
    }
}

// === impl Users ===

impl Users {
    /// The host's own users.
    pub fn host() -> Self {
        Self::of_file(Path::new("/etc/passwd")).or_by(Path::new(GETENT))
    }

    /// Of who is not in the file this program is asked, as getent(1) is.
    pub fn or_by(self, getent: &Path) -> Self {
        Self {
            service: Some(NameService::new(getent)),
            ..self
        }
    }

    /// The users of one file in passwd(5) format.
    pub fn of_file(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            service: None,
        }
    }

    /// What is known of the name; `None`: the answer is still to come, by [`Users::answers`].
    pub fn look_up(&mut self, uid: u32) -> Option<Named> {
        if let Some(name) = self.name(uid) {
            return Some(Named {
                name: Some(name),
                source: UserSource::Files,
            });
        }
        match &mut self.service {
            Some(service) => service.name(uid),
            None => Some(Named::none(UserSource::Unknown)),
        }
    }

    /// What the name service has answered since the last time.
    pub fn answers(&mut self) -> Vec<(u32, Named)> {
        self.service
            .as_mut()
            .map(NameService::answers)
            .unwrap_or_default()
    }

    /// The name of the first entry of the file with this uid; `None` when there is none or the file cannot be
    /// read.
    pub fn name(&self, uid: u32) -> Option<String> {
        // O_NONBLOCK: a FIFO in the file's place must not stop the sensor.
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&self.file)
            .ok()?;
        if !file
            .metadata()
            .is_ok_and(|meta: fs::Metadata| meta.is_file())
        {
            return None;
        }
        find(BufReader::new(file.take(MAX_FILE)), uid)
    }
}

/// The name of the first entry with this uid, in passwd(5) format.
pub fn find(mut lines: impl BufRead, uid: u32) -> Option<String> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines
            .by_ref()
            .take(MAX_LINE as u64)
            .read_until(b'\n', &mut line)
            .ok()?;
        if read == 0 {
            return None;
        }
        if line.last() != Some(&b'\n') && read == MAX_LINE {
            skip_line(&mut lines)?;
            continue;
        }
        if let Some(name) = entry(&line, uid) {
            return Some(name);
        }
    }
}

fn skip_line(lines: &mut impl BufRead) -> Option<()> {
    loop {
        let buffer = lines.fill_buf().ok()?;
        if buffer.is_empty() {
            return Some(());
        }
        let end = memchr::memchr(b'\n', buffer);
        let used = end.map_or(buffer.len(), |at| at + 1);
        lines.consume(used);
        if end.is_some() {
            return Some(());
        }
    }
}

fn entry(line: &[u8], uid: u32) -> Option<String> {
    let mut fields = line.split(|byte| *byte == b':');
    let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
    // A passwd line has seven fields; `+::::::` and comments are no users.
    fields.nth(3)?;
    let name = std::str::from_utf8(name).ok()?;
    let number = std::str::from_utf8(number).ok()?;
    let plain = !name.is_empty()
        && !name.starts_with(['+', '-', '#'])
        && name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    (plain && number.parse() == Ok(uid)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(passwd: &[u8], uid: u32) -> Option<String> {
        find(passwd, uid)
    }

    #[test]
    fn first_entry_of_a_uid_names_it() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n\
                       dev:x:1000:1000:Dev,,,:/home/dev:/bin/zsh";
        assert_eq!(name(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name(passwd, 1000).as_deref(), Some("dev"));
        assert_eq!(name(passwd, 7), None);
    }

    #[test]
    fn lines_that_are_no_users_are_passed_over() {
        let long = format!("{}:x:5:5::/:/bin/sh\n", "l".repeat(3 * MAX_LINE));
        let passwd = format!(
            "# a:b:5:c:d:e:f\n+::5::::\n:x:5:5::/:/bin/sh\nx:x:5\na b:x:5:5:::\n\n{long}ok:x:5:5::/:/x\n"
        );
        assert_eq!(name(passwd.as_bytes(), 5).as_deref(), Some("ok"));
        assert_eq!(name(b"\xff\xfe:x:5:5::/:/bin/sh\n", 5), None);
    }

    #[test]
    fn a_missing_file_or_a_fifo_gives_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        assert_eq!(Users::of_file(&path).name(0), None);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(Users::of_file(&path).name(0), None);
        assert_eq!(Users::host().name(0).as_deref(), Some("root"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
            let _ = name(&bytes, 0);
        }
    }
}
