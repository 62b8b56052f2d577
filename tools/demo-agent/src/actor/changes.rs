//! Changes of names and attributes, in a folder that is there and empty.

use std::ffi::{CString, OsStr};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::{c_string, check};

/// An id that stays as it is.
const STAYS: libc::uid_t = libc::uid_t::MAX;
/// `RENAME_EXCHANGE` (linux/fs.h).
const EXCHANGE: libc::c_uint = 2;

fn in_folder(folder: &OsStr, name: &str) -> io::Result<CString> {
    let path = std::path::Path::new(folder).join(name);
    c_string(path.as_os_str())
}

/// As editors and agents write files: under another name, then renamed; and without a name, then linked.
pub fn into_place(folder: &OsStr) -> io::Result<()> {
    let temporary = std::path::Path::new(folder).join("final.tmp.1.2");
    std::fs::write(&temporary, "x")?;
    std::fs::rename(&temporary, std::path::Path::new(folder).join("final"))?;
    let mut nameless = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .mode(0o600)
        .open(folder)?;
    nameless.write_all(b"x")?;
    let own = format!("/proc/self/fd/{}", nameless.as_raw_fd());
    let (own, new) = (c_string(OsStr::new(&own))?, in_folder(folder, "dropped")?);
    let flags = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: terminated strings that outlive the call.
    let linked = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            own.as_ptr(),
            libc::AT_FDCWD,
            new.as_ptr(),
            flags,
        )
    };
    check(linked.into()).map(drop)
}

/// `rename`.
pub fn rename(path: &OsStr, new: &OsStr) -> io::Result<()> {
    std::fs::rename(path, new)
}

/// Each kind of change, by absolute paths.
pub fn by_path(folder: &OsStr) -> io::Result<()> {
    let name = |name: &str| in_folder(folder, name);
    let (a, b, c, d) = (name("a")?, name("b")?, name("c")?, name("d")?);
    let (a, b, c, d) = (a.as_ptr(), b.as_ptr(), c.as_ptr(), d.as_ptr());
    let attribute = c"security.skep".as_ptr();
    // SAFETY: terminated strings that outlive the calls.
    let calls = unsafe {
        [
            libc::mknod(a, libc::S_IFREG | 0o600, 0),
            libc::rename(a, b),
            libc::link(b, a),
            libc::syscall(
                libc::SYS_renameat2,
                libc::AT_FDCWD,
                a,
                libc::AT_FDCWD,
                b,
                EXCHANGE,
            ) as i32,
            libc::symlink(c"../target".as_ptr(), c),
            libc::truncate(a, 7),
            libc::chmod(a, 0o640),
            libc::chown(a, 1, STAYS),
            libc::setxattr(a, attribute, c"x".as_ptr().cast(), 1, 0),
            libc::removexattr(a, attribute),
            libc::mkdir(d, 0o750),
            libc::rmdir(d),
            libc::unlink(a),
            libc::unlink(b),
            libc::unlink(c),
        ]
    };
    all(&calls)
}

/// Each by a descriptor of the file, or relative to one of the folder.
pub fn by_descriptor(folder: &OsStr) -> io::Result<()> {
    let directory = std::fs::File::open(folder)?;
    let path = std::path::Path::new(folder).join("a");
    let file = std::fs::File::create(path)?;
    let (at, fd) = (directory.as_raw_fd(), file.as_raw_fd());
    let (a, b, c, d) = (c"a".as_ptr(), c"b".as_ptr(), c"c".as_ptr(), c"d".as_ptr());
    let attribute = c"security.skep".as_ptr();
    // SAFETY: terminated strings that outlive the calls.
    let calls = unsafe {
        [
            libc::ftruncate(fd, 7),
            libc::fchmod(fd, 0o640),
            libc::fchown(fd, STAYS, 1),
            libc::fsetxattr(fd, attribute, c"x".as_ptr().cast(), 1, 0),
            libc::fremovexattr(fd, attribute),
            libc::renameat(at, a, at, b),
            libc::linkat(at, b, at, a, 0),
            libc::symlinkat(c"../target".as_ptr(), at, c),
            libc::fchmodat(at, b, 0o600, 0),
            libc::fchownat(at, b, 1, 1, libc::AT_SYMLINK_NOFOLLOW),
            libc::mkdirat(at, d, 0o750),
            libc::unlinkat(at, d, libc::AT_REMOVEDIR),
            libc::unlinkat(at, a, 0),
            libc::unlinkat(at, b, 0),
            libc::unlinkat(at, c, 0),
        ]
    };
    all(&calls)
}

/// Fails if one of the calls did: none of them may be missing where all are looked for.
fn all(calls: &[i32]) -> io::Result<()> {
    match calls.iter().position(|outcome| *outcome < 0) {
        None => Ok(()),
        Some(index) => Err(io::Error::other(format!("call {index} of them failed"))),
    }
}

/// Makes so many names in the folder, and removes them again.
pub fn storm(folder: &OsStr, count: u64) -> io::Result<()> {
    for n in 0..count {
        let name = in_folder(folder, &n.to_string())?;
        // SAFETY: a terminated string.
        check(unsafe { libc::mknod(name.as_ptr(), libc::S_IFREG | 0o600, 0) }.into())?;
    }
    for n in 0..count {
        let name = in_folder(folder, &n.to_string())?;
        // SAFETY: the same.
        check(unsafe { libc::unlink(name.as_ptr()) }.into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_can_be_made() {
        let folder = std::env::temp_dir().join(format!("skep-changes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        by_path(folder.as_os_str()).unwrap();
        by_descriptor(folder.as_os_str()).unwrap();
        storm(folder.as_os_str(), 3).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        into_place(folder.as_os_str()).unwrap();
        assert!(folder.join("final").exists() && folder.join("dropped").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
