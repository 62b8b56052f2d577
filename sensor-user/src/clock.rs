//! The one clock of the sensor: from the kernel's boot clock to Unix time.
//!
//! Kernel records are stamped with `CLOCK_BOOTTIME` (nanoseconds since boot, suspend included). The
//! difference to `CLOCK_REALTIME` changes only when the wall clock is *stepped*: slewing moves both, and a
//! suspend does, too. NTP steps it after the boot, people and hypervisors at any time.
//!
//! Every part of the sensor has a copy of one [`BootClock`]; the pipeline measures it anew once a second, and
//! at once when the kernel says that the clock was set ([`Alarm`]).
//!
//! Invariants:
//! - a boot time has the Unix time by the difference that held *then* ([`history`]): a step changes nothing
//!   that was told before, and a process has the same start before and after it;
//! - the history of a boot is kept in the state directory, so that a process has the same start before and
//!   after a restart of the sensor;
//! - each step is returned once ([`BootClock::measure_again`]).
//!
//! Reading takes no lock for a moment after the newest step. Measuring is for one thread at a time.

mod alarm;
pub mod history;

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread,
};

use rustix::time::{ClockId, clock_gettime};
use skep_event::UnixNanos;

pub use self::alarm::Alarm;
use self::history::{History, Segment};

/// A difference larger than this is a step of the wall clock, not noise of the measurement.
const STEP: i64 = 100_000_000;

/// How often the two clocks are read to find the pair read closest together.
const SAMPLES: u32 = 16;

/// File in the state directory that keeps the differences of one boot.
const FILE: &str = "boot-clock";
/// More than a history of all its segments takes.
const FILE_MAX: u64 = 64 << 10;

/// Turns nanoseconds since boot into Unix time. Its clones are the same clock.
#[derive(Clone, Debug)]
pub struct BootClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Odd while the two after it are being written.
    version: AtomicU64,
    newest_from_ns: AtomicU64,
    newest_offset: AtomicI64,
    history: Mutex<History>,
    /// A step that was found by comparing with the file, and is not returned yet.
    found: Mutex<Option<Step>>,
    file: Option<File>,
}

/// Where the history is kept.
#[derive(Debug)]
struct File {
    path: PathBuf,
    boot_id: String,
    saving: AtomicBool,
    changed: AtomicBool,
}

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub time: UnixNanos,
    /// Nanoseconds since boot.
    pub boot_ns: u64,
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Nanoseconds since boot.
    pub boot_ns: u64,
    /// `CLOCK_REALTIME` − `CLOCK_BOOTTIME`, nanoseconds.
    pub offset: i64,
}

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When that was noticed, boot clock, nanoseconds: from here on times are by the new difference.
    pub at_ns: u64,
    /// `CLOCK_REALTIME` − `CLOCK_BOOTTIME`, nanoseconds.
    pub before: i64,
    pub after: i64,
    /// It happened while the sensor was not running.
    pub unwatched: bool,
}

// === impl BootClock ===

impl BootClock {
    /// The clock of a boot that is known to have begun at this Unix time, nanoseconds: that of recorded
    /// events.
    pub fn with_offset(offset: i64) -> Self {
        Self::of(History::new(offset), None, None)
    }

    /// By the difference as it is now.
    pub fn measure() -> Self {
        Self::with_offset(Measured::now().offset)
    }

    /// With the history saved for this boot in `state_directory`, which is kept there from now on. A
    /// directory that cannot be read or written costs only the stability across restarts.
    pub fn for_boot(state_directory: &Path, boot_id: &str) -> Self {
        Self::for_boot_as(state_directory, boot_id, Measured::now())
    }

    fn for_boot_as(state_directory: &Path, boot_id: &str, measured: Measured) -> Self {
        let path = state_directory.join(FILE);
        let saved = read_bounded(&path).and_then(|text| History::read(&text, boot_id));
        let is_new = saved.is_none();
        let history = saved.unwrap_or_else(|| History::new(measured.offset));
        let file = File {
            path,
            boot_id: boot_id.to_owned(),
            saving: AtomicBool::new(false),
            changed: AtomicBool::new(false),
        };
        let clock = Self::of(history, Some(file), None);
        let found = clock.take(measured).map(|step| Step {
            unwatched: true,
            ..step
        });
        let must_save = is_new || found.is_some();
        *lock(&clock.0.found) = found;
        if must_save {
            clock.save();
        }
        clock
    }

    fn of(history: History, file: Option<File>, found: Option<Step>) -> Self {
        let Segment { from_ns, offset } = history.newest();
        Self(Arc::new(Shared {
            version: AtomicU64::new(0),
            newest_from_ns: AtomicU64::new(from_ns),
            newest_offset: AtomicI64::new(offset),
            history: Mutex::new(history),
            found: Mutex::new(found),
            file,
        }))
    }

    /// The newest difference; without a lock, as the hot path asks for it.
    fn newest(&self) -> Segment {
        let shared = &*self.0;
        loop {
            let version = shared.version.load(Ordering::Acquire);
            let newest = Segment {
                from_ns: shared.newest_from_ns.load(Ordering::Acquire),
                offset: shared.newest_offset.load(Ordering::Acquire),
            };
            if version.is_multiple_of(2) && shared.version.load(Ordering::Relaxed) == version {
                return newest;
            }
            std::hint::spin_loop();
        }
    }

