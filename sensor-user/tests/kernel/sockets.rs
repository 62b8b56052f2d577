//! Connects: families, protocols, datagrams, unix sockets.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    os::unix::net::UnixListener,
};

use skep_event::{CoverageKind, Detail, NetFamily, Protocol};

use crate::sensor::{scratch, sensor};

const TCP: Protocol = Protocol(6);
const UDP: Protocol = Protocol(17);

#[test]
fn ipv4_and_ipv6_connects_have_address_port_and_protocol() {
    let v4 = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port4 = v4.local_addr().expect("bound").port();
    let run = sensor().run(&["connect4", "127.0.0.1", &port4.to_string()]);
    let connects = run.connects();
    assert_eq!(connects.len(), 1, "{}", run.describe());
    let net = connects[0].1;
    assert_eq!(net.family, NetFamily::Inet);
    assert_eq!(net.addr, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!((net.port, net.proto), (Some(port4), Some(TCP)));

    let Ok(v6) = TcpListener::bind("[::1]:0") else {
        println!("this kernel has no IPv6 loopback: IPv6 is not tested");
        return;
    };
    let port6 = v6.local_addr().expect("bound").port();
    let run = sensor().run(&["connect6", "::1", &port6.to_string()]);
    let net = run.connects()[0].1.clone();
    assert_eq!(net.family, NetFamily::Inet6);
    assert_eq!(net.addr, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    assert_eq!((net.port, net.proto), (Some(port6), Some(TCP)));
    // An IPv4-mapped address is an IPv4 connection.
    let run = sensor().run(&["connect6", "::ffff:127.0.0.1", &port4.to_string()]);
    let net = run.connects()[0].1.clone();
    assert_eq!(net.family, NetFamily::Inet);
    assert_eq!(net.addr, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
}

#[test]
fn a_datagram_without_a_connect_is_seen() {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let port = peer.local_addr().expect("bound").port();
    let run = sensor().run(&["udp4", "127.0.0.1", &port.to_string()]);
    let connects = run.connects();
    assert_eq!(connects.len(), 1, "{}", run.describe());
    let (event, net) = connects[0];
    assert_eq!((net.port, net.proto), (Some(port), Some(UDP)));
    assert_eq!(event.hook, Some("cgroup/sendmsg4"));
}

#[test]
fn a_connect_to_another_family_has_its_number_and_none_into_the_kernel_is_told() {
    const BLUETOOTH: u64 = libc::AF_BLUETOOTH as u64;
    let families = [libc::AF_NETLINK as u64, libc::AF_UNSPEC as u64, BLUETOOTH];
    let families = families.map(|family| family.to_string());
    let actions: Vec<&str> = families
        .iter()
        .flat_map(|family| ["connect-family", family])
        .collect();
    let run = sensor().run(&actions);
    let found: Vec<_> = run
        .connects()
        .into_iter()
        .map(|(_, net)| (net.family, net.addr, net.path.clone()))
        .collect();
    let expected = NetFamily::Other(BLUETOOTH as u16);
    assert_eq!(found, [(expected, None, None)], "{}", run.describe());
}

#[test]
fn a_kind_of_socket_whose_peers_are_not_seen_is_told_once_a_session() {
    let sends = ["raw4", "127.0.0.1", "0"];
    let run = sensor().run(
        &[
            &sends[..],
            &sends,
            &["packet", "connect4", "127.0.0.1", "9"],
        ]
        .concat(),
    );
    let told: Vec<_> = run
        .events
        .iter()
        .filter_map(|event| match &event.detail {
            Detail::Coverage(coverage) if coverage.what == CoverageKind::Socket => {
                assert!(event.process.is_some());
                coverage.reason.split(['(', ')']).nth(1)
            }
            _ => None,
        })
        .collect();
    let expected = ["inet raw 253", "packet dgram protocol 0"];
    assert_eq!(told, expected, "{}", run.describe());
}

#[test]
fn a_unix_socket_has_its_path() {
    let directory = scratch("unix");
    let path = directory.join("docker.sock");
    let _listener = UnixListener::bind(&path).expect("own directory");
    let run = sensor().run(&["unix", path.to_str().expect("text")]);
    let found: Vec<_> = run
        .connects()
        .into_iter()
        .filter(|(_, net)| net.family == NetFamily::Unix)
        .map(|(_, net)| net.path.as_ref().map(|path| path.escaped()))
        .collect();
    assert_eq!(
        found,
        [Some(path.to_str().expect("text").to_owned())],
        "{}",
        run.describe()
    );
    std::fs::remove_dir_all(directory).expect("own directory");
}
