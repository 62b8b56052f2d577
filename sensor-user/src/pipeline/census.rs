//! Looks for processes that are believed to live and have ended: the record of their exit was lost.
//!
//! Without this a single lost exit would keep a session open for ever. What is found out so is told as
//! what it is: a `vanished` coverage event, a gap in the session, and no exit, since when and how the
//! process ended is not known.
//!
//! Invariant: an exit whose record is still on its way is not taken for a lost one. A process is a
//! suspect when `/proc` shows it as gone or as a zombie: its exit hook has been called by then, so that
//! its record, if there is one, is in the ring. It has vanished when the *next* census, which waits for
//! a round that left nothing in the ring, finds it followed and dead still.
//!
//! A sensor in a pid namespace of its own cannot ask `/proc`. There only those are dead that the kernel
//! side does not watch any more either: an exit takes the entry out whether its record is lost or not.
//!
//! Bounds: every [`EVERY`], and [`AT_ONCE`] processes a census; of more, each has its turn.

use std::time::{Duration, Instant};

use skep_event::UnixNanos;

use crate::{
    clock::BootClock,
    probes::Processes,
    proc::{self, Proc},
    step::Sink,
    track::{Judge, Tracker, Who},
};

const EVERY: Duration = Duration::from_secs(10);
/// Each costs one read of a file in `/proc`.
const AT_ONCE: usize = 1024;

/// The state of this duty.
pub struct Census {
    next: Instant,
    proc_shows_all: bool,
    /// Dead at the last census.
    suspects: Vec<Who>,
    /// The last process of this tour over all of them; `None` between two.
    cursor: Option<Who>,
    /// When this tour began, and when the one before: whoever this one finds dead lived after that.
    tour: UnixNanos,
    tour_before: UnixNanos,
    /// `tour_before` of the suspects.
    alive_at: UnixNanos,
}

impl Census {
    pub fn new(now: UnixNanos) -> Self {
        Self {
            next: Instant::now() + EVERY,
            proc_shows_all: proc::shows_every_process(),
            suspects: Vec::new(),
            cursor: None,
            tour: now,
            tour_before: now,
            alive_at: now,
        }
    }

    /// To be called after a round that left nothing in the ring.
    pub fn count_heads<J: Judge>(
        &mut self,
        track: &mut Tracker<J>,
        processes: &mut Processes,
        clock: &BootClock,
        sink: &mut impl Sink,
    ) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + EVERY;
        let now = clock.now();
        let suspects = std::mem::take(&mut self.suspects);
        let dead: Vec<Who> = suspects
            .into_iter()
            .filter(|who| self.is_dead(*who, processes))
            .collect();
        for (tgid, start_ns) in &dead {
            processes.forget(*tgid, *start_ns);
        }
        let between = (self.alive_at, now);
        track.ended_unseen(&dead, between, sink);

        let mut followed: Vec<Who> = track.followed().collect();
        followed.sort_unstable();
        if self.cursor.is_none() {
            self.tour_before = std::mem::replace(&mut self.tour, now);
        }
        let from = self
            .cursor
            .map_or(0, |last| followed.partition_point(|who| *who <= last));
        let turn: Vec<Who> = followed.split_off(from).into_iter().take(AT_ONCE).collect();
        // A short turn is the end of the tour.
        self.cursor = turn.last().copied().filter(|_| turn.len() == AT_ONCE);
        self.alive_at = self.tour_before;
        self.suspects = turn
            .into_iter()
            .filter(|who| self.is_dead(*who, processes))
            .collect();
    }

    fn is_dead(&self, (tgid, start_ns): Who, processes: &Processes) -> bool {
        let gone = !Proc.alive(tgid, start_ns);
        gone && (self.proc_shows_all || processes.get(tgid).is_none())
    }
}
