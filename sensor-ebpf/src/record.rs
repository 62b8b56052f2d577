//! Building a record, sending it, and counting what could not be sent.
//!
//! A record is built in a per-CPU slot and sent with `bpf_ringbuf_output`. Programs of this object
//! run over one another on one CPU (softirq over process context, and, for LSM and cgroup programs,
//! plain preemption), so a slot has an owner count: a program adds one and owns the slot only if it
//! then reads one. Two programs cannot both read one, whatever the interleaving; a program that
//! finds every slot taken counts its record as lost (`scratch_busy`). `xadd` without fetch is all
//! this needs, so it works on 5.8.

use core::arch::asm;

use aya_ebpf::helpers::{
    generated::{
        bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user,
        bpf_probe_read_user_str,
    },
};
use skep_abi::{
    Cause, Header, Hook, Kind, ProcessState, SCRATCH_BYTES, SCRATCH_SLOTS, lost_index, sent_index,
};

use crate::{
    kernel::{Address, Read, Unreadable},
    maps::{COUNTS, RING, SCRATCH},
};

/// Room for one record.
#[repr(C)]
pub struct Slot {
    owners: u64,
    bytes: [u8; SCRATCH_BYTES],
}

/// A record under construction: `T` is its fixed part, the tail follows.
pub struct Draft<T> {
    base: *mut u8,
    len: usize,
    fixed: core::marker::PhantomData<T>,
}

