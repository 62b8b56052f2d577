//! The chain of steps, built here and nowhere else, for `watch` and `run` alike.
//!
//! ```text
//! ring ─▶ decode ─▶ track ─▶ first sight ─▶ fold ─▶ stamp ─▶ redact ─▶ what leaves: printed by `watch`, spooled by `run`
//! ```
//!
//! `track` asks the inspector and calls `enrich`, which take no part in the passing on. [`Head::record`] joins the
//! steps up to `track`, [`Tail::to`] those after it: a step goes between two others by a field of [`Tail`]
//! and one call in [`Tail::to`]. docs/architecture.md prints [`table`] and [`diagram`].

use std::time::Instant;

use skep_event::Event;

use crate::{
    decode::{Body, Record, step::Decode},
    first_sight::FirstSight,
    fold::{Fold, Limits},
    inspect::Inspector,
    redact::Redact,
    stamp::Stamp,
    step::{About, Out, Relay, Sink, Step, StepCounts},
    track::{Judge, Tracker},
    verdicts::Verdicts,
};

/// The steps from bytes to events and acts.
pub struct Head<J> {
    pub decode: Decode,
    pub track: Tracker<J>,
}

/// The steps from events and acts to what leaves.
pub struct Tail {
    pub first_sight: FirstSight,
    pub fold: Fold,
    pub stamp: Stamp,
    pub redact: Redact,
}

impl<J: Judge> Head<J> {
    /// Takes one record. An exec is handed back: judging it may take long, and must not keep the ring.
    pub fn record(
        &mut self,
        bytes: &[u8],
        verdicts: &mut impl Verdicts,
        next: &mut impl Sink,
    ) -> Option<Record<'static>> {
        let Record { common, body } = self.decode.record(bytes)?;
        match body {
            Body::Exec(exec) => Some(Record {
                common,
                body: Body::Exec(exec),
            }),
            body => {
                let record = Record { common, body };
                if !self.track.holds(&record, bytes) {
                    self.track.handle(record, verdicts, next);
                }
                None
            }
        }
    }

    /// Takes an exec that [`Head::record`] has handed back.
    pub fn exec(
        &mut self,
        exec: Record<'static>,
        verdicts: &mut impl Verdicts,
        next: &mut impl Sink,
    ) {
        self.track.handle(exec, verdicts, next);
    }

    /// What its steps have counted, in their order.
    pub fn counts(&self) -> [StepCounts; 2] {
        let Self { decode, track } = self;
        [
            Decode::ABOUT.counts(decode.count()),
            Tracker::<J>::ABOUT.counts(track.count()),
        ]
    }
}

impl Tail {
    /// For a sensor that may take so many bytes of memory in all.
    pub fn within(memory_bytes: usize) -> Self {
        Self {
            first_sight: FirstSight::default(),
            fold: Fold::with_limits(Limits::within(memory_bytes)),
            stamp: Stamp::default(),
            redact: Redact::default(),
        }
    }

    /// The steps in their order, up to where events leave. `now`: the time of this round.
    pub fn to<F: FnMut(Event)>(&mut self, now: Instant, leaves: F) -> impl Sink {
        let Self {
            first_sight,
            fold,
            stamp,
            redact,
        } = self;
        let after = fold.then(now, stamp.then(now, redact.then(now, Out(leaves))));
        first_sight.then(now, after)
    }

    /// The same without the fold: each act leaves as an event of its own.
    pub fn unfolded<F: FnMut(Event)>(&mut self, leaves: F) -> impl Sink {
        let now = Instant::now();
        let Self {
            first_sight,
            stamp,
            redact,
            ..
        } = self;
        let after = stamp.then(now, redact.then(now, Out(leaves)));
        first_sight.then(now, after)
    }

    /// What its steps have counted, in their order.
    pub fn counts(&mut self) -> Vec<StepCounts> {
        let mut counts = Vec::new();
        self.to(Instant::now(), |_| ())
            .show(&mut |about, counted| counts.push(about.counts(counted)));
        counts
    }
}

/// Every step, in the order in which a record passes them.
pub fn steps(memory_bytes: usize) -> Vec<About> {
    let mut steps = vec![Decode::ABOUT, Tracker::<Inspector>::ABOUT];
    Tail::within(memory_bytes)
        .to(Instant::now(), |_| ())
        .show(&mut |about, _| steps.push(*about));
    steps
}

/// The steps as one line, for docs/architecture.md.
pub fn diagram(steps: &[About]) -> String {
    let names: Vec<&str> = steps.iter().map(|about| about.name).collect();
    names.join(" ─▶ ")
}

/// The steps as a table, for docs/architecture.md.
pub fn table(steps: &[About]) -> String {
    let mut table =
        "| step | module | takes | passes on | bound | counts |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for About {
        name,
        module,
        takes,
        passes_on,
        bound,
        counters,
    } in steps
    {
        let (bound, counters) = (bound(), counters.join(", "));
        table.push_str(&format!(
            "| {name} | {module} | {takes} | {passes_on} | {bound} | {counters} |\n"
        ));
    }
    table
}

#[cfg(test)]
mod tests;
