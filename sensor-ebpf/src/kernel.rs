//! Reads of kernel structures through the offset table.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use skep_abi::{ABSENT, FileKey, Offset, Offsets};

/// Set by the daemon before load; see `skep_abi::Offsets`.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = [ABSENT; Offset::COUNT];

/// Bit 31 of `i_ctime_nsec` since 6.13: "has been queried" (include/linux/fs.h, `I_CTIME_QUERIED`).
const CTIME_NSEC_MASK: u32 = 0x7fff_ffff;

/// Somewhere in the kernel: a structure whose members can be read.
pub trait Place: Copy + PartialEq {
    /// Value of a member.
    fn read<T: Copy>(self, member: Offset) -> Read<T>;
    /// Member that is a pointer; null is unreadable.
    fn follow(self, member: Offset) -> Read<Self>;
    /// For what has to be read the other way.
    fn address(self) -> Address;
}

/// A pointer whose type the verifier knows (an argument of fentry and LSM programs, and what is
/// reached from one): it lets the program load members itself, at the price of one instruction, and
/// handles a fault by giving 0. Reading through [`Address`] costs a call and some sixty instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Typed(pub *const u8);

/// A kernel address. Only ever read through `bpf_probe_read_kernel`, so a wrong one is an error,
/// not a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address(pub u64);

/// A member that is absent on this kernel, or memory that could not be read.
pub struct Unreadable;

pub type Read<T> = Result<T, Unreadable>;

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

impl Place for Address {
    #[inline(always)]
    fn read<T: Copy>(self, member: Offset) -> Read<T> {
        self.member(member)?.value()
    }

    #[inline(always)]
    fn follow(self, member: Offset) -> Read<Address> {
        let target: u64 = self.read(member)?;
        if target == 0 {
            Err(Unreadable)
        } else {
            Ok(Address(target))
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

impl Place for Typed {
    #[inline(always)]
    fn read<T: Copy>(self, member: Offset) -> Read<T> {
        let at = self.member(member)?.0.cast::<T>();
        // SAFETY: the verifier checks type and offset of each such load, and the kernel turns a fault
        // into 0. Volatile, so that it stays this one load.
        Ok(unsafe { at.read_volatile() })
    }

    #[inline(always)]
    fn follow(self, member: Offset) -> Read<Typed> {
        let target: *const u8 = self.read(member)?;
        if target.is_null() {
            Err(Unreadable)
        } else {
            Ok(Typed(target))
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

/// Reads a `struct inode`.
#[inline(always)]
pub fn inode<P: Place>(inode: P) -> Read<Inode> {
    let key = FileKey {
        ino: inode.read(Offset::InodeIno)?,
        ctime_sec: inode.read(Offset::InodeCtimeSec)?,
        ctime_nsec: inode.read::<u32>(Offset::InodeCtimeNsec)? & CTIME_NSEC_MASK,
        dev: inode.follow(Offset::InodeSb)?.read(Offset::SuperBlockDev)?,
    };
    Ok(Inode {
        key,
        mode: inode.read(Offset::InodeMode)?,
        size: inode.read(Offset::InodeSize)?,
        links: inode.read(Offset::InodeLinks)?,
    })
}
