//! Records under construction, in per-CPU slots.
//!
//! A record is built in a per-CPU slot and sent with `bpf_ringbuf_output`. Programs of this object
//! run over one another on one CPU (softirq over process context, and, for LSM and cgroup programs,
//! plain preemption), so a slot has an owner count: a program adds one and owns the slot only if it
//! then reads one. Two programs cannot both read one, whatever the interleaving; a program that
//! finds every slot taken counts its record as lost (`scratch_busy`). `xadd` without fetch is all
//! this needs, so it works on 5.8.
//!
//! What is under construction lives in the slot, its length and its `missing` bits included, and not
//! in registers or on the stack: the verifier tracks those as constants and would walk the rest of a
//! program again for every combination of what could and could not be read. A value loaded from a
//! map is unknown to it, so the paths meet again after each step.

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
use skep_abi::{
    Cause, Header, Hook, Kind, LogLine, MISSING_CRED, ProcessState, SCRATCH_BYTES, SCRATCH_SLOTS,
};

use zerocopy::{Immutable, IntoBytes};

use crate::{
    account::{lost, lost_of},
    kernel::{Address, Ids, Read, Unreadable},
    log,
    maps::{Environment, Names, SCRATCH, Slot, atomic_add},
    ring::{self, Urgency},
};

/// A record under construction: `T` is its fixed part, the tail follows. Every draft begun must be
/// sent: that gives the slot back. (No destructor does it: it would be a call, and calls cost stack.)
#[must_use]
pub struct Draft<T> {
    slot: *mut Slot,
    kind: Kind,
    session: u64,
    fixed: core::marker::PhantomData<T>,
}

/// The header of a record about the process `state` belongs to, which runs.
#[inline(always)]
pub fn header(kind: Kind, hook: Hook, time_ns: u64, pid_tgid: u64, state: &ProcessState) -> Header {
    header_as(Ids::now(), kind, hook, time_ns, pid_tgid, state)
}

/// The same for whoever has read its user ids already.
#[inline(always)]
pub fn header_as(
    ids: Read<Ids>,
    kind: Kind,
    hook: Hook,
    time_ns: u64,
    pid_tgid: u64,
    state: &ProcessState,
) -> Header {
    let (ids, missing) = match ids {
        Ok(ids) => (ids, 0),
        Err(_) => (Ids { uid: 0, euid: 0 }, MISSING_CRED),
    };
    Header {
        time_ns,
        start_ns: state.start_ns,
        session: state.session,
        claim: state.claim,
        image: state.image,
        len: 0,
        tgid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        state: state.state,
        missing,
        kind: kind as u16,
        hook: hook as u8,
        pad: 0,
        uid: ids.uid,
        euid: ids.euid,
    }
}

/// Sends a record without a tail straight from the stack.
#[inline(always)]
pub fn send_fixed<T: IntoBytes + Immutable>(kind: Kind, session: u64, record: &T) {
    ring::send(kind, session, record.as_bytes(), Urgency::Whenever);
}

/// A slot of this CPU that is this program's until it takes its one back.
#[inline(always)]
fn acquire() -> Option<*mut Slot> {
    for index in 0..SCRATCH_SLOTS {
        let slot = SCRATCH.get_ptr_mut(index)?;
        // SAFETY: the map hands out a valid, aligned pointer to this CPU's slot.
        let owners = unsafe { &raw mut (*slot).owners };
        // SAFETY: as above.
        unsafe { atomic_add(owners, 1) };
        // SAFETY: as above; volatile because the count must be read after the add.
        if unsafe { core::ptr::read_volatile(owners) } == 1 {
            return Some(slot);
        }
        // SAFETY: as above.
        unsafe { atomic_add(owners, u64::MAX) };
    }
    None
}

/// A user string in the room behind a record, until something else is put there.
pub struct Peeked {
    room: *const u8,
    /// Bytes, the one that ends it included; as many as were asked for: it may be longer.
    pub taken: u64,
}

impl Peeked {
    /// Its bytes from `8 * index` on; what is behind its end may be anything.
    #[inline(always)]
    pub fn word(&self, index: usize) -> u64 {
        // SAFETY: callers look at the first bytes of the room only; unaligned, as the room may be.
        unsafe { self.room.cast::<u64>().add(index).read_unaligned() }
    }

