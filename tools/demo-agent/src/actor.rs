//! The actor: performs actions one after the other, each the system call it is named after.
//!
//! An action that fails is reported on standard error as `ACTION: ERRNO`, with the number's name
//! where this program knows it, and the next one is performed all the same; the exit code is 1 if
//! any failed and 2 if an action could not be understood (nothing is performed then).
//! `exec`-like actions take a command up to `--` or the end; they wait for it, and a command that
//! does not exit with 0 has failed. Actions such as `new-pid` take another action and perform it
//! in the place they make.
//!
//! A script holds the same, one or more actions a line; `"$@"` stands for the script's arguments.

mod action;
mod changes;
mod deed;
mod files;
mod inner;
mod int80;
mod place;
mod process;
mod socket;
mod spawn;
mod storm;
mod syscall;
mod uring;

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::ExitCode;

/// Performs the actions of an argument list.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let actions = match action::parse(arguments) {
        Ok(actions) => actions,
        Err(error) => {
            eprintln!("skep-demo-agent: {error}");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    let mut rest = arguments;
    for action in &actions {
        rest = &rest[action.length..];
        if let Err(error) = action.perform(rest) {
            eprintln!("skep-demo-agent: {}: {}", action.name, describe(&error));
            failed = true;
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Performs the actions of a script.
pub fn run_script(path: &OsStr, arguments: &[OsString]) -> ExitCode {
    match std::fs::read_to_string(path) {
        Ok(text) => run(&action::words_of_script(&text, arguments)),
        Err(error) => {
            eprintln!("skep-demo-agent: {}: {}", path.display(), describe(&error));
            ExitCode::from(2)
        }
    }
}

/// The text of an error: `ENOENT`-like first where the number is known.
fn describe(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    let name = match number {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::ENOTDIR => "ENOTDIR",
        libc::EISDIR => "EISDIR",
        libc::ELOOP => "ELOOP",
        libc::EINVAL => "EINVAL",
        libc::ENOSPC => "ENOSPC",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::ENOSYS => "ENOSYS",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::ENOEXEC => "ENOEXEC",
        _ => return format!("errno {number}: {error}"),
    };
    format!("{name}: {error}")
}

/// The bytes of an argument as a zero-terminated string.
fn c_string(text: &OsStr) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(text.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "zero byte in an argument"))
}

/// The result of a system call that says `-1` for failure.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
