//! New processes and programs, in the ways an observer may lose track of.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use super::{c_string, check, syscall};

/// Exit code of a child that could not do what it was forked for.
const CHILD_FAILED: libc::c_int = 127;

/// Runs a command and waits for it.
pub fn exec(command: &[OsString]) -> io::Result<()> {
    succeeded(program(command).status()?)
}

/// As [`exec`], with an empty environment; the program is still looked up on this one's path.
pub fn exec_without_environment(command: &[OsString]) -> io::Result<()> {
    let path = look_up(&command[0])?;
    let status = Command::new(path)
        .arg0(&command[0])
        .args(&command[1..])
        .env_clear()
        .status()?;
    succeeded(status)
}

/// Forks; in the child, a second thread replaces the program.
pub fn exec_from_thread(command: &[OsString]) -> io::Result<()> {
    let mut replacement = program(command);
    let child = fork(move || {
        let thread = std::thread::spawn(move || replacement.exec());
        // Reached only if the program could not be replaced: exec ends the other threads.
        thread
            .join()
            .map_or_else(|_| Err(io::Error::other("the thread panicked")), Err)
    })?;
    wait(child)
}

/// Replaces the program of a child by the program's file, through `/proc/self/fd`.
pub fn exec_descriptor(command: &[OsString]) -> io::Result<()> {
    exec_file(&File::open(look_up(&command[0])?)?, command)
}

/// As [`exec_descriptor`], with a copy of the file in anonymous memory.
pub fn exec_memory(command: &[OsString]) -> io::Result<()> {
    exec_file(&copy_to_memory(&command[0])?, command)
}

fn exec_file(file: &File, command: &[OsString]) -> io::Result<()> {
    let descriptor = file.as_raw_fd();
    // SAFETY: the descriptor is open for as long as `file` lives; the call only sets its flags.
    check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) }.into())?;
    let path = format!("/proc/self/fd/{descriptor}");
    let status = Command::new(path)
        .arg0(&command[0])
        .args(&command[1..])
        .status()?;
    succeeded(status)
}

/// Replaces this program by itself under another `argv[0]`, to perform the remaining actions.
/// Returns only if that failed.
pub fn exec_self(name: &OsStr, remaining: &[OsString]) -> io::Result<()> {
    Err(Command::new("/proc/self/exe")
        .arg0(name)
        .arg("do")
        .args(remaining)
        .exec())
}

/// Opens the file in a second thread.
pub fn thread_open(path: &OsStr) -> io::Result<()> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| syscall::open(path))
            .join()
            .map_err(|_| io::Error::other("the thread panicked"))?
    })
}

/// A tree of processes below this one, `generations` high: 2^(generations + 1) - 2 of them. Each
/// creates a file named after its place in the tree (`0`, `01`, …) and waits for its children.
pub fn fork_tree(folder: &OsStr, generations: u64) -> io::Result<()> {
    fn grow(folder: &std::path::Path, name: &str, generations: u64) -> io::Result<()> {
        if generations == 0 {
            return Ok(());
        }
        let children = ["0", "1"].map(|place| {
            fork(|| {
                let name = format!("{name}{place}");
                syscall::create(folder.join(&name).as_os_str())?;
                grow(folder, &name, generations - 1)
            })
        });
        for child in children {
            wait(child?)?;
        }
        Ok(())
    }
    grow(std::path::Path::new(folder), "", generations)
}

/// Opens the file in a grandchild, in a session of its own, once its parent has ended. Waits until
/// that is done and reports its failure.
pub fn double_fork_open(path: &OsStr) -> io::Result<()> {
    let (mut outcome, sender) = io::pipe()?;
    let child = fork(move || {
        // SAFETY: a plain system call without pointers.
        check(unsafe { libc::setsid() }.into())?;
        // SAFETY: a plain system call without pointers.
        let parent = unsafe { libc::getpid() };
        fork(move || {
            // SAFETY: a plain system call without pointers.
            while unsafe { libc::getppid() } == parent {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let errno = match syscall::open(path) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            };
            io::Write::write_all(&mut &sender, &errno.to_ne_bytes())
        })?;
        Ok(())
    })?;
    wait(child)?;
    let mut errno = [0; 4];
    io::Read::read_exact(&mut outcome, &mut errno)?;
    match i32::from_ne_bytes(errno) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn program(command: &[OsString]) -> Command {
    let mut program = Command::new(&command[0]);
    program.args(&command[1..]);
    program
}

/// The path of a program: as given if it has a slash, else from the search path.
pub fn look_up(name: &OsStr) -> io::Result<PathBuf> {
    let given = PathBuf::from(name);
    if given.components().count() > 1 {
        return Ok(given);
    }
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search_path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

/// A copy of a program in anonymous memory.
pub fn copy_to_memory(program: &OsStr) -> io::Result<File> {
    use std::os::fd::FromRawFd;
    let mut original = File::open(look_up(program)?)?;
    let name = c_string(OsStr::new("skep-demo"))?;
    // SAFETY: the name is a zero-terminated string that outlives the call.
    let descriptor = check(unsafe { libc::memfd_create(name.as_ptr(), 0) }.into())?;
    let descriptor = i32::try_from(descriptor).expect("the kernel numbers descriptors with an int");
    // SAFETY: the call just returned this descriptor, and nothing else owns it.
    let mut copy = unsafe { File::from_raw_fd(descriptor) };
    io::copy(&mut original, &mut copy)?;
    Ok(copy)
}

/// Forks and does the work in the child, which then ends with 0, or with [`CHILD_FAILED`] after
/// reporting what went wrong.
pub fn fork(work: impl FnOnce() -> io::Result<()>) -> io::Result<libc::pid_t> {
    // SAFETY: this program has one thread whenever it gets here (threads are joined before the
    // next action), so the child may use all of its memory, locks included.
    let child = unsafe { libc::fork() };
    if child != 0 {
        check(child.into())?;
        return Ok(child);
    }
    let code = match work() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("skep-demo-agent: child: {}", super::describe(&error));
            CHILD_FAILED
        }
    };
    // SAFETY: ends the child without running what the parent registered for its own end.
    unsafe { libc::_exit(code) }
}

pub fn wait(child: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: the pointer is to a local that outlives the call.
    check(unsafe { libc::waitpid(child, &raw mut status, 0) }.into())?;
    succeeded(std::os::unix::process::ExitStatusExt::from_raw(status))
}

fn succeeded(status: ExitStatus) -> io::Result<()> {
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(status.to_string()))
    }
}
