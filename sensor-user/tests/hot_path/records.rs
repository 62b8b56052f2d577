//! Records as the kernel side sends them, byte for byte, without a kernel.

use skep_abi::{
    Claim, Connect, Exec, Exit, FileKey, Fork, Header, Hook, Kind, Open, PathForm, STATE_AGENT,
    STATE_PENDING,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// Boot clock at the first record.
pub const BEGIN_NS: u64 = 1_000_000_000;

/// Who does it.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    pub pid: u32,
    pub start_ns: u64,
    /// Kernel id of its session; 0 while it waits for a verdict.
    pub session: u64,
    pub claim: Claim,
    pub image: u64,
}

/// Records, one after another.
#[derive(Default)]
pub struct Tape {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    pub time_ns: u64,
}

impl Tape {
    pub fn new() -> Self {
        Self {
            time_ns: BEGIN_NS,
            ..Self::default()
        }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }

    fn header(&mut self, actor: &Actor, kind: Kind, hook: Hook, len: usize) -> Header {
        self.time_ns += 1_000;
        Header {
            time_ns: self.time_ns,
            start_ns: actor.start_ns,
            session: actor.session,
            claim: actor.claim,
            image: actor.image,
            len: len as u32,
            tgid: actor.pid,
            tid: actor.pid,
            state: if actor.session == 0 {
                STATE_PENDING
            } else {
                STATE_AGENT
            },
            missing: 0,
            kind: kind as u16,
            hook: hook as u8,
            pad: 0,
            uid: 1000,
            euid: 1000,
        }
    }

    fn push<T: IntoBytes + Immutable>(&mut self, record: &T, tail: &[&[u8]]) {
        self.bytes.extend_from_slice(record.as_bytes());
        for part in tail {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// `path`: names from the file up to its root, each ended by NUL.
    pub fn open(&mut self, actor: &Actor, path: &[u8], ino: u64, epoch: u32) {
        let len = size_of::<Open>() + path.len();
        let open = Open {
            header: self.header(actor, Kind::Open, Hook::LsmFileOpen, len),
            file: key(ino),
            flags: 0o100_000,
            mode: 0o100_644,
            dirfd: -100,
            links: 1,
            epoch,
            path_len: path.len() as u16,
            path_form: PathForm::Components as u8,
            ..Open::new_zeroed()
        };
        self.push(&open, &[path]);
    }

    pub fn connect(&mut self, actor: &Actor, last: u8, port: u16) {
        let mut addr = [0; 16];
        addr[..4].copy_from_slice(&[127, 0, 0, last]);
        let connect = Connect {
            header: self.header(
                actor,
                Kind::Connect,
                Hook::CgroupConnect4,
                size_of::<Connect>(),
            ),
            addr,
            result: 0,
            family: 2,
            port,
            proto: 6,
            pad: 0,
            path_len: 0,
            pad2: 0,
        };
        self.push(&connect, &[]);
    }

    pub fn fork(&mut self, actor: &Actor, child: u32, child_start_ns: u64) {
        let fork = Fork {
            header: self.header(actor, Kind::Fork, Hook::RawTpFork, size_of::<Fork>()),
            child_start_ns,
            child_tgid: child,
            child_ppid: actor.pid,
        };
        self.push(&fork, &[]);
    }

    pub fn exit(&mut self, actor: &Actor) {
        let exit = Exit {
            header: self.header(actor, Kind::Exit, Hook::RawTpExit, size_of::<Exit>()),
            status: 0,
            pad: 0,
        };
        self.push(&exit, &[]);
    }

    /// `exe`: names as for an open; `argv`: each ended by NUL.
    pub fn exec(&mut self, actor: &Actor, file: FileKey, exe: &[u8], argv: &[u8]) {
        let argc = argv.iter().filter(|byte| **byte == 0).count() as u32;
        let (filename, cwd): (&[u8], &[u8]) = (b"./tool\0", b"project\0dev\0home\0");
        let tail = [exe, filename, cwd, argv];
        let len = size_of::<Exec>() + tail.iter().map(|part| part.len()).sum::<usize>();
        let exec = Exec {
            header: self.header(actor, Kind::Exec, Hook::RawTpExec, len),
            file,
            previous_claim: Claim::NONE,
            parent_start_ns: BEGIN_NS,
            cgroup_id: 1,
            file_size: 100_000,
            ppid: 1,
            gid: 1000,
            loginuid: u32::MAX,
            argc,
            argv_bytes: argv.len() as u32,
            pid_namespace: 4_026_531_836,
            user_namespace: 4_026_531_837,
            mount_namespace: 4_026_531_841,
            exe_len: exe.len() as u16,
            filename_len: filename.len() as u16,
            cwd_len: cwd.len() as u16,
            argv_len: argv.len() as u16,
            argv_end_len: 0,
            tty_len: 0,
            mode: 0o100_755,
            switches: 0,
        };
        self.push(&exec, &tail);
    }
}

pub fn key(ino: u64) -> FileKey {
    FileKey {
        ino,
        ctime_sec: 1,
        ctime_nsec: 2,
        dev: 8 << 20 | 1,
    }
}
