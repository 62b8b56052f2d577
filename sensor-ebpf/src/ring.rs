//! Into the ring: who may, and when the daemon is woken.
//!
//! *Fairness.* While the ring is filling up, a session that has put its share into it already is held
//! back, so that one session's storm does not take the room of the others. The share is counted in
//! bytes since the reader last got on by a quarter of the ring, not in time: with a reader that
//! stands still, a session can fill three quarters of the ring, and what is left is for those who have
//! had less than their share. What tells who is who (exec, fork, exit) may go further than opens and
//! connects. Processes that wait for a verdict are one session, with a larger share; but what waits for
//! one claim is let through for a small share of its own, whatever the others did: an agent that has just
//! begun does not lose its beginning to another's. What is held back is counted, per kind and per session.
//!
//! *Waking.* A wake-up of the daemon for each record would cost more than the record, on both sides.
//! It is woken for a record somebody waits for (an exec without a verdict), and when the unread bytes
//! cross an eighth of the ring; for the rest it looks by itself, several times a second.

use aya_ebpf::bindings::{
    BPF_RB_AVAIL_DATA, BPF_RB_CONS_POS, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP,
};
use skep_abi::{
    CANARY_SESSION, Cause, Claim, Header, Kind, LogLine, PENDING_SESSION, STATE_PENDING, Share,
};

use crate::{
    account::{lost_of, sent},
    log,
    maps::{RING, SESSIONS, SHARES, atomic_add},
};

/// Bytes of the ring; set by the daemon before load.
#[unsafe(no_mangle)]
static RING_BYTES: u64 = 4 * 1024 * 1024;

/// Whether the daemon must look at a record at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    Whenever,
    Now,
}

/// Sends a record, or counts it as lost; true when it was sent.
#[inline(always)]
pub fn send(kind: Kind, session: u64, bytes: &[u8], urgency: Urgency) -> bool {
    // SAFETY: a plain global; volatile because the daemon changes it before load.
    let ring = unsafe { core::ptr::read_volatile(&raw const RING_BYTES) };
    let unread = RING.query(BPF_RB_AVAIL_DATA as u64);
    let len = bytes.len() as u64;
    let threshold = ring / 8;
    let cause = if unread >= threshold && !admitted(kind, session, bytes, unread, ring) {
        Cause::Throttled
    } else {
        let crosses = unread < threshold && unread + len >= threshold;
        let flags = if urgency == Urgency::Now || crosses {
            BPF_RB_FORCE_WAKEUP
        } else {
            BPF_RB_NO_WAKEUP
        };
        if RING.output::<[u8]>(bytes, flags as u64).is_ok() {
            sent(kind);
            // Nothing of before is needed here: what has to be kept over calls may come back to the verifier of
            // 6.1 without its bounds.
            log::debug!(
                hook_in(bytes),
                sent_line(bytes),
                missing_in(bytes),
                len_in(bytes)
            );
            return true;
        }
        Cause::RingFull
    };
    lost_of(hook_in(bytes), kind, cause, session, claim_in(bytes));
    false
}

/// Sends a record that is offered again when the ring is full: it is not counted as lost, and no share holds
/// it back. True when it was sent.
#[inline(always)]
pub fn offer(kind: Kind, bytes: &[u8]) -> bool {
    let is_sent = RING.output::<[u8]>(bytes, BPF_RB_NO_WAKEUP as u64).is_ok();
    if is_sent {
        sent(kind);
    }
    is_sent
}

/// Whether a record may go into a ring that is filling up.
#[inline(always)]
fn admitted(kind: Kind, session: u64, bytes: &[u8], unread: u64, ring: u64) -> bool {
    // What proves the hooks, a few records, is never held back.
    if session == CANARY_SESSION {
        return true;
    }
    let Some(state) = SESSIONS.get_ptr_mut(session) else {
        return true; // there was no room for an account of it
    };
    let len = bytes.len() as u64;
    let read = RING.query(BPF_RB_CONS_POS as u64);
    let (unread_max, share_max) = pressure(kind, session, ring);
    let is_tight = unread > unread_max;
    // SAFETY: a live map value, aligned.
    let own = unsafe { &raw mut (*state).share };
    // SAFETY: as above.
    let of_session = unsafe { put(own, len, read, ring, is_tight.then_some(share_max)) };
    if session != PENDING_SESSION {
        return of_session;
    }
    let Some(own) = SHARES.get_ptr_mut(claim_in(bytes).slot()) else {
        return of_session;
    };
    let most = (is_tight && !of_session).then_some(ring / 64);
    // SAFETY: as above.
    unsafe { put(own, len, read, ring, most) }
}

/// The claim a record's process waits for.
#[inline(always)]
fn claim_in(record: &[u8]) -> Claim {
    // SAFETY: every record starts with its header, and its memory is aligned for it.
    unsafe { (*record.as_ptr().cast::<Header>()).claim }
}

/// The hook that made a record.
#[inline(always)]
fn hook_in(record: &[u8]) -> u8 {
    // SAFETY: as above.
    unsafe { (*record.as_ptr().cast::<Header>()).hook }
}

/// `MISSING_*` of a record.
#[inline(always)]
fn missing_in(record: &[u8]) -> u32 {
    // SAFETY: as above.
    unsafe { (*record.as_ptr().cast::<Header>()).missing }
}

/// Bytes of a record.
#[inline(always)]
fn len_in(record: &[u8]) -> u32 {
    // SAFETY: as above.
    unsafe { (*record.as_ptr().cast::<Header>()).len }
}

#[inline(always)]
fn sent_line(record: &[u8]) -> LogLine {
    // SAFETY: as above.
    if unsafe { (*record.as_ptr().cast::<Header>()).state } == STATE_PENDING {
        LogLine::SentPending
    } else {
        LogLine::Sent
    }
}

/// Adds to a share, unless it would be more than `most` then; false if so.
///
/// # Safety
/// `share` must point to a valid, aligned map value.
#[inline(always)]
unsafe fn put(share: *mut Share, len: u64, read: u64, ring: u64, most: Option<u64>) -> bool {
    // SAFETY: the caller's promise; two CPUs at once make the share a little wrong, no more.
    unsafe {
        if read.wrapping_sub((*share).mark) >= ring / 4 {
            (&raw mut (*share).mark).write_volatile(read);
            (&raw mut (*share).bytes).write_volatile(0);
        }
        if let Some(most) = most
            && (*share).bytes + len > most
        {
            return false;
        }
        atomic_add(&raw mut (*share).bytes, len);
    }
    true
}

/// From how many unread bytes on, and beyond which share, records of a kind are held back.
#[inline(always)]
fn pressure(kind: Kind, session: u64, ring: u64) -> (u64, u64) {
    let own = session != PENDING_SESSION;
    match kind {
        Kind::Open
        | Kind::Connect
        | Kind::Uring
        | Kind::Socket
        | Kind::FailedExec
        | Kind::Change
            if own =>
        {
            (ring / 4 * 3, ring / 16)
        }
        Kind::Open
        | Kind::Connect
        | Kind::Uring
        | Kind::Socket
        | Kind::FailedExec
        | Kind::Change => (ring / 4 * 3, ring / 8),
        Kind::Exec | Kind::Fork | Kind::Exit | Kind::Task => (ring / 8 * 7, ring / 8),
    }
}
