//! Namespaces of a task, by their inode numbers.

use skep_abi::Offset;

use crate::kernel::{Address, Members, Read, Unreadable};

/// `sizeof(struct upid)`: a number and a pointer (include/linux/pid.h).
const UPID_BYTES: u64 = 16;
/// `MAX_PID_NS_LEVEL` (include/linux/pid_namespace.h).
const LEVEL_MAX: u32 = 32;

/// The pid namespace it is in, which is not the one its children will be in
/// (`task_active_pid_ns`, kernel/pid.c).
#[inline(always)]
pub fn pid(task: Address) -> Read<u32> {
    let pid = task.follow(Offset::TaskThreadPid)?;
    let level: u32 = pid.read(Offset::PidLevel)?;
    if level > LEVEL_MAX {
        return Err(Unreadable);
    }
    let numbers = pid.member(Offset::PidNumbers)?;
    let upid = Address(numbers.0 + u64::from(level) * UPID_BYTES);
    upid.follow(Offset::UpidNs)?.read(Offset::PidNamespaceInum)
}

#[inline(always)]
pub fn user(task: Address) -> Read<u32> {
    let cred = task.follow(Offset::TaskCred)?;
    cred.follow(Offset::CredUserNs)?
        .read(Offset::UserNamespaceInum)
}

#[inline(always)]
pub fn mount(task: Address) -> Read<u32> {
    let nsproxy = task.follow(Offset::TaskNsproxy)?;
    nsproxy
        .follow(Offset::NsproxyMntNs)?
        .read(Offset::MntNamespaceInum)
}
