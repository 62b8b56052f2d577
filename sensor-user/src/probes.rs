//! Which hooks this kernel gives us: load, attach, offsets, trial.
//!
//! For every fact the best hook that *works* is taken: loaded, attached, and, where the sensor can
//! do the thing itself (open a file, connect a socket, start a child), seen to report it. A file
//! that claims support is not evidence, and an LSM program attaches happily on a kernel that never
//! calls it. What was tried and refused is kept as the reason shown in `status`.

mod attach;
mod batch;
pub mod btf;
mod candidates;
mod facts;
mod folds;
mod host;
mod kernel_log;
mod maps;
mod processes;
mod programs;
mod reattach;
mod report;
mod trial;
mod verdicts;
pub mod walk;

use std::{fs::File, os::fd::OwnedFd, path::Path, time::Instant};

use aya::{
    EbpfLoader,
    maps::{Array, MapData, PerCpuArray, RingBuf},
};
use skep_abi::{
    COUNTERS, Cause, Counters, Hook, Kind, Offset, Switches, Walk, folded_index, lost_index,
    sent_index,
};

use self::{
    attach::KernelTypes,
    candidates::{Attach, Candidate, FACTS, Fact, serves},
    facts::ServedFact,
    kernel_log::KernelLog,
    maps::{map_fd, take_map},
    programs::Programs,
    report::join,
    verdicts::VerdictMaps,
};
use crate::{
    backlog::Backlog, causes::with_causes, log_level::KernelLevel, memory::give_back_constant,
};

pub use self::{
    batch::Batch,
    candidates::{ProgramSpec, avoidable_hooks, program},
    folds::Folds,
    host::{HostError, mount_point_in},
    kernel_log::{line as log_line, ring_bytes as log_ring_bytes},
    processes::{NOEXIST, Processes},
    report::{AttachedHook, HookReport, HookStatus, ProgramId, ProgramReport},
    verdicts::KernelVerdicts,
};

/// The kernel object, built by `build.rs`.
pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/skep-sensor-ebpf"));

/// Offsets without which nobody can be watched: said at the start, not later.
const ESSENTIAL: [Offset; 6] = [
    Offset::TaskTgid,
    Offset::TaskStartBoottime,
    Offset::BinprmFile,
    Offset::FileInode,
    Offset::InodeIno,
    Offset::TaskMm,
];

/// Sizes of what is shared with the kernel.
#[derive(Clone, Debug)]
pub struct ProbeConfig {
    /// Bytes of the ring; a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Hooks not to be used, by the start of their names (`lsm/`, `fentry/`, …): the next best is
    /// taken, and the report says why.
    pub avoid: Vec<String>,
    /// Which lines the kernel programs log; they see a constant.
    pub log: KernelLevel,
    /// Bytes of the ring for them, by [`log_ring_bytes`].
    pub log_bytes: u32,
    /// Environment variables that are looked up at an exec.
    pub switches: Switches,
}

/// Counters of the kernel side for one kind of record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelCounts {
    pub kind: Kind,
    /// Records that reached the ring.
    pub sent: u64,
    /// What was added to the count of a record in the ring instead of being sent.
    pub folded: u64,
    pub lost: [(Cause, u64); Cause::ALL.len()],
}

/// The loaded kernel side. Dropping it detaches every program.
pub struct Probes {
    programs: Programs,
    pub ring: RingBuf<MapData>,
    verdicts: VerdictMaps,
    pub processes: Processes,
    /// A descriptor of the map of sessions.
    sessions_fd: OwnedFd,
    pub folds: Folds,
    walk: Array<MapData, Walk>,
    counts: PerCpuArray<MapData, Counters>,
    /// Where the kernel programs log.
    log: Option<KernelLog>,
    facts: Vec<ServedFact>,
    /// What serves each fact, as of now.
    pub hooks: Vec<HookReport>,
    /// Records of the trials, read here: so that `sent` and `read` agree from the start.
    pub read_by_trials: [u64; Kind::ALL.len()],
}

