//! Log of the kernel programs: its ring into `tracing`, for whoever develops them.
//!
//! There is one only where `[kernel] log` asks for it. Bounds: the ring has [`ring_bytes`], a part of the
//! sensor's memory; a round takes no more lines out of it than it holds; [`LINES_A_SECOND`] are forwarded.
//! A line that the ring did not take, and one beyond that rate, is counted and said, once a second at most.
//! What was counted by the kernel side is what was forwarded, what was lost, and what is still in the ring.

pub mod line;

use std::time::{Duration, Instant};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, RingBuf},
};

use self::line::{Line, parse};
use super::{host::HostError, maps::take_map};
use crate::log_level::{KERNEL_TARGET, KernelLevel};

/// The read-only global of aya-log-ebpf that says which lines are wanted.
pub const LEVEL: &str = "AYA_LOG_LEVEL";
/// The ring of aya-log-ebpf.
pub const RING: &str = "AYA_LOGS";
/// The kernel side's count of lines.
const LINES: &str = "LOG_LINES";

/// Lines forwarded in a second.
pub const LINES_A_SECOND: u32 = 500;
/// Bytes that a line takes of the ring: aya-log reserves a power of two, and the kernel adds eight.
const LINE_BYTES: u32 = 256 + 8;
/// The ring has this part of the sensor's memory ...
const MEMORY_SHARE: usize = 512;
/// ... and no more than this, bytes.
const RING_MAX: usize = 256 << 10;
/// What a ring has at least, bytes: a page.
const RING_MIN: u32 = 4096;
const SECOND: Duration = Duration::from_secs(1);

/// Lines of the kernel programs.
pub struct KernelLog {
    ring: RingBuf<MapData>,
    /// How many there were, by CPU.
    lines: PerCpuArray<MapData, u64>,
    /// As many as the ring can hold.
    at_once: u32,
    tally: Tally,
}

/// What became of the lines.
#[derive(Default)]
struct Tally {
    /// When the present second began.
    second: Option<Instant>,
    /// Lines forwarded in it.
    forwarded: u32,
    /// Lines taken out of the ring so far.
    taken: u64,
    /// Lines that the kernel side had counted when the present second began.
    counted: u64,
    lost: Lost,
    said: Lost,
}

/// Lines that were not forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lost {
    ring_full: u64,
    over_rate: u64,
    unreadable: u64,
}

/// Bytes of the ring, a power of two, for a sensor that may take so many bytes in all.
pub fn ring_bytes(level: KernelLevel, memory_bytes: usize) -> u32 {
    if level == KernelLevel::Off {
        return RING_MIN;
    }
    let share = (memory_bytes / MEMORY_SHARE).min(RING_MAX);
    let share = u32::try_from(share).unwrap_or(RING_MIN).max(RING_MIN);
    1 << share.ilog2()
}

// === impl KernelLog ===

impl KernelLog {
    /// Takes the maps of the log out of the kernel object, if the programs write one.
    pub(super) fn take(
        object: &mut Ebpf,
        level: KernelLevel,
        ring_bytes: u32,
    ) -> Result<Option<Self>, HostError> {
        if level == KernelLevel::Off {
            return Ok(None);
        }
        tracing::info!(%level, ring_bytes, "the kernel programs log what they do: [kernel] log");
        Ok(Some(Self {
            ring: take_map(object, RING)?,
            lines: take_map(object, LINES)?,
            at_once: ring_bytes / LINE_BYTES + 1,
            tally: Tally::default(),
        }))
    }

    /// Forwards what waits; to be called once a round. With `last` every loss up to now is said.
    pub fn forward(&mut self, now: Instant, last: bool) {
        let Self {
            ring,
            lines,
            at_once,
            tally,
        } = self;
        let is_due = tally.turn(now);
        let mut may_be_left = u64::from(*at_once);
        for _ in 0..*at_once {
            let Some(record) = ring.next() else {
                may_be_left = 0;
                break;
            };
            if tally.takes() {
                match parse(&record) {
                    Some(line) => tell(&line),
                    None => tally.lost.unreadable += 1,
                }
            }
        }
        if is_due || last {
            // The one element of an array is always there.
            let counted = lines.get(&0, 0).map_or(0, |of_cpus| of_cpus.iter().sum());
            if let Some(lost) = tally.settle(counted, may_be_left, last) {
                say(lost);
            }
        }
    }
}

