//! Tracking, as a step of the chain.

use super::{
    Judge, Tracker,
    bounds::{Bounds, Evicted},
    counts::TrackCounts,
};
use crate::step::{About, Step, grouped};

impl<J: Judge> Step for Tracker<J> {
    const ABOUT: About = About {
        name: "track",
        module: "`track/`; asks `inspect/`, calls `enrich.rs`",
        takes: "typed records",
        passes_on: "events and acts of agents, verdicts to the kernel",
        bound: || {
            let Bounds {
                processes,
                sessions,
                ..
            } = Bounds::default();
            let (processes, sessions) = (grouped(processes), grouped(sessions));
            format!(
                "{processes} processes, {sessions} sessions; command lines 1/4, facts of sessions 1/16, \
                 records that wait for a verdict 1/32 of `[limits] memory_bytes`"
            )
        },
        counters: &[
            "processes",
            "sessions",
            "ignored",
            "consumed",
            "refused",
            "unjudged",
            "evicted",
        ],
    };

    fn count(&self) -> Vec<u64> {
        let TrackCounts {
            processes,
            sessions,
            ignored,
            refused,
            consumed,
            unjudged,
            unnamed: _,
            unaccounted: _,
            evicted,
            image_bytes: _,
        } = self.counts();
        let evicted = evicted.total();
        vec![
            processes, sessions, ignored, consumed, refused, unjudged, evicted,
        ]
    }
}

impl<J: Judge> Tracker<J> {
    pub fn counts(&self) -> TrackCounts {
        TrackCounts {
            processes: self.processes.len() as u64,
            sessions: self.sessions.live() as u64,
            ignored: self.ignored,
            refused: self.refused.total(),
            consumed: self.consumed,
            unjudged: self.unjudged.total,
            unnamed: self.unjudged.unnamed,
            unaccounted: self.unaccounted,
            evicted: Evicted {
                images: self.processes.cut(),
                facts: self.sessions.evicted().facts,
                claims: self.sessions.evicted().claims,
                ..self.evicted
            },
            image_bytes: self.processes.image_bytes() as u64,
        }
    }
}