impl Probes {
    /// Loads and attaches the best hooks. Call it before any other thread exists: what is not
    /// mounted (tracefs, cgroup v2) is mounted in a mount namespace of our own.
    pub fn attach(config: ProbeConfig) -> Result<Self, HostError> {
        host::check_capabilities()?;
        host::raise_memlock_limit();
        let cgroup = host::prepare_mounts()?;
        let types = match btf::Btf::from_file(Path::new(btf::VMLINUX)) {
            Ok(types) => types,
            Err(btf::BtfError::Read { source, .. }) => return Err(HostError::NoBtf { source }),
            Err(error) => return Err(error.into()),
        };
        let (offsets, absent) = types.offsets();
        drop(types);
        if ESSENTIAL
            .iter()
            .any(|member| offsets[*member as usize] == skep_abi::ABSENT)
        {
            return Err(HostError::Offsets {
                members: absent.join(", "),
            });
        }
        if !absent.is_empty() {
            tracing::info!(
                members = absent.join(" "),
                "not in this kernel: reported as unknown"
            );
        }
        let loaded = Loaded {
            config,
            offsets,
            cgroup,
        };
        // Whether cgroup programs report inet decides what the other connect programs leave out,
        // and is a constant to them; so a refusal of the cgroup programs means a second load.
        match loaded.attach(true)? {
            Attached::Complete(probes) => Ok(*probes),
            Attached::NoCgroupPrograms(reason) => match loaded.attach(false)? {
                Attached::Complete(mut probes) => {
                    probes.note("connect_inet", &reason);
                    Ok(*probes)
                }
                Attached::NoCgroupPrograms(reason) => Err(HostError::Load(reason)),
            },
        }
    }

    /// Puts the refusal of a better hook in front of a fact's reason.
    fn note(&mut self, fact: &str, reason: &str) {
        if let Some(served) = self
            .facts
            .iter_mut()
            .find(|served| served.fact.name == fact)
        {
            served.refused = join(reason, &served.refused);
        }
        let reports = self.facts.iter().map(|fact| fact.report(&self.programs));
        self.hooks = reports.collect();
    }

    /// Where verdicts go.
    pub fn verdicts(&mut self) -> KernelVerdicts<'_> {
        self.verdicts.hand_out(None)
    }

    /// Where verdicts go; what comes into the ring while one is found goes into `backlog`.
    pub fn verdicts_beside<'a>(&'a mut self, backlog: &'a mut Backlog) -> KernelVerdicts<'a> {
        self.verdicts.hand_out(Some((&mut self.ring, backlog)))
    }

    /// The ring, and where verdicts go.
    pub fn ring_and_verdicts(&mut self) -> (&mut RingBuf<MapData>, KernelVerdicts<'_>) {
        (&mut self.ring, self.verdicts.hand_out(None))
    }

    /// Forwards what the kernel programs logged; with `last`, every loss of it up to now is said.
    pub fn forward_log(&mut self, now: Instant, last: bool) {
        if let Some(log) = &mut self.log {
            log.forward(now, last);
        }
    }

    /// Records that were lost of a session, by its kernel id.
    pub fn lost_of_session(&self, kernel: u64) -> u64 {
        self.verdicts.lost_of_session(kernel)
    }

    /// Another descriptor of the map of sessions, for whoever reads it as a whole.
    pub fn sessions_fd(&self) -> std::io::Result<OwnedFd> {
        self.sessions_fd.try_clone()
    }

    /// One counter of the kernel side, summed over CPUs.
    pub fn count(&self, index: u32) -> u64 {
        self.counters()[index as usize]
    }

    /// Every counter, summed over CPUs.
    fn counters(&self) -> [u64; COUNTERS as usize] {
        let mut sums = [0; COUNTERS as usize];
        // The one element of an array is always there.
        if let Ok(of_cpus) = self.counts.get(&0, 0) {
            for Counters(counters) in of_cpus.iter() {
                for (sum, count) in sums.iter_mut().zip(counters) {
                    *sum += count;
                }
            }
        }
        sums
    }

    /// Counters of the kernel side, summed over CPUs.
    pub fn counts(&self) -> Vec<KernelCounts> {
        let counters = self.counters();
        let sum = |index: u32| counters[index as usize];
        Kind::ALL
            .into_iter()
            .map(|kind| KernelCounts {
                kind,
                sent: sum(sent_index(kind)),
                folded: sum(folded_index(kind)),
                lost: Cause::ALL.map(|cause| (cause, sum(lost_index(kind, cause)))),
            })
            .collect()
    }
}

/// What a load needs, kept for a second one.
struct Loaded {
    config: ProbeConfig,
    offsets: skep_abi::Offsets,
    cgroup: File,
}

enum Attached {
    Complete(Box<Probes>),
    /// The cgroup programs were refused, with this reason.
    NoCgroupPrograms(String),
}

