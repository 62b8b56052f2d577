//! Peers reached by other means than a plain IPv4 connect.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener},
    },
};

use skep_event::NetFamily;

use super::{Group, Technique, stage::Stage, verdict::Verdict};

pub const GROUP: Group = Group {
    title: "Sockets",
    techniques: &[
        Technique {
            id: "io-uring-connect",
            title: "io_uring connect",
            tries: "`IORING_OP_CONNECT`: no connect system call is made",
            attempt: uring_connect,
        },
        Technique {
            id: "io-uring-connect-unix",
            title: "io_uring connect to a unix socket",
            tries: "the same, to a socket such as docker's",
            attempt: uring_connect_unix,
        },
        Technique {
            id: "ipv6",
            title: "IPv6",
            tries: "a connect that an IPv4-only hook does not see",
            attempt: ipv6,
        },
        Technique {
            id: "ipv4-mapped",
            title: "IPv4-mapped IPv6",
            tries: "`::ffff:127.0.0.1`: an IPv4 peer behind an IPv6 address",
            attempt: ipv4_mapped,
        },
        Technique {
            id: "int80-connect",
            title: "32-bit system call: connect",
            tries: "`int 0x80` from a 64-bit program: not the system call that is traced",
            attempt: |stage| connection(stage, "int80-connect4", "`int 0x80`"),
        },
        Technique {
            id: "tcp-fastopen",
            title: "TCP fast open",
            tries: "`sendto` with `MSG_FASTOPEN`: connected without connect",
            attempt: |stage| connection(stage, "fastopen4", "TCP fast open"),
        },
        Technique {
            id: "mptcp-connect",
            title: "multipath TCP",
            tries: "a connect of a socket that is TCP, but not by its protocol",
            attempt: |stage| connection(stage, "mptcp4", "multipath TCP"),
        },
        Technique {
            id: "udp",
            title: "UDP without connect",
            tries: "`sendto` from a socket that is never connected",
            attempt: udp,
        },
        Technique {
            id: "udp6",
            title: "UDP over IPv6 without connect",
            tries: "the same over IPv6",
            attempt: udp6,
        },
        Technique {
            id: "unix-stream",
            title: "unix socket by path",
            tries: "a service on the same host, such as `docker.sock`",
            attempt: unix_stream,
        },
        Technique {
            id: "unix-abstract",
            title: "abstract unix socket",
            tries: "a name that is in no file system",
            attempt: unix_abstract,
        },
        Technique {
            id: "unix-datagram",
            title: "unix datagram without connect",
            tries: "`sendto` to a path, as to a logging or init socket",
            attempt: unix_datagram,
        },
        Technique {
            id: "vsock-connect",
            title: "vsock",
            tries: "a connect to the host of a virtual machine (here: to this one), past every IP address",
            attempt: vsock,
        },
        Technique {
            id: "raw-socket-send",
            title: "raw socket",
            tries: "a packet of a protocol of its own, by `sendto`",
            attempt: |stage| rare(stage, &["raw4", "127.0.0.1", "0"], "(inet raw 253)"),
        },
        Technique {
            id: "icmp-send",
            title: "ICMP",
            tries: "an echo request from a ping socket, by `sendto`",
            attempt: |stage| {
                rare(
                    stage,
                    &["new-net", "icmp4", "127.0.0.1", "0"],
                    "(inet dgram icmp)",
                )
            },
        },
        Technique {
            id: "packet-send",
            title: "packet socket",
            tries: "a frame made by the agent itself, past IP",
            attempt: |stage| rare(stage, &["packet"], "(packet dgram protocol 0)"),
        },
    ],
};

