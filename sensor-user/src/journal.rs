//! Who is in which session, on disk, so that the next life of the sensor can go on with it.
//!
//! One file in the state directory: a header, then records of `length u32 | crc32 u32 | payload`
//! (the framing of the spool), appended once a round with plain writes. Writes reach the page cache,
//! which outlives the process however it ends; what they do not outlive is a power cut, after which
//! the boot is another one and the file worthless anyway. So nothing is synced.
//!
//! Invariants:
//! - the header names the boot; a file of another boot is begun anew, without a word;
//! - the heartbeat in the header says up to which moment everything had been read from the kernel
//!   *and* handed on: what happened later may not be known to anybody;
//! - nothing unredacted is written; mode 0600;
//! - a record that was torn at the end of the file is taken off silently; other damage ends the
//!   reading there, is said, and the file is set aside as `sessions.journal.damaged`; so is a file in
//!   the format of another version of the sensor, of which nothing is read;
//! - a disk that cannot be written costs resumption, never the sensor: it is said, and tried again.
//!
//! Bounds: the file is written anew from what lives when it has doubled, at the latest at
//! [`MAX_BYTES`]; from half of that on without executables and arguments. In memory there is a piece of
//! it at a time, but for the reading at the start.

mod entry;
mod format;
#[doc(hidden)]
pub mod fuzz;
mod load;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message;
use sha2::{Digest, Sha256};

use self::{
    entry::{ChildEntry, Entry, Kind},
    format::{BEGUN_AT, BOOT_AT, HEADER, HEADER_CRC_AT, HEARTBEAT_AT, MAGIC},
    load::{load, read},
};
use skep_redact::Redactor;
use skep_spool::frame;

use crate::track::kept::{Change, Kept, KeptProcess, KeptSession};

pub use self::format::{Found, MAX_BYTES};

/// File in the state directory.
const FILE: &str = "sessions.journal";
/// It is written anew in pieces of about this size.
const CHUNK: usize = 64 << 10;
/// A file this long is not worth being written anew.
const SMALL: u64 = 256 << 10;
/// How often the heartbeat is written, and how long a failing disk is left alone.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// The journal of this life of the sensor.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    boot: [u8; 16],
    /// `None` while it cannot be written.
    file: Option<File>,
    bytes: u64,
    /// Length when it was last written anew.
    base: u64,
    heartbeat_ns: u64,
    heartbeat_written: Option<Instant>,
    retry: Option<Instant>,
    /// Why it cannot be written, while that is so.
    error: Option<String>,
}

/// Where a journal is written anew from.
pub trait Source {
    fn session(&self, id: skep_event::SessionId) -> Option<KeptSession>;
    fn everything(&self) -> Kept;
}

// === impl Journal ===

impl Journal {
    /// Reads what an earlier life of the sensor left, and begins its own with that in it. Never fails:
    /// what cannot be read or written is said.
    pub fn open(state_directory: &Path, boot_id: &str, now_ns: u64) -> (Self, Found) {
        let path = state_directory.join(FILE);
        let boot = boot_of(boot_id);
        let found = match read(&path) {
            Ok(Some(bytes)) => load(&bytes, &boot),
            Ok(None) => Found::default(),
            Err(error) => Found {
                kept: None,
                damage: Some(error.to_string()),
            },
        };
        if let Some(damage) = &found.damage {
            let aside = state_directory.join(format!("{FILE}.damaged"));
            let moved = fs::rename(&path, &aside);
            tracing::error!(
                journal = %path.display(), damage, kept_as = %aside.display(), moved = moved.is_ok(),
                "the journal of sessions cannot be read as a whole: what can be read of it is used"
            );
        }
        let mut journal = Self {
            path,
            boot,
            file: None,
            bytes: 0,
            base: 0,
            heartbeat_ns: found.kept.as_ref().map_or(now_ns, |kept| kept.until_ns),
            heartbeat_written: None,
            retry: None,
            error: None,
        };
        // With what was found in it, so that a kill before the first round loses nothing.
        let rewritten = journal.rewrite(found.kept.as_ref(), None);
        journal.outcome(rewritten);
        (journal, found)
    }

