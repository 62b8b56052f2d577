//! Stops whatever a process forks, as a file system would that never answers.

use std::{
    ptr::null_mut,
    sync::mpsc::{RecvTimeoutError, channel},
    time::Duration,
};

/// Every child of `pid` is stopped before its first step, while `during` runs. A signal that is not SIGKILL does
/// not end it.
pub fn stopping_children<T>(pid: u32, during: impl FnOnce() -> T) -> T {
    let pid = pid.cast_signed();
    let (traces, is_traced) = channel();
    let (ends, is_over) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let options = libc::PTRACE_O_TRACEFORK as usize;
            // SAFETY: a request that takes numbers only.
            let seized =
                unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, null_mut::<()>(), options) };
            assert_eq!(seized, 0, "{}", std::io::Error::last_os_error());
            traces.send(()).expect("waited for");
            while is_over.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
                let mut status = 0;
                let how = libc::WNOHANG | libc::__WALL;
                // SAFETY: writes one number; it alone is waited for and goes on, its children stay stopped.
                unsafe {
                    if libc::waitpid(pid, &raw mut status, how) == pid {
                        libc::ptrace(libc::PTRACE_CONT, pid, 0, 0);
                    }
                }
            }
            // Ending, this thread lets go of all it traces.
        });
        is_traced.recv().expect("it is traced");
        let outcome = during();
        drop(ends);
        outcome
    })
}
