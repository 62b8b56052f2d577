//! Every action there is: its name, what it takes and what performs it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{
    changes, files, inner::Inner, int80, place, process, socket, spawn, storm, syscall, uring,
};

/// What an action takes, and what performs it.
#[derive(Clone, Copy)]
pub enum How {
    /// `NAME`
    Alone(fn() -> io::Result<()>),
    /// `NAME PATH`
    Path(fn(&OsStr) -> io::Result<()>),
    /// `NAME PATH PATH`
    TwoPaths(fn(&OsStr, &OsStr) -> io::Result<()>),
    /// `NAME PATH NUMBER`
    PathAndNumber(fn(&OsStr, u64) -> io::Result<()>),
    /// `NAME NUMBER`
    Number(fn(u64) -> io::Result<()>),
    /// `NAME IPV4 PORT`
    Address4(fn(SocketAddr) -> io::Result<()>),
    /// `NAME IPV6 PORT`
    Address6(fn(SocketAddr) -> io::Result<()>),
    /// `NAME COMMAND ARGUMENTS… [--]`
    Command(fn(&[OsString]) -> io::Result<()>),
    /// `NAME ACTION`
    Around(fn(Inner) -> io::Result<()>),
    /// `NAME PATH ACTION`, or a number in place of the path
    AroundIn(fn(&OsStr, Inner) -> io::Result<()>),
    /// `NAME WORD`, and every action after it
    ForTheRest(fn(&OsStr, &[OsString]) -> io::Result<()>),
}

use How::{
    Address4, Address6, Alone, Around, AroundIn, Command, ForTheRest, Number, Path, PathAndNumber,
    TwoPaths,
};

