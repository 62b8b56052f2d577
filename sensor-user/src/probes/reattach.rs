//! Programs that are attached and detached while the sensor runs, and hooks that somebody has detached.
//!
//! A link that was detached is not told from one that works by anything but its silence, so the
//! programs of a hook are unloaded and loaded anew. Whether that helped, the next canary says.

use skep_abi::Hook;

use super::{
    Probes,
    attach::KernelTypes,
    candidates::ProgramSpec,
    report::{AttachedHook, HookStatus, ProgramId, ProgramReport},
};

impl Probes {
    /// Attaches a program, without a trial; attached already, it stays as it is.
    pub fn attach_program(&mut self, spec: ProgramSpec) -> ProgramReport {
        let report = self.programs.attach(spec, &mut KernelTypes::default());
        self.renew_hooks();
        report
    }

    /// Detaches and unloads a program; `None` when there is none of this id.
    pub fn detach(&mut self, id: ProgramId) -> Option<ProgramReport> {
        let report = self.programs.detach(id)?;
        self.renew_hooks();
        Some(report)
    }

    /// Every program that was attached, or was to be.
    pub fn programs(&self) -> Vec<ProgramReport> {
        self.programs.reports()
    }

    /// Every hook that is to report; one that serves two facts is there twice.
    pub fn attached_hooks(&self) -> Vec<AttachedHook> {
        let facts = self.facts.iter();
        facts.flat_map(|fact| fact.hooks(&self.programs)).collect()
    }

    /// Unloads the programs of a hook and attaches them again, without a trial.
    pub fn reattach(&mut self, hook: Hook) -> Result<(), String> {
        let of_hook = self.programs.of_hook(hook);
        let mut types = KernelTypes::default();
        // All of them first: one that is left alone would see half of what the hook reports.
        for (id, _) in &of_hook {
            self.programs.detach(*id);
        }
        let mut outcome = Ok(());
        for (_, spec) in of_hook {
            let report = self.programs.attach(spec, &mut types);
            if report.status == HookStatus::Off {
                outcome = outcome.and(Err(report.reason));
            }
        }
        outcome
    }

    fn renew_hooks(&mut self) {
        let reports = self.facts.iter().map(|fact| fact.report(&self.programs));
        self.hooks = reports.collect();
    }
}
