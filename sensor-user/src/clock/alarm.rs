//! A descriptor that becomes readable when the wall clock is set, and after a suspend.
//!
//! A timer on `CLOCK_REALTIME` that never expires, with `TFD_TIMER_CANCEL_ON_SET` (timerfd_create(2), Linux
//! 3.0): the kernel cancels it whenever the difference of the wall clock to its monotonic one changes other
//! than by slewing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// Says that the wall clock was set.
#[derive(Debug)]
pub struct Alarm(OwnedFd);

// === impl Alarm ===

impl Alarm {
    /// # Errors
    ///
    /// The kernel gives no such timer; then steps are found by measuring alone.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let alarm = Self(timerfd_create(TimerfdClockId::Realtime, flags)?);
        alarm.arm()?;
        Ok(alarm)
    }

    fn arm(&self) -> Result<(), Errno> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let never = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                // The kernel takes what is beyond its own last second for that.
                tv_sec: i64::MAX,
                ..zero
            },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&self.0, flags, &never).map(drop)
    }

    /// Whether the clock was set since the last time this was asked; does not wait.
    pub fn rang(&self) -> bool {
        let was_set = match rustix::io::read(&self.0, &mut [0; 8]) {
            Err(Errno::AGAIN | Errno::INTR) => false,
            // Cancelled; or it expired, at the end of the kernel's time.
            Err(_) | Ok(_) => true,
        };
        if was_set && let Err(error) = self.arm() {
            tracing::warn!(%error, "the wall clock is looked at once a second only");
        }
        was_set
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_quiet_while_nobody_sets_the_clock() {
        let alarm = Alarm::new().unwrap();
        assert!(!alarm.rang());
        assert!(!alarm.rang());
    }
}
