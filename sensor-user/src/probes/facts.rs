//! Facts and what serves them now.

use skep_abi::Hook;

use super::{
    attach::NOT_THERE,
    candidates::{Candidate, Fact, serves},
    programs::Programs,
    report::{AttachedHook, HookReport, HookStatus, ProgramReport, join},
};

/// A fact, and the candidate that was taken for it at the start.
#[derive(Clone, Debug)]
pub struct ServedFact {
    pub fact: &'static Fact,
    /// With its rank: 0 is the best.
    pub served: Option<(usize, &'static Candidate)>,
    /// What better candidates answered.
    pub refused: String,
}

impl ServedFact {
    /// As of now.
    pub fn report(&self, programs: &Programs) -> HookReport {
        let fact = self.fact.name;
        let Some((rank, candidate)) = self.served else {
            return HookReport {
                fact,
                hook: None,
                status: HookStatus::Off,
                reason: self.refused.clone(),
            };
        };
        let limits = if rank == 0 { "" } else { candidate.limits };
        let mut missing = String::new();
        let mut is_off = false;
        for program in candidate.programs {
            // One that was attached and does not report any more is for the self-test to tell.
            if programs.is_to_report(program.spec) {
                continue;
            }
            let report = programs.report(program.spec);
            let hook = serves(program.spec.name).map_or(program.spec.name, Hook::name);
            is_off |= program.required;
            // Two programs may serve one hook: said once.
            let is_missing = |report: &ProgramReport| {
                let is_there = !report.reason.starts_with(NOT_THERE);
                (is_there || !program.only_if_there) && !missing.contains(hook)
            };
            if let Some(report) = report.filter(is_missing) {
                missing = join(&missing, &format!("without {hook}: {}", report.reason));
            }
        }
        let status = match rank {
            _ if is_off => HookStatus::Off,
            0 if missing.is_empty() => HookStatus::Live,
            _ => HookStatus::Fallback,
        };
        HookReport {
            fact,
            hook: Some(candidate.name),
            status,
            reason: join(&join(&self.refused, limits), &missing),
        }
    }

    /// Its hooks that are to report: none of their programs was detached on purpose.
    pub fn hooks(&self, programs: &Programs) -> Vec<AttachedHook> {
        let mut hooks: Vec<AttachedHook> = Vec::new();
        let Some((_, candidate)) = self.served else {
            return hooks;
        };
        for program in candidate.programs {
            let Some(hook) = serves(program.spec.name) else {
                continue;
            };
            let mut others = candidate.programs.iter();
            let is_cut = others.any(|other| {
                serves(other.spec.name) == Some(hook) && programs.is_detached(other.spec)
            });
            let is_new = hooks.iter().all(|known| known.hook != hook);
            if !is_cut && is_new && programs.is_to_report(program.spec) {
                hooks.push(AttachedHook {
                    fact: self.fact.name,
                    hook,
                    proven: hook == candidate.reports,
                });
            }
        }
        hooks
    }
}
