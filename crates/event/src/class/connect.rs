//! A connection was made.

use std::{fmt, net::IpAddr};

use serde::{Serialize, Serializer};

use crate::{
    Column, Invalid, Text, Unfit, UnixNanos, Wire,
    borrowed::copied,
    column::{self, AsText, text_in_column},
    field::why,
    proto_name,
    sample::LATER,
    secret::no_text,
};

class! {
    /// A connection, or a datagram to a named peer.
    Connect(ConnectRef) = Connect at "net", "connect" of Connect;

    family: NetFamily {
        wire: family,
        column: text(Column::at(27, "net_family", "inet, inet6, unix, vsock, or the number of another")),
        secrets: none,
        meaning: "inet, inet6, unix, vsock, or the number of another",
        example: "inet",
        why: why::DESTINATIONS,
        sample: NetFamily::Inet,
    }
    addr: Option<IpAddr> {
        wire: addr,
        column: text(Column::at(28, "net_addr", "address connected to")),
        secrets: none,
        meaning: "address connected to",
        example: "192.0.2.7",
        why: why::DESTINATIONS,
        sample: Some(std::net::Ipv4Addr::LOCALHOST.into()),
    }
    port: Option<u16> {
        wire: port,
        column: int(Column::at(29, "net_port", "port connected to")),
        secrets: none,
        meaning: "port connected to",
        example: "443",
        why: why::DESTINATIONS,
        sample: Some(8399),
    }
    /// IANA protocol number (`IPPROTO_*`).
    proto: Option<Protocol> {
        wire: proto,
        column: text(Column::at(30, "net_proto", "tcp, udp …; null for unix sockets")),
        secrets: none,
        meaning: "protocol",
        example: "tcp",
        why: why::DESTINATIONS,
        sample: Some(Protocol(6)),
    }
    /// Unix sockets: the path; an abstract name starts with `@`. Vsock: `CID:PORT`.
    path: Option<Text> {
        wire: path,
        column: text(Column::at(31, "net_path", "unix socket; an abstract name starts with @; of vsock, CID:PORT")),
        secrets: text,
        meaning: "path of a unix socket; of vsock, context and port",
        example: "/run/docker.sock",
        why: "tells of Docker, key agents and keyrings being used",
        sample: None,
    }
    counted count: u64 {
        wire: count,
        column: long(column::COUNT),
        secrets: none,
        meaning: "how many equal connections this stands for",
        example: "1",
        why: why::FOLDING,
        sample: 2,
        only: at_least_one,
    }
    counted last: Option<UnixNanos> {
        wire: last_unix_nano,
        column: time(column::LAST),
        secrets: none,
        meaning: "time of the last of them",
        example: "2026-07-01T08:15:02.900000000Z",
        why: why::FOLDING,
        sample: Some(LATER),
    }
}

/// Socket family of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NetFamily {
    Inet,
    Inet6,
    Unix,
    Vsock,
    /// Any other, by its number (`AF_*`, linux/socket.h).
    Other(u16),
}

/// An IANA protocol number; its name in JSON, on the wire and in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

copied! { NetFamily, Protocol }
no_text! { NetFamily, Protocol }
text_in_column! { Protocol }

// === impl Connect ===

impl Connect {
    /// To a unix socket.
    pub(crate) fn sample_unix() -> Self {
        Self {
            family: NetFamily::Unix,
            addr: None,
            port: None,
            proto: None,
            path: Some("/run/docker.sock".into()),
            count: 1,
            last: None,
        }
    }
}

// === impl NetFamily ===

/// `AF_UNSPEC`
impl Default for NetFamily {
    fn default() -> Self {
        Self::Other(0)
    }
}

impl NetFamily {
    const NAMED: [(Self, &str); 4] = [
        (Self::Inet, "inet"),
        (Self::Inet6, "inet6"),
        (Self::Unix, "unix"),
        (Self::Vsock, "vsock"),
    ];

    /// From a name, or the number of another, as short as can be.
    pub fn parse(text: &str) -> Option<Self> {
        let named = Self::NAMED.iter().find(|(_, name)| *name == text);
        named.map(|(family, _)| *family).or_else(|| {
            let number: u16 = text.parse().ok()?;
            (number.to_string() == text).then_some(Self::Other(number))
        })
    }
}

/// `inet`, `inet6`, `unix`, `vsock`, or the number
impl fmt::Display for NetFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Other(number) = self {
            return number.fmt(f);
        }
        let named = Self::NAMED.iter().find(|(family, _)| family == self);
        f.pad(named.map_or("", |(_, name)| name))
    }
}

impl Serialize for NetFamily {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Wire<String> for NetFamily {
    fn to_wire(&self) -> String {
        self.to_string()
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        Self::parse(&wire).ok_or(Invalid("a socket family"))
    }
}

impl AsText<String> for NetFamily {
    fn text(wire: &String) -> Option<&str> {
        Some(wire)
    }

    fn from_text(text: Option<String>) -> String {
        text.unwrap_or_default()
    }

    fn fits(wire: &String) -> Result<(), Unfit> {
        Self::parse(wire)
            .map(drop)
            .ok_or(Unfit::named("is not inet, inet6, unix, vsock or a number"))
    }

    #[cfg(feature = "proptest")]
    fn any() -> proptest::strategy::BoxedStrategy<String> {
        proptest::strategy::Strategy::boxed(proptest::arbitrary::any::<String>())
    }
}

// === impl Protocol ===

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&proto_name(self.0))
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&proto_name(self.0))
    }
}

impl Wire<String> for Protocol {
    fn to_wire(&self) -> String {
        proto_name(self.0)
    }

    fn from_wire(wire: String) -> Result<Self, Invalid> {
        (0..=u8::MAX)
            .find(|number| proto_name(*number) == wire)
            .map(Self)
            .ok_or(Invalid("a protocol"))
    }
}

#[cfg(test)]
impl Connect {
    /// Part of the JSON form of its samples.
    pub(crate) const SAMPLE_JSON: &'static str = r#""net":{"family":"inet","addr":"127.0.0.1","port":8399,"proto":"tcp","path":null,"count":2,"last":"2023-11-14T22:13:20.500000000Z"},"result":"ECONNREFUSED""#;
    pub(crate) const SAMPLE_UNIX_JSON: &'static str = r#""net":{"family":"unix","addr":null,"port":null,"proto":null,"path":"/run/docker.sock","count":1,"last":null}"#;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_known_name_or_a_number() {
        for family in ["inet", "inet6", "unix", "vsock", "31", "0"] {
            let parsed = NetFamily::parse(family).unwrap();
            assert_eq!(parsed.to_string(), family);
        }
        for family in ["", "Inet", "ipx", "031", "+31", "65536", "-1"] {
            assert_eq!(NetFamily::parse(family), None, "{family}");
        }
    }
}
