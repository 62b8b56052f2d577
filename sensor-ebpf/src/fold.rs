//! Repeated opens are counted here, so that they cost a counter and no record.
//!
//! Within one epoch (the daemon turns it over, about twice a second) the first open of its kind sends
//! a record and enters its key; those like it add to the count. *Like it* is: same session, same
//! executable, same user ids, same file under the same name through the same mount, same flags. Invariants:
//! - an open is sent, or folded, or lost: never two of them, never none;
//! - an entry stands for a record that is in the ring: it is made after the record was sent;
//! - a session enters so many kinds of open an epoch and no more: what one session opens, however
//!   many files, leaves the others the room to fold in;
//! - a full table, or an epoch of 0, means that nothing is folded, not that something is lost;
//! - what a pending process opens is not folded: its record is needed to judge by; nor what a canary
//!   opens: each of its records proves that a hook works.

use aya_ebpf::bindings::BPF_NOEXIST;
use skep_abi::{
    CANARY_SESSION, FOLD_KINDS_A_SESSION, FoldCount, FoldKey, FoldShare, Hook, LogLine, Offset,
    ProcessState, STATE_AGENT,
};

use crate::{
    kernel::{DENTRY_WORDS, Ids, Members, Place, Read, Room},
    log,
    maps::{CONTROL, FOLDS, SHARES_OF_FOLDS, atomic_add},
    target::Target,
};

/// The key of an open, if it may be folded.
#[inline(always)]
pub fn key<P: Place>(
    state: &ProcessState,
    ids: &Read<Ids>,
    inode: &impl Members<P>,
    target: &Target<P>,
    flags: u32,
) -> Option<FoldKey> {
    if state.state != STATE_AGENT || state.session == CANARY_SESSION {
        return None;
    }
    let Ok(ids) = ids else {
        return None;
    };
    let control = CONTROL.get_ptr(0)?;
    // SAFETY: a live map value, aligned; volatile because the daemon writes it.
    let epoch = unsafe { (&raw const (*control).epoch).read_volatile() };
    if epoch == 0 {
        return None;
    }
    let mut room = Room::<DENTRY_WORDS>::new();
    let dentry = target.dentry.start(&mut room).ok()?;
    Some(FoldKey {
        session: state.session,
        image: state.image,
        ino: inode.read(Offset::InodeIno).ok()?,
        parent: dentry.read(Offset::DentryParent).ok()?,
        mount: target.mount.address().0,
        name: dentry.read(Offset::DentryNameHash).ok()?,
        dev: inode
            .follow(Offset::InodeSb)
            .and_then(|sb| sb.read(Offset::SuperBlockDev))
            .ok()?,
        flags,
        epoch,
        uid: ids.uid,
        euid: ids.euid,
    })
}

/// Adds to the count of this key; false when there is none yet.
#[inline(always)]
pub fn repeated(key: &FoldKey, time_ns: u64) -> bool {
    let Some(entry) = FOLDS.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: a live map value, aligned.
    unsafe {
        atomic_add(&raw mut (*entry).count, 1);
        (&raw mut (*entry).last_ns).write_volatile(time_ns);
    }
    true
}

/// Enters a key whose record was sent. Where another CPU was first, or there is no room, the record
/// stands for itself.
#[inline(always)]
pub fn begin(hook: Hook, key: &FoldKey, time_ns: u64, tid: u32) {
    if !has_room(key) {
        log::debug!(hook, LogLine::FoldShareUsed, key.epoch);
        return;
    }
    let entry = FoldCount {
        count: 0,
        last_ns: time_ns,
        first_ns: time_ns,
        first_tid: tid,
        pad: 0,
    };
    if let Err(error) = FOLDS.insert(key, &entry, BPF_NOEXIST as u64) {
        log::debug!(hook, LogLine::FoldRefused, -error);
    }
}

/// Whether a session may enter another kind in this epoch; counts it if so.
#[inline(always)]
fn has_room(key: &FoldKey) -> bool {
    let Some(share) = SHARES_OF_FOLDS.get_ptr_mut(FoldShare::slot(key.session)) else {
        return false;
    };
    // SAFETY: a live map value, aligned; two CPUs at once make the share a little wrong, no more.
    unsafe {
        if (&raw const (*share).epoch).read_volatile() != key.epoch {
            (&raw mut (*share).epoch).write_volatile(key.epoch);
            (&raw mut (*share).kinds).write_volatile(0);
        }
        if (&raw const (*share).kinds).read_volatile() >= FOLD_KINDS_A_SESSION as u64 {
            return false;
        }
        atomic_add(&raw mut (*share).kinds, 1);
    }
    true
}
