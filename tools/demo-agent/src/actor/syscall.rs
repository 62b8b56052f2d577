//! Opens and connections, by the exact system call an action is named after.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixStream};

use super::{c_string, check};

/// `openat` for reading.
pub fn open(path: &OsStr) -> io::Result<()> {
    OpenOptions::new().read(true).open(path).map(drop)
}

/// `openat` for writing with `O_CREAT | O_TRUNC`, and one byte.
pub fn create(path: &OsStr) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(b"\n")
}

/// `openat` with `O_PATH`: a handle, no access.
pub fn open_path(path: &OsStr) -> io::Result<()> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .map(drop)
}

/// `creat`, which the C library itself no longer calls.
pub fn creat(path: &OsStr) -> io::Result<()> {
    let path = c_string(path)?;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the pointer is to a zero-terminated string that outlives the call.
    let descriptor = unsafe { libc::syscall(libc::SYS_creat, path.as_ptr(), 0o644) };
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as above; newer architectures have no system call of that name.
    let descriptor = unsafe { libc::creat(path.as_ptr(), 0o644) }.into();
    close(descriptor)
}

/// `openat2` for reading, with no resolve restrictions.
pub fn openat2(path: &OsStr) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: `open_how` is a plain structure of integers, for which zero is "no option".
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u64;
    // SAFETY: both pointers outlive the call, and the size is that of the structure passed.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    close(descriptor)
}

/// A TCP connection, closed at once.
pub fn connect(address: SocketAddr) -> io::Result<()> {
    TcpStream::connect(address).map(drop)
}

/// One byte from a socket that was never connected.
pub fn send(address: SocketAddr) -> io::Result<()> {
    let local: SocketAddr = if address.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    UdpSocket::bind(local)?.send_to(b"\n", address).map(drop)
}

/// A stream connection to a unix socket; `@name` is the abstract name `name`.
pub fn connect_unix(path: &OsStr) -> io::Result<()> {
    UnixStream::connect_addr(&unix_address(path)?).map(drop)
}

/// One byte to a unix socket, from a datagram socket that was never connected.
pub fn send_unix(path: &OsStr) -> io::Result<()> {
    UnixDatagram::unbound()?
        .send_to_addr(b"\n", &unix_address(path)?)
        .map(drop)
}

fn unix_address(path: &OsStr) -> io::Result<UnixAddress> {
    match path.as_bytes() {
        [b'@', name @ ..] => UnixAddress::from_abstract_name(name),
        _ => UnixAddress::from_pathname(path),
    }
}

/// Closes a descriptor that a system call returned, or says why it returned none.
pub fn close(descriptor: libc::c_long) -> io::Result<()> {
    let descriptor = check(descriptor)?;
    let descriptor = i32::try_from(descriptor).expect("the kernel numbers descriptors with an int");
    // SAFETY: the call just returned this descriptor, and nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_what_is_not_there_reports_the_errno_of_the_kernel() {
        let missing = OsStr::new("/nonexistent/skep");
        for open in [open, openat2, creat, open_path] {
            assert_eq!(
                open(missing).unwrap_err().raw_os_error(),
                Some(libc::ENOENT)
            );
        }
    }

    #[test]
    fn an_abstract_socket_is_reached_by_its_name() {
        let name = format!("skep-demo-agent-{}", std::process::id());
        let address = UnixAddress::from_abstract_name(&name).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
        connect_unix(OsStr::new(&format!("@{name}"))).unwrap();
    }
}