fn tell(line: &Line) {
    let (hook, pid) = (line.hook.name(), line.pid);
    if line.is_warning {
        tracing::warn!(target: KERNEL_TARGET, hook, pid, "{line}");
    } else {
        tracing::debug!(target: KERNEL_TARGET, hook, pid, "{line}");
    }
}

fn say(lost: Lost) {
    let Lost {
        ring_full,
        over_rate,
        unreadable,
    } = lost;
    tracing::warn!(
        target: KERNEL_TARGET,
        ring_full,
        over_rate,
        unreadable,
        "lines of the kernel programs were lost"
    );
}

// === impl Tally ===

impl Tally {
    /// Begins another second when the present one is over; true if so.
    fn turn(&mut self, now: Instant) -> bool {
        let is_over = self
            .second
            .is_none_or(|began| now.saturating_duration_since(began) >= SECOND);
        if is_over {
            self.second = Some(now);
            self.forwarded = 0;
        }
        is_over
    }

    /// Counts a line that was taken out of the ring; whether it is to be forwarded.
    fn takes(&mut self) -> bool {
        self.taken += 1;
        if self.forwarded >= LINES_A_SECOND {
            self.lost.over_rate += 1;
            return false;
        }
        self.forwarded += 1;
        true
    }

    /// What was lost and not said yet, when the kernel side has counted so many lines and at most
    /// `may_be_left` wait in the ring.
    ///
    /// A line is counted before it is in the ring, so one of just now may be neither taken nor lost: what
    /// had been counted a second ago is compared. While the ring cannot be emptied the figure is too low,
    /// never too high.
    fn settle(&mut self, counted: u64, may_be_left: u64, last: bool) -> Option<Lost> {
        let before = std::mem::replace(&mut self.counted, counted);
        let counted = if last { counted } else { before };
        let missing = counted.saturating_sub(self.taken + may_be_left);
        self.lost.ring_full = self.lost.ring_full.max(missing);
        let said = std::mem::replace(&mut self.said, self.lost);
        let fresh = Lost {
            ring_full: self.lost.ring_full - said.ring_full,
            over_rate: self.lost.over_rate - said.over_rate,
            unreadable: self.lost.unreadable - said.unreadable,
        };
        (fresh != Lost::default()).then_some(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_a_page_unless_lines_are_asked_for_and_then_a_part_of_the_memory() {
        for memory in [0, 48 << 20, 64 << 20, usize::MAX] {
            assert_eq!(ring_bytes(KernelLevel::Off, memory), 4096);
        }
        for (memory, bytes) in [
            (0, 4096),
            (48 << 20, 64 << 10),
            (64 << 20, 128 << 10),
            (1 << 30, 256 << 10),
            (usize::MAX, 256 << 10),
        ] {
            assert_eq!(ring_bytes(KernelLevel::Debug, memory), bytes, "{memory}");
        }
    }

    #[test]
    fn lines_beyond_the_rate_are_counted_and_said_once_a_second() {
        let mut tally = Tally::default();
        let began = Instant::now();
        assert!(tally.turn(began));
        let forwarded = (0..LINES_A_SECOND + 7).filter(|_| tally.takes()).count();
        assert_eq!(forwarded, LINES_A_SECOND as usize);
        assert!(!tally.turn(began + SECOND / 2));
        assert!(!tally.takes());
        assert!(tally.turn(began + SECOND));
        assert!(tally.takes());
        let all = u64::from(LINES_A_SECOND) + 9;
        let lost = Lost {
            over_rate: 8,
            ..Lost::default()
        };
        assert_eq!(tally.settle(all, 0, false), Some(lost));
        assert_eq!(tally.settle(all, 0, false), None);
    }

    #[test]
    fn lines_the_ring_did_not_take_are_said_once_it_is_certain_that_they_are_lost() {
        let mut tally = Tally::default();
        assert!((0..3).all(|_| tally.takes()));
        // Ten were counted, of which some may be on the way.
        assert_eq!(tally.settle(10, 0, false), None);
        let lost = |ring_full| {
            Some(Lost {
                ring_full,
                ..Lost::default()
            })
        };
        // Up to four may still wait.
        assert_eq!(tally.settle(10, 4, false), lost(3));
        assert_eq!(tally.settle(12, 0, false), lost(4));
        // What waited is taken: nothing that was said was wrong.
        tally.takes();
        assert_eq!(tally.settle(12, 0, false), lost(1));
        assert_eq!(tally.settle(12, 0, true), None);
    }
}
