//! What ends the wait for the ring: SIGTERM and SIGINT, as a descriptor that can be polled beside it, and
//! other threads that want something of the one that waits.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Takes the two signals over for the whole process: create it before any other thread.
pub struct Stop {
    fd: OwnedFd,
    waker: Waker,
}

/// Ends the wait of a [`Stop`] from another thread: at once, or the next one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    pub fn wake(&self) {
        // It fails only when it is counted to its limit: it wakes then.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
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
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let waker = Waker(Arc::new(waker));
        Ok(Self { fd, waker })
    }

    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits until one of `others` (the ring, the alarm of the clock) is readable, a signal came, somebody has
    /// called [`Waker::wake`], or `timeout` passed; true when a signal came.
    pub fn wait(&self, others: [Option<BorrowedFd<'_>>; 2], timeout: Duration) -> bool {
        let signals = self.fd.as_fd();
        // Polled once more in the place of one that is not there.
        let [ring, alarm] = others.map(|other| other.unwrap_or(signals));
        let fds = [ring, alarm, signals, self.waker.0.as_fd()];
        let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // An interrupted or failed wait is a short wait.
        let _ = poll(&mut fds, Some(&timeout));
        let [_, _, signal, woken] = fds;
        if woken.revents().contains(PollFlags::IN) {
            // Counted back to nothing: one wait has ended for it.
            let _ = rustix::io::read(&self.waker.0, &mut [0; 8]);
        }
        signal.revents().contains(PollFlags::IN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_once_for_whoever_wakes_it() {
        let stop = Stop::on_signals().unwrap();
        let (never, _open) = io::pipe().unwrap();
        let nobody = [Some(never.as_fd()), None];
        let waker = stop.waker();
        waker.wake();
        waker.wake();
        let begun = std::time::Instant::now();
        // Woken before it began to wait.
        assert!(!stop.wait(nobody, Duration::from_secs(60)));
        // From another thread, meanwhile.
        let other = std::thread::spawn(move || waker.wake());
        assert!(!stop.wait(nobody, Duration::from_secs(60)));
        other.join().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "it was woken");
        assert!(
            !stop.wait(nobody, Duration::from_millis(10)),
            "nobody wakes it"
        );
    }
}
