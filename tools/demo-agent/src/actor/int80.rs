//! System calls as a 32-bit program makes them, from this one: `int 0x80`.
//!
//! Numbers: arch/x86/entry/syscalls/syscall_32.tbl. What a call points to lies below 4 GiB, since that
//! is all of a pointer that such a call has.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use super::{c_string, process, socket, syscall};

const UNLINK: u32 = 10;
const GETPID: u32 = 20;
const OPENAT: u32 = 295;
const CONNECT: u32 = 362;

/// `openat` for reading.
pub fn open(path: &OsStr) -> io::Result<()> {
    is_available()?;
    let path = Low::holding(c_string(path)?.as_bytes_with_nul())?;
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as u32;
    syscall::close(call(OPENAT, [libc::AT_FDCWD as u32, path.0, flags])?.into())
}

/// `unlink`.
pub fn unlink(path: &OsStr) -> io::Result<()> {
    is_available()?;
    let path = Low::holding(c_string(path)?.as_bytes_with_nul())?;
    call(UNLINK, [path.0, 0, 0]).map(drop)
}

/// `connect` of a TCP socket.
pub fn connect(address: SocketAddr) -> io::Result<()> {
    is_available()?;
    let tcp = socket::new(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let (peer, length) = socket::inet(address)?;
    // SAFETY: a structure of integers without padding.
    let bytes = unsafe { std::slice::from_raw_parts((&raw const peer).cast::<u8>(), length) };
    let peer = Low::holding(bytes)?;
    let arguments = [tcp.as_raw_fd() as u32, peer.0, length as u32];
    call(CONNECT, arguments).map(drop)
}

/// A kernel without such calls ends the process that makes one; so a child tries first.
fn is_available() -> io::Result<()> {
    let child = process::fork(|| call(GETPID, [0; 3]).map(drop))?;
    process::wait(child).map_err(|_| io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Address of a page below 4 GiB; it stays until the process ends.
struct Low(u32);

impl Low {
    fn holding(bytes: &[u8]) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice, filled within its length.
        unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                bytes.len(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
                -1,
                0,
            );
            if page == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            page.cast::<u8>()
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            let address = u32::try_from(page.addr());
            Ok(Self(address.expect("asked for below 4 GiB")))
        }
    }
}

fn call(number: u32, arguments: [u32; 3]) -> io::Result<i32> {
    let [first, second, third] = arguments.map(u64::from);
    let mut result = u64::from(number);
    // SAFETY: the calls made here read what their arguments point to, and change no memory. `rbx` is
    // given back; older kernels do not keep r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx",
            "int 0x80",
            "xchg {first}, rbx",
            first = inout(reg) first => _,
            inlateout("rax") result,
            in("rcx") second,
            in("rdx") third,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    match result as i32 {
        error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
        result => Ok(result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_a_32_bit_program_opens_and_says_why_not() {
        if is_available().is_err() {
            println!("this kernel has no 32-bit system calls");
            return;
        }
        open(OsStr::new("/proc/self/status")).unwrap();
        let missing = open(OsStr::new("/nonexistent/skep")).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    }
}
