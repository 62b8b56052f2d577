//! The canary: a child of the sensor that does once each thing a hook reports, then it ends.
//!
//! It leaves nothing behind and sends nothing: datagram sockets are connected, not written to; the
//! two unconnected datagrams are probes (`MSG_PROBE`, net/ipv4/udp.c), which are checked like any
//! other and not sent. A deed this host cannot do is left out; which were done, it says ([`Deeds`]).
//! Each open is of another file, so that no hook's record can stand for another's.

mod changes;
mod deeds;

use std::{
    ffi::{CStr, OsStr},
    io::ErrorKind,
    mem::zeroed,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixStream},
    },
};

pub use self::{changes::changes, deeds::Deeds};

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

/// Does it, and gives what was done.
pub fn act() -> Deeds {
    Deeds::LIFE
        .and(opens())
        .and(inet(
            Ipv4Addr::LOCALHOST.into(),
            [Deeds::CONNECT4, Deeds::SENDMSG4],
        ))
        .and(inet(
            Ipv6Addr::LOCALHOST.into(),
            [Deeds::CONNECT6, Deeds::SENDMSG6],
        ))
        .and(unix())
        .and(other_family())
        .and(rare_socket())
        .and(io_uring())
        .and(failed_execs())
        .and(changes())
}

fn opens() -> Deeds {
    let openat = system_call_open(libc::SYS_openat, c"/dev/null", [libc::O_RDONLY as usize, 0]);
    // SAFETY: all zeroes is a valid `open_how`: read only, no restrictions.
    let how: libc::open_how = unsafe { zeroed() };
    let how_at = [&raw const how as usize, size_of_val(&how)];
    let openat2 = system_call_open(libc::SYS_openat2, c"/dev/zero", how_at);
    let mut done = Deeds::OPENAT.when(openat).and(Deeds::OPENAT2.when(openat2));
    #[cfg(target_arch = "x86_64")]
    {
        let path = c"/dev/full".as_ptr();
        // SAFETY: a terminated string; no other memory is involved.
        let open = close(unsafe { libc::syscall(libc::SYS_open, path, libc::O_RDONLY, 0) });
        let path = c"/dev/null".as_ptr();
        // SAFETY: the same. Truncating that device changes nothing.
        let creat = close(unsafe { libc::syscall(libc::SYS_creat, path, 0) });
        done = done
            .and(Deeds::OPEN.when(open))
            .and(Deeds::CREAT.when(creat));
    }
    // A handle of no bytes is refused, after the hook; a filter of system calls says something else.
    let handle = [0u32; 2];
    let call = libc::SYS_open_by_handle_at;
    // SAFETY: the handle outlives the call and says that nothing follows it.
    let fd = unsafe { libc::syscall(call, libc::AT_FDCWD, handle.as_ptr(), libc::O_RDONLY) };
    let refused = std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
    done.and(Deeds::OPEN_BY_HANDLE.when(close(fd) || refused))
}

fn system_call_open(call: libc::c_long, path: &CStr, rest: [usize; 2]) -> bool {
    let [third, fourth] = rest;
    // SAFETY: a terminated string, and what the call at hand takes: flags and mode, or a structure
    // that outlives the call and its size.
    close(unsafe { libc::syscall(call, libc::AT_FDCWD, path.as_ptr(), third, fourth) })
}

/// True when it is a descriptor.
fn close(fd: libc::c_long) -> bool {
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
    // SAFETY: a new descriptor that nothing else owns.
    fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).is_some()
}

fn inet(address: IpAddr, [connect, send]: [Deeds; 2]) -> Deeds {
    let Ok(socket) = UdpSocket::bind((address, 0)) else {
        return Deeds::NONE;
    };
    let peer = SocketAddr::from((address, DISCARD));
    let sent = probe(&socket, peer);
    // Connecting a datagram socket sends nothing.
    let connected = socket.connect(peer).is_ok();
    send.when(sent).and(connect.when(connected))
}

/// Asks the kernel to check an unconnected datagram, and not to send it; true when it did.
fn probe(socket: &UdpSocket, peer: SocketAddr) -> bool {
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
    let sent = unsafe { libc::sendto(fd, std::ptr::null(), 0, PROBE, address, len) };
    sent >= 0
}

