//! The identity of this installation towards the collector: 128 random bits, chosen once.
//!
//! Invariants: it is never a hostname, a serial number or anything else about the machine; a file
//! that is there but cannot be read as an id is an error, never a silent new identity.

use std::{
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// File in the state directory.
const FILE: &str = "install-id";

/// A random install id; its display form is 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InstallId(pub [u8; 16]);

#[derive(Debug, thiserror::Error)]
pub enum InstallIdError {
    #[error("state directory {directory}: {source}", directory = .directory.display())]
    Directory {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("install id {file}: {source}", file = .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error(
        "install id {file} does not hold 32 hexadecimal digits: restore it, or remove it to take a new identity",
        file = .file.display()
    )]
    Malformed { file: PathBuf },
    #[error("install id {file}: no random bytes from the system: {reason}", file = .file.display())]
    Random {
        file: PathBuf,
        reason: getrandom::Error,
    },
}

impl InstallId {
    /// Reads the id of `state_directory`, creating both when they are not there. What is returned
    /// is on disk.
    pub fn load_or_create(state_directory: &Path) -> Result<Self, InstallIdError> {
        fs::create_dir_all(state_directory).map_err(|source| InstallIdError::Directory {
            directory: state_directory.to_owned(),
            source,
        })?;
        let file = state_directory.join(FILE);
        match fs::read(&file) {
            Ok(bytes) => parse(&bytes).ok_or(InstallIdError::Malformed { file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(state_directory, file),
            Err(source) => Err(InstallIdError::File { file, source }),
        }
    }
}

fn create(directory: &Path, file: PathBuf) -> Result<InstallId, InstallIdError> {
    let mut bytes = [0; 16];
    if let Err(reason) = getrandom::fill(&mut bytes) {
        return Err(InstallIdError::Random { file, reason });
    }
    let id = InstallId(bytes);
    let write = || {
        let new = file.with_extension("new");
        let mut out = fs::File::create(&new)?;
        writeln!(out, "{id}")?;
        out.sync_all()?;
        fs::rename(new, &file)?;
        fs::File::open(directory)?.sync_all()
    };
    match write() {
        Ok(()) => Ok(id),
        Err(source) => Err(InstallIdError::File { file, source }),
    }
}

fn parse(bytes: &[u8]) -> Option<InstallId> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut id = [0; 16];
    if text.len() != 2 * id.len() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(value).ok()?;
        }
    }
    Some(InstallId(id))
}

impl fmt::Display for InstallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_chosen_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("lib/skep");
        let id = InstallId::load_or_create(&state).unwrap();
        assert_eq!(InstallId::load_or_create(&state).unwrap(), id);
        assert_eq!(id.to_string().len(), 32);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(InstallId::load_or_create(other.path()).unwrap(), id);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        for text in ["", "abc", &"g".repeat(32), &"a".repeat(33)] {
            fs::write(&file, text).unwrap();
            let error = InstallId::load_or_create(dir.path()).unwrap_err();
            assert!(
                matches!(error, InstallIdError::Malformed { .. }),
                "{text:?}: {error}"
            );
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
