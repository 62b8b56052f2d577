//! Names of sockets: family, type and protocol.

use skep_event::proto_name;

use crate::decode::SocketKind;

/// Family, type and protocol of a socket, e.g. `inet raw icmp`: names where there are any, else numbers.
pub fn socket_name(socket: SocketKind) -> String {
    let SocketKind {
        family,
        kind,
        protocol,
    } = socket;
    let name = |number: u16, names: &[(libc::c_int, &str)]| {
        let known = names
            .iter()
            .find(|(known, _)| *known == libc::c_int::from(number));
        known.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
    };
    let is_inet = [libc::AF_INET, libc::AF_INET6].contains(&libc::c_int::from(family));
    let protocol = match u8::try_from(protocol) {
        Ok(protocol) if is_inet => proto_name(protocol),
        _ => format!("protocol {protocol}"),
    };
    let (family, kind) = (name(family, &FAMILIES), name(kind, &SOCKET_TYPES));
    format!("{family} {kind} {protocol}")
}

/// Address families of sockets that lead somewhere.
const FAMILIES: [(libc::c_int, &str); 8] = [
    (libc::AF_INET, "inet"),
    (libc::AF_INET6, "inet6"),
    (libc::AF_PACKET, "packet"),
    (libc::AF_CAN, "can"),
    (libc::AF_TIPC, "tipc"),
    (libc::AF_BLUETOOTH, "bluetooth"),
    (libc::AF_VSOCK, "vsock"),
    (libc::AF_XDP, "xdp"),
];
const SOCKET_TYPES: [(libc::c_int, &str); 5] = [
    (libc::SOCK_STREAM, "stream"),
    (libc::SOCK_DGRAM, "dgram"),
    (libc::SOCK_RAW, "raw"),
    (libc::SOCK_RDM, "rdm"),
    (libc::SOCK_SEQPACKET, "seqpacket"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_by_names_where_there_are_any() {
        let name = |family, kind, protocol| {
            socket_name(SocketKind {
                family,
                kind,
                protocol,
            })
        };
        assert_eq!(name(2, 3, 1), "inet raw icmp");
        assert_eq!(name(10, 2, 262), "inet6 dgram protocol 262");
        assert_eq!(name(17, 3, 0x300), "packet raw protocol 768");
        assert_eq!(name(99, 9, 6), "99 9 protocol 6");
    }
}
