//! Other places to act from: sessions, namespaces, another root. The work is done in a child, so that
//! this process stays where it is.

use std::ffi::OsStr;
use std::io;

use super::inner::Inner;
use super::{check, process};

/// In a child that leads a session of its own.
pub fn setsid(work: Inner) -> io::Result<()> {
    in_child(|| {
        // SAFETY: a plain system call without pointers.
        check(unsafe { libc::setsid() }.into())?;
        work()
    })
}

/// In the first process of a new pid namespace: its pid there is 1.
pub fn new_pid(work: Inner) -> io::Result<()> {
    in_child(|| {
        unshare(libc::CLONE_NEWPID)?;
        // Only the children of the caller are in the new namespace.
        in_child(|| {
            // SAFETY: a plain system call without pointers.
            let own = unsafe { libc::getpid() };
            if own != 1 {
                return Err(io::Error::other(format!("pid {own} in the new namespace")));
            }
            work()
        })
    })
}

/// In a mount namespace of its own, from which nothing gets out.
pub fn new_mount(work: Inner) -> io::Result<()> {
    in_child(|| {
        unshare(libc::CLONE_NEWNS)?;
        // SAFETY: the target is a zero-terminated string; the other pointers may be null for a change
        // of propagation.
        let private = unsafe {
            libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            )
        };
        check(private.into())?;
        work()
    })
}

/// In a network namespace of its own, where not even the loopback is up.
pub fn new_net(work: Inner) -> io::Result<()> {
    in_child(|| {
        unshare(libc::CLONE_NEWNET)?;
        work()
    })
}

/// In a user namespace of its own, where the caller's uid is not mapped.
pub fn new_user(work: Inner) -> io::Result<()> {
    in_child(|| {
        unshare(libc::CLONE_NEWUSER)?;
        work()
    })
}

/// With the folder as root and working directory.
pub fn chroot(folder: &OsStr, work: Inner) -> io::Result<()> {
    in_child(|| {
        std::os::unix::fs::chroot(folder)?;
        std::env::set_current_dir("/")?;
        work()
    })
}

/// With this number as real, effective and saved user id.
pub fn as_user(uid: &OsStr, work: Inner) -> io::Result<()> {
    let uid: libc::uid_t = uid
        .to_str()
        .and_then(|uid| uid.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no user id: {}", uid.display())))?;
    in_child(|| {
        // SAFETY: a plain system call without pointers.
        check(unsafe { libc::setresuid(uid, uid, uid) }.into())?;
        work()
    })
}

fn unshare(namespace: libc::c_int) -> io::Result<()> {
    // SAFETY: a plain system call without pointers.
    check(unsafe { libc::unshare(namespace) }.into()).map(drop)
}

fn in_child(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    process::wait(process::fork(work)?)
}
