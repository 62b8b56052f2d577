//! The kernel's structures, read through the offset table, and its clock.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{
    bpf_probe_read_kernel,
    generated::{self, bpf_ktime_get_boot_ns},
};
use skep_abi::{ABSENT, FileKey, Offset, Offsets};

/// Set by the daemon before load; see `skep_abi::Offsets`.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = [ABSENT; Offset::COUNT];

/// Bit 31 of `i_ctime_nsec` since 6.13: "has been queried" (include/linux/fs.h, `I_CTIME_QUERIED`).
const CTIME_NSEC_MASK: u32 = 0x7fff_ffff;

/// Members of one structure.
pub trait Members<P: Place> {
    /// Value of a member.
    fn read<T: Copy>(&self, member: Offset) -> Read<T>;

    /// Member that is a pointer; null is unreadable.
    #[inline(always)]
    fn follow(&self, member: Offset) -> Read<P> {
        P::at(self.read(member)?)
    }
}

/// Somewhere in the kernel: a structure whose members can be read.
pub trait Place: Members<Self> + Copy + PartialEq {
    /// What [`Place::start`] gives.
    type Start<'room, const WORDS: usize>: Members<Self>;

    /// Its first `8 * WORDS` bytes, for whoever reads several of its members.
    fn start<const WORDS: usize>(self, room: &mut Room<WORDS>) -> Read<Self::Start<'_, WORDS>>;

    /// What a pointer leads to; null is unreadable.
    fn at(pointer: *const u8) -> Read<Self>;

    /// For what has to be read the other way.
    fn address(self) -> Address;
}

/// A pointer whose type the verifier knows (an argument of fentry and LSM programs, and what is
/// reached from one): it lets the program load members itself, at the price of one instruction, and
/// handles a fault by giving 0. Reading through [`Address`] costs a call and some sixty instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Typed(pub *const u8);

/// The beginning of a structure, copied at once: one call in place of one for each member. Members that
/// do not lie in it are read from where they are. It must not reach past the structure's end.
pub struct Copied<'room, const WORDS: usize> {
    from: Address,
    room: &'room Room<WORDS>,
}

/// Where a copy goes. On the caller's stack: moving it would take the room twice.
pub struct Room<const WORDS: usize>(MaybeUninit<[u64; WORDS]>);

/// A kernel address. Only ever read through `bpf_probe_read_kernel`, so a wrong one is an error,
/// not a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address(pub u64);

/// A member that is absent on this kernel, or memory that could not be read.
pub struct Unreadable;

pub type Read<T> = Result<T, Unreadable>;

/// Nanoseconds of `CLOCK_BOOTTIME`. Kernel 5.8 or newer.
#[inline(always)]
pub fn boot_ns() -> u64 {
    // SAFETY: no arguments, no side effects.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Real and effective user id, initial user namespace.
#[derive(Clone, Copy)]
pub struct Ids {
    pub uid: u32,
    pub euid: u32,
}

/// Words of a `struct cred` up to its effective user id.
const CRED_WORDS: usize = 4;

impl Ids {
    /// Those of the running thread: of who asked, also in a worker of io_uring.
    #[inline(always)]
    pub fn now() -> Read<Self> {
        // SAFETY: no arguments, no side effects.
        Self::of(Address(unsafe { generated::bpf_get_current_task() }))
    }

    #[inline(always)]
    pub fn of(task: Address) -> Read<Self> {
        let mut room = Room::<CRED_WORDS>::new();
        let cred = task.follow(Offset::TaskCred)?.start(&mut room)?;
        Ok(Self {
            uid: cred.read(Offset::CredUid)?,
            euid: cred.read(Offset::CredEuid)?,
        })
    }
}

/// Offset of a member, if this kernel has it.
#[inline(always)]
pub fn offset(member: Offset) -> Read<u64> {
    // SAFETY: in bounds (`Offset` indexes `Offsets`); volatile because the daemon changes the value
    // between compilation and load.
    let offset = unsafe { core::ptr::read_volatile(OFFSETS.as_ptr().add(member as usize)) };
    if offset == ABSENT {
        Err(Unreadable)
    } else {
        Ok(offset as u64)
    }
}

impl Address {
    #[inline(always)]
    pub fn of<T>(pointer: *const T) -> Self {
        Self(pointer as u64)
    }

    /// Address of a member that is embedded.
    #[inline(always)]
    pub fn member(self, member: Offset) -> Read<Address> {
        Ok(Address(self.0 + offset(member)?))
    }

    /// Address of the structure this member is embedded in (`container_of`).
    #[inline(always)]
    pub fn container(self, member: Offset) -> Read<Address> {
        Ok(Address(self.0 - offset(member)?))
    }

    /// Value at this address.
    #[inline(always)]
    pub fn value<T>(self) -> Read<T> {
        // SAFETY: the helper checks the address and copies.
        unsafe { bpf_probe_read_kernel(self.0 as *const T) }.map_err(|_| Unreadable)
    }
}

impl<const WORDS: usize> Room<WORDS> {
    #[inline(always)]
    pub const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }
}