fn unix() -> Deeds {
    // Nobody is there to be connected to, which the kernel finds out after the hooks.
    let connected = match UnixStream::connect("/proc/self/no-such-socket") {
        Ok(_) => true,
        Err(error) => matches!(
            error.kind(),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused
        ),
    };
    // A datagram to itself: read by nobody, gone with the socket.
    let name = format!("skep-canary-{}", std::process::id());
    let mut sent = false;
    if let Ok(address) = UnixAddr::from_abstract_name(name)
        && let Ok(receiver) = UnixDatagram::bind_addr(&address)
        && let Ok(sender) = UnixDatagram::unbound()
    {
        sent = sender.send_to_addr(b"", &address).is_ok();
        drop(receiver);
    }
    Deeds::CONNECT_UNIX
        .when(connected)
        .and(Deeds::SEND_UNIX.when(sent))
}

/// Asks for a connect to a family that is neither unix nor inet. The kernel refuses it, after the hook:
/// the socket is of another family.
fn other_family() -> Deeds {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else {
        return Deeds::NONE;
    };
    // SAFETY: all zeroes is a valid address of that family.
    let mut peer: libc::sockaddr_vm = unsafe { zeroed() };
    peer.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    let len = size_of_val(&peer) as libc::socklen_t;
    // SAFETY: the address outlives the call.
    let outcome = unsafe { libc::connect(socket.as_raw_fd(), (&raw const peer).cast(), len) };
    let error = std::io::Error::last_os_error().raw_os_error();
    let is_forbidden = matches!(error, Some(libc::EPERM | libc::EACCES | libc::ENOSYS));
    Deeds::CONNECT_OTHER.when(outcome == 0 || !is_forbidden)
}

/// Makes a socket of a kind of which no connect hook sees the peers. One that nobody needs a privilege
/// for, else a raw one.
pub fn rare_socket() -> Deeds {
    for (kind, protocol) in [
        (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
        (libc::SOCK_RAW, libc::IPPROTO_ICMP),
    ] {
        // SAFETY: a plain system call without pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, protocol) };
        if close(fd.into()) {
            return Deeds::RARE_SOCKET;
        }
    }
    Deeds::NONE
}

/// Executes a program that does not exist, by either call.
pub fn failed_execs() -> Deeds {
    let path = c"/proc/self/no-such-program".as_ptr();
    let arguments = [path, std::ptr::null()];
    let (argv, envp) = (arguments.as_ptr(), &raw const arguments[1]);
    let is_refused = || std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT);
    // SAFETY: terminated strings and arrays; there is nothing to execute, so the call returns.
    let execve = unsafe { libc::execve(path, argv, envp) } == -1 && is_refused();
    let (call, flags) = (libc::SYS_execveat, 0);
    // SAFETY: the same.
    let execveat = unsafe { libc::syscall(call, libc::AT_FDCWD, path, argv, envp, flags) } == -1;
    Deeds::EXECVE
        .when(execve)
        .and(Deeds::EXECVEAT.when(execveat && is_refused()))
}

/// Sets up the smallest ring there is, where that is allowed.
fn io_uring() -> Deeds {
    // `struct io_uring_params` (linux/io_uring.h), 120 bytes; zeroes ask for nothing special.
    let mut parameters = [0u64; 15];
    // SAFETY: the kernel writes at most that structure.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
    Deeds::IO_URING.when(close(fd))
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
    fn what_any_host_can_do_is_done_and_what_has_no_network_is_not_said_to_be() {
        let anywhere = Deeds::OPENAT.and(Deeds::CONNECT_UNIX).and(Deeds::SEND_UNIX);
        let inet = Deeds::CONNECT4
            .and(Deeds::SENDMSG4)
            .and(Deeds::CONNECT6)
            .and(Deeds::SENDMSG6);
        let without_network = std::thread::spawn(|| {
            // SAFETY: this thread alone gets another network, in which nothing is up.
            (unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0).then(act)
        });
        // Only root may.
        if let Some(done) = without_network.join().unwrap() {
            assert!(!done.meets(inet), "{done:?}");
            assert_eq!(done.and(anywhere), done);
        }
        let done = act();
        assert_eq!(done.and(anywhere), done, "{:?}", done.missing());
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
