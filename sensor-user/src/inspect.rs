//! The sensor's side of the inspector: asks about foreign processes and files, and waits no longer than it may.
//!
//! The sensor itself opens no file of another user. A child of it, the inspector (`inspect/serve.rs`), makes a
//! process for each question, which becomes the user it reads as (`inspect/worker.rs`).
//!
//! Invariants:
//! - a question is answered, or fails by name ([`Unjudged`]), within its time; records go on being taken out
//!   of the ring meanwhile;
//! - an answer is bytes from outside; what does not fit is none;
//! - what was learned of a file counts for that file alone, and is remembered here, so that large files are
//!   read once whoever runs them.
//!
//! Bounds: one question at a time; what one may cost is [`Limits`], what those about one user may cost in all
//! `inspect/allowance.rs`; 2 × 2,048 files are remembered, with at most 2 KiB each, and as many scripts, most of them with 100 bytes.

mod allowance;
mod confine;
mod limits;
mod person;
mod running;
pub mod serve;
mod wire;
mod worker;

use std::{
    ffi::OsString,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::fast::FixedState;
use prost::Message;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketFlags, SocketType, recv, sendmsg, socketpair,
    },
};
use skep_abi::FileKey;
use skep_catalogue::Catalogue;
use skep_event::Repository;

pub use self::limits::Limits;
use self::{
    allowance::{Allowances, Cost},
    wire::{Answer, Ask, PACKET_MAX, Question},
};
use crate::{
    identify::{Candidate, Judgement, Unjudged, cache::Cache, opened, script_by_name},
    track::Judge,
};

/// How long it waits for an answer before it looks at the ring again.
const MEANWHILE: Duration = Duration::from_millis(1);
/// How long an answer may be on its way after the time of its question: the inspector says that it is late.
const SLACK: Duration = Duration::from_millis(300);
/// How long an inspector may take to be there: it reads the catalogue.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long a question waits for an inspector that replaces another.
const REPLACED_WITHIN: Duration = Duration::from_secs(5);
/// Between two attempts to start one.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Files remembered, and the most that is remembered of one.
const FILES: usize = 2_048;
const LEARNED_MAX: usize = 2 << 10;
/// The most that is remembered of a script.
const SCRIPT_MAX: usize = 4 << 10;
/// Of the time of a question, what looking at a process that runs already may take: there may be many, and
/// the sensor is not ready before.
const IMAGE_PART: f64 = 0.25;

/// How an inspector is started: the program must call [`serve::serve`].
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

/// Figures for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InspectCounts {
    /// The inspector's process, if there is one.
    pub pid: Option<u32>,
    pub asked: u64,
    pub late: u64,
    pub over_budget: u64,
    pub unreadable: u64,
    /// Questions that failed for another reason.
    pub failed: u64,
    /// Inspectors that had to be started after the first.
    pub replaced: u64,
}

/// Asks the inspector. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct Inspector(Arc<Mutex<Desk>>);

/// The state of the one who asks.
#[derive(Debug)]
struct Desk {
    launch: Launch,
    limits: Limits,
    catalogue: Arc<Catalogue>,
    process: Option<Process>,
    started: Option<Instant>,
    known: Cache<FileKey, Known>,
    /// What was learned of scripts, by a hash of user, executable and path: a hint, since what is learned names
    /// the file that it is of.
    scripts: Cache<u64, Arc<[u8]>>,
    allowances: Allowances,
    counts: InspectCounts,
}

/// An inspector that was started.
#[derive(Debug)]
struct Process {
    child: Child,
    control: OwnedFd,
    is_ready: bool,
}

/// What is remembered of a file.
#[derive(Clone, Debug)]
struct Known {
    learned: Option<Arc<[u8]>>,
    never: bool,
}

/// What is remembered of what is asked about.
#[derive(Clone, Copy, Debug, Default)]
struct Memory<'a> {
    learned: Option<&'a [u8]>,
    script: Option<&'a [u8]>,
}

/// The inspector cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum InspectorError {
    #[error("cannot start the inspector {program}: {source}", program = .program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("the inspector {program} ended at once, or was not there after {STARTS_WITHIN:?}", program = .program.display())]
    NotThere { program: PathBuf },
}

