//! The hot path: ring → decode → track → redact, and the accounts of what was read and lost.
//!
//! One thread, no locks. The ring is emptied in rounds of [`ROUND`] records so that a storm does not
//! keep the caller from its other duties. For every kind of record
//! `sent by the kernel = read here + still in the ring`, and what the kernel could not send or this
//! step could not decode becomes a `lost` event with its time range.

mod adopt;
mod keep;

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use aya::maps::{HashMap as BpfHashMap, MapData, RingBuf};
use skep_abi::{Cause, Claim, ClaimVerdict, FileKey, Header, Kind, SessionState};

use crate::{
    clock::BootClock,
    decode,
    event::{Detail, Event, Lost, UnixNanos},
    fold::Fold,
    journal::Journal,
    probes::{HookReport, KernelCounts, Probes},
    redact::Redactor,
    track::{Judge, TrackCounts, Tracker, Verdicts},
};

/// Records handled before the caller gets its turn.
const ROUND: usize = 4096;
/// How often the kernel's loss counters are looked at.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(1);

/// `BPF_NOEXIST` (linux/bpf.h).
const NOEXIST: u64 = 1;

/// Everything from the ring to redacted events.
pub struct Pipeline<J> {
    probes: Probes,
    tracker: Tracker<J>,
    redactor: Redactor,
    clock: BootClock,
    read: [u64; Kind::ALL.len()],
    malformed: u64,
    reported: Reported,
    scratch: Vec<Event>,
    /// For the next life of the sensor.
    journal: Option<Journal>,
}

/// What has been told of losses so far.
struct Reported {
    at: Instant,
    time: UnixNanos,
    kernel: [[u64; Cause::ALL.len()]; Kind::ALL.len()],
    malformed: u64,
    refused: u64,
}

/// Figures for `status`.
#[derive(Clone, Debug)]
pub struct PipelineCounts {
    pub kernel: Vec<KernelCounts>,
    pub read: Vec<(Kind, u64)>,
    pub malformed: u64,
    pub track: TrackCounts,
}

/// Verdicts into the kernel's maps.
struct Maps<'a> {
    claims: &'a mut BpfHashMap<MapData, Claim, ClaimVerdict>,
    verdicts: &'a mut BpfHashMap<MapData, FileKey, u32>,
    sessions: &'a mut BpfHashMap<MapData, u64, SessionState>,
}

impl<'a> Maps<'a> {
    fn beside_ring(probes: &'a mut Probes) -> (&'a mut RingBuf<MapData>, Self) {
        let Probes {
            ring,
            claims,
            verdicts,
            sessions,
            ..
        } = probes;
        let maps = Self {
            claims,
            verdicts,
            sessions,
        };
        (ring, maps)
    }

    fn of(probes: &'a mut Probes) -> Self {
        Self::beside_ring(probes).1
    }
}

impl Verdicts for Maps<'_> {
    fn settle(&mut self, claim: Claim, verdict: ClaimVerdict) {
        // Both maps evict the oldest, so only a kernel out of memory refuses; the process then stays
        // pending, which costs records that are dropped here, and loses nothing.
        if let Err(error) = self.claims.insert(claim, verdict, 0) {
            tracing::debug!(%error, "the kernel took no verdict on a claim");
        }
    }

    fn never(&mut self, file: FileKey) {
        if let Err(error) = self.verdicts.insert(file, skep_abi::VERDICT_NOT_AGENT, 0) {
            tracing::debug!(%error, "the kernel took no verdict on a file");
        }
    }

    fn begin_session(&mut self, session: u64) {
        // There already: its account goes on.
        let _ = self
            .sessions
            .insert(session, SessionState::default(), NOEXIST);
    }

    fn end_session(&mut self, session: u64) {
        // Not there: it could not be entered either.
        let _ = self.sessions.remove(&session);
    }
}

