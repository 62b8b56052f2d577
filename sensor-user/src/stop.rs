//! SIGTERM and SIGINT as a descriptor that can be polled beside the ring.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Takes the two signals over for the whole process: create it before any other thread.
pub struct Stop {
    fd: OwnedFd,
}

impl Stop {
    pub fn on_signals() -> io::Result<Self> {
        // SAFETY: an all-zero sigset is valid storage, and `sigemptyset` initialises it.
        let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `signals` is a valid set throughout; the calls change only this process.
        let fd = unsafe {
            libc::sigemptyset(&mut signals);
            libc::sigaddset(&mut signals, libc::SIGTERM);
            libc::sigaddset(&mut signals, libc::SIGINT);
            if libc::pthread_sigmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signalfd(-1, &signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Waits until `ring` is readable, a signal came, or `timeout` passed; true when a signal came.
    pub fn wait(&self, ring: BorrowedFd<'_>, timeout: Duration) -> bool {
        let mut fds = [
            PollFd::new(&ring, PollFlags::IN),
            PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN),
        ];
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // An interrupted or failed wait is a short wait.
        let _ = poll(&mut fds, Some(&timeout));
        let [_, signal] = fds;
        signal.revents().contains(PollFlags::IN)
    }
}
