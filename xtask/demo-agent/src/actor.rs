//! The actor: performs actions one after the other, each the system call it is named after.
//!
//! An action that fails is reported on standard error as `ACTION: ERRNO`, with the number's name
//! where this program knows it, and the next one is performed all the same; the exit code is 1 if
//! any failed and 2 if an action could not be understood (nothing is performed then).
//! `exec`-like actions take a command up to `--` or the end; they wait for it, and a command that
//! does not exit with 0 has failed.

mod action;
mod process;
mod syscall;

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use action::Action;

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
    for (position, action) in actions.iter().enumerate() {
        let rest = || action::after(arguments, position);
        if let Err(error) = perform(action, &rest) {
            eprintln!("skep-demo-agent: {}: {}", action.name(), describe(&error));
            failed = true;
        }
    }
    ExitCode::from(u8::from(failed))
}

fn perform(action: &Action, rest: &dyn Fn() -> Vec<OsString>) -> io::Result<()> {
    match action {
        Action::Open(path) => syscall::open(path),
        Action::Create(path) => syscall::create(path),
        Action::Creat(path) => syscall::creat(path),
        Action::OpenAt2(path) => syscall::openat2(path),
        Action::OpenPath(path) => syscall::open_path(path),
        Action::Remove(path) => std::fs::remove_file(path),
        Action::ThreadOpen(path) => in_thread(|| syscall::open(path)),
        Action::DoubleFork(path) => process::double_fork(|| syscall::open(path)),
        Action::Connect(address) => syscall::connect(*address),
        Action::Send(address) => syscall::send(*address),
        Action::Unix(path) => syscall::connect_unix(path),
        Action::Exec(command) => process::exec(command),
        Action::EnvExec(command) => process::exec_without_environment(command),
        Action::ThreadExec(command) => process::exec_from_thread(command),
        Action::FdExec(command) => process::exec_descriptor(command, false),
        Action::MemfdExec(command) => process::exec_descriptor(command, true),
        Action::ExecSelf(name) => Err(process::exec_self(name, &rest())),
        Action::Sleep(milliseconds) => {
            std::thread::sleep(Duration::from_millis(*milliseconds));
            Ok(())
        }
    }
}

fn in_thread(work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    std::thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .map_err(|_| io::Error::other("the thread panicked"))?
    })
}

/// The text of an error: `ENOENT`-like first where the number is known.
fn describe(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    let name = match number {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EACCES => "EACCES",
        libc::ENOTDIR => "ENOTDIR",
        libc::EISDIR => "EISDIR",
        libc::ELOOP => "ELOOP",
        libc::EINVAL => "EINVAL",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
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
