//! Too much of everything, for tests of what an observer does then.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Command;

use super::process::{fork, wait};
use super::syscall;

/// Opens the files `0`, `1`, … of a folder as fast as it can.
pub fn opens(folder: &OsStr, count: u64) -> io::Result<()> {
    let folder = Path::new(folder);
    (0..count).try_for_each(|number| syscall::open(folder.join(number.to_string()).as_os_str()))
}

/// Creates the files `0`, `1`, … in a folder, each opened once.
pub fn creates(folder: &OsStr, count: u64) -> io::Result<()> {
    let folder = Path::new(folder);
    (0..count).try_for_each(|number| syscall::create(folder.join(number.to_string()).as_os_str()))
}

/// Runs a program, one after the other.
pub fn execs(program: &OsStr, count: u64) -> io::Result<()> {
    (0..count).try_for_each(|_| {
        let status = Command::new(program).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(status.to_string()))
        }
    })
}

/// Processes that all live at the same time: each waits for a byte, which it gets when the last one
/// was made, and ends.
pub fn processes(count: u64) -> io::Result<()> {
    let (gate, mut key) = io::pipe()?;
    let mut children = Vec::new();
    let mut outcome = Ok(());
    for _ in 0..count {
        match fork(|| io::Read::read_exact(&mut &gate, &mut [0])) {
            Ok(child) => children.push(child),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    // Whichever reads first goes first: every byte has to be there before one child is waited for.
    for _ in &children {
        io::Write::write_all(&mut key, &[0])?;
    }
    for child in children {
        wait(child)?;
    }
    outcome
}
