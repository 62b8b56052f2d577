//! The sensor under test, in this process, and the vocabulary of the tests.

use std::{
    io,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::{Duration, Instant},
};

use skep_abi::Kind;
use skep_catalogue::Catalogue;
use skep_event::{Change, Connect, Detail, Event, Exec, Open, Phase, Process, SessionId, Text};

use skep_sensor::{
    cgroup::Cgroups,
    clock::BootClock,
    enrich::Enrich,
    identify::switches,
    inspect::{Inspector, Launch, Limits},
    journal::Journal,
    log_level::KernelLevel,
    pipeline::{Pipeline, PipelineCounts},
    probes::{HookReport, ProbeConfig, Probes, log_ring_bytes},
    track::{Bounds, Tracker, kept::Kept},
    users::Users,
};
use skep_testing::{eventually, eventually_or, output_of, test_program};

/// How long a test waits for something that must come. On a busy host an emulated machine takes a minute
/// to attach a sensor; only what hangs takes as long as this.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a sensor may take in all, bytes.
const MEMORY_BYTES: usize = 64 << 20;

/// A sensor and everything it reported so far.
pub struct Sensor {
    events: Arc<Mutex<Vec<Event>>>,
    pipeline: Arc<Mutex<Pipeline<Inspector>>>,
    pub hooks: Vec<HookReport>,
}

/// The best this kernel gives, shared by the tests.
pub fn sensor() -> &'static Sensor {
    static BEST: OnceLock<Sensor> = OnceLock::new();
    BEST.get_or_init(|| Sensor::start(&[]))
}

/// Files and execs by tracepoints alone, shared by the tests.
pub fn tracepoints() -> &'static Sensor {
    static TIER: OnceLock<Sensor> = OnceLock::new();
    TIER.get_or_init(|| Sensor::start(&["fentry/", "fexit/", "lsm/"]))
}

impl Sensor {
    /// Attaches without the hooks whose names start with one of `avoid`; every record is an event.
    pub fn start(avoid: &[&str]) -> Self {
        Self::start_with(4 << 20, avoid)
    }

    /// The same with a ring of another size.
    pub fn start_with(ring_bytes: u32, avoid: &[&str]) -> Self {
        Self::run_pipeline(attach(ring_bytes, avoid), false)
    }

    /// As `skep-sensor` itself does: repeated opens are counted in the kernel, and events folded.
    pub fn start_folding(avoid: &[&str]) -> Self {
        Self::start_folding_with(4 << 20, avoid)
    }

    /// The same with a ring of another size.
    pub fn start_folding_with(ring_bytes: u32, avoid: &[&str]) -> Self {
        Self::run_pipeline(attach(ring_bytes, avoid), true)
    }

    /// The same, with a tracker that knows no more than this.
    pub fn start_bounded(bounds: Bounds) -> Self {
        Self::run_pipeline(attach_with(config(4 << 20, &[]), bounds), false)
    }

    /// As `skep-sensor` itself does, with kernel programs that log.
    pub fn start_logging(log: KernelLevel, ring_bytes: u32) -> Self {
        Self::run_pipeline(attach_logging(log, ring_bytes, &[]), true)
    }

    /// The same, with the agents that run already.
    pub fn start_adopting() -> Self {
        Self::start_adopting_with(4 << 20)
    }

    /// As `skep-sensor` itself does: with what an earlier life of it kept.
    pub fn start_keeping(journal: Journal, kept: Option<Kept>) -> Self {
        let mut pipeline = attach(4 << 20, &[]);
        let mut found = Vec::new();
        pipeline.keep_in(journal);
        pipeline.adopt(kept, |event| found.push(event));
        let sensor = Self::run_pipeline(pipeline, true);
        lock(&sensor.events).extend(found);
        sensor
    }

    /// The same with a ring of another size.
    pub fn start_adopting_with(ring_bytes: u32) -> Self {
        let mut pipeline = attach(ring_bytes, &[]);
        let mut found = Vec::new();
        pipeline.adopt(None, |event| found.push(event));
        let sensor = Self::run_pipeline(pipeline, true);
        lock(&sensor.events).extend(found);
        sensor
    }

