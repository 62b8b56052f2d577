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
mod folds;
mod host;
mod processes;
mod reattach;
mod trial;
mod walk;

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap as BpfHashMap, MapData, PerCpuArray, RingBuf},
};
use skep_abi::{
    CANARY_SESSION, COUNTERS, Cause, Claim, ClaimVerdict, Counters, FileKey, Hook, Kind, Offset,
    PENDING_SESSION, SessionState, Walk, folded_index, lost_index, sent_index,
};

use self::{
    attach::{attach_program, unload},
    candidates::{Attach, Candidate, FACTS, Fact, Program, serves},
};
pub use self::{
    batch::Batch,
    folds::Folds,
    host::HostError,
    processes::{NOEXIST, Processes},
    reattach::AttachedHook,
    walk::{WalkError, WalkStep},
};

/// The kernel object, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/skep-sensor-ebpf"));

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
}

/// Names of the hooks that can be avoided: no fact the sensor must have depends on them.
pub fn avoidable_hooks() -> Vec<&'static str> {
    let candidates = FACTS
        .iter()
        .filter(|fact| !fact.required)
        .flat_map(|fact| fact.candidates);
    let parts = candidates
        .clone()
        .flat_map(|candidate| candidate.programs)
        .filter(|program| !program.required)
        .filter_map(|program| serves(program.name).map(Hook::name));
    candidates
        .map(|candidate| candidate.name)
        .chain(parts)
        .collect()
}

/// State of the hook that serves a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookStatus {
    /// The best one, whole.
    Live,
    /// Not the best one, or without a part of it; `reason` says what the better ones answered and what
    /// this one misses.
    Fallback,
    Off,
}

