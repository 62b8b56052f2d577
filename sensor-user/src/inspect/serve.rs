//! The inspector itself: a child of the sensor that makes a process for each question.
//!
//! It opens nothing but what it needs at its start, the catalogue. A question comes as a packet with a socket
//! for the answer; a child of the inspector, forked for it, looks into it (`worker.rs`) and is killed when it is
//! late. Where a worker ends without an answer, the inspector says why in its stead.
//!
//! Bounds: [`STUCK_MAX`] workers that the kernel cannot end (a system call that never returns), [`STUCK_OF_USER_MAX`]
//! of one user, [`ALIVE_MAX`] of any kind; beyond that a question is refused.
//! It ends when the sensor does: the socket between them is closed then.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use prost::Message;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send},
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, waitpid,
    },
};

use super::{
    wire::{Answer, Asked, PACKET_MAX, Question},
    worker,
};
use crate::{
    identify::{Identifier, Unjudged},
    memory::{give_back_code, give_back_heap},
};

/// The first argument that makes `skep-sensor` an inspector; the second is the directory of the catalogue.
/// Not for people: it is not among the commands.
pub const ARGUMENT: &str = "inspector";

const STUCK_MAX: usize = 16;
const STUCK_OF_USER_MAX: usize = 4;
const ALIVE_MAX: usize = 48;
/// How long a question waits for workers that have answered and are about to end.
const ENDS_WITHIN: Duration = Duration::from_millis(200);
/// How long a worker may outlive its own alarm before it is killed from outside.
const GRACE: Duration = Duration::from_millis(50);
/// How often a fork that is refused for now is tried again, and how long between.
const FORK_TRIES: u32 = 5;
const FORK_PAUSE: Duration = Duration::from_millis(5);

/// The directory of the catalogue, if this process was started to be an inspector.
pub fn is_asked(
    mut arguments: impl Iterator<Item = std::ffi::OsString>,
) -> Option<std::ffi::OsString> {
    let first = arguments.nth(1)?;
    let directory = arguments.next()?;
    (first == ARGUMENT && arguments.next().is_none()).then_some(directory)
}

/// A question somebody looks into.
struct Worker {
    pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
    uid: Option<u32>,
    until: Instant,
    killed: bool,
}

/// Answers questions that come on standard input until it is closed.
///
/// # Errors
///
/// Standard input is no socket, or the kernel refuses to wait.
pub fn serve(mut identifier: Identifier) -> io::Result<()> {
    // It has read the catalogue.
    give_back_heap();
    give_back_code();
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::io::fcntl_setfd(&control, rustix::io::FdFlags::CLOEXEC)?;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: ignoring a signal runs no code. Who stops the sensor closes the socket.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // It is there.
    send(&control, &[0], SendFlags::NOSIGNAL)?;
    let mut workers: Vec<Worker> = Vec::new();
    let mut packet = vec![0; PACKET_MAX];
    loop {
        let asked = wait(&control, &workers)?;
        workers.retain_mut(Worker::goes_on);
        if !asked {
            continue;
        }
        let Some((length, socket)) = receive(&control, &mut packet)? else {
            return Ok(());
        };
        let Some(socket) = socket else { continue };
        let until = Instant::now() + ENDS_WITHIN;
        while workers.len() >= ALIVE_MAX && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
            workers.retain_mut(Worker::goes_on);
        }
        // Who asks is the sensor, of this very program.
        let asked = Question::decode(&packet[..length])
            .ok()
            .and_then(Question::asked);
        match asked {
            Some(asked) if has_room(&workers, asked.uid) => {
                match fork(&asked, &mut identifier, &control, &workers, socket) {
                    Ok(worker) => workers.push(worker),
                    Err(socket) => answer(&socket, Unjudged::NotLookedAt),
                }
            }
            Some(_) | None => answer(&socket, Unjudged::NotLookedAt),
        }
    }
}

/// Whether so many could not be ended that one more is not risked. Those who have answered and are about to end
/// do not count: the next question may be here before they are gone.
fn has_room(workers: &[Worker], uid: Option<u32>) -> bool {
    let stuck = || workers.iter().filter(|worker| worker.killed);
    let of_user = stuck().filter(|worker| worker.uid == uid).count();
    workers.len() < ALIVE_MAX && stuck().count() < STUCK_MAX && of_user < STUCK_OF_USER_MAX
}

fn answer(socket: &OwnedFd, why: Unjudged) {
    // Who asked has gone on without it.
    let _ = send(socket, &Answer::failed(why).packet(), SendFlags::NOSIGNAL);
}

/// Until somebody asks (true), a worker has ended, or one is late.
fn wait(control: &OwnedFd, workers: &[Worker]) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(control, PollFlags::IN)];
    fds.extend(
        workers
            .iter()
            .map(|worker| PollFd::new(&worker.pidfd, PollFlags::IN)),
    );
    let late = workers
        .iter()
        .filter(|worker| !worker.killed)
        .map(|worker| worker.until);
    let timeout = late.min().map(|until| {
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        }
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(!fds[0].revents().is_empty())
}

/// A packet and the socket that came with it; `None` when nobody asks any more.
fn receive(control: &OwnedFd, packet: &mut [u8]) -> io::Result<Option<(usize, Option<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(packet)];
    let received = match recvmsg(control, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
        Ok(received) => received,
        Err(Errno::INTR) => return Ok(Some((0, None))),
        Err(error) => return Err(error.into()),
    };
    let mut socket = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            socket = fds.next();
        }
    }
    if received.bytes == 0 && socket.is_none() {
        return Ok(None);
    }
    Ok(Some((received.bytes, socket)))
}

