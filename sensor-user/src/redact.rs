//! Redaction, as the last step of the chain: nothing leaves without it.
//!
//! It comes after the fold, so that it is done once for all that was folded into one event.

use std::time::Instant;

use skep_event::Event;
use skep_redact::Redactor;

use crate::{
    act::Act,
    step::{About, Relay, Sink, Step},
};

/// The state of this step.
#[derive(Default)]
pub struct Redact {
    redactor: Redactor,
    events: u64,
}

impl Redact {
    /// For what leaves by another way than the chain (the journal).
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}

impl Step for Redact {
    const ABOUT: About = About {
        name: "redact",
        module: "`redact.rs`, with `crates/redact`",
        takes: "events",
        passes_on: "events without secrets",
        bound: || "stateless".to_owned(),
        counters: &["events"],
    };

    fn count(&self) -> Vec<u64> {
        vec![self.events]
    }
}

impl Relay for Redact {
    fn event(&mut self, event: Event, _now: Instant, next: &mut impl Sink) {
        self.events += 1;
        next.event(self.redactor.event(event));
    }

    fn act(&mut self, act: &Act<'_>, now: Instant, next: &mut impl Sink) {
        self.event(act.to_event(), now, next);
    }
}