/// A file in the stage's folder for the agent to open first: by it the session is found.
fn with_mark<'a>(mark: &'a str, actions: &[&'a str]) -> Vec<&'a str> {
    [&["open", mark], actions].concat()
}

fn listener(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Verdict> {
    let bound = TcpListener::bind(address).and_then(|socket| {
        let address = socket.local_addr()?;
        Ok((socket, address))
    });
    bound.map_err(|error| Verdict::NotPossible {
        why: format!("nothing can listen on {} here ({error})", address.ip()),
    })
}

fn localhost4() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn localhost6() -> SocketAddr {
    (Ipv6Addr::LOCALHOST, 0).into()
}

fn uring_connect(stage: &Stage) -> Verdict {
    let (_socket, peer) = match listener(localhost4()) {
        Ok(bound) => bound,
        Err(verdict) => return verdict,
    };
    let (mark, port) = (stage.secret(), peer.port().to_string());
    let actions = with_mark(&mark, &["uring-connect4", "127.0.0.1", &port]);
    let attempt = stage.try_to_act(&actions);
    attempt
        .refused("io_uring")
        .unwrap_or_else(|| attempt.connected(peer).or(|| attempt.has_uring()))
}

fn uring_connect_unix(stage: &Stage) -> Verdict {
    let path = stage.path("docker.sock");
    let _socket = UnixListener::bind(&path).expect("own folder");
    let attempt = stage.try_to_act(&["uring-connect-unix", &path]);
    attempt
        .refused("io_uring")
        .unwrap_or_else(|| attempt.connected_to_unix(&path).or(|| attempt.has_uring()))
}

fn ipv6(stage: &Stage) -> Verdict {
    let (_socket, peer) = match listener(localhost6()) {
        Ok(bound) => bound,
        Err(verdict) => return verdict,
    };
    let (mark, port) = (stage.secret(), peer.port().to_string());
    stage
        .act(&with_mark(&mark, &["connect6", "::1", &port]))
        .connected(peer)
}

fn ipv4_mapped(stage: &Stage) -> Verdict {
    let (_socket, peer) = match listener(localhost4()) {
        Ok(bound) => bound,
        Err(verdict) => return verdict,
    };
    let (mark, port) = (stage.secret(), peer.port().to_string());
    let attempt = stage.try_to_act(&with_mark(&mark, &["connect6", "::ffff:127.0.0.1", &port]));
    // The peer is the IPv4 address, whatever it was written as.
    attempt
        .refused("IPv6")
        .unwrap_or_else(|| attempt.connected(peer))
}

/// The action of this name connects to a TCP listener.
fn connection(stage: &Stage, action: &str, means: &str) -> Verdict {
    let (_socket, peer) = match listener(localhost4()) {
        Ok(bound) => bound,
        Err(verdict) => return verdict,
    };
    let (mark, port) = (stage.secret(), peer.port().to_string());
    let attempt = stage.try_to_act(&with_mark(&mark, &[action, "127.0.0.1", &port]));
    attempt
        .refused(means)
        .unwrap_or_else(|| attempt.connected(peer))
}

/// The actions send through a socket of a kind whose peers no hook sees.
fn rare(stage: &Stage, actions: &[&str], kind: &str) -> Verdict {
    let mark = stage.secret();
    let attempt = stage.try_to_act(&with_mark(&mark, actions));
    attempt
        .refused("such a socket")
        .or_else(|| attempt.has_socket(kind))
        .unwrap_or_else(|| attempt.nothing("the socket"))
}

fn vsock(stage: &Stage) -> Verdict {
    let mark = stage.secret();
    let attempt = stage.try_to_act(&with_mark(&mark, &["vsock", "5000"]));
    // Nobody listens; what is asked is whether the attempt is seen.
    let refusal = attempt.refusal.as_deref().unwrap_or_default();
    if refusal.contains("EAFNOSUPPORT")
        && let Some(verdict) = attempt.refused("vsock")
    {
        return verdict;
    }
    attempt.connected_to(NetFamily::Vsock, "1:5000")
}

fn udp(stage: &Stage) -> Verdict {
    datagram(stage, "udp4", localhost4())
}

fn udp6(stage: &Stage) -> Verdict {
    datagram(stage, "udp6", localhost6())
}

fn datagram(stage: &Stage, action: &str, address: SocketAddr) -> Verdict {
    let bound = UdpSocket::bind(address).and_then(|socket| {
        let address = socket.local_addr()?;
        Ok((socket, address))
    });
    let (_socket, peer) = match bound {
        Ok(bound) => bound,
        Err(error) => {
            let why = format!("nothing can listen on {} here ({error})", address.ip());
            return Verdict::NotPossible { why };
        }
    };
    let (mark, port) = (stage.secret(), peer.port().to_string());
    stage
        .act(&with_mark(&mark, &[action, &peer.ip().to_string(), &port]))
        .connected(peer)
}

fn unix_stream(stage: &Stage) -> Verdict {
    let path = stage.path("docker.sock");
    let _socket = UnixListener::bind(&path).expect("own folder");
    stage.act(&["unix", &path]).connected_to_unix(&path)
}

fn unix_abstract(stage: &Stage) -> Verdict {
    // Named after the folder, so that no other program has it.
    let path = stage.path("abstract");
    let address = UnixAddress::from_abstract_name(&path).expect("a short name");
    let _socket = UnixListener::bind_addr(&address).expect("a name of its own");
    let named = format!("@{path}");
    stage.act(&["unix", &named]).connected_to_unix(&named)
}

fn unix_datagram(stage: &Stage) -> Verdict {
    let path = stage.path("journal");
    let _socket = UnixDatagram::bind(&path).expect("own folder");
    stage
        .act(&["unix-datagram", &path])
        .connected_to_unix(&path)
}