/// A process that looks into it. This process has one thread, so that what its child has of it is whole.
fn fork(
    asked: &Asked,
    identifier: &mut Identifier,
    control: &OwnedFd,
    workers: &[Worker],
    socket: OwnedFd,
) -> Result<Worker, OwnedFd> {
    let allowed = Duration::from_millis(asked.allowed.millis);
    for _ in 0..FORK_TRIES {
        // SAFETY: there is no other thread whose locks the child could wait for.
        match unsafe { libc::fork() } {
            0 => be_worker(asked, identifier, control, workers, &socket),
            pid if pid > 0 => {
                let Some(pid) = Pid::from_raw(pid) else { break };
                let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                    // Its own alarm ends it.
                    break;
                };
                return Ok(Worker {
                    pid,
                    pidfd,
                    socket,
                    uid: asked.uid,
                    until: Instant::now() + allowed + GRACE,
                    killed: false,
                });
            }
            _ => std::thread::sleep(FORK_PAUSE),
        }
    }
    Err(socket)
}

fn be_worker(
    asked: &Asked,
    identifier: &mut Identifier,
    control: &OwnedFd,
    workers: &[Worker],
    socket: &OwnedFd,
) -> ! {
    // Descriptors that are not its own: nobody else is spoken for.
    for fd in [control]
        .into_iter()
        .chain(workers.iter().flat_map(|r| [&r.pidfd, &r.socket]))
    {
        use std::os::fd::AsRawFd;
        // SAFETY: nothing of this process uses them again: it ends below.
        unsafe { libc::close(fd.as_raw_fd()) };
    }
    // SAFETY: standard input is the other descriptor of the control socket; nothing reads it here.
    unsafe { libc::close(libc::STDIN_FILENO) };
    set_alarm(asked.allowed.millis);
    worker::answer(asked, identifier, socket);
    // SAFETY: ends the process at once; there is nothing to be put in order.
    unsafe { libc::_exit(0) }
}

/// After so many milliseconds the kernel ends this process, wherever it waits: whom it has become, the
/// inspector may not be allowed to signal.
fn set_alarm(millis: u64) {
    // SAFETY: the default action, which ends the process; and a structure that outlives the call.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        let mut timer: libc::itimerval = std::mem::zeroed();
        timer.it_value.tv_sec = (millis / 1000) as libc::time_t;
        timer.it_value.tv_usec = (millis % 1000 * 1000).max(1) as libc::suseconds_t;
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
    }
}

// === impl Worker ===

impl Worker {
    /// False once it has ended. Kills it when it is late.
    fn goes_on(&mut self) -> bool {
        match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(None) => {}
            Ok(Some((_, status))) => {
                if let Some(why) = unanswered(status) {
                    answer(&self.socket, why);
                }
                return false;
            }
            Err(_) => return false,
        }
        if !self.killed && Instant::now() >= self.until {
            self.killed = true;
            answer(&self.socket, Unjudged::Late);
            // One that cannot be ended is not waited for.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        true
    }
}

/// Why a worker that ended so has not answered, if it has not.
fn unanswered(status: WaitStatus) -> Option<Unjudged> {
    match status.terminating_signal() {
        None if status.exit_status() == Some(0) => None,
        Some(libc::SIGALRM | libc::SIGKILL) => Some(Unjudged::Late),
        // No memory (it aborts), no processor time.
        Some(libc::SIGABRT | libc::SIGXCPU) => Some(Unjudged::OverBudget),
        Some(_) | None => Some(Unjudged::NotLookedAt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(count: usize, uid: u32, killed: bool) -> impl Iterator<Item = Worker> {
        (0..count).map(move |_| {
            let me = rustix::process::getpid();
            let pidfd = pidfd_open(me, PidfdFlags::empty()).expect("it runs");
            Worker {
                pid: me,
                socket: pidfd.try_clone().expect("a descriptor"),
                pidfd,
                uid: Some(uid),
                until: Instant::now(),
                killed,
            }
        })
    }

    #[test]
    fn those_who_have_answered_keep_nobody_out_and_those_who_cannot_be_ended_do() {
        let answered: Vec<_> = workers(40, 7, false).collect();
        assert!(has_room(&answered, Some(7)));
        let of_user: Vec<_> = workers(STUCK_OF_USER_MAX, 7, true).collect();
        assert!(!has_room(&of_user, Some(7)));
        assert!(has_room(&of_user, Some(8)));
        let of_all: Vec<_> = (0..STUCK_MAX as u32)
            .flat_map(|uid| workers(1, uid, true))
            .collect();
        assert!(!has_room(&of_all, Some(100)));
        let many: Vec<_> = workers(ALIVE_MAX, 7, false).collect();
        assert!(!has_room(&many, Some(8)));
    }

    #[test]
    fn only_its_arguments_make_an_inspector() {
        let asked = |list: &[&str]| {
            let arguments: Vec<std::ffi::OsString> = list.iter().map(Into::into).collect();
            is_asked(arguments.into_iter())
        };
        let directory = asked(&["skep-sensor", ARGUMENT, "/etc/skep/catalogue"]);
        assert_eq!(directory.as_deref(), Some("/etc/skep/catalogue".as_ref()));
        for other in [
            &["skep-sensor"][..],
            &["skep-sensor", ARGUMENT],
            &["skep-sensor", "run", "x"],
            &["x", ARGUMENT, "y", "z"],
        ] {
            assert_eq!(asked(other), None, "{other:?}");
        }
    }
}
