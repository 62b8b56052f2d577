//! Accounts of records: sent, folded, lost, by kind; what was lost also by session and by claim.
//!
//! `attempted = sent + folded + Σ lost[cause]` for each kind: whoever does not send a record counts it
//! here, once.

use aya_ebpf::bindings::BPF_NOEXIST;
use skep_abi::{
    Cause, Claim, Kind, LogLine, PENDING_SESSION, SessionState, folded_index, lost_index,
    sent_index,
};

use crate::{
    kernel::boot_ns,
    log,
    maps::{COUNTS, LOST_WAITING, SESSIONS, atomic_add},
};

/// Counts a record of a hook that will not arrive, for the session it belongs to as well.
#[inline(always)]
pub fn lost(hook: u8, kind: Kind, cause: Cause, session: u64) {
    log::warn!(hook, line_of(cause), kind);
    // The session first: whoever reads the machine's count and then the sessions' finds in those all
    // that the first has of them.
    not_sent(session, kind, cause);
    add_one(lost_index(kind, cause));
}

/// The same for a record of which is known what its process waits for.
#[inline(always)]
pub fn lost_of(hook: u8, kind: Kind, cause: Cause, session: u64, claim: Claim) {
    if session == PENDING_SESSION {
        not_sent_waiting(claim);
    }
    lost(hook, kind, cause, session);
}

#[inline(always)]
fn line_of(cause: Cause) -> LogLine {
    match cause {
        Cause::RingFull => LogLine::RingFull,
        Cause::ScratchBusy => LogLine::ScratchBusy,
        Cause::MapFull => LogLine::MapFull,
        Cause::Unreadable => LogLine::Unreadable,
        Cause::Throttled => LogLine::Throttled,
    }
}

/// Counts what was added to a fold in place of a record.
#[inline(always)]
pub fn folded(kind: Kind) {
    add_one(folded_index(kind));
}

#[inline(always)]
pub fn sent(kind: Kind) {
    add_one(sent_index(kind));
}

#[inline(always)]
fn add_one(index: u32) {
    if let Some(counters) = COUNTS.get_ptr_mut(0) {
        let counters = counters.cast::<u64>();
        // SAFETY: the map hands out a valid, aligned pointer to this CPU's counters, and the index is that
        // of one of them (`skep_abi::sent_index` and those like it).
        unsafe { atomic_add(counters.add(index as usize), 1) };
    }
}

/// Notes for a session that a record of it was not sent.
#[inline(always)]
fn not_sent(session: u64, kind: Kind, cause: Cause) {
    let Some(state) = SESSIONS.get_ptr_mut(session) else {
        return;
    };
    let state: *mut SessionState = state;
    // SAFETY: a live map value, aligned.
    unsafe {
        // Indices are constants wherever this is called, and within bounds by the enums.
        let counts = (&raw mut (*state).lost).cast::<u64>();
        let index = (kind as usize - 1) * Cause::ALL.len() + cause as usize;
        atomic_add(counts.add(index), 1);
        (&raw mut (*state).last_ns).write_volatile(boot_ns());
    }
}

/// Notes for a claim that a record of those who wait for it was not sent.
#[inline(always)]
fn not_sent_waiting(claim: Claim) {
    match LOST_WAITING.get_ptr_mut(claim) {
        // SAFETY: a live map value, aligned.
        Some(count) => unsafe { atomic_add(count, 1) },
        // Another CPU may be first: that there is a loss is what counts.
        None => drop(LOST_WAITING.insert(claim, 1, BPF_NOEXIST as u64)),
    }
}