    fn run_pipeline(pipeline: Pipeline<Inspector>, folding: bool) -> Self {
        let hooks = pipeline.hooks().to_vec();
        for hook in &hooks {
            println!("{hook:?}");
        }
        let pipeline = Arc::new(Mutex::new(pipeline));
        let events = Arc::new(Mutex::new(Vec::new()));
        let weak = Arc::downgrade(&pipeline);
        let sink = events.clone();
        std::thread::spawn(move || {
            let mut accounted = Instant::now();
            while let Some(pipeline) = weak.upgrade() {
                let sink = |event| lock(&sink).push(event);
                let mut reading = lock(&pipeline);
                if folding {
                    reading.round(false, sink);
                } else {
                    reading.drain(sink);
                    if accounted.elapsed() >= Duration::from_millis(200) {
                        accounted = Instant::now();
                        reading.account(false, sink);
                    }
                }
                drop(reading);
                drop(pipeline);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            events,
            pipeline,
            hooks,
        }
    }

    /// Stops reading and detaches.
    pub fn end(self) {
        let mut pipeline = self.pipeline;
        // The reader lets go of it between two rounds.
        while let Err(held) = Arc::try_unwrap(pipeline) {
            pipeline = held;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops the reader for as long as the guard lives.
    pub fn stall(&self) -> MutexGuard<'_, Pipeline<Inspector>> {
        lock(&self.pipeline)
    }

    /// Has what is read by now accounted for: losses, and what could not be judged.
    pub fn account(&self) {
        let mut found = Vec::new();
        lock(&self.pipeline).account(false, |event| found.push(event));
        lock(&self.events).extend(found);
    }

    /// Counters once everything sent has been read.
    pub fn settled_counts(&self) -> PipelineCounts {
        wait_for("everything sent to be read", || {
            let counts = lock(&self.pipeline).counts();
            let level = counts
                .kernel
                .iter()
                .zip(&counts.read)
                .all(|(sent, (kind, read))| {
                    assert_eq!(sent.kind, *kind);
                    sent.sent == *read
                });
            level.then_some(counts)
        })
    }

    pub fn hook(&self, fact: &str) -> &HookReport {
        self.hooks
            .iter()
            .find(|hook| hook.fact == fact)
            .expect("a report for every fact")
    }

    /// Every event like this so far.
    pub fn of(&self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.of_since(0, wanted)
    }

    /// Every event like this after the first `known`.
    fn of_since(&self, known: usize, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut found = Vec::new();
        self.each_since(known, |event| {
            if wanted(event) {
                found.push(event.clone());
            }
        });
        found
    }

    /// How many events there are.
    pub fn known(&self) -> usize {
        lock(&self.events).len()
    }

    /// Runs the actor as an agent, waits for its session to end, and gives what was reported.
    pub fn run(&self, actions: &[&str]) -> Run {
        let mut command = Command::new(actor());
        command.arg("do").args(actions);
        self.run_command(command)
    }

    /// Starts a process, but not while a self-test is started: here both are children of one process,
    /// and what that starts meanwhile is watched as a self-test too.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let _no_round = self.stall();
        command.spawn()
    }

    /// Runs a command that starts an agent in its own process, as [`Sensor::run`] does.
    pub fn run_command(&self, mut command: Command) -> Run {
        let known = self.known();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = output_of(self.spawn(&mut command).expect("the actor"));
        // 1: an action failed, which some tests want; anything else is the actor's own failure.
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{command:?}: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let argv: Vec<Text> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|arg| Text::from(arg.as_encoded_bytes()))
            .collect();
        let session = wait_for("the session to end", || {
            let started = self.of_since(known, |event| {
                matches!(&event.detail, Detail::Exec(_))
                    && event
                        .process
                        .as_ref()
                        .is_some_and(|process| process.argv == argv)
            });
            let session = started.last()?.session?;
            self.of_since(known, |event| {
                event.session == Some(session)
                    && matches!(&event.detail, Detail::Session(info) if info.phase == Phase::End)
            })
            .pop()
            .map(|_| session)
        });
        Run {
            session,
            events: self.of_since(known, |event| event.session == Some(session)),
        }
    }

    /// The first event like this.
    pub fn find(&self, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        lock(&self.events)
            .iter()
            .find(|event| wanted(event))
            .cloned()
    }

    /// Looks at every event so far.
    pub fn each(&self, look: impl FnMut(&Event)) {
        self.each_since(0, look);
    }

    /// Events after the first `known`; how many there are now. Whoever waits for many looks at each but
    /// once: the sensor of all tests has seen a great deal by then, and waits itself meanwhile.
    pub fn each_since(&self, known: usize, look: impl FnMut(&Event)) -> usize {
        let events = lock(&self.events);
        events.iter().skip(known).for_each(look);
        events.len()
    }

    /// Execs that could not be judged so far.
    pub fn unjudged(&self) -> u64 {
        self.settled_counts().track.unjudged
    }

    /// Every event of processes with this pid.
    pub fn of_pid(&self, pid: u32) -> Vec<Event> {
        self.of(|event| {
            event
                .process
                .as_ref()
                .is_some_and(|process| process.pid == pid)
        })
    }

    /// Records lost, by kind and cause; empty when none.
    pub fn lost(&self) -> Vec<String> {
        let counts = self.settled_counts();
        let mut lost = Vec::new();
        for kernel in counts.kernel {
            for (cause, count) in kernel.lost {
                if count > 0 {
                    lost.push(format!("{} {}: {count}", kernel.kind.name(), cause.name()));
                }
            }
        }
        if counts.folded.lost > 0 {
            lost.push(format!("folded: {}", counts.folded.lost));
        }
        if counts.malformed > 0 {
            lost.push(format!("malformed: {}", counts.malformed));
        }
        lost
    }
}

/// A sensor that nobody reads yet, without the hooks whose names start with one of `avoid`.
pub fn attach(ring_bytes: u32, avoid: &[&str]) -> Pipeline<Inspector> {
    attach_with(config(ring_bytes, avoid), Bounds::default())
}

/// The same, with kernel programs that log.
pub fn attach_logging(log: KernelLevel, ring_bytes: u32, avoid: &[&str]) -> Pipeline<Inspector> {
    let config = ProbeConfig {
        log,
        log_bytes: log_ring_bytes(log, MEMORY_BYTES),
        ..config(ring_bytes, avoid)
    };
    attach_with(config, Bounds::default())
}

pub fn config(ring_bytes: u32, avoid: &[&str]) -> ProbeConfig {
    let log = KernelLevel::Off;
    ProbeConfig {
        ring_bytes,
        avoid: avoid.iter().map(|prefix| (*prefix).to_owned()).collect(),
        log,
        log_bytes: log_ring_bytes(log, MEMORY_BYTES),
        switches: switches(&Catalogue::embedded()),
    }
}

fn attach_with(config: ProbeConfig, bounds: Bounds) -> Pipeline<Inspector> {
    let clock = BootClock::measure();
    let catalogue = Arc::new(Catalogue::embedded());
    let launch = Launch {
        program: test_program(),
        arguments: vec!["inspector".into(), "/nowhere".into()],
    };
    // Where the machine is emulated everything takes its time.
    let limits = Limits {
        millis: 60_000,
        ..Limits::within(MEMORY_BYTES)
    };
    let inspector = Inspector::start(launch, limits, catalogue).expect("an inspector starts");
    let probes = Probes::attach(config)
        .unwrap_or_else(|error| panic!("the sensor cannot start here: {error}"));
    let enrich = Enrich::new(Users::host()).with_cgroups(Cgroups::host());
    let tracker = Tracker::with_bounds("boot".into(), clock.clone(), inspector, enrich, bounds);
    Pipeline::new(probes, tracker, clock, MEMORY_BYTES).expect("the kernel's accounts can be read")
}

/// What one agent did.
pub struct Run {
    pub session: SessionId,
    pub events: Vec<Event>,
}

impl Run {
    pub fn opens(&self, path: &str) -> Vec<(&Event, &Open)> {
        self.events
            .iter()
            .filter_map(|event| match &event.detail {
                Detail::Open(file) if shown(file) == path => Some((event, file)),
                _ => None,
            })
            .collect()
    }

