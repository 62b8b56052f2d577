//! Folds repeated opens and connects into one event with a count.
//!
//! Two opens (or connects) fold when session, process (pid, start time), hook, result and everything
//! but time and count are the same and the second comes within [`WINDOW`] of the first.
//!
//! Invariants:
//! - `Σ count out = Σ count in`: nothing is dropped, at any bound;
//! - folded events leave in the order of their first occurrence;
//! - an exec, exit, session or coverage event never overtakes what its process (at a session's end: its
//!   session) did before: held events of that process leave first. Events of other processes may
//!   be overtaken, by at most the window; times tell the order.
//!
//! Bound: [`CAPACITY`] held events; beyond it the oldest leaves before its window closes.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::event::{
    Agent, Detail, Device, Event, File, Net, NetFamily, Phase, SessionId, Text, UnixNanos,
};

/// How long the first of a kind is held for others like it.
pub const WINDOW: Duration = Duration::from_secs(1);

/// How many events are held at most.
pub const CAPACITY: usize = 4096;

/// The folding step. `sink` arguments receive what leaves.
#[derive(Debug)]
pub struct Fold {
    capacity: usize,
    /// In order of first occurrence; `None` where an event left early. The front is never `None`.
    held: VecDeque<Option<Held>>,
    /// Serial number of the front of `held`.
    front: u64,
    by_key: HashMap<Key, u64>,
    by_process: HashMap<ProcessKey, Vec<u64>>,
}

#[derive(Debug)]
struct Held {
    event: Event,
    key: Key,
    closes: Instant,
}

/// Which process; `None` start when it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ProcessKey {
    pid: u32,
    start: Option<UnixNanos>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    process: ProcessKey,
    session: Option<SessionId>,
    hook: Option<&'static str>,
    result: Option<i32>,
    target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Target {
    Open {
        path: Option<Text>,
        resolved: bool,
        flags: u32,
        mode: Option<u32>,
        inode: Option<u64>,
        device: Option<Device>,
        links: Option<u32>,
    },
    Connect {
        family: NetFamily,
        addr: Option<std::net::IpAddr>,
        port: Option<u16>,
        proto: Option<u8>,
        path: Option<Text>,
    },
}

// === impl Fold ===

impl Default for Fold {
    fn default() -> Self {
        Self::new()
    }
}

impl Fold {
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity,
            held: VecDeque::new(),
            front: 0,
            by_key: HashMap::new(),
            by_process: HashMap::new(),
        }
    }

    /// How many events are held.
    pub fn held(&self) -> usize {
        self.by_key.len()
    }

    /// Time of the event that is held longest.
    pub fn oldest(&self) -> Option<UnixNanos> {
        let front = self.held.front()?.as_ref()?;
        Some(front.event.time)
    }

    /// Takes one event. What must leave before it, leaves first.
    pub fn push(&mut self, event: Event, now: Instant, mut sink: impl FnMut(Event)) {
        let Some(key) = Key::of(&event) else {
            if let Detail::Session(info) = &event.detail
                && info.phase == Phase::End
            {
                self.release_session(event.session, &mut sink);
            }
            if let Some(process) = ProcessKey::of(&event) {
                self.release_process(process, &mut sink);
            }
            return sink(event);
        };
        if let Some(&serial) = self.by_key.get(&key) {
            match self.slot(serial) {
                Some(Some(held)) if now < held.closes && held.same_identity(&event) => {
                    return held.add(&event);
                }
                _ => self.release(serial, &mut sink),
            }
        }
        while self.by_key.len() >= self.capacity {
            self.release(self.front, &mut sink);
        }
        let serial = self.front + self.held.len() as u64;
        self.by_key.insert(key.clone(), serial);
        self.by_process.entry(key.process).or_default().push(serial);
        self.held.push_back(Some(Held {
            event,
            key,
            closes: now + WINDOW,
        }));
    }

    /// Lets everything go whose window has closed.
    pub fn tick(&mut self, now: Instant, mut sink: impl FnMut(Event)) {
        while let Some(Some(held)) = self.held.front()
            && held.closes <= now
        {
            self.release(self.front, &mut sink);
        }
    }

    /// Lets everything go.
    pub fn flush(&mut self, mut sink: impl FnMut(Event)) {
        while !self.held.is_empty() {
            self.release(self.front, &mut sink);
        }
    }

    fn slot(&mut self, serial: u64) -> Option<&mut Option<Held>> {
        let index = usize::try_from(serial.checked_sub(self.front)?).ok()?;
        self.held.get_mut(index)
    }

    fn release(&mut self, serial: u64, sink: &mut impl FnMut(Event)) {
        let Some(held) = self.slot(serial).and_then(Option::take) else {
            return;
        };
        self.by_key.remove(&held.key);
        if let Some(serials) = self.by_process.get_mut(&held.key.process) {
            serials.retain(|other| *other != serial);
            if serials.is_empty() {
                self.by_process.remove(&held.key.process);
            }
        }
        while let Some(None) = self.held.front() {
            self.held.pop_front();
            self.front += 1;
        }
        sink(held.event);
    }

    fn release_process(&mut self, process: ProcessKey, sink: &mut impl FnMut(Event)) {
        for serial in self.by_process.remove(&process).unwrap_or_default() {
            self.release(serial, sink);
        }
    }

    fn release_session(&mut self, session: Option<SessionId>, sink: &mut impl FnMut(Event)) {
        let serials: Vec<u64> = (self.front..)
            .zip(&self.held)
            .filter(|(_, held)| {
                held.as_ref()
                    .is_some_and(|held| held.key.session == session)
            })
            .map(|(serial, _)| serial)
            .collect();
        for serial in serials {
            self.release(serial, sink);
        }
    }
}

