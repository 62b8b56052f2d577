//! Verdicts on processes and files: the answers that go back to the kernel side.

use skep_abi::{Claim, ClaimVerdict, FileKey};

/// Where verdicts go. The real one is the kernel's maps ([`crate::probes::KernelVerdicts`]).
pub trait Verdicts {
    /// Answers a claim.
    fn settle(&mut self, claim: Claim, verdict: ClaimVerdict);
    /// Executing this file never makes an agent.
    fn never(&mut self, file: FileKey);
    /// From now on losses are accounted to this session (its kernel id); false when that is refused.
    fn begin_session(&mut self, kernel: u64) -> bool;
    /// This session is forgotten.
    fn end_session(&mut self, kernel: u64);
    /// Whether records were lost of those who waited for this claim to be answered.
    fn lost_waiting(&mut self, _claim: Claim) -> bool {
        false
    }
    /// Called while a judgement takes its time.
    fn meanwhile(&mut self) {}
}