    /// The one open of `path` there must be.
    pub fn open(&self, path: &str) -> (&Event, &Open) {
        let opens = self.opens(path);
        assert_eq!(opens.len(), 1, "opens of {path} in:\n{}", self.describe());
        opens[0]
    }

    pub fn connects(&self) -> Vec<(&Event, &Connect)> {
        self.events
            .iter()
            .filter_map(|event| match &event.detail {
                Detail::Connect(net) => Some((event, net)),
                _ => None,
            })
            .collect()
    }

    /// The execs that failed: of which process, and as what.
    pub fn failed_execs(&self) -> Vec<(&Event, &Exec)> {
        let failed = self.events.iter().filter_map(|event| match &event.detail {
            Detail::Exec(exec) if event.result.is_some() => Some((event, exec)),
            _ => None,
        });
        failed.collect()
    }

    pub fn changes(&self) -> Vec<(&Event, &Change)> {
        let changes = self.events.iter().filter_map(|event| match &event.detail {
            Detail::Change(change) => Some((event, change)),
            _ => None,
        });
        changes.collect()
    }

    /// The processes executed, with their arguments as text.
    pub fn execs(&self) -> Vec<(Arc<Process>, Vec<String>)> {
        self.events
            .iter()
            .filter(|event| matches!(event.detail, Detail::Exec(_)) && event.result.is_none())
            .filter_map(|event| event.process.clone())
            .map(|process| {
                let argv = process.argv.iter().map(Text::escaped).collect();
                (process, argv)
            })
            .collect()
    }

    pub fn describe(&self) -> String {
        let lines: Vec<_> = self.events.iter().map(skep_event::json::write).collect();
        lines.join("\n")
    }
}

/// The path as it is shown; empty when unknown.
pub fn shown(file: &Open) -> String {
    file.path.as_ref().map(Text::escaped).unwrap_or_default()
}

/// The program that acts.
pub fn actor() -> PathBuf {
    skep_testing::demo_agent()
}

/// Waits for `found` to give something; what must come, comes.
pub fn wait_for<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    eventually(what, PATIENCE, found)
}

/// The same; when it does not come, `explain` says how things stood.
pub fn wait_or_explain<T>(
    what: &str,
    found: impl FnMut() -> Option<T>,
    explain: impl FnOnce() -> String,
) -> T {
    eventually_or(what, PATIENCE, found, explain)
}

/// A directory of this test's own, under `/tmp`.
pub fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(format!("/tmp/skep-kernel-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).expect("/tmp is writable");
    path
}

/// A file with something in it.
pub fn file(directory: &std::path::Path, name: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, "x").expect("own directory");
    path.into_os_string().into_string().expect("text")
}

pub fn read_count(counts: &PipelineCounts, kind: Kind) -> u64 {
    counts
        .read
        .iter()
        .find(|(k, _)| *k == kind)
        .map(|(_, n)| *n)
        .expect("every kind is counted")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that failed while holding it left nothing half-done.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