// === impl Held ===

impl Held {
    /// The agent of a session may become known while events are held; those before and after differ.
    fn same_identity(&self, event: &Event) -> bool {
        let same = |a: &Option<Arc<Agent>>, b: &Option<Arc<Agent>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (None, None) => true,
            _ => false,
        };
        same(&self.event.agent, &event.agent)
    }

    fn add(&mut self, other: &Event) {
        let Event { time, detail, .. } = other;
        let (more, other_last) = match detail {
            Detail::Open(File { count, last, .. }) | Detail::Connect(Net { count, last, .. }) => {
                (*count, last.unwrap_or(*time))
            }
            Detail::Exec(_)
            | Detail::Exit(_)
            | Detail::Session(_)
            | Detail::Lost(_)
            | Detail::Coverage(_) => return,
        };
        let first = self.event.time;
        if let Detail::Open(File { count, last, .. }) | Detail::Connect(Net { count, last, .. }) =
            &mut self.event.detail
        {
            *count = count.saturating_add(more);
            *last = Some(last.unwrap_or(first).max(other_last));
        }
        self.event.time = first.min(*time);
    }
}

// === impl Key ===

impl ProcessKey {
    fn of(event: &Event) -> Option<Self> {
        let process = event.process.as_deref()?;
        Some(Self {
            pid: process.pid,
            start: process.start,
        })
    }
}

impl Key {
    /// `None` for what does not fold.
    fn of(event: &Event) -> Option<Self> {
        let Event {
            time: _,
            session,
            agent: _,
            process: _,
            result,
            hook,
            detail,
        } = event;
        let target = match detail {
            Detail::Open(File {
                path,
                resolved,
                flags,
                mode,
                count: _,
                last: _,
                inode,
                device,
                links,
            }) => Target::Open {
                path: path.clone(),
                resolved: *resolved,
                flags: *flags,
                mode: *mode,
                inode: *inode,
                device: *device,
                links: *links,
            },
            Detail::Connect(Net {
                family,
                addr,
                port,
                proto,
                path,
                count: _,
                last: _,
            }) => Target::Connect {
                family: *family,
                addr: *addr,
                port: *port,
                proto: *proto,
                path: path.clone(),
            },
            Detail::Exec(_)
            | Detail::Exit(_)
            | Detail::Session(_)
            | Detail::Lost(_)
            | Detail::Coverage(_) => return None,
        };
        let process = ProcessKey::of(event)?;
        Some(Self {
            process,
            session: *session,
            hook: *hook,
            result: *result,
            target,
        })
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
