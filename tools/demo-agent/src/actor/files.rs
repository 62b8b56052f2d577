//! Opens that come at a file by another way than its path.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{c_string, check, syscall};

/// How long [`wait_for`] waits: longer than the test waits that is to give the word.
const PATIENCE: Duration = Duration::from_secs(300);

/// Bytes of each folder's name in [`deep_create`].
const DEEP_NAME_BYTES: usize = 200;

/// Most bytes of a file handle (`MAX_HANDLE_SZ`, linux/exportfs.h).
const HANDLE_BYTES: usize = 128;

/// `struct file_handle` (linux/fs.h) with room for its bytes.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    handle: [u8; HANDLE_BYTES],
}

/// An `O_PATH` descriptor, which gives no access, re-opened for reading through `/proc/self/fd`.
pub fn open_path_again(path: &OsStr) -> io::Result<()> {
    let bare = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)?;
    let again = format!("/proc/self/fd/{}", bare.as_raw_fd());
    syscall::open(OsStr::new(&again))
}

/// `name_to_handle_at`, then `open_by_handle_at` on the file system of the path's folder.
pub fn open_by_handle(path: &OsStr) -> io::Result<()> {
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    let folder = std::fs::File::open(folder)?;
    let path = c_string(path)?;
    let mut handle = Handle {
        bytes: HANDLE_BYTES as u32,
        kind: 0,
        handle: [0; HANDLE_BYTES],
    };
    let mut mount_id: libc::c_int = 0;
    // SAFETY: the pointers outlive the call, and the handle says how many bytes it has room for.
    check(unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount_id,
            0,
        )
    })?;
    // SAFETY: the handle was filled in by the call above and outlives this one.
    syscall::close(unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            folder.as_raw_fd(),
            &raw mut handle,
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    })
}

/// Gives the file a second name and opens it by that.
pub fn hard_link_open(path: &OsStr, second: &OsStr) -> io::Result<()> {
    std::fs::hard_link(path, second)?;
    syscall::open(second)
}

/// Opens the file through a symbolic link.
pub fn symlink_open(path: &OsStr, link: &OsStr) -> io::Result<()> {
    std::os::unix::fs::symlink(path, link)?;
    syscall::open(link)
}

/// Gives the file another name and opens it by that.
pub fn rename_open(path: &OsStr, new: &OsStr) -> io::Result<()> {
    std::fs::rename(path, new)?;
    syscall::open(new)
}

/// Mounts the file or folder over another one, and opens that.
pub fn bind_open(path: &OsStr, over: &OsStr) -> io::Result<()> {
    let (source, target) = (c_string(path)?, c_string(over)?);
    // SAFETY: the paths are zero-terminated strings that outlive the call; a bind mount takes neither
    // a type nor data.
    let mounted = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    };
    check(mounted.into())?;
    syscall::open(over)
}

/// Returns when a file of this name is there, without opening it; gives up after [`PATIENCE`].
pub fn wait_for(path: &OsStr) -> io::Result<()> {
    let begun = Instant::now();
    while !Path::new(path).try_exists()? {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// `unlink`.
pub fn remove(path: &OsStr) -> io::Result<()> {
    std::fs::remove_file(path)
}

/// Makes folders inside one another and steps into each, so that no call names a path longer than
/// [`DEEP_NAME_BYTES`]; then creates the file `leaf` there and goes back to the root.
pub fn deep_create(folder: &OsStr, depth: u64) -> io::Result<()> {
    std::env::set_current_dir(folder)?;
    let name = "d".repeat(DEEP_NAME_BYTES);
    for _ in 0..depth {
        std::fs::create_dir(&name)?;
        std::env::set_current_dir(&name)?;
    }
    syscall::create(OsStr::new("leaf"))?;
    std::env::set_current_dir("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("skep-files-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_is_reached_by_another_name_and_without_one() {
        let folder = scratch("names");
        let (file, other) = (folder.join("file"), folder.join("other"));
        std::fs::write(&file, "x").unwrap();
        open_path_again(file.as_os_str()).unwrap();
        hard_link_open(file.as_os_str(), other.as_os_str()).unwrap();
        std::fs::remove_file(&other).unwrap();
        rename_open(file.as_os_str(), other.as_os_str()).unwrap();
        assert!(!file.exists() && other.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
