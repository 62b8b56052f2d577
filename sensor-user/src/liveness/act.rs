//! What the canary does: once each thing a hook reports, then it ends.
//!
//! It leaves nothing behind and sends nothing: datagram sockets are connected, not written to; the
//! two unconnected datagrams are probes (`MSG_PROBE`, net/ipv4/udp.c), which are checked like any
//! other and not sent. The outcome of a step does not matter, only that the kernel was asked; a step
//! this host cannot do is left out by itself. Each open is of another file, so that no hook's record
//! can stand for another's.

use std::{
    ffi::{CStr, OsStr},
    mem::zeroed,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixStream},
    },
};

/// The one argument that makes `skep-sensor` a canary. Not for people: it is not among the commands.
pub const ARGUMENT: &str = "canary";

/// `MSG_CONFIRM`, `MSG_PROBE` (linux/socket.h).
const PROBE: libc::c_int = 0x800 | 0x10;
/// The discard port: nobody listens, nothing is sent.
const DISCARD: u16 = 9;

/// Whether this process was started to be a canary.
pub fn is_asked(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    let first = arguments.nth(1);
    first.as_deref() == Some(OsStr::new(ARGUMENT)) && arguments.next().is_none()
}

/// Does it.
pub fn act() {
    opens();
    inet(SocketAddr::from((Ipv4Addr::LOCALHOST, DISCARD)));
    inet(SocketAddr::from((Ipv6Addr::LOCALHOST, DISCARD)));
    unix();
    other_family();
    rare_socket();
    io_uring();
}

fn opens() {
    system_call_open(libc::SYS_openat, c"/dev/null", [libc::O_RDONLY as usize, 0]);
    // SAFETY: all zeroes is a valid `open_how`: read only, no restrictions.
    let how: libc::open_how = unsafe { zeroed() };
    let how_at = [&raw const how as usize, size_of_val(&how)];
    system_call_open(libc::SYS_openat2, c"/dev/zero", how_at);
    #[cfg(target_arch = "x86_64")]
    {
        let path = c"/dev/full".as_ptr();
        // SAFETY: a terminated string; no other memory is involved.
        close(unsafe { libc::syscall(libc::SYS_open, path, libc::O_RDONLY, 0) });
        let path = c"/dev/null".as_ptr();
        // SAFETY: the same. Truncating that device changes nothing.
        close(unsafe { libc::syscall(libc::SYS_creat, path, 0) });
    }
    // A handle of no bytes is refused, after the hook.
    let handle = [0u32; 2];
    let call = libc::SYS_open_by_handle_at;
    // SAFETY: the handle outlives the call and says that nothing follows it.
    close(unsafe { libc::syscall(call, libc::AT_FDCWD, handle.as_ptr(), libc::O_RDONLY) });
}

fn system_call_open(call: libc::c_long, path: &CStr, rest: [usize; 2]) {
    let [third, fourth] = rest;
    // SAFETY: a terminated string, and what the call at hand takes: flags and mode, or a structure
    // that outlives the call and its size.
    close(unsafe { libc::syscall(call, libc::AT_FDCWD, path.as_ptr(), third, fourth) });
}

fn close(fd: libc::c_long) {
    if let Ok(fd) = i32::try_from(fd)
        && fd >= 0
    {
        // SAFETY: a new descriptor that nothing else owns.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

fn inet(peer: SocketAddr) {
    let here = match peer {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    };
    let Ok(socket) = UdpSocket::bind(here) else {
        return;
    };
    probe(&socket, peer);
    // Connecting a datagram socket sends nothing.
    let _ = socket.connect(peer);
}

/// Asks the kernel to check an unconnected datagram, and not to send it.
fn probe(socket: &UdpSocket, peer: SocketAddr) {
    // SAFETY: all zeroes is a valid address of either family.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { (zeroed(), zeroed()) };
    let (address, len): (*const libc::sockaddr, usize) = match peer {
        SocketAddr::V4(peer) => {
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = peer.port().to_be();
            v4.sin_addr.s_addr = u32::from(*peer.ip()).to_be();
            ((&raw const v4).cast(), size_of_val(&v4))
        }
        SocketAddr::V6(peer) => {
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = peer.port().to_be();
            v6.sin6_addr.s6_addr = peer.ip().octets();
            ((&raw const v6).cast(), size_of_val(&v6))
        }
    };
    let fd = socket.as_raw_fd();
    let len = len as libc::socklen_t;
    // SAFETY: nothing is sent, so no buffer is read; the address outlives the call.
    unsafe { libc::sendto(fd, std::ptr::null(), 0, PROBE, address, len) };
}

fn unix() {
    drop(UnixStream::connect("/proc/self/no-such-socket"));
    // A datagram to itself: read by nobody, gone with the socket.
    let name = format!("skep-canary-{}", std::process::id());
    if let Ok(address) = UnixAddr::from_abstract_name(name)
        && let Ok(receiver) = UnixDatagram::bind_addr(&address)
        && let Ok(sender) = UnixDatagram::unbound()
    {
        let _ = sender.send_to_addr(b"", &address);
        drop(receiver);
    }
}

/// Asks for a connect to a family that is neither unix nor inet. The kernel refuses it, after the hook:
/// the socket is of another family.
fn other_family() {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else {
        return;
    };
    // SAFETY: all zeroes is a valid address of that family.
    let mut peer: libc::sockaddr_vm = unsafe { zeroed() };
    peer.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    let len = size_of_val(&peer) as libc::socklen_t;
    // SAFETY: the address outlives the call.
    unsafe { libc::connect(socket.as_raw_fd(), (&raw const peer).cast(), len) };
}

/// Makes a socket of a kind of which no connect hook sees the peers. One that nobody needs a privilege
/// for, else a raw one.
pub fn rare_socket() {
    for (kind, protocol) in [
        (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
        (libc::SOCK_RAW, libc::IPPROTO_ICMP),
    ] {
        // SAFETY: a plain system call without pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, protocol) };
        close(fd.into());
        if fd >= 0 {
            return;
        }
    }
}

/// Sets up the smallest ring there is, where that is allowed.
fn io_uring() {
    // `struct io_uring_params` (linux/io_uring.h), 120 bytes; zeroes ask for nothing special.
    let mut parameters = [0u64; 15];
    // SAFETY: the kernel writes at most that structure.
    close(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(list: &[&str]) -> impl Iterator<Item = std::ffi::OsString> {
        list.iter().map(Into::into).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn only_the_one_argument_makes_a_canary() {
        assert!(is_asked(arguments(&["skep-sensor", ARGUMENT])));
        for other in [
            &["skep-sensor"][..],
            &["skep-sensor", "run"],
            &["x", ARGUMENT, "y"],
        ] {
            assert!(!is_asked(arguments(other)));
        }
    }

    #[test]
    fn acting_leaves_no_descriptor_behind() {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        // Other tests of this process open files too: what it leaks would add up.
        let before = count();
        for _ in 0..200 {
            act();
        }
        assert!(count() < before + 100, "{before} before, {} after", count());
    }
}
