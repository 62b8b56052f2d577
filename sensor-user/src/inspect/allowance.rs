//! What the questions about one user's processes may cost in all.
//!
//! A user starts with what [`LEVEL_MAX`] questions may cost, and gets it back slowly. A question that is late
//! takes all that is left: a file system that never answers then costs the next questions about that user, and
//! nobody else's. Bound: [`USERS_MAX`] users are remembered, those with a full allowance need not be.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

const LEVEL_MAX: f64 = 2.0;
/// Of what one question may cost, given back in a second.
const REFILL: f64 = 0.05;
/// Less than this part of a question is not worth asking.
const LEAST: f64 = 0.1;
/// Up to this part of a budget a question is free: an ordinary one on a busy machine.
const FREE: f64 = 0.25;
const USERS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub struct Allowances(HashMap<u32, Allowance>);

#[derive(Clone, Copy, Debug)]
struct Allowance {
    level: f64,
    at: Instant,
}

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// It used this part of one of its budgets, the largest part of any.
    Part(f64),
    Late,
}

// === impl Allowances ===

impl Allowances {
    /// The part of a whole question that may be asked about this user's processes now; `None` when none may.
    pub fn left(&self, uid: u32, now: Instant) -> Option<f64> {
        let level = self
            .0
            .get(&uid)
            .map_or(LEVEL_MAX, |known| known.level_at(now));
        (level >= LEAST).then_some(level.min(1.0))
    }

    pub fn charge(&mut self, uid: u32, cost: Cost, now: Instant) {
        let known = self.0.get(&uid);
        let level = known.map_or(LEVEL_MAX, |known| known.level_at(now));
        let level = match cost {
            Cost::Part(part) if part <= FREE => {
                return;
            }
            Cost::Part(part) => (level - part).max(0.0),
            Cost::Late => 0.0,
        };
        if self.0.len() >= USERS_MAX && known.is_none() {
            self.0.retain(|_, known| known.level_at(now) < LEVEL_MAX);
        }
        // More users than that are out of favour: the new one is let off.
        if self.0.len() < USERS_MAX || self.0.contains_key(&uid) {
            self.0.insert(uid, Allowance { level, at: now });
        }
    }
}

// === impl Allowance ===

impl Allowance {
    fn level_at(&self, now: Instant) -> f64 {
        let since: Duration = now.saturating_duration_since(self.at);
        (self.level + since.as_secs_f64() * REFILL).min(LEVEL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_question_costs_its_user_and_nobody_else() {
        let mut allowances = Allowances::default();
        let now = Instant::now();
        assert_eq!(allowances.left(1000, now), Some(1.0));
        allowances.charge(1000, Cost::Late, now);
        assert_eq!(allowances.left(1000, now), None);
        assert_eq!(allowances.left(1001, now), Some(1.0));
        let soon = allowances.left(1000, now + Duration::from_secs(4));
        assert!(
            soon.is_some_and(|part| (0.1..0.3).contains(&part)),
            "{soon:?}"
        );
        assert_eq!(
            allowances.left(1000, now + Duration::from_secs(60)),
            Some(1.0)
        );
    }

    #[test]
    fn ordinary_questions_are_free_and_large_ones_add_up() {
        let mut allowances = Allowances::default();
        let now = Instant::now();
        for _ in 0..1000 {
            allowances.charge(1000, Cost::Part(FREE), now);
        }
        assert_eq!(allowances.left(1000, now), Some(1.0));
        for _ in 0..4 {
            assert!(allowances.left(1000, now).is_some());
            allowances.charge(1000, Cost::Part(0.5), now);
        }
        assert_eq!(allowances.left(1000, now), None);
    }

    #[test]
    fn users_are_bounded() {
        let mut allowances = Allowances::default();
        let now = Instant::now();
        for uid in 0..5000 {
            allowances.charge(uid, Cost::Late, now);
        }
        assert_eq!(allowances.0.len(), USERS_MAX);
        allowances.charge(5000, Cost::Late, now + Duration::from_secs(100));
        assert_eq!(
            allowances.0.len(),
            1,
            "those who have all of it back are forgotten"
        );
    }
}
