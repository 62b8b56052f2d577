//! One operation through io_uring, by bare system calls: no open or connect system call is made.
//!
//! Layouts and numbers: linux/io_uring.h. Each operation has a ring of its own, whose mappings stay
//! until the process ends; offsets come from the kernel and are used as it gives them.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{c_string, check, syscall};

const ENTRIES: u32 = 4;
const OP_CONNECT: u8 = 16;
const OP_OPENAT: u8 = 18;
const OP_RENAMEAT: u8 = 35;
const OP_UNLINKAT: u8 = 36;
/// `IOSQE_ASYNC`: hand the operation to a kernel worker at once.
const BY_WORKER: u8 = 1 << 4;
/// `IORING_SETUP_SQPOLL`: a kernel thread takes entries from the ring by itself.
const SETUP_POLLED: u32 = 1 << 1;
const ENTER_GET_EVENTS: u32 = 1;
const ENTER_WAKE: u32 = 1 << 1;
const OFFSET_SQ_RING: libc::off_t = 0;
const OFFSET_CQ_RING: libc::off_t = 0x0800_0000;
const OFFSET_ENTRIES: libc::off_t = 0x1000_0000;
/// Bytes of `sockaddr_un` (linux/un.h).
const UNIX_ADDRESS_BYTES: usize = size_of::<libc::sockaddr_un>();

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq: SqOffsets,
    cq: CqOffsets,
}

/// `struct io_sqring_offsets`.
#[repr(C)]
#[derive(Default)]
struct SqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: u32,
    user_addr: u64,
}

/// `struct io_cqring_offsets`.
#[repr(C)]
#[derive(Default)]
struct CqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    reserved: u32,
    user_addr: u64,
}

/// `struct io_uring_sqe`.
#[repr(C)]
#[derive(Default)]
struct Entry {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    offset: u64,
    addr: u64,
    len: u32,
    op_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

/// `struct io_uring_cqe`.
#[repr(C)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

const _: () = {
    assert!(size_of::<Parameters>() == 120);
    assert!(size_of::<Entry>() == 64);
    assert!(size_of::<Completion>() == 16);
};

/// `openat` for reading, by the caller's own context where the kernel can.
pub fn open(path: &OsStr) -> io::Result<()> {
    open_with(path, 0, 0)
}

/// The same, by a kernel worker thread.
pub fn open_by_worker(path: &OsStr) -> io::Result<()> {
    open_with(path, BY_WORKER, 0)
}

/// The same, by the kernel thread that polls the ring; this process only waits.
pub fn open_by_poller(path: &OsStr) -> io::Result<()> {
    open_with(path, 0, SETUP_POLLED)
}

fn open_with(path: &OsStr, flags: u8, setup: u32) -> io::Result<()> {
    let path = c_string(path)?;
    let entry = Entry {
        opcode: OP_OPENAT,
        flags,
        fd: libc::AT_FDCWD,
        addr: path.as_ptr() as u64,
        op_flags: libc::O_RDONLY as u32,
        ..Entry::default()
    };
    syscall::close(perform(entry, setup)?.into())
}

/// `renameat`.
pub fn rename(path: &OsStr, new: &OsStr) -> io::Result<()> {
    let (path, new) = (c_string(path)?, c_string(new)?);
    let entry = Entry {
        opcode: OP_RENAMEAT,
        fd: libc::AT_FDCWD,
        addr: path.as_ptr() as u64,
        len: libc::AT_FDCWD as u32,
        offset: new.as_ptr() as u64,
        ..Entry::default()
    };
    perform(entry, 0).map(drop)
}

/// `unlinkat`.
pub fn unlink(path: &OsStr) -> io::Result<()> {
    let path = c_string(path)?;
    let entry = Entry {
        opcode: OP_UNLINKAT,
        fd: libc::AT_FDCWD,
        addr: path.as_ptr() as u64,
        ..Entry::default()
    };
    perform(entry, 0).map(drop)
}

/// A TCP connection.
pub fn connect(address: SocketAddr) -> io::Result<()> {
    let SocketAddr::V4(address) = address else {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    };
    let peer = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    };
    let socket = socket(libc::AF_INET)?;
    connect_with(&socket, (&raw const peer) as u64, size_of_val(&peer))
}

/// A stream connection to the unix socket of this path.
pub fn connect_unix(path: &OsStr) -> io::Result<()> {
    let bytes = path.as_bytes();
    let mut peer = [0u8; UNIX_ADDRESS_BYTES];
    peer[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
    // The last byte stays zero.
    let room = &mut peer[2..UNIX_ADDRESS_BYTES - 1];
    room.get_mut(..bytes.len())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENAMETOOLONG))?
        .copy_from_slice(bytes);
    let socket = socket(libc::AF_UNIX)?;
    connect_with(&socket, peer.as_ptr() as u64, peer.len())
}

