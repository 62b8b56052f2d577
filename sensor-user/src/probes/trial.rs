//! Tries a hook: the sensor has itself watched, does the thing, and looks for the record.

use std::{net::UdpSocket, os::unix::net::UnixStream, process::Command};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use skep_abi::{CANARY_SESSION, Header, Hook, Kind};

use super::{
    candidates::Trial,
    host::HostError,
    maps::{map_fd, take_map},
    processes::Processes,
};
use crate::{canary, decode};

/// Everything a trial needs.
pub struct Bench {
    ring: RingBuf<MapData>,
    processes: Processes,
    read: [u64; Kind::ALL.len()],
}

impl Bench {
    pub fn new(object: &mut Ebpf) -> Result<Self, HostError> {
        Ok(Self {
            ring: take_map(object, "RING")?,
            processes: Processes::new(take_map(object, "PROCESSES")?, &map_fd(object, "FILTER")?)
                .map_err(|error| HostError::Load(format!("map FILTER: {error}")))?,
            read: [0; Kind::ALL.len()],
        })
    }

    /// Does what `trial` says and tells whether `hook` reported it; the reason if not.
    pub fn reported(&mut self, trial: Trial, hook: Hook) -> Result<(), String> {
        if trial == Trial::Attach {
            return Ok(());
        }
        let me = std::process::id();
        self.drain(hook);
        self.processes
            .watch_as_canary(me)
            .map_err(|error| format!("cannot watch the trial: {error}"))?;
        act(trial);
        self.processes.unwatch(me);
        if self.drain(hook) {
            Ok(())
        } else {
            Err("attached, but the kernel does not call it (a trial was not reported)".to_owned())
        }
    }

    /// Reads what is in the ring; true if a trial's record of `hook` was there.
    fn drain(&mut self, hook: Hook) -> bool {
        let mut seen = false;
        while let Some(item) = self.ring.next() {
            let Some(header) = decode::fixed::<Header>(&item) else {
                continue;
            };
            if let Some(kind) = Kind::from_u16(header.kind) {
                self.read[kind as usize - 1] += 1;
            }
            seen |= header.hook == hook as u8 && header.session == CANARY_SESSION;
        }
        seen
    }

    /// The ring, the table of watched processes, and how many records the trials took, by kind.
    pub fn finish(self) -> (RingBuf<MapData>, Processes, [u64; Kind::ALL.len()]) {
        (self.ring, self.processes, self.read)
    }
}

/// The outcome does not matter: the hook reports the attempt.
fn act(trial: Trial) {
    match trial {
        Trial::Open => drop(std::fs::File::open("/proc/self/comm")),
        Trial::ConnectInet => {
            // Connecting a datagram socket sends nothing.
            let _ = UdpSocket::bind(("127.0.0.1", 0))
                .and_then(|socket| socket.connect(("127.0.0.1", 9)));
        }
        Trial::ConnectUnix => drop(UnixStream::connect("/proc/self/no-such-socket")),
        Trial::Socket => drop(canary::rare_socket()),
        Trial::Child => drop(Command::new("/proc/self/no-such-program").spawn()),
        Trial::Change => drop(canary::changes()),
        Trial::FailedExec => drop(canary::failed_execs()),
        Trial::Attach => {}
    }
}
