//! From the kernel's boot clock to Unix time.
//!
//! Kernel records are stamped with `CLOCK_BOOTTIME` (nanoseconds since boot, suspend included). The
//! difference to `CLOCK_REALTIME` changes only when the wall clock is *stepped*: slewing moves both.
//!
//! Invariants:
//! - within one life of [`BootClock`] the same boot time always gives the same Unix time, until
//!   [`BootClock::refresh`] reports a step;
//! - a saved difference of the same boot is kept while it agrees with the measured one within
//!   [`STEP`], so that a process has the same start time before and after a restart of the sensor.

use std::{fs, io::Write, path::Path};

use rustix::time::{ClockId, clock_gettime};
use skep_event::UnixNanos;

/// A difference larger than this is a step of the wall clock, not noise of the measurement.
const STEP: i64 = 100_000_000;

/// How often the two clocks are read to find the pair read closest together.
const SAMPLES: u32 = 16;

/// File in the state directory that keeps the difference of one boot.
const FILE: &str = "boot-clock";

/// Turns nanoseconds since boot into Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootClock {
    /// `CLOCK_REALTIME` − `CLOCK_BOOTTIME`, nanoseconds.
    offset: i64,
}

// === impl BootClock ===

impl BootClock {
    /// The clock of a boot that is known to have begun at this Unix time, nanoseconds: that of recorded
    /// events.
    pub fn with_offset(offset: i64) -> Self {
        Self { offset }
    }

    /// Measures the difference now.
    pub fn measure() -> Self {
        let mut best = (i64::MAX, 0);
        for _ in 0..SAMPLES {
            let before = read(ClockId::Boottime);
            let wall = read(ClockId::Realtime);
            let after = read(ClockId::Boottime);
            let width = after.saturating_sub(before);
            if width < best.0 {
                best = (width, wall.saturating_sub(before.saturating_add(width / 2)));
            }
        }
        Self { offset: best.1 }
    }

    /// The difference saved for this boot in `state_directory` while it still holds, else the one
    /// measured now, which is then saved. A directory that cannot be read or written costs only the
    /// stability across restarts.
    pub fn for_boot(state_directory: &Path, boot_id: &str) -> Self {
        let measured = Self::measure();
        let file = state_directory.join(FILE);
        if let Some(saved) = fs::read_to_string(&file)
            .ok()
            .and_then(|text| parse(&text, boot_id))
            && saved.offset.abs_diff(measured.offset) < STEP.unsigned_abs()
        {
            return saved;
        }
        if let Err(error) = measured.save(&file, boot_id) {
            tracing::warn!(file = %file.display(), %error, "boot clock not saved");
        }
        measured
    }

    fn save(&self, file: &Path, boot_id: &str) -> std::io::Result<()> {
        let new = file.with_extension("new");
        let mut out = fs::File::create(&new)?;
        writeln!(out, "{boot_id} {}", self.offset)?;
        out.sync_data()?;
        fs::rename(new, file)
    }

    /// Unix time of a moment `boot_nanos` after boot. Times before 1970 come out as 1970.
    pub fn unix(&self, boot_nanos: u64) -> UnixNanos {
        UnixNanos(boot_nanos.saturating_add_signed(self.offset))
    }

    /// The boot time of a Unix time; 0 for what was before boot.
    pub fn boot(&self, time: UnixNanos) -> u64 {
        time.0.saturating_add_signed(self.offset.saturating_neg())
    }

    /// Nanoseconds since boot, now.
    pub fn boot_now() -> u64 {
        u64::try_from(read(ClockId::Boottime)).unwrap_or(0)
    }

    /// Unix time, now, on this clock.
    pub fn now(&self) -> UnixNanos {
        self.unix(Self::boot_now())
    }

    /// Measures again; takes the new difference and returns the step when the wall clock was set.
    pub fn refresh(&mut self) -> Option<i64> {
        let measured = Self::measure();
        let step = measured.offset.saturating_sub(self.offset);
        if step.abs() < STEP {
            return None;
        }
        *self = measured;
        Some(step)
    }
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

fn parse(text: &str, boot_id: &str) -> Option<BootClock> {
    let (saved_boot, offset) = text.trim().split_once(' ')?;
    let offset = offset.parse().ok()?;
    (saved_boot == boot_id).then_some(BootClock { offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001";

    #[test]
    fn boot_time_maps_to_wall_time_and_back() {
        let clock = BootClock {
            offset: 1_700_000_000_000_000_000,
        };
        assert_eq!(clock.unix(5), UnixNanos(1_700_000_000_000_000_005));
        assert_eq!(clock.boot(UnixNanos(1_700_000_000_000_000_005)), 5);
        assert_eq!(clock.boot(UnixNanos(7)), 0);
        assert_eq!(BootClock { offset: i64::MIN }.unix(9), UnixNanos(0));
        assert_eq!(
            BootClock { offset: i64::MAX }.unix(u64::MAX),
            UnixNanos(u64::MAX)
        );
    }

    #[test]
    fn measured_clock_agrees_with_the_wall_clock() {
        let clock = BootClock::measure();
        let wall = jiff::Timestamp::now().as_nanosecond();
        let ours = i128::from(clock.now().0);
        assert!((ours - wall).abs() < 5_000_000_000, "{ours} against {wall}");
    }

    #[test]
    fn saved_difference_survives_a_restart_but_not_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let first = BootClock::for_boot(dir.path(), BOOT);
        let near = BootClock {
            offset: first.offset + 1_000,
        };
        near.save(&dir.path().join(FILE), BOOT).unwrap();
        assert_eq!(BootClock::for_boot(dir.path(), BOOT), near);
        assert_ne!(BootClock::for_boot(dir.path(), "another"), near);
    }

    #[test]
    fn saved_difference_that_no_longer_holds_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let stepped = BootClock {
            offset: BootClock::measure().offset - 10 * STEP,
        };
        stepped.save(&dir.path().join(FILE), BOOT).unwrap();
        let clock = BootClock::for_boot(dir.path(), BOOT);
        assert_ne!(clock, stepped);
        assert_eq!(BootClock::for_boot(dir.path(), BOOT), clock);
        let mut running = stepped;
        assert!(running.refresh().is_some_and(|step| step >= 9 * STEP));
    }

    #[test]
    fn garbage_in_the_saved_file_is_ignored() {
        for text in ["", "x", "x y", &format!("{BOOT} 12x"), "\0\0"] {
            assert_eq!(parse(text, BOOT), None, "{text:?}");
        }
    }
}
