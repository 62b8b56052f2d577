//! Sockets that are neither plain TCP, UDP nor unix, and ways to send without `connect`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// `IPPROTO_MPTCP` (linux/in.h).
const MPTCP: libc::c_int = 262;
/// A protocol, and a type of frame, that are for experiments (RFC 3692, IEEE 802): nobody answers.
const EXPERIMENT: libc::c_int = 253;
const EXPERIMENT_FRAME: u16 = 0x88b5;
/// This machine (`VMADDR_CID_LOCAL`, linux/vm_sockets.h).
const CID_LOCAL: libc::c_uint = 1;
const ECHO_REQUEST: u8 = 8;

/// TCP fast open: connects by sending.
pub fn fast_open(address: SocketAddr) -> io::Result<()> {
    let socket = new(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let (peer, length) = inet(address)?;
    send(&socket, b"\n", libc::MSG_FASTOPEN, &peer, length)
}

/// A connection by multipath TCP.
pub fn multipath_connect(address: SocketAddr) -> io::Result<()> {
    let socket = new(libc::AF_INET, libc::SOCK_STREAM, MPTCP)?;
    let (peer, length) = inet(address)?;
    connect(&socket, &peer, length)
}

/// A packet of no known protocol from a raw socket.
pub fn raw_send(address: SocketAddr) -> io::Result<()> {
    let socket = new(libc::AF_INET, libc::SOCK_RAW, EXPERIMENT)?;
    let (peer, length) = inet(address)?;
    send(&socket, b"\n", 0, &peer, length)
}

/// An echo request from a ping socket. Meant for a network namespace of its own: there it lets the
/// group have such sockets, and starts the loopback.
pub fn icmp_send(address: SocketAddr) -> io::Result<()> {
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0")?;
    let socket = new(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?;
    start_loopback(&socket)?;
    let (peer, length) = inet(address)?;
    send(
        &socket,
        &[ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 0],
        0,
        &peer,
        length,
    )
}

/// A frame to the loopback from a packet socket.
pub fn packet_send() -> io::Result<()> {
    let socket = new(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: an address is a structure of integers, for which zero is "none"; the name is terminated.
    let (mut peer, index): (libc::sockaddr_ll, _) =
        unsafe { (std::mem::zeroed(), libc::if_nametoindex(c"lo".as_ptr())) };
    peer.sll_family = libc::AF_PACKET as u16;
    peer.sll_protocol = EXPERIMENT_FRAME.to_be();
    peer.sll_ifindex = index as libc::c_int;
    peer.sll_halen = 6;
    send(&socket, b"\n", 0, &peer, size_of_val(&peer))
}

/// A stream connection to this port of this machine, by vsock.
pub fn vsock_connect(port: u64) -> io::Result<()> {
    let socket = new(libc::AF_VSOCK, libc::SOCK_STREAM, 0)?;
    // SAFETY: as above.
    let mut peer: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    peer.svm_family = libc::AF_VSOCK as u16;
    peer.svm_cid = CID_LOCAL;
    peer.svm_port = port as libc::c_uint;
    connect(&socket, &peer, size_of_val(&peer))
}

/// Asks a UDP socket to connect to an address of this family, which it refuses.
pub fn connect_family(family: u64) -> io::Result<()> {
    let socket = new(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // Shorter than any address of its own, so that it is not taken for one.
    let peer = [family as u16, 0];
    connect(&socket, &peer, size_of_val(&peer))
}

pub fn new(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let socket = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    let socket = RawFd::try_from(check(socket.into())?);
    let socket = socket.expect("the kernel numbers descriptors with an int");
    // SAFETY: the call just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// An IPv4 address as system calls take it, and its length.
pub fn inet(address: SocketAddr) -> io::Result<(libc::sockaddr_in, usize)> {
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
    Ok((peer, size_of_val(&peer)))
}

/// `peer` is an address of at least `length` bytes.
fn connect<T>(socket: &OwnedFd, peer: &T, length: usize) -> io::Result<()> {
    let peer: *const T = peer;
    // SAFETY: the address outlives the call and has that length.
    let result =
        unsafe { libc::connect(socket.as_raw_fd(), peer.cast(), length as libc::socklen_t) };
    check(result.into()).map(drop)
}

/// The same to send to.
fn send<T>(
    socket: &OwnedFd,
    bytes: &[u8],
    flags: libc::c_int,
    peer: &T,
    length: usize,
) -> io::Result<()> {
    let peer: *const T = peer;
    // SAFETY: bytes and address outlive the call and have these lengths.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            flags,
            peer.cast(),
            length as libc::socklen_t,
        )
    };
    check(sent as libc::c_long).map(drop)
}

fn start_loopback(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: a request is a structure of integers; zero ends the name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request outlives the call and is of the kind the call takes.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    check(result.into()).map(drop)
}
