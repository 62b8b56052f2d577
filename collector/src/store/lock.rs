//! The lock of a data directory: one collector at a time.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

use crate::error::{Error, Result};

/// The lock of a data directory, until it is dropped.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread has forked and that has not executed its
        // program yet has the descriptor too, and with it the lock (flock(2)). It cannot fail for a lock
        // that is held.
        let _ = self.0.unlock();
    }
}

/// Takes it: an error when another process holds it.
pub(super) fn lock(directory: &Path) -> Result<Lock> {
    let unwritable = |source| Error::DataDirectory {
        path: directory.to_path_buf(),
        source,
    };
    fs::create_dir_all(directory).map_err(unwritable)?;
    let lock = File::create(directory.join("lock")).map_err(unwritable)?;
    match lock.try_lock() {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => Err(Error::DataDirectoryInUse {
            path: directory.to_path_buf(),
        }),
        Err(TryLockError::Error(source)) => Err(unwritable(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_has_inherited_the_lock_does_not_keep_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock(directory.path()).unwrap();
        assert!(matches!(
            lock(directory.path()),
            Err(Error::DataDirectoryInUse { .. })
        ));
        // What a fork gives to the child: another descriptor of the same open file.
        let inherited = held.0.try_clone().unwrap();
        drop(held);
        assert!(lock(directory.path()).is_ok());
        drop(inherited);
    }
}
