//! What is behind the lock of a spool: the files, if they can be used, and what is lost and not told
//! yet.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use prost::Message;
use skep_event::Note;
use skep_proto::v1;

use super::{
    MAX_RECORD, Place, Shared,
    disk::{self, Disk, HandedOver},
    losses::Losses,
    recovery::take_over,
};

/// How often a directory that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How long the disk is left alone after a failed write.
const PAUSE: Duration = Duration::from_millis(250);

/// How often the same cause of loss is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Inner {
    pub disk: Result<Disk, Unavailable>,
    /// Lost, and not yet written as `lost` events.
    pub pending: Losses,
    /// By cause, since start.
    pub lost: BTreeMap<String, u64>,
    pub error: Option<String>,
    /// After a failed write the disk is left alone until then.
    pub pause: Option<Instant>,
    pub logged: HashMap<&'static str, Instant>,
}

#[derive(Debug)]
pub struct Unavailable {
    pub reason: String,
    pub retry: Instant,
}

// === impl Inner ===

impl Default for Inner {
    /// Nothing is open yet.
    fn default() -> Self {
        Self {
            disk: Err(Unavailable {
                reason: "not opened yet".into(),
                retry: Instant::now(),
            }),
            pending: Losses::default(),
            lost: BTreeMap::new(),
            error: None,
            pause: None,
            logged: HashMap::new(),
        }
    }
}

impl Inner {
    pub fn ensure_open(&mut self, shared: &Shared) {
        let Err(unavailable) = &self.disk else { return };
        if Instant::now() < unavailable.retry {
            return;
        }
        let Shared { place, before, .. } = shared;
        let Place {
            directory,
            max_bytes,
            lane,
        } = place;
        let taken_over = match before {
            Some(before) => take_over(before, directory),
            None => Ok(()),
        };
        match taken_over.and_then(|()| Disk::open(directory, *max_bytes, *lane)) {
            Ok((disk, losses)) => {
                self.count("corrupt", losses.newly_lost());
                self.pending.merge(losses);
                self.disk = Ok(disk);
                self.error = None;
            }
            Err(error) => {
                let reason = error.to_string();
                self.say("open", &error);
                self.disk = Err(Unavailable {
                    reason,
                    retry: Instant::now() + RETRY,
                });
            }
        }
    }

    pub fn append(&mut self, shared: &Shared, event: &v1::Event) {
        self.ensure_open(shared);
        if shared.told_in.is_none() {
            self.write_pending(shared);
        }
        let payload = event.encode_to_vec();
        if payload.len() > MAX_RECORD {
            let error = std::io::Error::other(format!("an event of {} bytes", payload.len()));
            return self.lose(event, "too_large", &error);
        }
        let paused = self.paused();
        let Some(disk) = self.disk.as_mut().ok().filter(|_| !paused) else {
            let error = std::io::Error::other("the spool cannot be used");
            return self.lose(event, "io", &error);
        };
        let appended = disk.append(&payload, Note::of(event));
        let dropped = disk.take_dropped();
        self.count("spool_full", dropped);
        if dropped > 0 {
            self.say(
                "spool_full",
                &std::io::Error::other("the oldest events were dropped"),
            );
        }
        match appended {
            Ok(()) => self.error = None,
            Err(disk::AppendError::Full) => {
                let error = std::io::Error::other("everything in it waits for acknowledgement");
                self.lose(event, "spool_full", &error);
            }
            Err(disk::AppendError::Io(error)) => {
                self.lose(event, "io", &error);
                self.failed(&error);
            }
        }
        if dropped > 0 {
            self.hand_over(shared);
        }
    }

    /// Tells of what was dropped in the other lane, if there is one and it can be written.
    pub fn hand_over(&mut self, shared: &Shared) {
        let (Some(other), Ok(disk)) = (&shared.told_in, &mut self.disk) else {
            return;
        };
        // In this order, never the other way round: no lane waits for the bulk.
        let mut theirs = other.lock();
        if theirs.paused() {
            return;
        }
        let Ok(to) = &mut theirs.disk else { return };
        let outcome = disk.hand_over(to);
        let dropped = to.take_dropped();
        theirs.count("spool_full", dropped);
        if theirs.disk.as_ref().is_ok_and(Disk::in_doubt)
            && let Err(error) = &outcome
        {
            theirs.failed(error);
        }
        drop(theirs);
        match outcome {
            Ok(HandedOver::Nothing) => {}
            Ok(HandedOver::Some) => other.shared.appended.notify_one(),
            Err(error) => {
                // It stays where it is, and is told from there unless this works next time.
                self.say("hand_over", &error);
                if self.disk.as_ref().is_ok_and(Disk::in_doubt) {
                    self.failed(&error);
                }
            }
        }
    }

    /// The disk is left alone for a while; files that are in doubt are then read anew.
    pub fn failed(&mut self, error: &std::io::Error) {
        self.error = Some(error.to_string());
        if self.disk.as_ref().is_ok_and(Disk::in_doubt) {
            let reason = error.to_string();
            self.disk = Err(Unavailable {
                reason,
                retry: Instant::now() + RETRY,
            });
        } else {
            self.pause = Some(Instant::now() + PAUSE);
        }
    }

    /// Whether a write failed a moment ago.
    pub fn paused(&self) -> bool {
        self.pause.is_some_and(|until| Instant::now() < until)
    }

    fn lose(&mut self, event: &v1::Event, cause: &'static str, error: &std::io::Error) {
        let count = self.pending.add(event, cause);
        self.count(cause, count);
        self.say(cause, error);
    }

    /// Writes `lost` events for what was lost since the last time, if that is possible now.
    pub fn write_pending(&mut self, shared: &Shared) {
        if self.pending.is_empty() {
            return;
        }
        if let Some(other) = &shared.told_in {
            if other.tell(std::mem::take(&mut self.pending)) {
                self.told();
            }
            return;
        }
        if self.paused() {
            return;
        }
        let Ok(disk) = &mut self.disk else { return };
        let mut rest = Losses::default();
        let mut failed = None;
        for event in std::mem::take(&mut self.pending).into_events() {
            match disk.append(&event.encode_to_vec(), None) {
                Ok(()) => {}
                Err(reason) => {
                    rest.add(&event, "io");
                    if let disk::AppendError::Io(error) = reason {
                        failed = Some(error);
                    }
                }
            }
        }
        let dropped = disk.take_dropped();
        self.count("spool_full", dropped);
        self.pending.merge(rest);
        match failed {
            Some(error) => self.failed(&error),
            None => self.error = None,
        }
        if self.pending.is_empty() {
            self.told();
        }
    }

    /// What was pending is written. A mark that cannot be is written the next time.
    fn told(&mut self) {
        if let Ok(disk) = &mut self.disk
            && let Err(error) = disk.losses_told()
        {
            self.say("mark", &error);
        }
    }

    pub fn count(&mut self, cause: &str, count: u64) {
        if count > 0 {
            let lost = self.lost.entry(cause.to_owned()).or_default();
            // What a `lost` or a folded event counts for is what its record says.
            *lost = lost.saturating_add(count);
        }
    }

    /// Once per cause and interval.
    pub fn say(&mut self, cause: &'static str, error: &std::io::Error) {
        let now = Instant::now();
        let quiet = self
            .logged
            .get(cause)
            .is_some_and(|last| now - *last < LOG_INTERVAL);
        if !quiet {
            self.logged.insert(cause, now);
            let lost = self.lost.get(cause).copied().unwrap_or(0);
            tracing::warn!(cause, %error, lost, "spool");
        }
    }
}
