//! Who is watched, decided without a race.
//!
//! No entry in `PROCESSES`: not watched; that is the one look-up an ordinary process costs. A
//! *pending* process executed a file nobody has judged yet: its records flow, and carry the claim
//! (that exec) whose verdict it waits for. The daemon writes the verdict under the claim, not under
//! the pid; a process takes it over at its next event. So a verdict can never hit the wrong process,
//! neither one that has executed something else since (another claim) nor one that got the same pid,
//! and a descendant forked meanwhile, which copied the claim, is settled by the same write.

use skep_abi::{ProcessState, STATE_AGENT, STATE_IGNORED, STATE_PENDING};

use crate::maps::{CLAIMS, PROCESSES};

/// State of the current process if it is watched.
#[inline(always)]
pub fn watched(pid_tgid: u64) -> Option<ProcessState> {
    let tgid = (pid_tgid >> 32) as u32;
    let entry = PROCESSES.get_ptr_mut(tgid)?;
    // SAFETY: a live map value; a concurrent write is to the same, idempotent, verdict.
    let mut state = unsafe { *entry };
    if state.state != STATE_PENDING {
        return Some(state);
    }
    // SAFETY: the value is copied before anything else can be done with it.
    let Some(verdict) = (unsafe { CLAIMS.get(state.claim) }).copied() else {
        return Some(state);
    };
    if verdict.state == STATE_IGNORED {
        // Gone already is as good as removed.
        let _ = PROCESSES.remove(tgid);
        return None;
    }
    state.session = verdict.session;
    state.state = STATE_AGENT;
    // The session first: whoever reads the new state must see it.
    // SAFETY: a live map value, aligned.
    unsafe {
        core::ptr::write_volatile(&raw mut (*entry).session, state.session);
        core::ptr::write_volatile(&raw mut (*entry).state, state.state);
    }
    Some(state)
}
