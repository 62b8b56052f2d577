//! Which hooks are attached, and attaching one again that somebody has detached.
//!
//! A link that was detached is not told from one that works by anything but its silence, so the
//! programs of a hook are unloaded and loaded anew. Whether that helped, the next canary says.

use skep_abi::Hook;

use super::{
    Probes,
    attach::{attach_program, unload},
    candidates::{FACTS, Program, serves},
};

/// A hook that is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedHook {
    pub fact: &'static str,
    pub hook: Hook,
    /// It was seen to report when it was tried at the start, or it cannot but report if any does.
    pub proven: bool,
}

impl Probes {
    /// Every hook with a program that was attached at the start; one that serves two facts is there
    /// twice.
    pub fn attached_hooks(&self) -> Vec<AttachedHook> {
        let mut attached: Vec<AttachedHook> = Vec::new();
        for report in &self.hooks {
            let fact = FACTS.iter().find(|fact| fact.name == report.fact);
            let Some((fact, candidate)) = fact.and_then(|fact| {
                let chosen = |candidate: &&super::Candidate| Some(candidate.name) == report.hook;
                Some((fact, fact.candidates.iter().find(chosen)?))
            }) else {
                continue;
            };
            for program in candidate.programs {
                if !self.attached.iter().any(|known| known.name == program.name) {
                    continue;
                }
                let Some(hook) = serves(program.name) else {
                    continue;
                };
                let known = attached
                    .iter()
                    .any(|known| known.hook == hook && known.fact == fact.name);
                if !known {
                    attached.push(AttachedHook {
                        fact: fact.name,
                        hook,
                        proven: hook == candidate.reports,
                    });
                }
            }
        }
        attached
    }

    /// Unloads the programs of a hook and attaches them again, without a trial.
    pub fn reattach(&mut self, hook: Hook) -> Result<(), String> {
        // Only LSM and fentry programs need them, to name their hook.
        let btf = aya::Btf::from_sys_fs().ok();
        let programs: Vec<Program> = self
            .attached
            .iter()
            .filter(|program| serves(program.name) == Some(hook))
            .copied()
            .collect();
        for program in &programs {
            unload(&mut self.object, program.name);
        }
        for program in &programs {
            attach_program(&mut self.object, btf.as_ref(), &self.cgroup, program)?;
        }
        Ok(())
    }
}