// === impl Launch ===

impl Launch {
    /// This program, with the catalogue of a directory.
    pub fn own(catalogue: &std::path::Path) -> Self {
        Self {
            program: "/proc/self/exe".into(),
            arguments: vec![serve::ARGUMENT.into(), catalogue.into()],
        }
    }
}

// === impl Inspector ===

impl Inspector {
    /// Starts an inspector and waits until it is there. `catalogue` is the one it has, too.
    ///
    /// # Errors
    ///
    /// It cannot be started, or ends at once.
    pub fn start(
        launch: Launch,
        limits: Limits,
        catalogue: Arc<Catalogue>,
    ) -> Result<Self, InspectorError> {
        let mut desk = Desk {
            launch,
            limits,
            catalogue,
            process: None,
            started: None,
            known: Cache::new(FILES),
            scripts: Cache::new(FILES),
            allowances: Allowances::default(),
            counts: InspectCounts::default(),
        };
        let started = Process::start(&desk.launch).map_err(|source| InspectorError::Start {
            program: desk.launch.program.clone(),
            source,
        })?;
        desk.process = Some(started);
        desk.started = Some(Instant::now());
        if !desk.is_there(STARTS_WITHIN, &mut || ()) {
            return Err(InspectorError::NotThere {
                program: desk.launch.program.clone(),
            });
        }
        Ok(Self(Arc::new(Mutex::new(desk))))
    }

