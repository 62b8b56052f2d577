//! Programs of the kernel object: attached and detached one by one, at the start and while the sensor runs.
//!
//! Invariants:
//! - a program is in the list once, whoever asked for it; it stays there, with the reason, when it could
//!   not be attached or was detached;
//! - nothing of a program stays loaded that is not attached.
//!
//! A program that serves a hook of [`super::candidates`] is one of a few dozen, so the list is short.

use std::{fs::File, sync::Mutex};

use aya::{
    Ebpf,
    programs::{Program as AyaProgram, trace_point::TracePointLink},
};
use skep_abi::Hook;

use super::{
    attach::{self, KernelTypes},
    candidates::{ProgramSpec, serves},
    report::{HookStatus, ProgramId, ProgramReport},
};

/// The reason of one that was detached by [`Programs::detach`].
const DETACHED: &str = "detached";

/// Programs that are detached at the same time when all are: what the kernel waits for at each, all of them wait
/// for at once.
const DETACHED_AT_ONCE: usize = 16;

/// The kernel object and what of it is attached. Dropping it detaches every program.
pub struct Programs {
    pub object: Ebpf,
    /// Where those of the cgroup type are attached.
    cgroup: File,
    list: Vec<Entry>,
    next_id: u32,
}

struct Entry {
    id: ProgramId,
    spec: ProgramSpec,
    state: State,
    /// Its links, where it has many.
    links: Vec<TracePointLink>,
    /// Why it is a fallback, if it is one.
    fallback: Option<String>,
    /// It was attached at some time.
    was_attached: bool,
}

enum State {
    Attached,
    Refused(String),
    Detached,
}

impl Programs {
    pub fn new(object: Ebpf, cgroup: File) -> Self {
        Self {
            object,
            cgroup,
            list: Vec::new(),
            next_id: 0,
        }
    }

    /// Attaches a program, unless it is attached already.
    pub fn attach(&mut self, spec: ProgramSpec, types: &mut KernelTypes) -> ProgramReport {
        if self
            .report(spec)
            .is_none_or(|report| report.status == HookStatus::Off)
        {
            let attached = attach::load_and_attach(&mut self.object, types, &self.cgroup, spec);
            let entry = self.entry_or_new(spec);
            entry.was_attached |= attached.is_ok();
            entry.state = match attached {
                Ok(links) => {
                    entry.links = links;
                    State::Attached
                }
                Err(reason) => State::Refused(reason),
            };
        }
        self.entry_or_new(spec).report()
    }

    /// Notes that a program is not to be attached; one that is attached stays so.
    pub fn refuse(&mut self, spec: ProgramSpec, reason: &str) -> ProgramReport {
        let entry = self.entry_or_new(spec);
        if !matches!(entry.state, State::Attached) {
            entry.state = State::Refused(reason.to_owned());
        }
        entry.report()
    }

    /// Detaches and unloads a program; `None` when there is none of this id.
    pub fn detach(&mut self, id: ProgramId) -> Option<ProgramReport> {
        let entry = self.list.iter_mut().find(|entry| entry.id == id)?;
        entry.links.clear();
        attach::unload(&mut self.object, entry.spec.name);
        entry.state = State::Detached;
        Some(entry.report())
    }

    /// Detaches a program and strikes it off the list.
    pub fn forget(&mut self, id: ProgramId) {
        self.detach(id);
        self.list.retain(|entry| entry.id != id);
    }

    /// Attached programs serve a fact for which there is a better one.
    pub fn are_fallback(&mut self, specs: impl Iterator<Item = ProgramSpec>, reason: &str) {
        for spec in specs {
            let entry = self.list.iter_mut().find(|entry| entry.spec == spec);
            if let Some(entry) = entry {
                entry.fallback.get_or_insert_with(|| reason.to_owned());
            }
        }
    }

    pub fn reports(&self) -> Vec<ProgramReport> {
        self.list.iter().map(Entry::report).collect()
    }

    pub fn report(&self, spec: ProgramSpec) -> Option<ProgramReport> {
        self.entry(spec).map(Entry::report)
    }

    /// Programs of a hook that were attached at some time, and not detached on purpose.
    pub fn of_hook(&self, hook: Hook) -> Vec<(ProgramId, ProgramSpec)> {
        let is_of_hook = |entry: &&Entry| {
            let wanted = entry.was_attached && !matches!(entry.state, State::Detached);
            wanted && serves(entry.spec.name) == Some(hook)
        };
        let of_hook = self.list.iter().filter(is_of_hook);
        of_hook.map(|entry| (entry.id, entry.spec)).collect()
    }

    /// Whether a program is to report: it was attached, and not detached on purpose.
    pub fn is_to_report(&self, spec: ProgramSpec) -> bool {
        let entry = self.entry(spec);
        entry.is_some_and(|entry| entry.was_attached && !matches!(entry.state, State::Detached))
    }

    /// Whether a program was detached on purpose.
    pub fn is_detached(&self, spec: ProgramSpec) -> bool {
        let entry = self.entry(spec);
        entry.is_some_and(|entry| matches!(entry.state, State::Detached))
    }

    fn entry_or_new(&mut self, spec: ProgramSpec) -> &mut Entry {
        let known = self.list.iter().position(|entry| entry.spec == spec);
        let index = known.unwrap_or_else(|| {
            let id = ProgramId(self.next_id);
            self.next_id += 1;
            self.list.push(Entry {
                id,
                spec,
                state: State::Detached,
                links: Vec::new(),
                fallback: None,
                was_attached: false,
            });
            self.list.len() - 1
        });
        &mut self.list[index]
    }

    fn entry(&self, spec: ProgramSpec) -> Option<&Entry> {
        self.list.iter().find(|entry| entry.spec == spec)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        enum Task<'a> {
            Link(TracePointLink),
            Program(&'a mut AyaProgram),
        }
        let links = self.list.iter_mut().flat_map(|entry| entry.links.drain(..));
        let links = links.map(Task::Link);
        let programs = self.object.programs_mut().map(|(_, program)| program);
        let left = Mutex::new(links.chain(programs.map(Task::Program)));
        let next = || left.lock().ok()?.next();
        let detach = || {
            while let Some(task) = next() {
                match task {
                    Task::Link(link) => drop(link),
                    Task::Program(program) => attach::unload_program(program),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..DETACHED_AT_ONCE {
                // Where there may be no other thread, this one does it alone.
                let _ = std::thread::Builder::new().spawn_scoped(scope, detach);
            }
            detach();
        });
    }
}

impl Entry {
    fn report(&self) -> ProgramReport {
        let (status, reason) = match (&self.state, &self.fallback) {
            (State::Attached, None) => (HookStatus::Live, String::new()),
            (State::Attached, Some(reason)) => (HookStatus::Fallback, reason.clone()),
            (State::Refused(reason), _) => (HookStatus::Off, reason.clone()),
            (State::Detached, _) => (HookStatus::Off, DETACHED.to_owned()),
        };
        ProgramReport {
            id: self.id,
            program: self.spec.name,
            hook: serves(self.spec.name),
            status,
            reason,
        }
    }
}