    /// Unix time of a moment `boot_nanos` after boot, by the difference that held then. Times before 1970
    /// come out as 1970.
    pub fn unix(&self, boot_nanos: u64) -> UnixNanos {
        let newest = self.newest();
        if boot_nanos >= newest.from_ns {
            return newest.unix(boot_nanos);
        }
        lock(&self.0.history).at(boot_nanos).unix(boot_nanos)
    }

    /// The moment `boot_nanos` after boot.
    pub fn at(&self, boot_nanos: u64) -> Moment {
        Moment {
            time: self.unix(boot_nanos),
            boot_ns: boot_nanos,
        }
    }

    /// The boot time of a Unix time; 0 for what was before boot. Where the wall clock was set back, a time
    /// came twice: then the later.
    pub fn boot(&self, time: UnixNanos) -> u64 {
        let newest = self.newest();
        let boot_nanos = newest.boot(time);
        if boot_nanos >= newest.from_ns {
            return boot_nanos;
        }
        lock(&self.0.history).boot(time)
    }

    /// Nanoseconds since boot, now.
    pub fn boot_now() -> u64 {
        u64::try_from(read(ClockId::Boottime)).unwrap_or(0)
    }

    /// Unix time, now, on this clock.
    pub fn now(&self) -> UnixNanos {
        self.unix(Self::boot_now())
    }

    /// Measures; the step, when the wall clock was set since the last time.
    pub fn measure_again(&self) -> Option<Step> {
        self.measured(Measured::now())
    }

    /// The same, of two clocks that were read by the caller.
    pub fn measured(&self, measured: Measured) -> Option<Step> {
        if let Some(step) = lock(&self.0.found).take() {
            return Some(step);
        }
        let step = self.take(measured)?;
        self.save_soon();
        Some(step)
    }

    fn take(&self, measured: Measured) -> Option<Step> {
        let shared = &*self.0;
        let mut history = lock(&shared.history);
        let before = history.newest().offset;
        if before.abs_diff(measured.offset) < STEP.unsigned_abs() {
            return None;
        }
        history.step(measured.boot_ns, measured.offset);
        let Segment { from_ns, offset } = history.newest();
        shared.version.fetch_add(1, Ordering::AcqRel);
        shared.newest_from_ns.store(from_ns, Ordering::Release);
        shared.newest_offset.store(offset, Ordering::Release);
        shared.version.fetch_add(1, Ordering::Release);
        Some(Step {
            at_ns: from_ns,
            before,
            after: offset,
            unwatched: false,
        })
    }

    // === the file ===

    fn save(&self) {
        let Some(File { path, boot_id, .. }) = &self.0.file else {
            return;
        };
        let text = lock(&self.0.history).write(boot_id);
        if let Err(error) = write(path, &text) {
            tracing::warn!(file = %path.display(), %error, "boot clock not saved");
        }
    }

    /// On a thread of its own: a disk that hangs holds nobody up. One at a time.
    fn save_soon(&self) {
        let Some(file) = &self.0.file else { return };
        file.changed.store(true, Ordering::Release);
        if file.saving.swap(true, Ordering::AcqRel) {
            return;
        }
        let clock = self.clone();
        let saver = move || {
            let file = clock.0.file.as_ref().expect("it was there above");
            loop {
                while file.changed.swap(false, Ordering::AcqRel) {
                    clock.save();
                }
                file.saving.store(false, Ordering::Release);
                // Changed in between, and not begun by another.
                if !file.changed.load(Ordering::Acquire) || file.saving.swap(true, Ordering::AcqRel)
                {
                    return;
                }
            }
        };
        let started = thread::Builder::new()
            .name("boot-clock".into())
            .spawn(saver);
        if let Err(error) = started {
            file.saving.store(false, Ordering::Release);
            tracing::warn!(%error, "boot clock not saved");
        }
    }
}

// === impl Measured ===

impl Measured {
    /// The pair of readings that was taken closest together.
    pub fn now() -> Self {
        let mut best = (i64::MAX, 0, 0);
        for _ in 0..SAMPLES {
            let before = read(ClockId::Boottime);
            let wall = read(ClockId::Realtime);
            let after = read(ClockId::Boottime);
            let width = after.saturating_sub(before);
            if width < best.0 {
                let offset = wall.saturating_sub(before.saturating_add(width / 2));
                best = (width, offset, after);
            }
        }
        Self {
            boot_ns: u64::try_from(best.2).unwrap_or(0),
            offset: best.1,
        }
    }
}

// === impl Step ===

impl Step {
    /// In one sentence, for people.
    pub fn reason(&self) -> String {
        let by = self.after.saturating_sub(self.before);
        let seconds = by.unsigned_abs() / 1_000_000_000;
        let millis = by.unsigned_abs() / 1_000_000 % 1000;
        let (direction, sign) = if by < 0 {
            ("back", '-')
        } else {
            ("forward", '+')
        };
        let when = if self.unwatched {
            ", while the sensor was not running"
        } else {
            ""
        };
        format!(
            "the wall clock was set {direction} by {seconds}.{millis:03} s{when}: times told before are by \
             the clock as it was ({sign}{seconds}.{millis:03} s corrects them)"
        )
    }
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

/// Whoever panicked with it has not left it half written: it is written last.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_bounded(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(FILE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut out = fs::File::create(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_data()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests;