    /// Why it cannot be written, while that is so.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Writes down what changed, and that everything up to `seen_ns` (boot clock) was handed on.
    pub fn round(
        &mut self,
        changes: Vec<Change>,
        seen_ns: u64,
        source: &impl Source,
        redactor: &Redactor,
    ) {
        self.heartbeat_ns = self.heartbeat_ns.max(seen_ns);
        if self.retry.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let written = if self.file.is_none() {
            self.rewrite(Some(&source.everything()), Some(redactor))
        } else {
            self.append(&changes, source, redactor)
        };
        self.outcome(written);
    }

    /// The last words of this life, whenever the heartbeat was written last.
    pub fn close(&mut self, seen_ns: u64) {
        if self.file.is_none() {
            return;
        }
        self.heartbeat_ns = self.heartbeat_ns.max(seen_ns);
        self.heartbeat_written = None;
        let written = self.beat();
        self.outcome(written);
    }

    fn append(
        &mut self,
        changes: &[Change],
        source: &impl Source,
        redactor: &Redactor,
    ) -> io::Result<()> {
        let mut out = Vec::new();
        for change in changes {
            let kind = match change {
                Change::Session(id) => {
                    // Ended by now: that change comes as well.
                    let Some(kept) = source.session(*id) else {
                        continue;
                    };
                    put(&mut out, &entry::session(&redacted_session(kept, redactor)));
                    continue;
                }
                Change::Process(kept) => {
                    let with_image = self.bytes < MAX_BYTES / 2;
                    put(
                        &mut out,
                        &entry::process(&redacted_process(kept, redactor), with_image),
                    );
                    continue;
                }
                Change::Ended(id) => Kind::Ended(id.0.to_vec()),
                Change::Child {
                    tgid,
                    start_ns,
                    ppid,
                    parent,
                } => Kind::Child(ChildEntry {
                    tgid: *tgid,
                    start_ns: *start_ns,
                    ppid: *ppid,
                    parent: *parent,
                }),
                Change::Gone { tgid } => Kind::Gone(*tgid),
            };
            put(&mut out, &Entry { kind: Some(kind) });
        }
        if !out.is_empty() {
            let len = self.bytes + out.len() as u64;
            if len > (2 * self.base).max(SMALL) || len > MAX_BYTES {
                return self.rewrite(Some(&source.everything()), Some(redactor));
            }
            if let Some(file) = &self.file {
                // At its place, not at the end: a write that failed half-way is overwritten.
                file.write_all_at(&out, self.bytes)?;
                self.bytes = len;
            }
        }
        self.beat()
    }

    fn beat(&mut self) -> io::Result<()> {
        let due = self
            .heartbeat_written
            .is_none_or(|at| at.elapsed() >= HEARTBEAT_EVERY);
        if let Some(file) = &self.file
            && due
        {
            file.write_all_at(&heartbeat(self.heartbeat_ns), HEARTBEAT_AT as u64)?;
            self.heartbeat_written = Some(Instant::now());
        }
        Ok(())
    }

