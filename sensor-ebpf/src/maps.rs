//! Every map of the kernel side, and the values that only kernel programs know.
//!
//! Sizes are defaults; the daemon sets its own before load.

use core::arch::asm;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use skep_abi::{
    Claim, ClaimVerdict, Control, Counters, FILTER_SLOTS, FOLD_KINDS, FOLD_SHARES, FileKey,
    FoldCount, FoldKey, FoldShare, LOST_WAITING_CLAIMS, PENDING_SHARES, ProcessState,
    SCRATCH_BYTES, SCRATCH_SLOTS, SessionState, Share, Walk,
};

/// Records, kernel to daemon.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(4 * 1024 * 1024, 0);

/// How many watched processes have a tgid of this slot (`tgid % FILTER_SLOTS`). A look into an array
/// is inlined by the verifier, so a process whose slot is 0 costs a load and a branch. Kept exact by
/// whoever adds to `PROCESSES` or takes from it; the daemon does so through a mapping.
#[map]
pub static FILTER: Array<u64> = Array::with_max_entries(FILTER_SLOTS, BPF_F_MMAPABLE);

/// Watched processes by tgid. Written here at fork, exec and exit; no entry means not watched.
#[map]
pub static PROCESSES: HashMap<u32, ProcessState> = HashMap::with_max_entries(32 * 1024, 0);

/// Verdicts on pending execs, written by the daemon. Evicting one is harmless: the process stays
/// pending and the daemon, which remembers, drops or keeps its records.
#[map]
pub static CLAIMS: LruHashMap<Claim, ClaimVerdict> = LruHashMap::with_max_entries(16 * 1024, 0);

/// Executables that never make an agent, written by the daemon. Evicting one costs a second look.
#[map]
pub static VERDICTS: LruHashMap<FileKey, u32> = LruHashMap::with_max_entries(16 * 1024, 0);

/// What of each session was not sent. Sessions are entered by the daemon, in a context that may
/// allocate, so their room is not taken before it is needed.
#[map]
pub static SESSIONS: HashMap<u64, SessionState> =
    HashMap::with_max_entries(8 * 1024, BPF_F_NO_PREALLOC);

/// What those who wait for a verdict have put into the ring, by claim.
#[map]
pub static SHARES: Array<Share> = Array::with_max_entries(PENDING_SHARES, 0);

/// Records lost of those who wait for a verdict, by claim: if it becomes a session, that has a gap.
/// Evicting one forgets that mark, and no count.
#[map]
pub static LOST_WAITING: LruHashMap<Claim, u64> =
    LruHashMap::with_max_entries(LOST_WAITING_CLAIMS, 0);

/// Opens counted instead of sent. The daemon takes out the entries of a past epoch.
#[map]
pub static FOLDS: HashMap<FoldKey, FoldCount> = HashMap::with_max_entries(FOLD_KINDS, 0);

/// How much of that room each session has taken.
#[map(name = "FOLD_SHARES")]
pub static SHARES_OF_FOLDS: Array<FoldShare> = Array::with_max_entries(FOLD_SHARES, 0);

/// What the daemon sets while the programs run.
#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// The walk over the task list.
#[map]
pub static WALK: Array<Walk> = Array::with_max_entries(1, 0);

/// Arguments of a system call between its enter and its exit, by thread (last tier).
#[map]
pub static IN_FLIGHT: HashMap<u64, Call> = HashMap::with_max_entries(16 * 1024, 0);

/// `sent` and `lost` counters, see `skep_abi::sent_index` and `lost_index`.
#[map]
pub static COUNTS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Lines of the log, whether `AYA_LOGS` took them or not.
#[map]
pub static LOG_LINES: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Room for records under construction.
#[map]
pub static SCRATCH: PerCpuArray<Slot> = PerCpuArray::with_max_entries(SCRATCH_SLOTS, 0);

/// One record under construction; see `record`.
#[repr(C)]
pub struct Slot {
    pub owners: u64,
    /// Bytes of the record so far.
    pub len: u64,
    /// Of a change of names: what a system call was given.
    pub names: Names,
    /// Of an exec: where its environment is being looked at.
    pub environment: Environment,
    pub bytes: [u8; SCRATCH_BYTES],
}

/// Names as a system call was given them: user addresses, 0 for none, and the descriptors of the folders
/// they are relative to.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Names {
    pub given: u64,
    pub to_given: u64,
    pub attribute: u64,
    pub folder: i32,
    pub to_folder: i32,
}

/// How far an environment was looked at; user addresses.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Environment {
    pub at: u64,
    pub end: u64,
    /// 1: what stands there is the rest of a variable.
    pub is_rest: u64,
}

/// What of a system call's arguments is of interest. Value of `IN_FLIGHT`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    /// User address of the path or socket address.
    pub pointer: u64,
    /// open: `O_*` flags, or the user address of `struct open_how`; connect: address length.
    pub extra: u64,
    pub dirfd: i32,
    pub pad: u32,
}

/// `BPF_ATOMIC | BPF_ADD`, the one atomic every kernel has: it cannot be torn by a program that runs
/// over this one. (`core` has no atomic add for a target without compare-and-swap.)
///
/// # Safety
/// `at` must point to a valid, aligned map value.
#[inline(always)]
pub unsafe fn atomic_add(at: *mut u64, n: u64) {
    // SAFETY: the caller's promise; one instruction, no other effect.
    unsafe { asm!("lock *(u64 *)({at} + 0) += {n}", at = in(reg) at, n = in(reg) n) }
}
