//! Reads of kernel structures through the offset table.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use skep_abi::{ABSENT, FileKey, Offset, Offsets};

/// Set by the daemon before load; see `skep_abi::Offsets`.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = [ABSENT; Offset::COUNT];

/// Bit 31 of `i_ctime_nsec` since 6.13: "has been queried" (include/linux/fs.h, `I_CTIME_QUERIED`).
const CTIME_NSEC_MASK: u32 = 0x7fff_ffff;

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

    /// Value of a member.
    #[inline(always)]
    pub fn read<T>(self, member: Offset) -> Read<T> {
        self.member(member)?.value()
    }

    /// Value at this address.
    #[inline(always)]
    pub fn value<T>(self) -> Read<T> {
        // SAFETY: the helper checks the address and copies.
        unsafe { bpf_probe_read_kernel(self.0 as *const T) }.map_err(|_| Unreadable)
    }

    /// Member that is a pointer; null is unreadable.
    #[inline(always)]
    pub fn follow(self, member: Offset) -> Read<Address> {
        let target: u64 = self.read(member)?;
        if target == 0 {
            Err(Unreadable)
        } else {
            Ok(Address(target))
        }
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
pub fn inode(inode: Address) -> Read<Inode> {
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