impl Loaded {
    fn attach(&self, cgroup_inet: bool) -> Result<Attached, HostError> {
        let flag = u8::from(cgroup_inet);
        let ring_bytes = u64::from(self.config.ring_bytes);
        let log = self.config.log.of_aya_log();
        let mut loader = EbpfLoader::new();
        // rustc emits no CO-RE relocations: parsing the kernel's types for them would be for nothing.
        loader
            .btf(None)
            .override_global("OFFSETS", &self.offsets, true)
            .override_global("CGROUP_INET", &flag, true)
            .override_global("RING_BYTES", &ring_bytes, true)
            .override_global("SWITCHES", &self.config.switches, true)
            .override_global(kernel_log::LEVEL, &log, true)
            .map_max_entries("RING", self.config.ring_bytes)
            .map_max_entries(kernel_log::RING, self.config.log_bytes);
        let mut object = loader.load(OBJECT).map_err(|error| load_error(&error))?;
        give_back_constant(OBJECT);
        let mut trial = trial::Bench::new(&mut object)?;
        let cgroup = self.cgroup.try_clone();
        let cgroup = cgroup.map_err(|error| HostError::Load(format!("cgroup v2: {error}")))?;
        let mut programs = Programs::new(object, cgroup);
        if let Err(error) = walk::loaded(&mut programs.object) {
            // The first walk says what that means.
            tracing::warn!(%error, "processes that run already cannot be found");
        }
        let mut types = KernelTypes::default();
        let mut facts = Vec::new();
        for fact in &FACTS {
            let mut refused = String::new();
            let mut served = None;
            for (rank, candidate) in fact.candidates.iter().enumerate() {
                let mut parts = candidate.programs.iter();
                let is_of_cgroup = parts.any(|program| program.spec.attach == Attach::Cgroup);
                if is_of_cgroup && !cgroup_inet {
                    continue;
                }
                match self.try_candidate(&mut programs, &mut types, fact, candidate, &mut trial) {
                    Ok(()) => {
                        served = Some((rank, candidate));
                        break;
                    }
                    Err(reason) => {
                        refused = join(&refused, &format!("{}: {reason}", candidate.name));
                        if is_of_cgroup {
                            return Ok(Attached::NoCgroupPrograms(refused));
                        }
                    }
                }
            }
            match served {
                Some((rank, candidate)) if rank > 0 => {
                    let specs = candidate.programs.iter().map(|program| program.spec);
                    programs.are_fallback(specs, &join(&refused, candidate.limits));
                }
                None if fact.required => {
                    return Err(HostError::Required {
                        fact: fact.name,
                        reason: refused,
                    });
                }
                _ => {}
            }
            facts.push(ServedFact {
                fact,
                served,
                refused,
            });
        }
        drop(types);
        let (ring, processes, read_by_trials) = trial.finish();
        let object = &mut programs.object;
        let sessions_fd = map_fd(object, "SESSIONS")?;
        let folds = Folds::new(map_fd(object, "FOLDS")?, take_map(object, "CONTROL")?);
        Ok(Attached::Complete(Box::new(Probes {
            ring,
            verdicts: VerdictMaps::take(object)?,
            processes,
            sessions_fd,
            folds,
            walk: take_map(object, "WALK")?,
            counts: take_map(object, "COUNTS")?,
            log: KernelLog::take(object, self.config.log, self.config.log_bytes)?,
            hooks: facts.iter().map(|fact| fact.report(&programs)).collect(),
            facts,
            read_by_trials,
            programs,
        })))
    }

    fn is_avoided(&self, name: &str) -> bool {
        let avoid = &self.config.avoid;
        avoid.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Attaches a candidate and tries it; on refusal nothing of it stays attached.
    fn try_candidate(
        &self,
        programs: &mut Programs,
        types: &mut KernelTypes,
        fact: &Fact,
        candidate: &Candidate,
        trial: &mut trial::Bench,
    ) -> Result<(), String> {
        const AVOIDED: &str = "not to be used, by configuration";
        if self.is_avoided(candidate.name) {
            return Err(AVOIDED.to_owned());
        }
        let mut of_this = Vec::new();
        let mut outcome = Ok(());
        for program in candidate.programs {
            let spec = program.spec;
            let hook = serves(spec.name).map_or(spec.name, Hook::name);
            let serves_another_fact = programs.report(spec).is_some();
            let report = if !program.required && self.is_avoided(hook) {
                programs.refuse(spec, AVOIDED)
            } else {
                programs.attach(spec, types)
            };
            if !serves_another_fact {
                of_this.push(report.id);
            }
            if program.required && report.status == HookStatus::Off {
                outcome = Err(report.reason);
                break;
            }
        }
        if outcome.is_ok() {
            outcome = trial.reported(fact.trial, candidate.reports);
        }
        if outcome.is_err() {
            for id in of_this {
                programs.forget(id);
            }
        }
        outcome
    }
}

fn load_error(error: &aya::EbpfError) -> HostError {
    let text = with_causes(error);
    if text.contains("RING") {
        HostError::NoRingBuffer {
            reason: text,
            release: host::kernel_release(),
        }
    } else {
        HostError::Load(text)
    }
}
