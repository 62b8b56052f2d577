//! The unix socket: server and client.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rustix::fs::{FlockOperation, flock};

use super::{PATIENCE, Status, StatusBoard};

/// An answer is smaller than this.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("a sensor is already running on {socket}: stop it first", socket = .socket.display())]
    AlreadyRunning { socket: PathBuf },
    #[error("{path} is in the way of the status socket: it is not a socket", path = .path.display())]
    NotASocket { path: PathBuf },
    #[error("status socket {socket}: {source}", socket = .socket.display())]
    Io { socket: PathBuf, source: io::Error },
    #[error(
        "no sensor is running: nothing answers on {socket}; start it with `skep-sensor run`",
        socket = .socket.display()
    )]
    NotRunning { socket: PathBuf },
    #[error("may not ask the sensor on {socket}: run as root", socket = .socket.display())]
    NotPermitted { socket: PathBuf },
    #[error("the answer on {socket} is not a status: {source}", socket = .socket.display())]
    Malformed {
        socket: PathBuf,
        source: serde_json::Error,
    },
}

/// A socket's place, in which no other daemon answers until it is dropped.
#[derive(Debug)]
pub struct Place {
    socket: PathBuf,
    lock: Lock,
}

/// The answering side; stops and takes its socket away when dropped.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Held for as long as this daemon is the one.
    _lock: Lock,
}

/// The lock of a socket's daemon, until it is dropped.
#[derive(Debug)]
struct Lock(fs::File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread has forked and that has not executed its
        // program yet has the descriptor too, and with it the lock (flock(2)). It cannot fail for a lock
        // that is held.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

// === impl Place ===

impl Place {
    /// Takes the place, unless a daemon has it.
    pub fn take(socket: &Path) -> Result<Self, StatusError> {
        let io = |source| StatusError::Io {
            socket: socket.to_owned(),
            source,
        };
        if let Some(directory) = socket.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(io)?;
        }
        Ok(Self {
            socket: socket.to_owned(),
            lock: take_lock(socket)?,
        })
    }
}

// === impl Server ===

impl Server {
    /// Answers in a place from a thread of its own.
    pub fn start(place: Place, board: StatusBoard) -> Result<Self, StatusError> {
        let Place { socket, lock } = place;
        let socket = socket.as_path();
        let io = |source| StatusError::Io {
            socket: socket.to_owned(),
            source,
        };
        match fs::symlink_metadata(socket) {
            Ok(meta) if !meta.file_type().is_socket() => {
                return Err(StatusError::NotASocket {
                    path: socket.to_owned(),
                });
            }
            Ok(_) => fs::remove_file(socket).map_err(io)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        let listener = listen(socket).map_err(io)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("skep-status".into())
            .stack_size(256 << 10)
            .spawn(move || answer(&listener, &board, &stopped))
            .map_err(io)?;
        Ok(Self {
            socket: socket.to_owned(),
            stop,
            thread: Some(thread),
            _lock: lock,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread from `accept`.
        let woken = UnixStream::connect(&self.socket).is_ok();
        if let (true, Some(thread)) = (woken, self.thread.take()) {
            // It panics only on a bug, and there is nothing left to do for it.
            let _ = thread.join();
        }
        // Gone already: fine.
        let _ = fs::remove_file(&self.socket);
    }
}

fn beside(socket: &Path, suffix: &str) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn take_lock(socket: &Path) -> Result<Lock, StatusError> {
    let io = |source| StatusError::Io {
        socket: socket.to_owned(),
        source,
    };
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(socket, ".lock"))
        .map_err(io)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StatusError::AlreadyRunning {
            socket: socket.to_owned(),
        }),
        Err(errno) => Err(io(errno.into())),
    }
}

/// Under another name first, so that the socket never stands there with a wider mode.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let new = beside(socket, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, socket)?;
    Ok(listener)
}

/// How long an answer waits for figures of now, for which the pipeline is woken: less than a client waits
/// for the answer.
const FRESHNESS: std::time::Duration = std::time::Duration::from_secs(2);

