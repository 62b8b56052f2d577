//! The calls, and the clock that says what they cost.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Exit code of a child that could not start its program.
const NOT_STARTED: i32 = 127;
/// Port of the discard service (RFC 863); nothing is sent to it.
const DISCARD: u16 = 9;

/// A call that is ready to be made many times.
pub enum Call {
    Open(CString),
    OpenEach {
        folder: String,
        next: u64,
    },
    Exec(CString),
    Connect(TcpListener),
    /// From a port that stays the same: to look for a free one takes now longer, now shorter.
    ConnectUdp {
        from: SocketAddr,
        to: SocketAddr,
    },
    Getppid,
    Loop,
}

impl Call {
    /// What has to be there before the first call.
    pub fn prepare(name: &str, subject: &str) -> Result<Self, String> {
        let text = || CString::new(subject).map_err(|_| "zero byte in an argument".to_owned());
        match (name, subject.is_empty()) {
            ("open", false) => Ok(Self::Open(text()?)),
            ("open-each", false) => Ok(Self::OpenEach {
                folder: subject.to_owned(),
                next: 0,
            }),
            ("exec", false) => Ok(Self::Exec(text()?)),
            ("connect", true) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .map(Self::Connect)
                .map_err(|error| format!("cannot listen: {error}")),
            ("connect-udp", true) => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|socket| socket.local_addr())
                .map(|from| Self::ConnectUdp {
                    from,
                    to: (Ipv4Addr::LOCALHOST, DISCARD).into(),
                })
                .map_err(|error| format!("cannot bind: {error}")),
            ("getppid", true) => Ok(Self::Getppid),
            ("loop", true) => Ok(Self::Loop),
            _ => Err(format!(
                "`{name}`: expected open FILE, open-each FOLDER, fill FOLDER, exec PROGRAM, \
                 connect, connect-udp, getppid or loop, and a number"
            )),
        }
    }

    /// Makes the call so many times; nanoseconds of CPU time it took in all.
    pub fn cost(&mut self, count: u64) -> io::Result<u64> {
        match self {
            Self::Open(path) => {
                let before = own_time()?;
                for _ in 0..count {
                    open_and_close(path)?;
                }
                Ok(own_time()? - before)
            }
            Self::OpenEach { folder, next } => {
                let paths = (*next..*next + count)
                    .map(|number| CString::new(format!("{folder}/{number}")))
                    .collect::<Result<Vec<_>, _>>()?;
                *next += count;
                let before = own_time()?;
                for path in &paths {
                    open_and_close(path)?;
                }
                Ok(own_time()? - before)
            }
            Self::Exec(program) => {
                let before = own_time()? + children_time()?;
                for _ in 0..count {
                    start_and_wait(program)?;
                }
                Ok(own_time()? + children_time()? - before)
            }
            Self::Connect(listener) => {
                let address = listener.local_addr()?;
                let before = own_time()?;
                for _ in 0..count {
                    connect_and_reset(listener, address)?;
                }
                Ok(own_time()? - before)
            }
            Self::ConnectUdp { from, to } => {
                // One socket for all: making and freeing them costs now more, now less.
                let socket = UdpSocket::bind(*from)?;
                let before = own_time()?;
                for _ in 0..count {
                    socket.connect(*to)?;
                }
                Ok(own_time()? - before)
            }
            Self::Getppid => {
                let before = own_time()?;
                for _ in 0..count {
                    // SAFETY: no arguments, and it cannot fail.
                    unsafe { libc::syscall(libc::SYS_getppid) };
                }
                Ok(own_time()? - before)
            }
            Self::Loop => {
                let before = own_time()?;
                rounds(count);
                Ok(own_time()? - before)
            }
        }
    }
}

/// Makes the files `0` to `count - 1`.
pub fn fill(folder: &str, count: u64) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for number in 0..count {
        File::create(Path::new(folder).join(number.to_string()))?;
    }
    Ok(())
}

fn open_and_close(path: &CString) -> io::Result<()> {
    // SAFETY: the path is a zero-terminated string that outlives the call.
    let descriptor = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened above and nothing else knows it.
    unsafe { libc::close(descriptor) };
    Ok(())
}

fn start_and_wait(program: &CString) -> io::Result<()> {
    let arguments = [program.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // SAFETY: this program has one thread, so the child may do what the parent may.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a path and two lists that end with a null pointer, all of them alive.
        unsafe {
            libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            libc::_exit(NOT_STARTED);
        }
    }
    let mut status = 0;
    // SAFETY: the status is a live integer.
    if child < 0 || unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
        return Err(io::Error::last_os_error());
    }
    if status != 0 {
        return Err(io::Error::other(format!(
            "the program ended with status {status:#x}"
        )));
    }
    Ok(())
}

/// Both ends are closed at once and by a reset, so that no connection lingers and the next one
/// finds the tables as this one did.
fn connect_and_reset(listener: &TcpListener, address: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    let accepted = listener.accept()?.0;
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the descriptor is open, and the value is a live structure of the size given.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    drop(stream);
    drop(accepted);
    Ok(())
}

/// Two instructions a round.
#[cfg(target_arch = "x86_64")]
fn rounds(count: u64) {
    // SAFETY: counts a register down; touches no memory and no stack.
    unsafe {
        std::arch::asm!(
            "2:",
            "dec {count}",
            "jnz 2b",
            count = inout(reg) count => _,
            options(nomem, nostack)
        );
    }
}

/// Two instructions a round.
#[cfg(target_arch = "aarch64")]
fn rounds(count: u64) {
    // SAFETY: counts a register down; touches no memory and no stack.
    unsafe {
        std::arch::asm!(
            "2:",
            "subs {count}, {count}, #1",
            "b.ne 2b",
            count = inout(reg) count => _,
            options(nomem, nostack)
        );
    }
}

/// CPU time of this process, nanoseconds.
fn own_time() -> io::Result<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result is a live structure.
    if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// CPU time of the children that were waited for, nanoseconds; the kernel tells microseconds.
pub fn children_time() -> io::Result<u64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the result is a live structure.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroes are valid values of its integers, and the call filled it.
    let usage = unsafe { usage.assume_init() };
    let nanoseconds = |time: libc::timeval| {
        time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_usec.cast_unsigned() * 1_000
    };
    Ok(nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime))
}
