//! The kernel's table of watched processes, and the filter in front of it, from the daemon's side.
//!
//! Invariant: every entry of `PROCESSES` is counted once in its slot of `FILTER`, by whoever puts it
//! in. The kernel programs add with an atomic instruction, so the daemon does the same, through a
//! mapping of that map; writing a slot with a system call would undo what they added meanwhile.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::{HashMap as BpfHashMap, MapData, MapError};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use skep_abi::{CANARY_SESSION, Claim, FILTER_SLOTS, ProcessState, STATE_AGENT};

/// `BPF_NOEXIST`, `BPF_EXIST` (linux/bpf.h): make an entry only if there is none, change one only.
pub const NOEXIST: u64 = 1;
const EXIST: u64 = 2;

/// Entries that come and go while one is written; a table without room refuses each time.
const WATCH_TRIES: u32 = 3;

/// Watched processes by tgid.
pub struct Processes {
    map: BpfHashMap<MapData, u32, ProcessState>,
    filter: Filter,
}

/// `FILTER`, mapped.
struct Filter {
    slots: NonNull<AtomicU64>,
}

// SAFETY: the mapping is only touched through atomics.
unsafe impl Send for Filter {}

impl Processes {
    pub fn new(map: BpfHashMap<MapData, u32, ProcessState>, filter: &OwnedFd) -> io::Result<Self> {
        Ok(Self {
            map,
            filter: Filter::new(filter)?,
        })
    }

    /// State of a process, if it is watched.
    pub fn get(&self, tgid: u32) -> Option<ProcessState> {
        self.map.get(&tgid, 0).ok()
    }

    /// Watches a process, or changes its state.
    pub fn watch(&mut self, tgid: u32, state: ProcessState) -> Result<(), MapError> {
        let mut tries = 0;
        loop {
            if self.map.insert(tgid, state, NOEXIST).is_ok() {
                self.filter.slot(tgid).fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            let changed = self.map.insert(tgid, state, EXIST);
            tries += 1;
            // The kernel side may have taken the entry out between the two (a verdict, an exit).
            if changed.is_ok() || tries == WATCH_TRIES {
                return changed;
            }
        }
    }

    /// Watches a process of the sensor's own, and what it starts, as a canary.
    pub fn watch_as_canary(&mut self, tgid: u32) -> Result<(), MapError> {
        let state = ProcessState {
            start_ns: 0,
            session: CANARY_SESSION,
            image: 0,
            claim: Claim::NONE,
            state: STATE_AGENT,
            pad: 0,
        };
        self.watch(tgid, state)
    }

    /// Takes a process that has ended out of the table, if it is still in: whoever gets its pid next
    /// would be taken for it.
    pub fn forget(&mut self, tgid: u32, start_ns: Option<u64>) {
        let entry = self.get(tgid);
        // 0: its start could not be read.
        if entry.is_some_and(|entry| entry.start_ns == start_ns.unwrap_or(0)) {
            self.unwatch(tgid);
        }
    }

    /// Ends watching a process; false when it was not watched.
    pub fn unwatch(&mut self, tgid: u32) -> bool {
        let was = self.map.remove(&tgid).is_ok();
        if was {
            self.filter.slot(tgid).fetch_sub(1, Ordering::Relaxed);
        }
        was
    }
}

// === impl Filter ===

const FILTER_BYTES: usize = FILTER_SLOTS as usize * size_of::<u64>();

impl Filter {
    /// The mapping keeps the map alive.
    fn new(map: &OwnedFd) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address the kernel chooses, of the size of the map's value.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                FILTER_BYTES,
                protection,
                MapFlags::SHARED,
                map.as_fd(),
                0,
            )
        }?;
        let slots = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { slots })
    }

    fn slot(&self, tgid: u32) -> &AtomicU64 {
        let index = (tgid % FILTER_SLOTS) as usize;
        // SAFETY: in bounds of the mapping, aligned, and only ever accessed atomically.
        unsafe { self.slots.add(index).as_ref() }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, of which no reference is left.
        let _ = unsafe { munmap(self.slots.as_ptr().cast(), FILTER_BYTES) };
    }
}