fn answer(listener: &UnixListener, board: &StatusBoard, stop: &AtomicBool) {
    for client in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let answered = client.and_then(|client| match is_gone(&client)? {
            true => Ok(()),
            false => send(client, &board.current(FRESHNESS)),
        });
        if let Err(error) = answered {
            tracing::debug!(%error, "status client not answered");
            // Out of descriptors, `accept` fails at once: do not spin.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Whether a client waits for no answer any more: those behind it do.
fn is_gone(mut client: &UnixStream) -> io::Result<bool> {
    client.set_nonblocking(true)?;
    // It has nothing to say, so that all there can be to read is its end.
    let said = client.read(&mut [0]);
    client.set_nonblocking(false)?;
    Ok(matches!(said, Ok(0)))
}

fn send(mut client: UnixStream, status: &Status) -> io::Result<()> {
    client.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(status)?;
    line.push(b'\n');
    client.write_all(&line)
}

/// Asks the daemon on `socket`.
pub fn fetch(socket: &Path) -> Result<Status, StatusError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => StatusError::NotRunning {
            socket: socket.to_owned(),
        },
        io::ErrorKind::PermissionDenied => StatusError::NotPermitted {
            socket: socket.to_owned(),
        },
        _ => StatusError::Io {
            socket: socket.to_owned(),
            source,
        },
    };
    let stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut answer = Vec::new();
    stream
        .take(MAX_ANSWER)
        .read_to_end(&mut answer)
        .map_err(failed)?;
    serde_json::from_slice(&answer).map_err(|source| StatusError::Malformed {
        socket: socket.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn start(socket: &Path, board: StatusBoard) -> Result<Server, StatusError> {
        Server::start(Place::take(socket)?, board)
    }

    fn socket() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/skep/sensor.sock");
        (dir, socket)
    }

    #[test]
    fn the_daemon_answers_with_its_figures() {
        let (_dir, socket) = socket();
        let board = StatusBoard::new("0.1.0");
        let server = start(&socket, board.clone()).unwrap();
        board.update(|status| status.tracker.sessions = 3);
        board.acknowledged(skep_spool::Lane::Findings, 5);
        let status = fetch(&socket).unwrap();
        assert_eq!(
            (status.version.as_str(), status.tracker.sessions),
            ("0.1.0", 3)
        );
        assert_eq!(status.pid, std::process::id());
        assert!(status.rss_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(status.uplink.findings.last_ack_seconds_ago.is_some());
        assert_eq!(status.uplink.bulk.last_ack_seconds_ago, None);
        drop(server);
        assert!(!socket.exists());
    }

    #[test]
    fn only_the_owner_may_ask() {
        let (_dir, socket) = socket();
        let _server = start(&socket, StatusBoard::new("0")).unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(socket.parent().unwrap()).unwrap().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_second_daemon_is_refused_and_the_first_stays() {
        let (_dir, socket) = socket();
        let _server = start(&socket, StatusBoard::new("first")).unwrap();
        let error = start(&socket, StatusBoard::new("second")).unwrap_err();
        assert!(
            matches!(error, StatusError::AlreadyRunning { .. }),
            "{error}"
        );
        assert_eq!(fetch(&socket).unwrap().version, "first");
    }

    #[test]
    fn a_socket_left_by_a_killed_daemon_is_replaced() {
        let (_dir, socket) = socket();
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        drop(UnixListener::bind(&socket).unwrap());
        let error = fetch(&socket).unwrap_err();
        assert!(matches!(error, StatusError::NotRunning { .. }), "{error}");
        let _server = start(&socket, StatusBoard::new("new")).unwrap();
        assert_eq!(fetch(&socket).unwrap().version, "new");
    }

    #[test]
    fn a_child_that_has_inherited_the_lock_does_not_keep_the_socket() {
        let (_dir, socket) = socket();
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let held = take_lock(&socket).unwrap();
        let again = take_lock(&socket).unwrap_err();
        assert!(
            matches!(again, StatusError::AlreadyRunning { .. }),
            "{again}"
        );
        // What a fork gives to the child: another descriptor of the same open file.
        let inherited = held.0.try_clone().unwrap();
        drop(held);
        take_lock(&socket).unwrap();
        drop(inherited);
    }

    #[test]
    fn a_file_in_the_sockets_place_is_left_alone() {
        let (_dir, socket) = socket();
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        fs::write(&socket, "mine").unwrap();
        let error = start(&socket, StatusBoard::new("0")).unwrap_err();
        assert!(matches!(error, StatusError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
    }

    #[test]
    fn without_a_daemon_it_is_said() {
        let (_dir, socket) = socket();
        let error = fetch(&socket).unwrap_err().to_string();
        assert!(
            error.starts_with("no sensor is running: nothing answers on "),
            "{error}"
        );
    }

    #[test]
    fn a_client_that_goes_away_does_not_stop_the_server() {
        let (_dir, socket) = socket();
        let _server = start(&socket, StatusBoard::new("0")).unwrap();
        for _ in 0..5 {
            drop(UnixStream::connect(&socket).unwrap());
        }
        assert_eq!(fetch(&socket).unwrap().version, "0");
    }
}