    pub fn counts(&self) -> InspectCounts {
        let desk = self.desk();
        InspectCounts {
            pid: desk.process.as_ref().map(|process| process.child.id()),
            ..desk.counts
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Each change of it is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judge for Inspector {
    fn judge(&mut self, candidate: &Candidate<'_>, meanwhile: &mut dyn FnMut()) -> Judgement {
        self.desk().judge(candidate, meanwhile)
    }

    fn repository(
        &mut self,
        candidate: &Candidate<'_>,
        meanwhile: &mut dyn FnMut(),
    ) -> Option<Repository> {
        candidate.cwd?;
        let answer = self
            .desk()
            .ask(Ask::Repository, candidate, Memory::default(), meanwhile);
        answer.ok()?.found_repository()
    }

    fn is_telling(&self, path: &[u8]) -> bool {
        opened::is_telling(&self.desk().catalogue, path)
    }

    fn opened(
        &mut self,
        candidate: &Candidate<'_>,
        path: &[u8],
        meanwhile: &mut dyn FnMut(),
    ) -> Judgement {
        self.desk().opened(candidate, path, meanwhile)
    }
}

// === impl Desk ===

impl Desk {
    fn judge(&mut self, candidate: &Candidate<'_>, meanwhile: &mut dyn FnMut()) -> Judgement {
        let mut judgement = self.judged(candidate, meanwhile);
        // An environment that was not read says nothing of a script: it is told once, not for each.
        let is_of_script = !matches!(judgement.unjudged, None | Some(Unjudged::UnreadEnvironment));
        if is_of_script && judgement.place.is_none() {
            judgement.place = script_by_name(&self.catalogue, candidate).cloned();
        }
        judgement
    }

    fn judged(&mut self, candidate: &Candidate<'_>, meanwhile: &mut dyn FnMut()) -> Judgement {
        let file = candidate.file;
        let known = (file.ino != 0).then(|| self.known.get(file)).flatten();
        if known.as_ref().is_some_and(|known| known.never) {
            return Judgement {
                never: true,
                ..Judgement::default()
            };
        }
        let learned = known.and_then(|known| known.learned);
        let hint = self.hint(candidate);
        let script = hint.and_then(|hint| self.scripts.get(hint));
        let memory = Memory {
            learned: learned.as_deref(),
            script: script.as_deref(),
        };
        let answer = match self.ask(Ask::Judge, candidate, memory, meanwhile) {
            Ok(answer) => answer,
            Err(why) => return Judgement::not(why),
        };
        let Some(mut judgement) = answer.judgement(&self.catalogue) else {
            self.counts.failed += 1;
            return Judgement::not(Unjudged::NotLookedAt);
        };
        match judgement.unjudged {
            Some(Unjudged::Unreadable { .. }) => self.counts.unreadable += 1,
            Some(Unjudged::OverBudget) => self.counts.over_budget += 1,
            _ => {}
        }
        judgement.never &= file.ino != 0;
        let newly = answer.script.filter(|learned| learned.len() <= SCRIPT_MAX);
        if let (Some(hint), Some(script)) = (hint, newly) {
            self.scripts.insert(hint, script.into());
        }
        let newly = answer
            .learned
            .filter(|learned| learned.len() <= LEARNED_MAX);
        let learned = learned.or(newly.map(Arc::from));
        let never = judgement.never;
        if file.ino != 0 && (never || learned.is_some()) {
            self.known.insert(file, Known { learned, never });
        }
        judgement
    }

    /// What the script is remembered by that a candidate probably runs.
    fn hint(&self, candidate: &Candidate<'_>) -> Option<u64> {
        use std::hash::BuildHasher;
        let script = script_by_name(&self.catalogue, candidate)?.as_bytes();
        let is_relative = script.first() != Some(&b'/');
        let directory = candidate.cwd.filter(|_| is_relative);
        let directory = directory.map(|directory| directory.as_bytes());
        let of = (candidate.uid, candidate.file, script, directory);
        Some(FixedState::default().hash_one(of))
    }

    fn opened(
        &mut self,
        candidate: &Candidate<'_>,
        path: &[u8],
        meanwhile: &mut dyn FnMut(),
    ) -> Judgement {
        match self.ask_about(
            Ask::Opened,
            candidate,
            Memory::default(),
            Some(path),
            meanwhile,
        ) {
            Ok(answer) => answer.judgement(&self.catalogue).unwrap_or_else(|| {
                self.counts.failed += 1;
                Judgement::not(Unjudged::NotLookedAt)
            }),
            Err(why) => Judgement::not(why),
        }
    }

    /// Asks, and waits for the answer no longer than the question may take.
    fn ask(
        &mut self,
        ask: Ask,
        candidate: &Candidate<'_>,
        memory: Memory<'_>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Answer, Unjudged> {
        self.ask_about(ask, candidate, memory, None, meanwhile)
    }

    /// The same, with a file that was opened.
    fn ask_about(
        &mut self,
        ask: Ask,
        candidate: &Candidate<'_>,
        memory: Memory<'_>,
        opened: Option<&[u8]>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Answer, Unjudged> {
        self.counts.asked += 1;
        let uid = candidate.uid.unwrap_or(u32::MAX);
        let began = Instant::now();
        let outcome = match self.allowances.left(uid, began) {
            Some(part) => {
                let is_image = matches!(ask, Ask::Image { .. });
                let part = if is_image { part.min(IMAGE_PART) } else { part };
                let allowed = self.limits.part(part);
                let of = |learned: Option<&[u8]>| learned.map(<[u8]>::to_vec);
                let question = Question::new(ask, candidate, of(memory.learned), allowed)
                    .with_script(of(memory.script))
                    .about(opened);
                let answer = self.answer(&question, meanwhile);
                let answer = answer.and_then(|answer| match answer.failure() {
                    Some(why) => Err(why),
                    None => Ok(answer),
                });
                let cost = match &answer {
                    Err(Unjudged::Late) => Cost::Late,
                    Err(_) => Cost::Part(0.0),
                    Ok(answer) => Cost::Part(self.limits.used(answer, began.elapsed())),
                };
                self.allowances.charge(uid, cost, Instant::now());
                answer
            }
            None => Err(Unjudged::OverBudget),
        };
        match outcome {
            Ok(_) | Err(Unjudged::Gone) => {}
            Err(Unjudged::Late) => self.counts.late += 1,
            Err(Unjudged::OverBudget) => self.counts.over_budget += 1,
            Err(Unjudged::Unreadable { .. }) => self.counts.unreadable += 1,
            Err(_) => self.counts.failed += 1,
        }
        outcome
    }

    fn answer(
        &mut self,
        question: &Question,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Answer, Unjudged> {
        let packet = question.encode_to_vec();
        if packet.len() > PACKET_MAX {
            return Err(Unjudged::OverBudget);
        }
        // An inspector that somebody has ended is replaced, and asked once more.
        for _ in 0..2 {
            if !self.is_there(REPLACED_WITHIN, meanwhile) {
                return Err(Unjudged::NotLookedAt);
            }
            let Some(process) = &self.process else {
                continue;
            };
            match process.ask(&packet, question.millis(), meanwhile) {
                Ok(Some(answer)) => {
                    return Answer::of_packet(&answer).ok_or(Unjudged::NotLookedAt);
                }
                Ok(None) => return Err(Unjudged::Late),
                Err(error) => {
                    tracing::warn!(%error, "the inspector does not answer, and is replaced");
                    self.end();
                }
            }
        }
        Err(Unjudged::NotLookedAt)
    }

    /// Whether an inspector is there; starts one if need be.
    fn is_there(&mut self, within: Duration, meanwhile: &mut dyn FnMut()) -> bool {
        if self.process.is_none() {
            let waits = self.started.is_some_and(|at| at.elapsed() < RESTART_AFTER);
            if waits {
                return false;
            }
            self.started = Some(Instant::now());
            self.counts.replaced += 1;
            match Process::start(&self.launch) {
                Ok(process) => self.process = Some(process),
                Err(error) => {
                    tracing::error!(%error, "the inspector cannot be started: programs are not judged");
                    return false;
                }
            }
        }
        let Some(process) = &mut self.process else {
            return false;
        };
        if !process.is_ready {
            process.is_ready = process.get_ready(within, meanwhile);
            if !process.is_ready {
                tracing::error!("the inspector was not there in time: programs are not judged");
                self.end();
            }
        }
        self.process.is_some()
    }

    fn end(&mut self) {
        self.process = None;
    }
}

// === impl Process ===

impl Process {
    fn start(launch: &Launch) -> io::Result<Self> {
        let Launch { program, arguments } = launch;
        let (control, theirs) = pair()?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            control,
            is_ready: false,
        })
    }

    /// Waits until it says that it is there.
    fn get_ready(&self, within: Duration, meanwhile: &mut dyn FnMut()) -> bool {
        let said = receive(&self.control, Instant::now() + within, meanwhile);
        matches!(said, Ok(Some(said)) if !said.is_empty())
    }

    /// The answer; `None` when it is late.
    fn ask(
        &self,
        packet: &[u8],
        millis: u64,
        meanwhile: &mut dyn FnMut(),
    ) -> io::Result<Option<Vec<u8>>> {
        let (ours, theirs) = pair()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [theirs.as_fd()];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("no space for one descriptor"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(
            &self.control,
            &[IoSlice::new(packet)],
            &mut ancillary,
            flags,
        )?;
        drop(theirs);
        let until = Instant::now() + Duration::from_millis(millis) + SLACK;
        match receive(&ours, until, meanwhile)? {
            Some(answer) if answer.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            answer => Ok(answer),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its socket is closed after this; one that does not end by that is ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// The next packet, empty when there will be none; `None` when it has not come until then, or the sensor
/// is to stop.
fn receive(
    socket: &OwnedFd,
    until: Instant,
    meanwhile: &mut dyn FnMut(),
) -> io::Result<Option<Vec<u8>>> {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: MEANWHILE.as_nanos() as i64,
    };
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => {}
            Ok(_) => {
                let mut packet = vec![0; PACKET_MAX];
                let (length, _) = recv(socket, packet.as_mut_slice(), RecvFlags::DONTWAIT)?;
                packet.truncate(length);
                return Ok(Some(packet));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= until || is_to_stop() {
            return Ok(None);
        }
        meanwhile();
    }
}

/// Whether a signal waits that ends the sensor (`stop.rs` takes them by a descriptor): then nothing is worth
/// waiting for.
fn is_to_stop() -> bool {
    // SAFETY: all zeroes is a set of signals; the kernel writes no more than that.
    unsafe {
        let mut waiting: libc::sigset_t = std::mem::zeroed();
        libc::sigpending(&raw mut waiting) == 0
            && [libc::SIGTERM, libc::SIGINT]
                .into_iter()
                .any(|signal| libc::sigismember(&raw const waiting, signal) == 1)
    }
}