impl<const WORDS: usize> Members<Address> for Copied<'_, WORDS> {
    #[inline(always)]
    fn read<T: Copy>(&self, member: Offset) -> Read<T> {
        let at = offset(member)? as usize;
        if at + size_of::<T>() > size_of::<[u64; WORDS]>() {
            return self.from.read(member);
        }
        // SAFETY: in bounds, checked above, of what was filled; members are aligned in the structure, and
        // so they are here. The offset is a constant to the verifier, which sees one load.
        Ok(unsafe {
            self.room
                .0
                .as_ptr()
                .cast::<u8>()
                .add(at)
                .cast::<T>()
                .read_volatile()
        })
    }
}

impl Members<Address> for Address {
    #[inline(always)]
    fn read<T: Copy>(&self, member: Offset) -> Read<T> {
        self.member(member)?.value()
    }
}

impl Place for Address {
    type Start<'room, const WORDS: usize> = Copied<'room, WORDS>;

    #[inline(always)]
    fn start<const WORDS: usize>(self, room: &mut Room<WORDS>) -> Read<Copied<'_, WORDS>> {
        let bytes = size_of::<[u64; WORDS]>() as u32;
        // SAFETY: the room has that many bytes; the helper checks the source.
        let failed = unsafe {
            generated::bpf_probe_read_kernel(room.0.as_mut_ptr().cast(), bytes, self.0 as *const _)
        };
        if failed != 0 {
            return Err(Unreadable);
        }
        Ok(Copied { from: self, room })
    }

    #[inline(always)]
    fn at(pointer: *const u8) -> Read<Address> {
        if pointer.is_null() {
            Err(Unreadable)
        } else {
            Ok(Address::of(pointer))
        }
    }

    #[inline(always)]
    fn address(self) -> Address {
        self
    }
}

impl Typed {
    /// A structure embedded in this one.
    #[inline(always)]
    pub fn member(self, member: Offset) -> Read<Typed> {
        // SAFETY: never dereferenced but as below.
        Ok(Typed(unsafe { self.0.add(offset(member)? as usize) }))
    }
}

impl Members<Typed> for Typed {
    #[inline(always)]
    fn read<T: Copy>(&self, member: Offset) -> Read<T> {
        let at = self.member(member)?.0.cast::<T>();
        // SAFETY: the verifier checks type and offset of each such load, and the kernel turns a fault
        // into 0. Volatile, so that it stays this one load.
        Ok(unsafe { at.read_volatile() })
    }
}

impl Place for Typed {
    // Each of its members is one load anyway.
    type Start<'room, const WORDS: usize> = Typed;

    #[inline(always)]
    fn start<const WORDS: usize>(self, _: &mut Room<WORDS>) -> Read<Typed> {
        Ok(self)
    }

    #[inline(always)]
    fn at(pointer: *const u8) -> Read<Typed> {
        if pointer.is_null() {
            Err(Unreadable)
        } else {
            Ok(Typed(pointer))
        }
    }

    #[inline(always)]
    fn address(self) -> Address {
        Address(self.0 as u64)
    }
}

/// Identity, mode and size of an inode.
pub struct Inode {
    pub key: FileKey,
    pub mode: u16,
    pub size: u64,
    pub links: u32,
}

/// Words of a `struct inode` up to its change time.
pub const INODE_WORDS: usize = 17;
/// Words of a `struct dentry` up to its inode.
pub const DENTRY_WORDS: usize = 7;
/// Words of a `struct mount` up to where it is mounted.
pub const MOUNT_WORDS: usize = 4;

/// Reads a `struct inode`.
#[inline(always)]
pub fn inode<P: Place>(inode: P) -> Read<Inode> {
    inode_from(&inode.start(&mut Room::<INODE_WORDS>::new())?)
}

/// The same from its beginning.
#[inline(always)]
pub fn inode_from<P: Place>(inode: &impl Members<P>) -> Read<Inode> {
    // First what takes a call: over one, the compiler keeps values the verifier has not seen set.
    let dev = inode.follow(Offset::InodeSb)?.read(Offset::SuperBlockDev)?;
    let key = FileKey {
        ino: inode.read(Offset::InodeIno)?,
        ctime_sec: inode.read(Offset::InodeCtimeSec)?,
        ctime_nsec: inode.read::<u32>(Offset::InodeCtimeNsec)? & CTIME_NSEC_MASK,
        dev,
    };
    Ok(Inode {
        key,
        mode: inode.read(Offset::InodeMode)?,
        size: inode.read(Offset::InodeSize)?,
        links: inode.read(Offset::InodeLinks)?,
    })
}
