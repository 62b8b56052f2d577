use proptest::prelude::*;
use skep_abi::STATE_AGENT;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::*;

fn header(kind: Kind, hook: Hook, len: usize) -> Header {
    Header {
        time_ns: 1_000,
        start_ns: 500,
        session: 7,
        claim: Claim::NONE,
        image: 9,
        len: len as u32,
        tgid: 42,
        tid: 43,
        state: STATE_AGENT,
        missing: 0,
        kind: kind as u16,
        hook: hook as u8,
        pad: 0,
        uid: 1000,
        euid: 0,
    }
}

/// The bytes of a record and its tail, as the kernel sends them.
fn bytes<T: IntoBytes + Immutable>(record: &T, tail: &[u8]) -> Vec<u8> {
    [record.as_bytes(), tail].concat()
}

fn open_record(path: &[u8], form: PathForm, missing: u32) -> Vec<u8> {
    let mut header = header(
        Kind::Open,
        Hook::LsmFileOpen,
        size_of::<abi::Open>() + path.len(),
    );
    header.missing = missing;
    let open = abi::Open {
        header,
        file: FileKey {
            ino: 1,
            ctime_sec: 2,
            ctime_nsec: 3,
            dev: 4,
        },
        mode: 0o100644,
        dirfd: -100,
        links: 1,
        path_len: path.len() as u16,
        path_form: form as u8,
        ..abi::Open::new_zeroed()
    };
    bytes(&open, path)
}

fn exec_record(exe: &[u8], argv: &[u8], argc: u32, argv_bytes: u32) -> Vec<u8> {
    let tail = [exe, b"./a\0", b"home\0", argv, b"pts0\0"].concat();
    let exec = abi::Exec {
        header: header(
            Kind::Exec,
            Hook::RawTpExec,
            size_of::<abi::Exec>() + tail.len(),
        ),
        file: FileKey {
            ino: 1,
            ctime_sec: 2,
            ctime_nsec: 3,
            dev: 4,
        },
        previous_claim: Claim::NONE,
        parent_start_ns: 400,
        cgroup_id: 1,
        file_size: 10,
        ppid: 41,
        gid: 1000,
        loginuid: LOGINUID_UNSET,
        argc,
        argv_bytes,
        pid_namespace: 4_026_531_836,
        user_namespace: 0,
        mount_namespace: u32::MAX,
        exe_len: exe.len() as u16,
        filename_len: 4,
        cwd_len: 5,
        argv_len: argv.len() as u16,
        argv_end_len: 0,
        tty_len: 5,
        mode: 0o100755,
        switches: 0,
    };
    bytes(&exec, &tail)
}

fn as_exec(bytes: &[u8]) -> Exec {
    match decode(bytes, &mut Vec::new()).unwrap().body {
        Body::Exec(exec) => *exec,
        other => panic!("{other:?}"),
    }
}

