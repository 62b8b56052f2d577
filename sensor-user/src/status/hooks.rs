//! The hooks as `status` shows them: what serves a fact, and whether it still reports.

use super::{Hook, HookCanary};
use skep_event::UnixNanos;

use crate::{
    clock::BootClock,
    liveness::Liveness,
    pipeline::watchdog::LivenessReport,
    probes::{HookReport, HookStatus},
};

/// One entry a fact. Without a report of canaries a hook is what it was at the start.
pub fn status_hooks(
    hooks: &[HookReport],
    liveness: Option<&LivenessReport>,
    clock: &BootClock,
) -> Vec<Hook> {
    let now = clock.now();
    let all = liveness.map_or(&[][..], |liveness| liveness.hooks.as_slice());
    let of = |report: &HookReport| {
        let of_fact = all.iter().filter(|l| l.facts.contains(&report.fact));
        status_hook(report, of_fact, |ns| age(now, clock.unix(ns)))
    };
    hooks.iter().map(of).collect()
}

fn status_hook<'a>(
    report: &HookReport,
    liveness: impl Iterator<Item = &'a Liveness>,
    age: impl Fn(u64) -> f64,
) -> Hook {
    let HookReport {
        fact,
        hook,
        status,
        reason,
    } = report;
    let mut status = match status {
        HookStatus::Live => super::HookStatus::Live,
        HookStatus::Fallback => super::HookStatus::Fallback,
        HookStatus::Off => super::HookStatus::Off,
    };
    let mut reasons: Vec<String> = Vec::new();
    let mut canaries = Vec::new();
    for known in liveness {
        if let Some(silence) = &known.silence {
            status = super::HookStatus::Lost;
            let name = known.hook.name();
            reasons.push(match &silence.error {
                None => format!("{name}: does not report its canary, attached again"),
                Some(error) => format!("{name}: does not report its canary: {error}"),
            });
        }
        canaries.push(HookCanary {
            hook: known.hook.name().to_owned(),
            seconds_ago: known.seen_ns.map(&age),
            lost: known.silence.is_some(),
        });
    }
    reasons.extend(Some(reason.clone()).filter(|reason| !reason.is_empty()));
    Hook {
        fact: (*fact).to_owned(),
        hook: hook.map(str::to_owned),
        status,
        reason: reasons.join("; "),
        canaries,
    }
}

fn age(now: UnixNanos, then: UnixNanos) -> f64 {
    std::time::Duration::from_nanos(now.0.saturating_sub(then.0)).as_secs_f64()
}