/// Nanoseconds of `CLOCK_BOOTTIME`. Kernel 5.8 or newer.
#[inline(always)]
pub fn boot_ns() -> u64 {
    // SAFETY: no arguments, no side effects.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The header of a record about the process `state` belongs to.
#[inline(always)]
pub fn header(kind: Kind, hook: Hook, time_ns: u64, pid_tgid: u64, state: &ProcessState) -> Header {
    Header {
        time_ns,
        start_ns: state.start_ns,
        session: state.session,
        claim: state.claim,
        len: 0,
        tgid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        state: state.state,
        missing: 0,
        kind: kind as u16,
        hook: hook as u8,
        pad: 0,
    }
}

/// Counts a record that will not arrive.
#[inline(always)]
pub fn lost(kind: Kind, cause: Cause) {
    add_one(lost_index(kind, cause));
}

#[inline(always)]
fn add_one(index: u32) {
    if let Some(count) = COUNTS.get_ptr_mut(index) {
        // SAFETY: the map hands out a valid, aligned pointer to this CPU's counter.
        unsafe { atomic_add(count, 1) };
    }
}

/// `BPF_ATOMIC | BPF_ADD`, the one atomic every kernel has: it cannot be torn by a program that runs
/// over this one. (`core` has no atomic add for a target without compare-and-swap.)
///
/// # Safety
/// `at` must point to a valid, aligned map value.
#[inline(always)]
unsafe fn atomic_add(at: *mut u64, n: u64) {
    // SAFETY: the caller's promise; one instruction, no other effect.
    unsafe { asm!("lock *(u64 *)({at} + 0) += {n}", at = in(reg) at, n = in(reg) n) }
}

/// Sends a record without a tail straight from the stack.
#[inline(always)]
pub fn send_fixed<T>(kind: Kind, record: &T) {
    let bytes: *const T = record;
    // SAFETY: `T` is a plain `#[repr(C)]` record without padding (asserted in the ABI).
    let bytes = unsafe { core::slice::from_raw_parts(bytes.cast::<u8>(), size_of::<T>()) };
    match RING.output::<[u8]>(bytes, 0) {
        Ok(()) => add_one(sent_index(kind)),
        Err(_) => lost(kind, Cause::RingFull),
    }
}

/// Builds a record in a slot of this CPU and sends it. `build` fills the fixed part and the tail.
#[inline(always)]
pub fn send<T>(kind: Kind, build: impl FnOnce(&mut Draft<T>)) {
    for index in 0..SCRATCH_SLOTS {
        let Some(slot) = SCRATCH.get_ptr_mut(index) else { break };
        // SAFETY: the map hands out a valid, aligned pointer to this CPU's slot.
        let owners = unsafe { &raw mut (*slot).owners };
        // SAFETY: as above.
        unsafe { atomic_add(owners, 1) };
        // SAFETY: as above; volatile because the count must be read after the add.
        if unsafe { core::ptr::read_volatile(owners) } == 1 {
            // SAFETY: as above; this program owns the bytes until it gives the slot back.
            let base = unsafe { (&raw mut (*slot).bytes).cast::<u8>() };
            let mut draft = Draft { base, len: size_of::<T>(), fixed: core::marker::PhantomData };
            build(&mut draft);
            draft.output(kind);
            // SAFETY: as above.
            unsafe { atomic_add(owners, u64::MAX) };
            return;
        }
        // SAFETY: as above.
        unsafe { atomic_add(owners, u64::MAX) };
    }
    lost(kind, Cause::ScratchBusy);
}

impl<T> Draft<T> {
    /// The fixed part. Holds whatever the slot held before: the builder writes all of it.
    #[inline(always)]
    pub fn fixed(&mut self) -> *mut T {
        self.base.cast()
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends one NUL.
    #[inline(always)]
    pub fn nul(&mut self) -> Read<()> {
        let Some(room) = self.room(1) else { return Err(Unreadable) };
        // SAFETY: `room` has one byte.
        unsafe { room.write(0) };
        self.len += 1;
        Ok(())
    }

    /// Appends a NUL-terminated kernel string of at most `MAX` bytes; bytes taken, NUL included.
    #[inline(always)]
    pub fn kernel_str<const MAX: usize>(&mut self, from: Address) -> Read<usize> {
        let Some(room) = self.room(MAX) else { return Err(Unreadable) };
        // SAFETY: `room` has `MAX` bytes; the helper checks the source.
        let n = unsafe { bpf_probe_read_kernel_str(room.cast(), MAX as u32, from.0 as *const _) };
        self.took::<MAX>(n)
    }

    /// Appends a NUL-terminated user string of at most `MAX` bytes; bytes taken, NUL included.
    #[inline(always)]
    pub fn user_str<const MAX: usize>(&mut self, from: u64) -> Read<usize> {
        let Some(room) = self.room(MAX) else { return Err(Unreadable) };
        // SAFETY: `room` has `MAX` bytes; the helper checks the source.
        let n = unsafe { bpf_probe_read_user_str(room.cast(), MAX as u32, from as *const _) };
        self.took::<MAX>(n)
    }

    /// Appends `len` bytes of user memory, cut at `MAX`; bytes taken.
    #[inline(always)]
    pub fn user_bytes<const MAX: usize>(&mut self, from: u64, len: u64) -> Read<usize> {
        let Some(room) = self.room(MAX) else { return Err(Unreadable) };
        let len = if len > MAX as u64 { MAX as u64 } else { len };
        // SAFETY: `room` has `MAX` bytes and `len` is at most that; the helper checks the source.
        let failed = unsafe { bpf_probe_read_user(room.cast(), len as u32, from as *const _) };
        if failed != 0 { Err(Unreadable) } else { self.took::<MAX>(len as i64) }
    }

    /// Appends `len` bytes of kernel memory, cut at `MAX`; bytes taken.
    #[inline(always)]
    pub fn kernel_bytes<const MAX: usize>(&mut self, from: u64, len: u64) -> Read<usize> {
        let Some(room) = self.room(MAX) else { return Err(Unreadable) };
        let len = if len > MAX as u64 { MAX as u64 } else { len };
        // SAFETY: `room` has `MAX` bytes and `len` is at most that; the helper checks the source.
        let failed = unsafe { bpf_probe_read_kernel(room.cast(), len as u32, from as *const _) };
        if failed != 0 { Err(Unreadable) } else { self.took::<MAX>(len as i64) }
    }

    /// The end of the record, if `max` more bytes fit.
    #[inline(always)]
    fn room(&mut self, max: usize) -> Option<*mut u8> {
        if self.len > SCRATCH_BYTES - max {
            return None;
        }
        // SAFETY: in bounds, checked above.
        Some(unsafe { self.base.add(self.len) })
    }

    #[inline(always)]
    fn took<const MAX: usize>(&mut self, n: i64) -> Read<usize> {
        if n < 0 || n > MAX as i64 {
            return Err(Unreadable);
        }
        self.len += n as usize;
        Ok(n as usize)
    }

    #[inline(always)]
    fn output(&mut self, kind: Kind) {
        if self.len > SCRATCH_BYTES {
            return lost(kind, Cause::Unreadable);
        }
        // SAFETY: every record starts with its header, and the slot is aligned for it.
        unsafe { (*self.base.cast::<Header>()).len = self.len as u32 };
        // SAFETY: the first `len` bytes of the slot were written by the builder.
        let bytes = unsafe { core::slice::from_raw_parts(self.base, self.len) };
        match RING.output::<[u8]>(bytes, 0) {
            Ok(()) => add_one(sent_index(kind)),
            Err(_) => lost(kind, Cause::RingFull),
        }
    }
}