impl<J: Judge> Pipeline<J> {
    pub fn new(probes: Probes, tracker: Tracker<J>, clock: BootClock) -> Self {
        let read = probes.read_by_trials;
        Self {
            probes,
            tracker,
            redactor: Redactor::new(),
            clock,
            read,
            malformed: 0,
            reported: Reported {
                at: Instant::now(),
                time: clock.now(),
                kernel: [[0; Cause::ALL.len()]; Kind::ALL.len()],
                malformed: 0,
                refused: 0,
            },
            scratch: Vec::new(),
            journal: None,
        }
    }

    pub fn hooks(&self) -> &[HookReport] {
        &self.probes.hooks
    }

    /// Readable when records wait.
    pub fn ring(&self) -> BorrowedFd<'_> {
        self.probes.ring.as_fd()
    }

    /// One round of the loop that `watch` and `run` share: what waits in the ring, what was lost, and
    /// what the fold lets go of. True when more waits. With `last`, once nothing waits any more,
    /// every loss up to now is told and the fold is emptied.
    pub fn round(&mut self, fold: &mut Fold, last: bool, mut sink: impl FnMut(Event)) -> bool {
        let now = Instant::now();
        let began_ns = BootClock::boot_now();
        let more = self.drain(|event| fold.push(event, now, &mut sink));
        let ends = last && !more;
        if ends || self.reported.at.elapsed() >= ACCOUNTS_EVERY {
            self.losses(|event| fold.push(event, now, &mut sink));
        }
        fold.tick(now, &mut sink);
        if ends {
            fold.flush(&mut sink);
        }
        self.keep(began_ns, more, ends, fold);
        more
    }

    /// Handles what waits in the ring, one round at most; true when there may be more.
    pub fn drain(&mut self, mut sink: impl FnMut(Event)) -> bool {
        let Self {
            probes,
            tracker,
            redactor,
            read,
            malformed,
            scratch,
            ..
        } = self;
        let (ring, mut maps) = Maps::beside_ring(probes);
        for _ in 0..ROUND {
            let Some(bytes) = ring.next() else {
                return false;
            };
            if let Some(kind) =
                decode::fixed::<Header>(&bytes).and_then(|header| Kind::from_u16(header.kind))
            {
                read[kind as usize - 1] += 1;
            }
            match decode::decode(&bytes) {
                Ok(record) => tracker.handle(record, &mut maps, scratch),
                Err(decode::Malformed(reason)) => {
                    if *malformed == 0 {
                        tracing::error!(reason, len = bytes.len(), "a kernel record is malformed");
                    }
                    *malformed += 1;
                }
            }
            drop(bytes);
            for event in scratch.drain(..) {
                sink(redactor.event(event));
            }
        }
        true
    }

    /// Tells what was lost since the last time.
    fn losses(&mut self, mut sink: impl FnMut(Event)) {
        let now = self.clock.now();
        let first = self.reported.time;
        let mut lost = |hop, record, cause, count: u64| {
            if count > 0 {
                tracing::warn!(hop, record, cause, count, "records lost");
                let detail = Detail::Lost(Lost {
                    hop,
                    record,
                    cause,
                    count,
                    first,
                    last: now,
                });
                sink(Event {
                    time: now,
                    session: None,
                    agent: None,
                    process: None,
                    result: None,
                    hook: None,
                    detail,
                });
            }
        };
        for (index, counts) in self.probes.counts().into_iter().enumerate() {
            for (slot, (cause, total)) in counts.lost.into_iter().enumerate() {
                let told = &mut self.reported.kernel[index][slot];
                lost(
                    "kernel",
                    counts.kind.name(),
                    cause.name(),
                    total.saturating_sub(*told),
                );
                *told = total;
            }
        }
        lost(
            "decode",
            "any",
            "malformed",
            self.malformed - self.reported.malformed,
        );
        self.reported.malformed = self.malformed;
        let refused = self.tracker.counts().refused;
        lost(
            "track",
            "any",
            "table_full",
            refused - self.reported.refused,
        );
        self.reported.refused = refused;
        self.reported.at = Instant::now();
        self.reported.time = now;
    }

    pub fn counts(&self) -> PipelineCounts {
        PipelineCounts {
            kernel: self.probes.counts(),
            read: Kind::ALL.into_iter().zip(self.read).collect(),
            malformed: self.malformed,
            track: self.tracker.counts(),
        }
    }
}
