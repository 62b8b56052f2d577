//! Who is watched, decided without a race.
//!
//! No entry in `PROCESSES`: not watched. In front of that table stands `FILTER`, which most processes
//! do not get past: for them a hook costs one load. A *pending* process executed a file nobody has
//! judged yet: its records flow, and carry the claim (that exec) whose verdict it waits for. The
//! daemon writes the verdict under the claim, not under the pid; a process takes it over at its next
//! event. So a verdict can never hit the wrong process, neither one that has executed something else
//! since (another claim) nor one that got the same pid, and a descendant forked meanwhile, which
//! copied the claim, is settled by the same write.
//!
//! Every entry of `PROCESSES` is counted once in its slot of `FILTER`: [`watch`] and [`unwatch`] are
//! the only ways in and out here.

use aya_ebpf::bindings::{BPF_EXIST, BPF_NOEXIST};
use skep_abi::{FILTER_SLOTS, ProcessState, STATE_AGENT, STATE_IGNORED, STATE_PENDING};

use crate::maps::{CLAIMS, FILTER, PROCESSES, atomic_add};

/// Whether a process may be watched: false is certain, and cheap.
#[inline(always)]
pub fn may_be_watched(pid_tgid: u64) -> bool {
    let tgid = (pid_tgid >> 32) as u32;
    match FILTER.get_ptr(tgid & (FILTER_SLOTS - 1)) {
        // SAFETY: a live map value, aligned; volatile because other CPUs write it.
        Some(slot) => unsafe { slot.read_volatile() != 0 },
        None => false,
    }
}

/// State of the current process if it is watched.
#[inline(always)]
pub fn watched(pid_tgid: u64) -> Option<ProcessState> {
    if !may_be_watched(pid_tgid) {
        return None;
    }
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
        unwatch(tgid);
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

/// Watches a process, or changes the state of one that is watched; false when there is no room.
#[inline(always)]
pub fn watch(tgid: u32, state: &ProcessState) -> bool {
    if PROCESSES.insert(tgid, state, BPF_NOEXIST as u64).is_ok() {
        count(tgid, 1);
        return true;
    }
    PROCESSES.insert(tgid, state, BPF_EXIST as u64).is_ok()
}

/// Ends watching a process.
#[inline(always)]
pub fn unwatch(tgid: u32) {
    // Whoever takes the entry out counts it out; gone already is as good as removed.
    if PROCESSES.remove(tgid).is_ok() {
        count(tgid, u64::MAX);
    }
}

#[inline(always)]
fn count(tgid: u32, n: u64) {
    if let Some(slot) = FILTER.get_ptr_mut(tgid & (FILTER_SLOTS - 1)) {
        // SAFETY: a live map value, aligned.
        unsafe { atomic_add(slot, n) };
    }
}
