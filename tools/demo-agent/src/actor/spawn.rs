//! New processes by the calls that differ from `fork`: shared memory until exec, another parent, a
//! program that has no path.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use super::inner::Inner;
use super::{c_string, check, process};

/// Bytes of the stack on which a `vfork`-like child runs until it executes its program.
const STACK_BYTES: usize = 64 * 1024;

/// A program and its arguments in the form system calls take.
struct Program {
    path: CString,
    arguments: Vec<CString>,
}

impl Program {
    fn of(command: &[OsString]) -> io::Result<Self> {
        Ok(Self {
            path: c_string(process::look_up(&command[0])?.as_os_str())?,
            arguments: command
                .iter()
                .map(|word| c_string(word))
                .collect::<io::Result<_>>()?,
        })
    }

    /// Pointers to the arguments and the null that ends them; good for as long as `self` lives.
    fn argv(&self) -> Vec<*mut libc::c_char> {
        let pointers = self.arguments.iter().map(|word| word.as_ptr().cast_mut());
        pointers.chain([ptr::null_mut()]).collect()
    }
}

/// This process's environment, as system calls take it.
fn environment() -> *const *mut libc::c_char {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    // SAFETY: the C library's own variable, set before `main`; nothing here changes the environment.
    unsafe { environ }
}

/// By `posix_spawn` of the C library.
pub fn posix_spawn(command: &[OsString]) -> io::Result<()> {
    let program = Program::of(command)?;
    let mut child = 0;
    // SAFETY: all pointers are to strings and arrays that outlive the call; no file actions and no
    // attributes are given.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut child,
            program.path.as_ptr(),
            ptr::null(),
            ptr::null(),
            program.argv().as_ptr(),
            environment(),
        )
    };
    match error {
        0 => process::wait(child),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// As `vfork`: the child shares this process's memory, and this process stands still until the
/// child has executed its program.
pub fn vfork_exec(command: &[OsString]) -> io::Result<()> {
    struct Plan {
        path: *const libc::c_char,
        argv: *const *const libc::c_char,
        environment: *const *const libc::c_char,
    }
    extern "C" fn execute(plan: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the parent passes its own `Plan` and stands still while this runs; the calls made
        // here touch nothing else of the shared memory.
        unsafe {
            let plan = &*plan.cast::<Plan>();
            libc::execve(plan.path, plan.argv, plan.environment);
            libc::_exit(127)
        }
    }
    let program = Program::of(command)?;
    let argv = program.argv();
    let mut plan = Plan {
        path: program.path.as_ptr(),
        argv: argv.as_ptr().cast(),
        environment: environment().cast(),
    };
    // Words of 16 bytes, because a stack pointer must be a multiple of 16.
    let mut stack = vec![0u128; STACK_BYTES / 16];
    // SAFETY: the child runs `execute` on a stack of its own, which grows down from its end, with a
    // plan that lives in this frame; `CLONE_VFORK` keeps this frame until the child is done with it.
    let child = check(
        unsafe {
            libc::clone(
                execute,
                stack.as_mut_ptr_range().end.cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                (&raw mut plan).cast(),
            )
        }
        .into(),
    )?;
    process::wait(
        child
            .try_into()
            .expect("the kernel numbers processes with an int"),
    )
}

/// A copy of the program in anonymous memory, executed by `execveat` with `AT_EMPTY_PATH`: there is
/// no path at all.
pub fn exec_at_memory(command: &[OsString]) -> io::Result<()> {
    let program = Program::of(command)?;
    let argv = program.argv();
    let file = process::copy_to_memory(&command[0])?;
    let child = process::fork(|| {
        let no_path = c_string(OsStr::new(""))?;
        // SAFETY: all pointers are to strings and arrays that outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_execveat,
                file.as_raw_fd(),
                no_path.as_ptr(),
                argv.as_ptr(),
                environment(),
                libc::AT_EMPTY_PATH,
            )
        };
        check(result).map(drop)
    })?;
    process::wait(child)
}

/// Does the work in a child made by `clone3` with `CLONE_PARENT`: its parent is this process's parent,
/// which will also have to wait for it. Waits until the work is done and reports its failure.
pub fn clone_parent(work: Inner) -> io::Result<()> {
    let (mut outcome, sender) = io::pipe()?;
    // SAFETY: a plain structure of integers, for which zero is "not asked for".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    // The signal at its end is the caller's own, so none may be given (kernel/fork.c).
    arguments.flags = libc::CLONE_PARENT as u64;
    // SAFETY: the structure outlives the call and its size is passed. Without `CLONE_VM` and with no
    // stack this is a fork; this program has one thread whenever it gets here.
    let child = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<libc::clone_args>(),
        )
    })?;
    if child == 0 {
        let errno = work()
            .err()
            .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        let sent = io::Write::write_all(&mut &sender, &errno.to_ne_bytes());
        // SAFETY: ends the child without running what the parent registered for its own end.
        unsafe { libc::_exit(i32::from(sent.is_err())) }
    }
    drop(sender);
    let mut errno = [0; 4];
    io::Read::read_exact(&mut outcome, &mut errno)?;
    match i32::from_ne_bytes(errno) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