fn as_open<'a>(bytes: &'a [u8], room: &'a mut Vec<u8>) -> Open<'a> {
    match decode(bytes, room).unwrap().body {
        Body::Open(open) => open,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_exec_keeps_every_argument_even_empty_ones() {
    let exec = as_exec(&exec_record(b"sh\0bin\0", b"sh\0-c\0\0", 3, 7));
    assert_eq!(exec.exe, Some(Text::from("/bin/sh")));
    assert_eq!(
        exec.argv,
        [Text::from("sh"), Text::from("-c"), Text::from("")]
    );
    assert!(!exec.argv_truncated);
    assert_eq!(exec.cwd, Some(Text::from("/home")));
    assert_eq!(exec.filename, Some(Text::from("./a")));
    assert_eq!(exec.terminal, Some(Text::from("pts0")));
    let namespaces = Namespaces {
        pid: Some(4_026_531_836),
        user: None,
        mount: Some(u32::MAX),
    };
    assert_eq!(exec.namespaces, namespaces, "none has the number 0");
    assert_eq!(
        exec.login_uid, None,
        "an unset login uid is unknown, not 4294967295"
    );
}

#[test]
fn an_argv_longer_than_what_was_taken_is_said_to_be_cut() {
    assert!(as_exec(&exec_record(b"sh\0", b"sh\0-c\0", 3, 900)).argv_truncated);
}

#[test]
fn what_the_kernel_side_could_not_read_is_unknown() {
    let (mut room, missing) = (Vec::new(), MISSING_PATH | MISSING_INODE);
    let record = open_record(b"", PathForm::Components, missing);
    let open = as_open(&record, &mut room);
    let OpenRef {
        path, mode, inode, ..
    } = open.facts;
    assert_eq!((path, mode, inode), (None, None, None));
    let record = open_record(b"x\0", PathForm::Given, MISSING_RESULT);
    let open = as_open(&record, &mut room);
    assert_eq!((open.result, open.facts.resolved), (None, false));
}

#[test]
fn an_ipv4_mapped_address_is_an_ipv4_connection() {
    let mut addr = [0u8; 16];
    addr[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    let record = abi::Connect {
        header: header(
            Kind::Connect,
            Hook::CgroupConnect6,
            size_of::<abi::Connect>(),
        ),
        addr,
        result: 0,
        family: AF_INET6,
        port: 443,
        proto: 6,
        pad: 0,
        path_len: 0,
        pad2: 0,
    };
    let (record, mut room) = (bytes(&record, b""), Vec::new());
    let Body::Connect(connect) = decode(&record, &mut room).unwrap().body else {
        panic!("not a connect")
    };
    let connect = connect.facts;
    assert_eq!(connect.family, NetFamily::Inet);
    assert_eq!(connect.addr, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(
        (connect.port, connect.proto),
        (Some(443), Some(Protocol(6)))
    );
}

#[test]
fn a_failed_exec_has_its_name_as_the_kernel_names_it_and_its_arguments() {
    let record = |dirfd, name: &[u8], is_cut, missing| {
        let tail = [name, b"sh\0-c\0\0"].concat();
        let mut header = header(
            Kind::FailedExec,
            Hook::TpExecveat,
            size_of::<abi::FailedExec>() + tail.len(),
        );
        header.missing = missing;
        let failed = abi::FailedExec {
            header,
            result: -2,
            dirfd,
            filename_len: name.len() as u16,
            argv_len: 7,
            argc: 3,
            is_cut,
        };
        let bytes = bytes(&failed, &tail);
        match decode(&bytes, &mut Vec::new()).unwrap().body {
            Body::FailedExec(failed) => *failed,
            other => panic!("{other:?}"),
        }
    };
    let plain = record(AT_FDCWD, b"./x\0", 0, 0);
    assert_eq!(plain.filename, Some(Text::from("./x")));
    assert_eq!(plain.argv, ["sh", "-c", ""].map(Text::from));
    assert_eq!((plain.result, plain.argv_truncated), (-2, false));
    for (name, expected) in [
        (&b"\0"[..], "/dev/fd/7"),
        (b"x\0", "/dev/fd/7/x"),
        (b"/x\0", "/x"),
    ] {
        let failed = record(7, name, 1, 0);
        assert_eq!(failed.filename, Some(Text::from(expected)));
        assert!(failed.argv_truncated);
    }
    let unread = record(AT_FDCWD, b"", 0, MISSING_FILENAME | MISSING_ARGV);
    assert_eq!((unread.filename, unread.argv_truncated), (None, true));
}

#[test]
fn a_vsock_peer_is_context_and_port_and_other_families_are_their_number() {
    let mut record = abi::Connect {
        header: header(
            Kind::Connect,
            Hook::FentrySocketConnect,
            size_of::<abi::Connect>(),
        ),
        addr: [0; 16],
        result: 0,
        family: AF_VSOCK,
        port: 0,
        proto: 0,
        pad: 0,
        path_len: 0,
        pad2: 0,
    };
    record.addr[..4].copy_from_slice(&1024u32.to_ne_bytes());
    record.addr[4..8].copy_from_slice(&2u32.to_ne_bytes());
    let facts = ConnectRef {
        family: NetFamily::Vsock,
        path: Some(b"2:1024"),
        ..ConnectRef::default()
    };
    let expected = Connect {
        facts,
        result: Some(0),
    };
    let (whole, mut room) = (bytes(&record, b""), Vec::new());
    assert_eq!(
        decode(&whole, &mut room).unwrap().body,
        Body::Connect(expected)
    );

    (record.family, record.header.missing) = (31, MISSING_ADDR);
    let facts = ConnectRef {
        family: NetFamily::Other(31),
        ..ConnectRef::default()
    };
    let expected = Connect { facts, ..expected };
    let whole = bytes(&record, b"");
    assert_eq!(
        decode(&whole, &mut room).unwrap().body,
        Body::Connect(expected)
    );
}

#[test]
fn lengths_that_do_not_fit_are_malformed() {
    let whole = exec_record(b"sh\0", b"sh\0", 1, 3);
    for len in 0..whole.len() {
        assert!(
            decode(&whole[..len], &mut Vec::new()).is_err(),
            "cut at {len}"
        );
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(decode(&longer, &mut Vec::new()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut noise in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u16..9) {
        let _ = decode(&noise, &mut Vec::new());
        // And with a header that gets past the first checks.
        if noise.len() >= size_of::<Header>() {
            let len = (noise.len() as u32).to_ne_bytes();
            noise[48..52].copy_from_slice(&len);
            noise[68..70].copy_from_slice(&kind.to_ne_bytes());
            noise[70] = Hook::RawTpExec as u8;
            let _ = decode(&noise, &mut Vec::new());
        }
    }

    #[test]
    fn any_path_comes_back(names in proptest::collection::vec("[^/\0]{1,20}", 0..20)) {
        let mut leaf_first = Vec::new();
        for name in names.iter().rev() {
            leaf_first.extend_from_slice(name.as_bytes());
            leaf_first.push(0);
        }
        let mut room = Vec::new();
        let record = open_record(&leaf_first, PathForm::Components, 0);
        let open = as_open(&record, &mut room);
        let expected = format!("/{}", names.join("/"));
        prop_assert_eq!(open.facts.path, Some(expected.as_bytes()));
        prop_assert!(open.facts.resolved);
    }
}