fn connect_with(socket: &OwnedFd, address: u64, length: usize) -> io::Result<()> {
    let entry = Entry {
        opcode: OP_CONNECT,
        fd: socket.as_raw_fd(),
        offset: length as u64,
        addr: address,
        ..Entry::default()
    };
    perform(entry, 0).map(drop)
}

fn socket(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let socket = check(unsafe { libc::socket(family, libc::SOCK_STREAM, 0) }.into())?;
    Ok(owned(socket))
}

fn owned(descriptor: libc::c_long) -> OwnedFd {
    let descriptor =
        RawFd::try_from(descriptor).expect("the kernel numbers descriptors with an int");
    // SAFETY: a system call just returned this descriptor, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Sets up a ring, performs one operation and returns its result. What the entry points to must
/// live until then, as it does: the operation is over when this returns.
fn perform(entry: Entry, setup: u32) -> io::Result<i32> {
    let mut parameters = Parameters {
        flags: setup,
        sq_thread_idle: 1_000,
        ..Parameters::default()
    };
    // SAFETY: the structure outlives the call and has the size the kernel expects.
    let ring = owned(check(unsafe {
        libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut parameters)
    })?);
    let sq_bytes = parameters.sq.array as usize + parameters.sq_entries as usize * 4;
    let cq_bytes =
        parameters.cq.cqes as usize + parameters.cq_entries as usize * size_of::<Completion>();
    let entry_bytes = parameters.sq_entries as usize * size_of::<Entry>();
    let sq = map(&ring, OFFSET_SQ_RING, sq_bytes)?;
    let cq = map(&ring, OFFSET_CQ_RING, cq_bytes)?;
    let entries = map(&ring, OFFSET_ENTRIES, entry_bytes)?;

    // SAFETY: the offsets are the kernel's own for these mappings, which hold `ENTRIES` or more
    // entries each; the first of them is used once. Indices shared with the kernel are atomic.
    unsafe {
        entries.cast::<Entry>().write(entry);
        sq.add(parameters.sq.array as usize).cast::<u32>().write(0);
        word(sq, parameters.sq.tail).store(1, Ordering::Release);
        let wake = if setup & SETUP_POLLED != 0 {
            ENTER_WAKE
        } else {
            0
        };
        check(libc::syscall(
            libc::SYS_io_uring_enter,
            ring.as_raw_fd(),
            1, // entries to submit; the polling thread counts its own
            1, // completions to wait for
            wake | ENTER_GET_EVENTS,
            std::ptr::null::<libc::sigset_t>(),
            0,
        ))?;
        if word(cq, parameters.cq.tail).load(Ordering::Acquire) == 0 {
            return Err(io::Error::other("the ring gave no completion"));
        }
        let completion = cq
            .add(parameters.cq.cqes as usize)
            .cast::<Completion>()
            .read();
        match completion.result {
            result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
            result => Ok(result),
        }
    }
}

/// A part of the ring in this process's memory; it stays until the process ends.
fn map(ring: &OwnedFd, offset: libc::off_t, bytes: usize) -> io::Result<*mut u8> {
    // SAFETY: a new mapping at an address of the kernel's choice.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            ring.as_raw_fd(),
            offset,
        )
    };
    if address == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(address.cast())
    }
}

/// A word the kernel and this process share.
///
/// # Safety
/// `offset` lies within the mapping at `base`, is a multiple of four, and is only accessed atomically.
unsafe fn word<'a>(base: *mut u8, offset: u32) -> &'a AtomicU32 {
    // SAFETY: as promised by the caller.
    unsafe { AtomicU32::from_ptr(base.add(offset as usize).cast()) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// True where the kernel has io_uring and lets this process use it.
    fn is_available() -> bool {
        match open(OsStr::new("/proc/self/status")) {
            Ok(()) => true,
            Err(error) => {
                println!("io_uring is not to be had here: {error}");
                false
            }
        }
    }

    #[test]
    fn the_outcome_is_that_of_the_operation_and_not_of_the_ring() {
        if !is_available() {
            return;
        }
        let missing = OsStr::new("/nonexistent/skep");
        for open in [open, open_by_worker, open_by_poller] {
            assert_eq!(
                open(missing).unwrap_err().raw_os_error(),
                Some(libc::ENOENT)
            );
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
    }
}