    /// One of its bytes; what is behind its end may be anything.
    #[inline(always)]
    pub fn byte(&self, at: usize) -> u8 {
        // SAFETY: as above.
        unsafe { self.room.add(at).read() }
    }
}

impl<T> Draft<T> {
    /// Begins a record in a slot of this CPU; without a free slot it is counted as lost. The caller
    /// writes the rest of the fixed part, appends the tail, and sends it.
    #[inline(always)]
    pub fn begin(kind: Kind, header: &Header) -> Option<Self> {
        let Some(slot) = acquire() else {
            lost_of(
                header.hook,
                kind,
                Cause::ScratchBusy,
                header.session,
                header.claim,
            );
            return None;
        };
        let mut draft = Self {
            slot,
            kind,
            session: header.session,
            fixed: core::marker::PhantomData,
        };
        draft.set_len(size_of::<T>());
        // SAFETY: every record starts with its header, and the slot is aligned for it.
        unsafe { draft.base().cast::<Header>().write(*header) };
        Some(draft)
    }

    /// Sends the record and gives the slot back; false when it was lost, which is counted.
    #[inline(always)]
    pub fn send(mut self, urgency: Urgency) -> bool {
        let sent = self.output(urgency);
        // SAFETY: a live slot that this program owns.
        unsafe { atomic_add(&raw mut (*self.slot).owners, u64::MAX) };
        sent
    }

    /// The fixed part. Past the header it holds whatever the slot held before: the builder writes
    /// all of it.
    #[inline(always)]
    pub fn fixed(&mut self) -> *mut T {
        self.base().cast()
    }

    /// Notes `MISSING_*` bits in the header.
    #[inline(always)]
    pub fn missing(&mut self, bits: u32) {
        // SAFETY: every record starts with its header; volatile, see the module's documentation.
        unsafe {
            let missing = &raw mut (*self.base().cast::<Header>()).missing;
            missing.write_volatile(missing.read_volatile() | bits);
        }
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        // SAFETY: a live slot that this program owns; volatile, see the module's documentation.
        unsafe { (&raw const (*self.slot).len).read_volatile() as usize }
    }