/// What serves a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookReport {
    pub fact: &'static str,
    pub hook: Option<&'static str>,
    pub status: HookStatus,
    pub reason: String,
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
    /// Keeps programs and links alive.
    object: Ebpf,
    pub ring: RingBuf<MapData>,
    pub claims: BpfHashMap<MapData, Claim, ClaimVerdict>,
    pub verdicts: BpfHashMap<MapData, FileKey, u32>,
    pub processes: Processes,
    /// What of each session was not sent, by its kernel id.
    pub sessions: BpfHashMap<MapData, u64, SessionState>,
    /// Claims records were lost of before they were answered, and how many.
    pub lost_waiting: BpfHashMap<MapData, Claim, u64>,
    /// A descriptor of the map of sessions.
    sessions_fd: OwnedFd,
    pub folds: Folds,
    walk: Array<MapData, Walk>,
    counts: PerCpuArray<MapData, Counters>,
    pub hooks: Vec<HookReport>,
    /// Programs that were attached at the start, and where those of the cgroup type are.
    attached: Vec<Program>,
    cgroup: File,
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
        if let Some(report) = self.hooks.iter_mut().find(|report| report.fact == fact) {
            report.reason = join(reason, &report.reason);
            if report.status == HookStatus::Live {
                report.status = HookStatus::Fallback;
            }
        }
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
        let mut loader = EbpfLoader::new();
        // rustc emits no CO-RE relocations: parsing the kernel's types for them would be for nothing.
        loader
            .btf(None)
            .override_global("OFFSETS", &self.offsets, true)
            .override_global("CGROUP_INET", &flag, true)
            .override_global("RING_BYTES", &ring_bytes, true)
            .map_max_entries("RING", self.config.ring_bytes);
        let mut object = loader.load(OBJECT).map_err(|error| load_error(&error))?;
        let mut trial = trial::Bench::new(&mut object)?;
        // Only LSM and fentry programs need them, to name their hook.
        let btf = aya::Btf::from_sys_fs().ok();
        let mut hooks = Vec::new();
        for fact in &FACTS {
            let mut refused = String::new();
            let mut report = None;
            for (rank, candidate) in fact.candidates.iter().enumerate() {
                if !cgroup_inet
                    && candidate
                        .programs
                        .iter()
                        .any(|p| p.attach == Attach::Cgroup)
                {
                    continue;
                }
                match self.try_candidate(&mut object, btf.as_ref(), fact, candidate, &mut trial) {
                    Ok(missing) => {
                        let live = rank == 0 && missing.is_empty();
                        let limits = if rank == 0 { "" } else { candidate.limits };
                        report = Some(HookReport {
                            fact: fact.name,
                            hook: Some(candidate.name),
                            status: if live {
                                HookStatus::Live
                            } else {
                                HookStatus::Fallback
                            },
                            reason: join(&join(&refused, limits), &missing),
                        });
                        break;
                    }
                    Err(reason) => {
                        refused = join(&refused, &format!("{}: {reason}", candidate.name));
                        if cgroup_inet
                            && candidate
                                .programs
                                .iter()
                                .any(|p| p.attach == Attach::Cgroup)
                        {
                            return Ok(Attached::NoCgroupPrograms(refused));
                        }
                    }
                }
            }
            if report.is_none() && fact.required {
                return Err(HostError::Required {
                    fact: fact.name,
                    reason: refused,
                });
            }
            hooks.push(report.unwrap_or(HookReport {
                fact: fact.name,
                hook: None,
                status: HookStatus::Off,
                reason: refused,
            }));
        }
        let (ring, processes, read_by_trials) = trial.finish();
        let sessions_fd = map_fd(&object, "SESSIONS")?;
        let mut sessions: BpfHashMap<_, u64, SessionState> = take_map(&mut object, "SESSIONS")?;
        let folds = Folds::new(map_fd(&object, "FOLDS")?, take_map(&mut object, "CONTROL")?);
        for own in [PENDING_SESSION, CANARY_SESSION] {
            let entered = sessions.insert(own, SessionState::default(), 0);
            let map_error = |error| HostError::Load(format!("a map cannot be written: {error}"));
            entered.map_err(map_error)?;
        }
        let is_attached =
            |name| matches!(object.program(name), Some(program) if program.fd().is_ok());
        let mut attached: Vec<Program> = Vec::new();
        for program in FACTS
            .iter()
            .flat_map(|f| f.candidates)
            .flat_map(|c| c.programs)
        {
            if is_attached(program.name) && attached.iter().all(|p| p.name != program.name) {
                attached.push(*program);
            }
        }
        let cgroup = self.cgroup.try_clone();
        let cgroup = cgroup.map_err(|error| HostError::Load(format!("cgroup v2: {error}")))?;
        Ok(Attached::Complete(Box::new(Probes {
            attached,
            cgroup,
            ring,
            claims: take_map(&mut object, "CLAIMS")?,
            verdicts: take_map(&mut object, "VERDICTS")?,
            processes,
            sessions,
            lost_waiting: take_map(&mut object, "LOST_WAITING")?,
            sessions_fd,
            folds,
            walk: take_map(&mut object, "WALK")?,
            counts: take_map(&mut object, "COUNTS")?,
            hooks,
            read_by_trials,
            object,
        })))
    }

    fn is_avoided(&self, name: &str) -> bool {
        let avoid = &self.config.avoid;
        avoid.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// Attaches a candidate and tries it; on refusal nothing of it stays attached. Gives what is
    /// missing of it, and why.
    fn try_candidate(
        &self,
        object: &mut Ebpf,
        btf: Option<&aya::Btf>,
        fact: &Fact,
        candidate: &Candidate,
        trial: &mut trial::Bench,
    ) -> Result<String, String> {
        const AVOIDED: &str = "not to be used, by configuration";
        if self.is_avoided(candidate.name) {
            return Err(AVOIDED.to_owned());
        }
        let mut attached = Vec::new();
        let mut outcome = Ok(());
        let mut missing = String::new();
        for program in candidate.programs {
            let hook = serves(program.name).map_or(program.name, Hook::name);
            let result = if !program.required && self.is_avoided(hook) {
                Err(AVOIDED.to_owned())
            } else {
                attach_program(object, btf, &self.cgroup, program)
            };
            match result {
                Ok(true) => attached.push(program.name),
                Ok(false) => {} // serves another fact already
                Err(reason) if program.required => {
                    outcome = Err(reason);
                    break;
                }
                // Two programs may serve one hook: said once.
                Err(reason) if !missing.contains(hook) => {
                    missing = join(&missing, &format!("without {hook}: {reason}"));
                }
                Err(_) => {}
            }
        }
        if outcome.is_ok() {
            outcome = trial.reported(fact.trial, candidate.reports);
        }
        if outcome.is_err() {
            for name in attached {
                unload(object, name);
            }
        }
        outcome.map(|()| missing)
    }
}

fn take_map<T>(object: &mut Ebpf, name: &'static str) -> Result<T, HostError>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = object
        .take_map(name)
        .ok_or_else(|| HostError::Load(format!("map {name} is not in the kernel object")))?;
    T::try_from(map).map_err(|error| HostError::Load(format!("map {name}: {error}")))
}

/// A descriptor of a map, for what aya has no call for.
fn map_fd(object: &Ebpf, name: &'static str) -> Result<OwnedFd, HostError> {
    let data = match object.map(name) {
        Some(aya::maps::Map::HashMap(data) | aya::maps::Map::Array(data)) => data,
        _ => {
            return Err(HostError::Load(format!(
                "map {name} is not in the kernel object"
            )));
        }
    };
    let fd = data.fd().as_fd().try_clone_to_owned();
    fd.map_err(|error| HostError::Load(format!("map {name}: {error}")))
}

fn load_error(error: &aya::EbpfError) -> HostError {
    let text = chain(error);
    if text.contains("RING") {
        HostError::NoRingBuffer {
            reason: text,
            release: host::kernel_release(),
        }
    } else {
        HostError::Load(text)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

fn join(left: &str, right: &str) -> String {
    match (left.is_empty(), right.is_empty()) {
        (true, _) => right.to_owned(),
        (_, true) => left.to_owned(),
        _ => format!("{left}; {right}"),
    }
}