/// The actions, by the thing they do.
pub const ALL: &[(&str, How)] = &[
    // `openat` for reading.
    ("open", Path(syscall::open)),
    // `openat` for writing, created if absent, one byte written.
    ("create", Path(syscall::create)),
    // The system calls of these names, `openat2` for reading.
    ("creat", Path(syscall::creat)),
    ("openat2", Path(syscall::openat2)),
    // `openat` with `O_PATH`; with `-again` re-opened for reading through `/proc/self/fd/N`.
    ("open-path", Path(syscall::open_path)),
    ("open-path-again", Path(files::open_path_again)),
    // `name_to_handle_at`, then `open_by_handle_at`.
    ("open-handle", Path(files::open_by_handle)),
    // Makes the second name out of the first, then opens the second for reading.
    ("hard-link-open", TwoPaths(files::hard_link_open)),
    ("symlink-open", TwoPaths(files::symlink_open)),
    ("rename-open", TwoPaths(files::rename_open)),
    // A bind mount; meant to be performed in a mount namespace of its own.
    ("bind-open", TwoPaths(files::bind_open)),
    // In the folder: a file written under a temporary name and renamed (`final`), and one written
    // without a name that is then linked (`dropped`).
    ("into-place", Path(changes::into_place)),
    // In the folder: each kind of change, by path.
    ("changes", Path(changes::by_path)),
    // The same by descriptors, and relative to one.
    ("changes-by-descriptor", Path(changes::by_descriptor)),
    // Makes so many names in the folder, and removes them again.
    ("remove-storm", PathAndNumber(changes::storm)),
    ("uring-rename", TwoPaths(uring::rename)),
    ("uring-unlink", Path(uring::unlink)),
    ("int80-unlink", Path(int80::unlink)),
    ("rename", TwoPaths(changes::rename)),
    // `unlink`.
    ("remove", Path(files::remove)),
    // In the folder, `NUMBER` folders deep, one step at a time; then a file there.
    ("deep-create", PathAndNumber(files::deep_create)),
    // Opens the files 0, 1, … of the folder, `NUMBER` of them.
    ("storm", PathAndNumber(storm::opens)),
    // Creates them.
    ("create-storm", PathAndNumber(storm::creates)),
    // Runs the program so many times.
    ("exec-storm", PathAndNumber(storm::execs)),
    // So many processes that live at the same time.
    ("fork-storm", Number(storm::processes)),
    // `openat` by io_uring: by the caller, by a kernel worker, by the kernel's polling thread.
    ("uring-open", Path(uring::open)),
    ("uring-open-worker", Path(uring::open_by_worker)),
    ("uring-open-polled", Path(uring::open_by_poller)),
    // A TCP connection and a unix stream by io_uring.
    ("uring-connect4", Address4(uring::connect)),
    ("uring-connect-unix", Path(uring::connect_unix)),
    // `openat`, and `connect` of a TCP socket, by `int 0x80`.
    ("int80-open", Path(int80::open)),
    ("int80-connect4", Address4(int80::connect)),
    // A TCP connection by sending with `MSG_FASTOPEN`, and one by multipath TCP.
    ("fastopen4", Address4(socket::fast_open)),
    ("mptcp4", Address4(socket::multipath_connect)),
    // One packet from a raw, a ping and a packet socket; the port says nothing.
    ("raw4", Address4(socket::raw_send)),
    ("icmp4", Address4(socket::icmp_send)),
    ("packet", Alone(socket::packet_send)),
    // `connect` to a port by vsock, and of a UDP socket to an address of this family.
    ("vsock", Number(socket::vsock_connect)),
    ("connect-family", Number(socket::connect_family)),
    // A TCP connection.
    ("connect4", Address4(syscall::connect)),
    ("connect6", Address6(syscall::connect)),
    // One datagram from an unconnected socket.
    ("udp4", Address4(syscall::send)),
    ("udp6", Address6(syscall::send)),
    // A stream connection, and a datagram without one; a leading `@` means the abstract namespace.
    ("unix", Path(syscall::connect_unix)),
    ("unix-datagram", Path(syscall::send_unix)),
    // A command in a child, made by `posix_spawn`-like means of the standard library, …
    ("exec", Command(process::exec)),
    // … with an empty environment,
    ("env-exec", Command(process::exec_without_environment)),
    // … called from a thread that is not the first,
    ("thread-exec", Command(process::exec_from_thread)),
    // … through `/proc/self/fd/N` of its file, or of a copy in anonymous memory,
    ("fd-exec", Command(process::exec_descriptor)),
    ("memfd-exec", Command(process::exec_memory)),
    // … of such a copy by `execveat` with `AT_EMPTY_PATH`,
    ("memfd-execat", Command(spawn::exec_at_memory)),
    // … in a child that shares this one's memory until then (`CLONE_VM | CLONE_VFORK`),
    ("vfork-exec", Command(spawn::vfork_exec)),
    // … by `posix_spawn` of the C library.
    ("spawn-exec", Command(spawn::posix_spawn)),
    // This program again, under another `argv[0]`, for the remaining actions. What failed before
    // no longer shows in the exit code.
    ("execself", ForTheRest(process::exec_self)),
    // The action in a second thread, …
    ("thread-open", Path(process::thread_open)),
    // … in a grandchild whose parent has ended, in a session of its own,
    ("double-fork", Path(process::double_fork_open)),
    // … in a child with the caller's own parent (`CLONE_PARENT`),
    ("clone-parent", Around(spawn::clone_parent)),
    // … in a child that leads a new session,
    ("setsid", Around(place::setsid)),
    // … in a child in a new namespace,
    ("new-pid", Around(place::new_pid)),
    ("new-mount", Around(place::new_mount)),
    ("new-net", Around(place::new_net)),
    ("new-user", Around(place::new_user)),
    // … in a child whose root is the folder.
    ("chroot", AroundIn(place::chroot)),
    // … in a child that has given up its user ids for this number (`setresuid`).
    ("as-user", AroundIn(place::as_user)),
    // A binary tree of processes, `NUMBER` generations of them; each creates a file of its own.
    ("fork-tree", PathAndNumber(process::fork_tree)),
    // Until a file of that name is there; it is not opened.
    ("wait-for", Path(files::wait_for)),
    // Milliseconds.
    ("sleep", Number(sleep)),
];

fn sleep(milliseconds: u64) -> io::Result<()> {
    std::thread::sleep(Duration::from_millis(milliseconds));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_actions_have_the_same_name() {
        let mut names: Vec<_> = super::ALL.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