    #[inline(always)]
    fn set_len(&mut self, len: usize) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.slot).len).write_volatile(len as u64) };
    }

    #[inline(always)]
    fn base(&self) -> *mut u8 {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.slot).bytes).cast() }
    }

    /// Room for what a system call was given.
    #[inline(always)]
    pub fn names(&mut self) -> *mut Names {
        // SAFETY: as above.
        unsafe { &raw mut (*self.slot).names }
    }

    /// Where an environment is being looked at.
    #[inline(always)]
    pub fn environment(&mut self) -> *mut Environment {
        // SAFETY: as above.
        unsafe { &raw mut (*self.slot).environment }
    }

    /// A byte of the record, if there is room for one there.
    #[inline(always)]
    pub fn byte(&self, at: usize) -> Option<u8> {
        if at >= SCRATCH_BYTES {
            return None;
        }
        // SAFETY: in bounds, checked above.
        Some(unsafe { self.base().add(at).read_volatile() })
    }

    /// Takes back what was appended after `len`.
    #[inline(always)]
    pub fn cut(&mut self, len: usize) {
        self.set_len(len);
    }

    /// Appends one NUL.
    #[inline(always)]
    pub fn nul(&mut self) -> Read<()> {
        let Some(room) = self.room(1) else {
            return Err(Unreadable);
        };
        // SAFETY: `room` has one byte.
        unsafe { room.write(0) };
        self.set_len(self.len() + 1);
        Ok(())
    }

    /// Appends a NUL-terminated kernel string of at most `MAX` bytes; bytes taken, NUL included.
    #[inline(always)]
    pub fn kernel_str<const MAX: usize>(&mut self, from: Address) -> Read<usize> {
        let Some(room) = self.room(MAX) else {
            return Err(Unreadable);
        };
        // SAFETY: `room` has `MAX` bytes; the helper checks the source.
        let n = unsafe { bpf_probe_read_kernel_str(room.cast(), MAX as u32, from.0 as *const _) };
        self.took::<MAX>(n)
    }

    /// Appends a NUL-terminated user string of at most `MAX` bytes; bytes taken, NUL included.
    #[inline(always)]
    pub fn user_str<const MAX: usize>(&mut self, from: u64) -> Read<usize> {
        let Some(room) = self.room(MAX) else {
            return Err(Unreadable);
        };
        // SAFETY: `room` has `MAX` bytes; the helper checks the source.
        let n = unsafe { bpf_probe_read_user_str(room.cast(), MAX as u32, from as *const _) };
        self.took::<MAX>(n)
    }

    /// Looks at a NUL-terminated user string of at most `MAX` bytes without appending it.
    #[inline(always)]
    pub fn peek_user_str<const MAX: usize>(&mut self, from: u64) -> Read<Peeked> {
        let Some(room) = self.room(MAX) else {
            return Err(Unreadable);
        };
        // SAFETY: `room` has `MAX` bytes; the helper checks the source.
        let n = unsafe { bpf_probe_read_user_str(room.cast(), MAX as u32, from as *const _) };
        if n <= 0 || n > MAX as i64 {
            return Err(Unreadable);
        }
        Ok(Peeked {
            room,
            taken: n as u64,
        })
    }

    /// Appends `len` bytes of user memory, cut at `MAX`; bytes taken.
    #[inline(always)]
    pub fn user_bytes<const MAX: usize>(&mut self, from: u64, len: u64) -> Read<usize> {
        let Some(room) = self.room(MAX) else {
            return Err(Unreadable);
        };
        let len = if len > MAX as u64 { MAX as u64 } else { len };
        // SAFETY: `room` has `MAX` bytes and `len` is at most that; the helper checks the source.
        let failed = unsafe { bpf_probe_read_user(room.cast(), len as u32, from as *const _) };
        if failed != 0 {
            Err(Unreadable)
        } else {
            self.took::<MAX>(len as i64)
        }
    }

    /// Appends `len` bytes of kernel memory, cut at `MAX`; bytes taken.
    #[inline(always)]
    pub fn kernel_bytes<const MAX: usize>(&mut self, from: u64, len: u64) -> Read<usize> {
        let Some(room) = self.room(MAX) else {
            return Err(Unreadable);
        };
        let len = if len > MAX as u64 { MAX as u64 } else { len };
        // SAFETY: `room` has `MAX` bytes and `len` is at most that; the helper checks the source.
        let failed = unsafe { bpf_probe_read_kernel(room.cast(), len as u32, from as *const _) };
        if failed != 0 {
            Err(Unreadable)
        } else {
            self.took::<MAX>(len as i64)
        }
    }

    /// The end of the record, if `max` more bytes fit.
    #[inline(always)]
    fn room(&mut self, max: usize) -> Option<*mut u8> {
        let len = self.len();
        if len > SCRATCH_BYTES - max {
            return None;
        }
        // SAFETY: in bounds, checked above.
        Some(unsafe { self.base().add(len) })
    }

    #[inline(always)]
    fn took<const MAX: usize>(&mut self, n: i64) -> Read<usize> {
        if n < 0 || n > MAX as i64 {
            return Err(Unreadable);
        }
        self.set_len(self.len() + n as usize);
        Ok(n as usize)
    }

    #[inline(always)]
    fn output(&mut self, urgency: Urgency) -> bool {
        let kind = self.kind;
        let len = self.len();
        if len > SCRATCH_BYTES {
            // SAFETY: every record starts with its header.
            let hook = unsafe { (*self.base().cast::<Header>()).hook };
            log::warn!(hook, LogLine::TooLong, kind);
            lost(hook, kind, Cause::Unreadable, self.session);
            return false;
        }
        // SAFETY: every record starts with its header, and the slot is aligned for it.
        unsafe { (*self.base().cast::<Header>()).len = len as u32 };
        // SAFETY: the first `len` bytes of the slot were written by the builder.
        let bytes = unsafe { core::slice::from_raw_parts(self.base(), len) };
        ring::send(kind, self.session, bytes, urgency)
    }
}
