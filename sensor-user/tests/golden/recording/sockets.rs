//! Connects and sockets.

use skep_abi::{Connect, Hook, MISSING_ADDR, MISSING_PROTO, MISSING_RESULT};

use super::tape::{Actor, Tape};

pub fn connects(tape: &mut Tape, shell: &Actor) {
    let inet = |hook, bits| (shell, hook, bits);
    let loopback = |port, proto, result| {
        move |connect: &mut Connect| {
            connect.addr[..4].copy_from_slice(&[127, 0, 0, 1]);
            (connect.port, connect.proto, connect.result) = (port, proto, result);
        }
    };
    let known = inet(Hook::CgroupConnect4, 0);
    tape.connect(
        "inet, refused",
        known,
        2,
        b"",
        loopback(8_399, 6, -libc::ECONNREFUSED),
    );
    tape.connect(
        "inet, datagram",
        inet(Hook::CgroupSendmsg4, MISSING_RESULT),
        2,
        b"",
        loopback(53, 17, 0),
    );
    tape.connect(
        "inet, a protocol without a name",
        known,
        2,
        b"",
        loopback(0, 253, 0),
    );
    tape.connect(
        "inet, not there yet",
        known,
        2,
        b"",
        loopback(1, 132, -libc::EINPROGRESS),
    );
    tape.connect(
        "no protocol",
        inet(Hook::TpConnect, MISSING_PROTO),
        2,
        b"",
        loopback(80, 6, 0),
    );
    tape.connect(
        "no address",
        inet(Hook::TpConnect, MISSING_ADDR),
        2,
        b"",
        loopback(80, 6, 0),
    );
    let inet6 = |last: [u8; 6]| {
        move |connect: &mut Connect| {
            connect.addr[10..].copy_from_slice(&last);
            (connect.port, connect.proto) = (443, 6);
        }
    };
    tape.connect(
        "inet6",
        inet(Hook::CgroupConnect6, 0),
        10,
        b"",
        inet6([0, 0, 0, 0, 0, 1]),
    );
    tape.connect(
        "inet6, mapped",
        inet(Hook::CgroupSendmsg6, 0),
        10,
        b"",
        inet6([255, 255, 10, 0, 0, 1]),
    );
    let unix = |hook, bits| (shell, hook, bits);
    for (about, hook, path) in [
        (
            "unix",
            Hook::FentryUnixStreamConnect,
            &b"/run/docker.sock\0"[..],
        ),
        (
            "unix, abstract",
            Hook::FentryUnixMaySend,
            &b"\0bus\0\xff"[..],
        ),
        ("unix, unnamed", Hook::LsmUnixMaySend, &b""[..]),
        (
            "unix, no end",
            Hook::LsmSocketConnect,
            &b"/tmp/ssh-hunter2/agent.1"[..],
        ),
    ] {
        tape.connect(about, unix(hook, 0), 1, path, |_| {});
    }
    tape.connect(
        "unix, no address",
        unix(Hook::FentrySocketConnect, MISSING_ADDR),
        1,
        b"",
        |_| {},
    );
    tape.connect(
        "vsock",
        unix(Hook::FentrySocketConnect, 0),
        40,
        b"",
        |connect| {
            connect.addr[..4].copy_from_slice(&5_000u32.to_ne_bytes());
            connect.addr[4..8].copy_from_slice(&2u32.to_ne_bytes());
        },
    );
    tape.connect(
        "another family",
        unix(Hook::FentrySocketConnect, MISSING_RESULT),
        16,
        b"",
        |_| {},
    );
    for _ in 0..3 {
        tape.connect("again and again", known, 2, b"", loopback(8_400, 6, 0));
    }
    tape.after(1_500);
}
