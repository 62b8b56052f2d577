//! `skep-sensor run`: the pipeline into the spool, the uplink beside it, status on a socket.
//!
//! Order at start: signals, the lock that keeps a second daemon away, the journal, probes (while there is one
//! thread), the status socket, the processes that run already, then the rest that has threads. What may wait
//! for a disk comes before the probes: from those on the ring fills.
//! Order at stop: drain the ring, flush the fold, let the uplink send for a while, detach. The
//! collector's absence stops nothing: the spool fills, then drops its oldest, and says so.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use skep_event::wire;
use skep_event::{CoverageKind, Detail, Event};
use skep_proto::v1;
use skep_spool::{Lane, Lanes};

use crate::{
    clock::BootClock,
    inspect::{InspectCounts, Inspector},
    install_id::{InstallId, InstallIdError},
    journal::Journal,
    logging::Logging,
    memory::{give_back_code, give_back_heap},
    pipeline::{PipelineCounts, watchdog::Canaries},
    probes::{HookReport, HookStatus},
    settings::{Handle, Settings},
    start::{self, StartError},
    status::{
        self, StatusBoard,
        hooks::status_hooks,
        socket::{Place, Server, StatusError},
    },
    step::StepCounts,
    stop::Stop,
    uplink::{Identity, Uplink},
};

