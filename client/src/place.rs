//! Where the output goes: standard output, a pager, or a file.
//!
//! Invariants: a file has its name only once it is complete and on disk, until then it is `NAME.part`;
//! the terminal belongs to the pager until it has ended, however this ends.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Stdout, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::ClientError;

/// Shows nothing of its own when the text fits the screen, keeps colours and the text on exit.
const PAGER: &str = "less -FRX";

/// Where to write.
pub enum Place {
    Stdout(Stdout),
    Pager(Pager),
    File(PartialFile),
}

/// A pager that reads what is written.
pub struct Pager {
    child: Child,
}

/// A file that is not complete yet.
pub struct PartialFile {
    path: PathBuf,
    part: Part,
    file: BufWriter<File>,
}

/// `NAME.part`; removed when it did not get its name.
struct Part {
    path: PathBuf,
    is_named: bool,
}

// === impl Place ===

impl Place {
    /// The file, or else standard output.
    pub fn of(file: Option<&Path>) -> Result<Self, ClientError> {
        match file {
            Some(path) => Ok(Self::File(PartialFile::create(path)?)),
            None => Ok(Self::Stdout(io::stdout())),
        }
    }

    /// The same, but what goes to a terminal goes through the pager.
    pub fn for_reading(file: Option<&Path>, may_page: bool) -> Result<Self, ClientError> {
        if file.is_none()
            && may_page
            && io::stdout().is_terminal()
            && let Some(pager) = Pager::start()
        {
            return Ok(Self::Pager(pager));
        }
        Self::of(file)
    }

    /// Waits for the pager, or names the file.
    pub fn finish(self) -> Result<(), ClientError> {
        match self {
            Self::Stdout(mut out) => Ok(out.flush()?),
            // Dropping it waits for its reader.
            Self::Pager(_) => Ok(()),
            Self::File(file) => file.finish(),
        }
    }
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Pager(pager) => pager.write(bytes),
            Self::File(file) => file.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Pager(_) => Ok(()),
            Self::File(file) => file.file.flush(),
        }
    }
}

// === impl Pager ===

impl Pager {
    /// `PAGER`, or `less`; `None` when there is none, or it is empty or `cat`.
    fn start() -> Option<Self> {
        let told = std::env::var("PAGER").unwrap_or_else(|_| PAGER.to_owned());
        if matches!(told.trim(), "" | "cat") {
            return None;
        }
        // An interrupt is the pager's to act on; without this it would end this process, and leave the
        // pager to quarrel with the shell over the terminal. Once set, it stays.
        drop(signal(SignalKind::interrupt()));
        let exists = "command -v \"${1%% *}\" > /dev/null 2>&1";
        let mut check = Command::new("sh");
        check.args(["-c", exists, "sh", told.trim()]);
        if !check.status().is_ok_and(|status| status.success()) {
            return None;
        }
        let mut command = Command::new("sh");
        command.arg("-c").arg(&told).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", "FRX");
        }
        let child = command.spawn().ok()?;
        Some(Self { child })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let input = self.child.stdin.as_mut();
        input
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?
            .write(bytes)
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

// === impl PartialFile ===

impl PartialFile {
    pub fn create(path: &Path) -> Result<Self, ClientError> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = Part {
            path: PathBuf::from(part),
            is_named: false,
        };
        let file = File::create(&part.path).map_err(ClientError::file(&part.path))?;
        Ok(Self {
            path: path.to_path_buf(),
            part,
            file: BufWriter::new(file),
        })
    }

    pub fn finish(self) -> Result<(), ClientError> {
        let Self {
            path,
            mut part,
            file,
        } = self;
        let file = file.into_inner().map_err(|error| ClientError::File {
            path: part.path.clone(),
            source: error.into_error(),
        })?;
        file.sync_all().map_err(ClientError::file(&part.path))?;
        fs::rename(&part.path, &path).map_err(ClientError::file(&path))?;
        part.is_named = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_named {
            // What remains is named by its ending as incomplete.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
