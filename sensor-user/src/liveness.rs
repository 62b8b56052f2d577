//! Whether the hooks still report: a canary goes through each of them, again and again.
//!
//! A hook that another root process has detached is silent, and silence looks like peace. So every
//! few seconds the sensor starts a child (the canary) that is watched under a session id of its own,
//! [`skep_abi::CANARY_SESSION`], and does once what each hook reports ([`crate::canary`]). Its records prove the
//! hooks; they are no events. What becomes an event is the outcome, one `coverage` event, which goes
//! the whole way to the collector and so proves that too.
//!
//! Invariants:
//! - a hook is only called silent by a canary that is known to have done its part: one that was
//!   started, watched and ended, of which no record was lost, and which says that it did what the hook
//!   reports ([`Deeds`]); what this host cannot do (any more) accuses no hook;
//! - a hook is judged once it has been proven: by its trial at the start, or by a canary;
//! - without the fork hook the canary is not watched: then that hook alone is judged;
//! - attaching again is tried at once, and after failures less and less often, never given up.
//!
//! This is the judgement; the pipeline's watchdog starts the canary and attaches hooks.

#[cfg(test)]
mod tests;

use skep_abi::Hook;

use crate::{canary::Deeds, probes::AttachedHook};

/// Canaries that pass at most between two attempts to attach a hook again.
const PATIENCE_MAX: u32 = 64;

/// What is known of one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liveness {
    pub hook: Hook,
    /// Facts it serves.
    pub facts: Vec<&'static str>,
    /// Boot clock: since then it is attached, nanoseconds.
    attached_ns: u64,
    /// Boot clock of its last canary record, nanoseconds.
    pub seen_ns: Option<u64>,
    pub silence: Option<Silence>,
    /// It must report the next canary.
    proven: bool,
    in_this: bool,
}

/// A hook does not report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Boot clock: up to then it did, nanoseconds.
    pub since_ns: u64,
    /// Why attaching it again failed, if it did.
    pub error: Option<String>,
    attempts: u32,
    /// Canaries until the next attempt.
    pause: u32,
}

/// What a canary has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records of it.
    pub records: u64,
    /// Fell silent; with the time up to which they reported.
    pub silent: Vec<(Hook, u64)>,
    /// Report again; with the time since which they had not.
    pub back: Vec<(Hook, u64)>,
    /// To be attached again.
    pub attach: Vec<Hook>,
    /// Proven, and silent now, old and new.
    pub missing: Vec<Hook>,
}

/// The judgement over every hook that is attached.
#[derive(Debug)]
pub struct Ledger {
    hooks: Vec<Liveness>,
    records: u64,
}

// === impl Ledger ===

impl Ledger {
    pub fn new(attached: &[AttachedHook], now_ns: u64) -> Self {
        let mut ledger = Self {
            hooks: Vec::new(),
            records: 0,
        };
        ledger.renew(attached, now_ns);
        ledger
    }

    /// Other hooks are attached from now on. What is known of those that stay is kept; one that is not
    /// attached any more accuses nobody by its silence.
    pub fn renew(&mut self, attached: &[AttachedHook], now_ns: u64) {
        let mut before = std::mem::take(&mut self.hooks);
        for AttachedHook { fact, hook, proven } in attached {
            if let Some(known) = self.hooks.iter_mut().find(|known| known.hook == *hook) {
                known.facts.push(fact);
                known.proven |= proven;
                continue;
            }
            let known = before.iter().position(|known| known.hook == *hook);
            self.hooks
                .push(match known.map(|index| before.swap_remove(index)) {
                    Some(known) => Liveness {
                        facts: vec![fact],
                        ..known
                    },
                    None => Liveness {
                        hook: *hook,
                        facts: vec![fact],
                        attached_ns: now_ns,
                        seen_ns: None,
                        silence: None,
                        proven: *proven,
                        in_this: false,
                    },
                });
        }
    }

    pub fn hooks(&self) -> &[Liveness] {
        &self.hooks
    }

    /// A canary starts.
    pub fn begin(&mut self) {
        self.records = 0;
        self.hooks
            .iter_mut()
            .for_each(|known| known.in_this = false);
    }

    /// A record of the canary that was started last.
    pub fn saw(&mut self, hook: Hook, time_ns: u64) {
        self.records += 1;
        if let Some(known) = self.hooks.iter_mut().find(|known| known.hook == hook) {
            known.in_this = true;
            known.seen_ns = Some(time_ns);
        }
    }

    /// The canary has ended, and all its records were read. Hooks on what it has `done` are judged; of
    /// the others what was seen counts, and what was not does not.
    pub fn conclude(&mut self, done: Deeds) -> Outcome {
        let mut outcome = Outcome {
            records: self.records,
            ..Outcome::default()
        };
        let forked = self
            .hooks
            .iter()
            .any(|h| h.hook == Hook::RawTpFork && h.in_this);
        for known in &mut self.hooks {
            if known.in_this {
                known.proven = true;
                if let Some(silence) = known.silence.take() {
                    outcome.back.push((known.hook, silence.since_ns));
                }
                continue;
            }
            let judged = known.proven
                && done.meets(Deeds::reaching(known.hook))
                && (forked || known.hook == Hook::RawTpFork);
            if let Some(silence) = &mut known.silence {
                outcome.missing.push(known.hook);
                silence.pause = silence.pause.saturating_sub(1);
                if judged && silence.pause == 0 {
                    outcome.attach.push(known.hook);
                }
            } else if judged {
                let since_ns = known.seen_ns.unwrap_or(known.attached_ns);
                outcome.missing.push(known.hook);
                outcome.silent.push((known.hook, since_ns));
                outcome.attach.push(known.hook);
                known.silence = Some(Silence {
                    since_ns,
                    error: None,
                    attempts: 0,
                    pause: 0,
                });
            }
        }
        outcome
    }

    /// It was attached again, or that failed.
    pub fn attached(&mut self, hook: Hook, result: Result<(), String>) {
        let known = self.hooks.iter_mut().find(|known| known.hook == hook);
        if let Some(silence) = known.and_then(|known| known.silence.as_mut()) {
            silence.error = result.err();
            silence.pause = 1u32
                .checked_shl(silence.attempts)
                .map_or(PATIENCE_MAX, |pause| pause.min(PATIENCE_MAX));
            silence.attempts = silence.attempts.saturating_add(1);
        }
    }
}
