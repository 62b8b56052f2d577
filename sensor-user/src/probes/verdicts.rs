//! The maps through which verdicts reach the kernel side, as one thing.

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData, RingBuf},
};
use skep_abi::{
    CANARY_SESSION, Claim, ClaimVerdict, FileKey, PENDING_SESSION, SessionState, VERDICT_NOT_AGENT,
};

use super::{host::HostError, maps::take_map, processes::NOEXIST};
use crate::{backlog::Backlog, verdicts::Verdicts};

/// The maps.
pub struct VerdictMaps {
    claims: BpfHashMap<MapData, Claim, ClaimVerdict>,
    files: BpfHashMap<MapData, FileKey, u32>,
    /// What of each session was not sent, by its kernel id.
    sessions: BpfHashMap<MapData, u64, SessionState>,
    /// Claims records were lost of before they were answered, and how many.
    lost_waiting: BpfHashMap<MapData, Claim, u64>,
}

/// Where the tracker's verdicts go: the kernel's maps.
pub struct KernelVerdicts<'a> {
    maps: &'a mut VerdictMaps,
    /// Where records go while a judgement takes its time, if the ring is free for that.
    beside: Option<(&'a mut RingBuf<MapData>, &'a mut Backlog)>,
}

impl VerdictMaps {
    /// Takes them out of the kernel object; the sessions of the sensor's own are begun.
    pub(super) fn take(object: &mut Ebpf) -> Result<Self, HostError> {
        let mut sessions: BpfHashMap<_, u64, SessionState> = take_map(object, "SESSIONS")?;
        for own in [PENDING_SESSION, CANARY_SESSION] {
            let entered = sessions.insert(own, SessionState::default(), 0);
            let map_error = |error| HostError::Load(format!("a map cannot be written: {error}"));
            entered.map_err(map_error)?;
        }
        Ok(Self {
            claims: take_map(object, "CLAIMS")?,
            files: take_map(object, "VERDICTS")?,
            sessions,
            lost_waiting: take_map(object, "LOST_WAITING")?,
        })
    }

    /// Records of a session that were lost, of every kind.
    pub(super) fn lost_of_session(&self, kernel: u64) -> u64 {
        let account = self.sessions.get(&kernel, 0);
        account.map_or(0, |account| account.lost.iter().flatten().sum())
    }

    pub(super) fn hand_out<'a>(
        &'a mut self,
        beside: Option<(&'a mut RingBuf<MapData>, &'a mut Backlog)>,
    ) -> KernelVerdicts<'a> {
        KernelVerdicts { maps: self, beside }
    }
}

impl Verdicts for KernelVerdicts<'_> {
    fn settle(&mut self, claim: Claim, verdict: ClaimVerdict) {
        // Both maps evict the oldest, so only a kernel out of memory refuses; the process then stays
        // pending, which costs records that are dropped here, and loses nothing.
        if let Err(error) = self.maps.claims.insert(claim, verdict, 0) {
            tracing::debug!(%error, "the kernel took no verdict on a claim");
        }
    }

    fn never(&mut self, file: FileKey) {
        if let Err(error) = self.maps.files.insert(file, VERDICT_NOT_AGENT, 0) {
            tracing::debug!(%error, "the kernel took no verdict on a file");
        }
    }

    fn begin_session(&mut self, kernel: u64) -> bool {
        // One that is there is left as it is: its counts go on.
        let fresh = SessionState::default();
        let entered = self.maps.sessions.insert(kernel, fresh, NOEXIST);
        entered.is_ok() || self.maps.sessions.get(&kernel, 0).is_ok()
    }

    fn end_session(&mut self, kernel: u64) {
        if let Err(error) = self.maps.sessions.remove(&kernel) {
            tracing::debug!(%error, kernel, "the kernel had no account of a session");
        }
    }

    fn lost_waiting(&mut self, claim: Claim) -> bool {
        // No entry: nothing was lost.
        let lost = self.maps.lost_waiting.get(&claim, 0).is_ok();
        if lost && let Err(error) = self.maps.lost_waiting.remove(&claim) {
            tracing::debug!(%error, "what was lost before a verdict was forgotten already");
        }
        lost
    }

    fn meanwhile(&mut self) {
        if let Some((ring, backlog)) = &mut self.beside {
            backlog.fill(ring);
        }
    }
}
