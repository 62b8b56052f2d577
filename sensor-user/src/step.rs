//! Steps: the parts of the chain from the kernel's ring to what leaves the process, and how they join.
//!
//! Each step owns its state and says what it takes, what it passes on, how much it holds at most and what
//! it counts ([`About`]). [`crate::chain`] joins them, statically: a record passes from step to step by
//! calls that the compiler sees through, without a box and without an allocation.
//!
//! A step that belongs between two others of the chain is a [`Relay`].

use std::time::Instant;

use skep_event::Event;

use crate::act::Act;

/// What a step is: a row of the table in docs/architecture.md.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub name: &'static str,
    /// Where it is, from `sensor-user/src`.
    pub module: &'static str,
    pub takes: &'static str,
    pub passes_on: &'static str,
    /// How much it holds at most.
    pub bound: fn() -> String,
    /// What it counts, in the order of [`Step::count`].
    pub counters: &'static [&'static str],
}

/// A step of the chain.
pub trait Step {
    const ABOUT: About;

    /// What it has counted, under the names of [`About::counters`].
    fn count(&self) -> Vec<u64>;

    /// Once a round, after what the round brought: passes on what has waited long enough.
    fn tick(&mut self, _now: Instant, _next: &mut impl Sink) {}

    /// Nothing more comes: passes on what it holds.
    fn end(&mut self, _next: &mut impl Sink) {}
}

/// A step that takes events and acts, and passes on events and acts.
pub trait Relay: Step {
    fn event(&mut self, event: Event, now: Instant, next: &mut impl Sink);

    fn act(&mut self, act: &Act<'_>, now: Instant, next: &mut impl Sink);

    /// Joins this step to what follows it. `now`: the time of this round.
    fn then<N: Sink>(&mut self, now: Instant, next: N) -> Joined<'_, Self, N>
    where
        Self: Sized,
    {
        Joined {
            step: self,
            now,
            next,
        }
    }
}

/// What takes events and acts, in order: a step with all that follows it.
pub trait Sink {
    fn event(&mut self, event: Event);

    fn act(&mut self, act: &Act<'_>);

    /// See [`Step::tick`].
    fn tick(&mut self) {}

    /// See [`Step::end`].
    fn end(&mut self) {}

    /// Shows each step from here on, with what it has counted.
    fn show(&self, _visit: &mut dyn FnMut(&About, Vec<u64>)) {}
}

/// A step joined to what follows it.
pub struct Joined<'a, S, N> {
    step: &'a mut S,
    now: Instant,
    next: N,
}

/// The end of a chain: each act is an event of its own, each event goes to a function.
pub struct Out<F>(pub F);

/// What one step has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepCounts {
    pub step: &'static str,
    pub counters: Vec<(&'static str, u64)>,
}

// === impl About ===

impl About {
    /// The counters by name.
    pub fn counts(&self, counted: Vec<u64>) -> StepCounts {
        debug_assert_eq!(self.counters.len(), counted.len(), "{}", self.name);
        StepCounts {
            step: self.name,
            counters: self.counters.iter().copied().zip(counted).collect(),
        }
    }
}

// === impl Joined ===

impl<S: Relay, N: Sink> Sink for Joined<'_, S, N> {
    fn event(&mut self, event: Event) {
        self.step.event(event, self.now, &mut self.next);
    }

    fn act(&mut self, act: &Act<'_>) {
        self.step.act(act, self.now, &mut self.next);
    }

    fn tick(&mut self) {
        self.step.tick(self.now, &mut self.next);
        self.next.tick();
    }

    fn end(&mut self) {
        self.step.end(&mut self.next);
        self.next.end();
    }

    fn show(&self, visit: &mut dyn FnMut(&About, Vec<u64>)) {
        visit(&S::ABOUT, self.step.count());
        self.next.show(visit);
    }
}

// === impl Sink ===

impl<F: FnMut(Event)> Sink for Out<F> {
    fn event(&mut self, event: Event) {
        (self.0)(event);
    }

    fn act(&mut self, act: &Act<'_>) {
        (self.0)(act.to_event());
    }
}

impl Sink for Vec<Event> {
    fn event(&mut self, event: Event) {
        self.push(event);
    }

    fn act(&mut self, act: &Act<'_>) {
        self.push(act.to_event());
    }
}