    /// Writes the whole file anew, beside the old one, and puts it in its place. Without a redactor
    /// `kept` comes from a journal, where everything is redacted.
    fn rewrite(&mut self, kept: Option<&Kept>, redactor: Option<&Redactor>) -> io::Result<()> {
        let new = self.path.with_extension("journal.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        // What goes into the file next, and how much has.
        let (mut out, mut bytes) = (header(&self.boot, self.heartbeat_ns), 0);
        let flush = |out: &mut Vec<u8>, bytes: &mut u64, at_least: usize| {
            if out.len() >= at_least {
                file.write_all_at(out, *bytes)?;
                *bytes += out.len() as u64;
                out.clear();
            }
            Ok::<(), io::Error>(())
        };
        if let Some(Kept {
            sessions,
            processes,
            until_ns: _,
        }) = kept
        {
            for kept in sessions {
                let kept = match redactor {
                    Some(redactor) => redacted_session(kept.clone(), redactor),
                    None => kept.clone(),
                };
                put(&mut out, &entry::session(&kept));
                flush(&mut out, &mut bytes, CHUNK)?;
            }
            // One image is shared by all who were forked with it.
            let mut written = HashMap::new();
            for kept in processes {
                flush(&mut out, &mut bytes, CHUNK)?;
                let image = Arc::as_ptr(&kept.image);
                let key = (image, kept.executable, kept.session, kept.core);
                if let Some(like) = written.get(&key) {
                    let child = ChildEntry {
                        tgid: kept.tgid,
                        start_ns: kept.start_ns,
                        ppid: kept.ppid,
                        parent: *like,
                    };
                    let kind = Some(Kind::Child(child));
                    put(&mut out, &Entry { kind });
                    continue;
                }
                written.insert(key, kept.tgid);
                let with_image = bytes + (out.len() as u64) < MAX_BYTES / 2;
                let entry = match redactor {
                    Some(redactor) => entry::process(&redacted_process(kept, redactor), with_image),
                    None => entry::process(kept, with_image),
                };
                put(&mut out, &entry);
            }
        }
        flush(&mut out, &mut bytes, 0)?;
        fs::rename(&new, &self.path)?;
        self.bytes = bytes;
        self.base = self.bytes;
        self.file = Some(file);
        self.heartbeat_written = Some(Instant::now());
        Ok(())
    }

    fn outcome(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => {
                if self.error.take().is_some() {
                    tracing::info!(journal = %self.path.display(), "the journal is written again");
                }
                self.retry = None;
            }
            Err(error) => {
                let text = error.to_string();
                if self.error.as_ref() != Some(&text) {
                    tracing::warn!(
                        journal = %self.path.display(), %error,
                        "the journal of sessions cannot be written: after a restart, sessions that \
                         run now are found by their processes only"
                    );
                }
                self.error = Some(text);
                // Written anew as a whole when it can be.
                self.file = None;
                self.retry = Some(Instant::now() + HEARTBEAT_EVERY);
            }
        }
    }
}

fn redacted_session(kept: KeptSession, redactor: &Redactor) -> KeptSession {
    let KeptSession { id, agent, info } = kept;
    KeptSession {
        id,
        agent: redactor.agent_once(agent),
        info: redactor.facts(info),
    }
}

fn redacted_process(kept: &KeptProcess, redactor: &Redactor) -> KeptProcess {
    KeptProcess {
        image: redactor.process_once(kept.image.clone()),
        ..kept.clone()
    }
}

fn put(out: &mut Vec<u8>, entry: &Entry) {
    out.extend(frame(&entry.encode_to_vec()));
}

/// The first bytes of a journal that begins now.
fn header(boot: &[u8; 16], now_ns: u64) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    out[..BOOT_AT].copy_from_slice(&MAGIC);
    out[BOOT_AT..BEGUN_AT].copy_from_slice(boot);
    out[BEGUN_AT..HEADER_CRC_AT].copy_from_slice(&now_ns.to_le_bytes());
    let crc = crc32fast::hash(&out[..HEADER_CRC_AT]);
    out[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    out[HEARTBEAT_AT..HEARTBEAT_AT + 12].copy_from_slice(&heartbeat(now_ns));
    out
}

fn heartbeat(time_ns: u64) -> [u8; 12] {
    let time = time_ns.to_le_bytes();
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&time);
    bytes[8..].copy_from_slice(&crc32fast::hash(&time).to_le_bytes());
    bytes
}

/// The boot in the header's 16 bytes.
fn boot_of(boot_id: &str) -> [u8; 16] {
    let digest = Sha256::digest(boot_id);
    let mut boot = [0; 16];
    boot.copy_from_slice(digest.get(..16).expect("a SHA-256 digest has 32 bytes"));
    boot
}