/// How often the figures of `status` are renewed while nobody asks for them.
const FIGURES_EVERY: Duration = Duration::from_secs(10);
/// How long the uplink may go on sending after a signal.
const LAST_WORDS: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    InstallId(#[from] InstallIdError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error("cannot take over signals: {0}")]
    Signals(io::Error),
    #[error("cannot start the uplink: {0}")]
    Uplink(io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub fn run(settings: Settings, logging: &Logging) -> Result<(), DaemonError> {
    let stop = Stop::on_signals().map_err(DaemonError::Signals)?;
    let handle = Handle::new(settings).waking(stop.waker());
    let mut log = logging.follow(handle.subscribe());
    let settings = handle.current();
    let config = &settings.config;
    let id = InstallId::load_or_create(&config.state_directory)?;
    let clock = BootClock::for_boot(&config.state_directory, &start::boot_id());
    // Held until the end.
    let place = Place::take(&config.status.socket)?;
    // Not before a second daemon is kept away; and before hooks fill the ring, which nobody reads while a
    // slow disk answers.
    let now_ns = BootClock::boot_now();
    let (journal, found) = Journal::open(&config.state_directory, &start::boot_id(), now_ns);
    let mut pipeline = start::pipeline(config, clock.clone())?;

    let board = StatusBoard::new(env!("CARGO_PKG_VERSION"));
    let hooks = status_hooks(pipeline.hooks(), None, &clock);
    board.update(|status| {
        status.hooks = hooks;
        status.uplink.address = config.collector.address.clone();
        status.settings = shown_settings(&settings);
    });
    board.wake_by(stop.waker());
    // Answers until the end.
    let _server = Server::start(place, board.clone())?;
    let mut found_running = Vec::new();
    pipeline.keep_in(journal);
    pipeline.keep_sights_in(&config.state_directory);
    pipeline.adopt(found.kept, |event| found_running.push(event));
    let spool = Lanes::open(
        &config.spool.directory,
        config.spool.max_bytes,
        config.spool.findings_bytes,
    );
    let uplink = Uplink::start(
        Identity {
            address: config.collector.address.clone(),
            sensor_id: id.to_string(),
            sensor_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host(),
            hooks: pipeline.hooks().iter().map(wire_hook).collect(),
            orders: Some(handle.clone()),
        },
        spool.clone(),
        board.clone(),
    )
    .map_err(DaemonError::Uplink)?;
    tracing::info!(sensor = %id, collector = config.collector.address, "watching");
    eprintln!("ready");
    // The rest of what ran for the start alone.
    give_back_heap();
    give_back_code();

    let interval = Duration::from_secs(config.liveness.interval_seconds);
    board.tell_time_by(clock.clone());
    board.update(|status| status.canary.interval_seconds = interval.as_secs());
    if !interval.is_zero() {
        pipeline.send_canaries(Canaries::every(interval));
    }
    let mut classes: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut figures_at: Option<Instant> = None;
    let mut answered = 0;
    let mut canaries = status::Canaries::default();
    let mut stopping = false;
    loop {
        log.look();
        let mut spooled = |event: Event| {
            *classes.entry(event.class().name()).or_default() += 1;
            spool.append(&wire::event(&event));
            if is_canary(&event) {
                canaries.spooled = Some(event.time);
            }
        };
        found_running.drain(..).for_each(&mut spooled);
        let more = pipeline.round(stopping, &mut spooled);
        let asked = board.asked();
        if figures_at.is_none_or(|at| at.elapsed() >= FIGURES_EVERY) || asked > answered {
            figures_at = Some(Instant::now());
            answered = asked;
            let counts = pipeline.counts();
            let inspector = shown_inspector(pipeline.judge());
            let journal_error = pipeline.journal_error().map(str::to_owned);
            let liveness = pipeline.liveness();
            canaries.judged = liveness.as_ref().and_then(|liveness| liveness.last);
            let hooks = status_hooks(pipeline.hooks(), liveness.as_ref(), &clock);
            board.renew(asked, canaries, |status| {
                status.hooks = hooks;
                status.settings = shown_settings(&handle.current());
                status.canary.error = liveness.and_then(|liveness| liveness.error);
                status.journal_error = journal_error;
                status.inspector = inspector;
                fill(status, &counts, &classes);
                for lane in Lane::ALL {
                    *status.spool.lane_mut(lane) = spool.lane(lane).stats();
                }
            });
        }
        if stopping && !more {
            break;
        }
        // After a signal one more round: what happened before it is still reported.
        stopping |= stop.wait(
            [Some(pipeline.ring()), pipeline.alarm()],
            if more {
                Duration::ZERO
            } else {
                pipeline.patience()
            },
        );
    }
    tracing::info!("stopping");
    uplink.stop(LAST_WORDS);
    Ok(())
}

fn is_canary(event: &Event) -> bool {
    matches!(&event.detail, Detail::Coverage(coverage) if coverage.what == CoverageKind::Canary)
}

fn fill(
    status: &mut status::Status,
    counts: &PipelineCounts,
    classes: &BTreeMap<&'static str, u64>,
) {
    let PipelineCounts {
        kernel,
        read,
        malformed,
        folded,
        track,
        steps,
    } = counts;
    status.steps = steps.iter().map(step_counts).collect();
    status.kernel = kernel
        .iter()
        .map(|counts| {
            let lost = counts.lost.iter().filter(|(_, count)| *count > 0);
            let counters = status::KernelCounters {
                sent: counts.sent,
                folded: counts.folded,
                lost: lost
                    .map(|(cause, count)| (cause.name().to_owned(), *count))
                    .collect(),
            };
            (counts.kind.name().to_owned(), counters)
        })
        .collect();
    status.read = read
        .iter()
        .map(|(kind, count)| (kind.name().to_owned(), *count))
        .collect();
    status.malformed = *malformed;
    status.folds.added = folded.added;
    status.folds.lost = folded.lost;
    status.tracker.processes = track.processes;
    status.tracker.sessions = track.sessions;
    status.tracker.ignored = track.ignored;
    status.tracker.consumed = track.consumed;
    status.tracker.refused = track.refused;
    status.tracker.unjudged = track.unjudged;
    status.tracker.evicted = track.evicted.total();
    status.events = classes
        .iter()
        .map(|(class, count)| ((*class).to_owned(), *count))
        .collect();
}

fn shown_inspector(inspector: &Inspector) -> status::Inspector {
    let InspectCounts {
        pid,
        asked,
        late,
        over_budget,
        unreadable,
        failed,
        replaced,
    } = inspector.counts();
    // Children are listed where the kernel was built to (CONFIG_PROC_CHILDREN).
    let workers = pid
        .and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok());
    let workers: Vec<&str> = workers
        .iter()
        .flat_map(|text| text.split_whitespace())
        .collect();
    let own = pid.and_then(|pid| status::resident_bytes_of(&pid.to_string()));
    let theirs = workers
        .iter()
        .filter_map(|pid| status::resident_bytes_of(pid));
    status::Inspector {
        pid,
        rss_bytes: own.map(|own| theirs.fold(own, u64::saturating_add)),
        workers: workers.len() as u64,
        asked,
        late,
        over_budget,
        unreadable,
        failed,
        replaced,
    }
}

fn step_counts(counts: &StepCounts) -> status::StepCounters {
    let StepCounts { step, counters } = counts;
    let counters = counters.iter();
    status::StepCounters {
        step: (*step).to_owned(),
        counters: counters
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect(),
    }
}

/// The settings that the page of `status` shows, and those that can change.
fn shown_settings(settings: &Settings) -> BTreeMap<String, status::ShownSetting> {
    let Settings { config, log, .. } = settings;
    let of_config = [
        ("collector.address", config.collector.address.clone()),
        (
            "liveness.interval_seconds",
            config.liveness.interval_seconds.to_string(),
        ),
        ("kernel.log", config.kernel.log.to_string()),
    ];
    let of_config = of_config.map(|(key, value)| (key, value, settings.by(key).to_string()));
    let changing = [("log.level", log.value.to_string(), log.by.to_string())];
    let shown = of_config.into_iter().chain(changing);
    shown
        .map(|(key, value, by)| (key.to_owned(), status::ShownSetting { value, by }))
        .collect()
}

fn wire_hook(hook: &HookReport) -> v1::HookState {
    let HookReport {
        fact,
        hook,
        status,
        reason,
    } = hook;
    v1::HookState {
        fact: (*fact).to_owned(),
        hook: hook.map(str::to_owned),
        status: match status {
            HookStatus::Live => v1::HookStatus::Live,
            HookStatus::Fallback => v1::HookStatus::Fallback,
            HookStatus::Off => v1::HookStatus::Off,
        } as i32,
        reason: reason.clone(),
    }
}

/// What the collector is told of this machine.
fn host() -> v1::Host {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    v1::Host {
        hostname: text(uname.nodename()),
        os: pretty_name().unwrap_or_default(),
        kernel: text(uname.release()),
        arch: text(uname.machine()),
        boot_id: start::boot_id(),
    }
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}
