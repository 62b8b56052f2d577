//! Where the bytes of a log are: a file, as far as it is not redb's.
//!
//! The seam at which tests put a disk that fails.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError};

/// A place for one log.
pub(super) trait Medium: fmt::Debug + Send + Sync {
    /// How people name it.
    fn name(&self) -> &Path;
    /// `None`: there is none.
    fn bytes(&self) -> Option<u64>;
    fn remove(&self) -> io::Result<()>;
    /// Opens what is there, or makes it.
    fn create(&self, builder: &mut Builder) -> Result<Database, DatabaseError>;
    /// Opens what is there.
    fn open(&self, builder: &mut Builder) -> Result<Database, DatabaseError>;
    /// Whether it cannot give back what it has.
    fn is_unreadable(&self) -> bool;
    /// Makes its name survive a power cut.
    fn sync_name(&self) -> io::Result<()>;
    /// Puts what is there elsewhere; returns where.
    fn set_aside(&self) -> io::Result<PathBuf>;
}

/// A file of the data directory.
#[derive(Debug)]
pub(super) struct LogFile(pub PathBuf);

// === impl LogFile ===

impl Medium for LogFile {
    fn name(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Option<u64> {
        fs::metadata(&self.0).ok().map(|known| known.len())
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.0)
    }

    fn create(&self, builder: &mut Builder) -> Result<Database, DatabaseError> {
        builder.create(&self.0)
    }

    fn open(&self, builder: &mut Builder) -> Result<Database, DatabaseError> {
        builder.open(&self.0)
    }

    fn is_unreadable(&self) -> bool {
        let Ok(mut file) = fs::File::open(&self.0) else {
            return false;
        };
        io::copy(&mut file, &mut io::sink()).is_err()
    }

    fn sync_name(&self) -> io::Result<()> {
        match self.0.parent() {
            Some(folder) => super::local::sync_folder(folder),
            None => Ok(()),
        }
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = super::aside(&self.0);
        fs::rename(&self.0, &aside)?;
        Ok(aside)
    }
}
