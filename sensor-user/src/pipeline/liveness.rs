//! Sends canaries through the hooks, and attaches again what does not report them.
//!
//! Nothing here waits: a canary is started in one round, found to have ended in a later one, and
//! judged in the round after that which left nothing in the ring.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use skep_abi::Hook;

use super::Pipeline;
use crate::{
    act::Sink,
    clock::BootClock,
    event::{Coverage, CoverageKind, CoveragePhase, Detail, Event, Finding, Severity, UnixNanos},
    liveness::{Ledger, Liveness, Outcome, act},
    track::Judge,
};

/// How often a canary that runs is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How canaries are sent.
#[derive(Clone, Debug)]
pub struct Canaries {
    pub interval: Duration,
    /// What is started: it must do what [`act::act`] does, and end.
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

/// Figures for `status`.
#[derive(Clone, Debug, Default)]
pub struct LivenessReport {
    pub hooks: Vec<Liveness>,
    /// Time of the event of the last canary that ended.
    pub last: Option<UnixNanos>,
    /// Why the last one could not be sent, or did not count.
    pub error: Option<String>,
}

/// The state of this duty.
pub(super) struct Watchdog {
    canaries: Canaries,
    ledger: Ledger,
    next: Instant,
    running: Option<Running>,
    last: Option<UnixNanos>,
    error: Option<String>,
}

struct Running {
    child: Child,
    began: Instant,
    began_ns: u64,
    /// What the kernel had lost by then.
    lost: u64,
    /// It has ended; how.
    ended: Option<Result<(), String>>,
}

impl Canaries {
    /// Of this program.
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            program: "/proc/self/exe".into(),
            arguments: vec![act::ARGUMENT.into()],
        }
    }
}

impl<J: Judge> Pipeline<J> {
    /// From now on canaries go through the hooks.
    pub fn send_canaries(&mut self, canaries: Canaries) {
        let ledger = Ledger::new(&self.probes.attached_hooks(), BootClock::boot_now());
        self.watchdog = Some(Watchdog {
            canaries,
            ledger,
            next: Instant::now(),
            running: None,
            last: None,
            error: None,
        });
    }

    pub fn liveness(&self) -> Option<LivenessReport> {
        self.watchdog.as_ref().map(|watchdog| LivenessReport {
            hooks: watchdog.ledger.hooks().to_vec(),
            last: watchdog.last,
            error: watchdog.error.clone(),
        })
    }

    /// After the ring was read; `more` when something may be left in it.
    pub(super) fn check_hooks(&mut self, more: bool, sink: &mut impl Sink) {
        let Some(mut watchdog) = self.watchdog.take() else {
            return;
        };
        let records = self.tracker.take_canaries();
        if let Some(running) = &watchdog.running {
            // Those of an earlier one, or of the sensor's trials, prove nothing now.
            let began_ns = running.began_ns;
            let own = records.iter().filter(|record| record.time_ns >= began_ns);
            own.for_each(|record| watchdog.ledger.saw(record.hook, record.time_ns));
        }
        match watchdog.running.take() {
            None if Instant::now() >= watchdog.next => self.start_canary(&mut watchdog),
            None => {}
            Some(running) if running.ended.is_some() && !more => {
                self.judge_canary(&mut watchdog, running, sink);
            }
            Some(mut running) => {
                if running.ended.is_none() {
                    running.look(watchdog.canaries.interval);
                }
                watchdog.running = Some(running);
            }
        }
        self.watchdog = Some(watchdog);
    }

    fn start_canary(&mut self, watchdog: &mut Watchdog) {
        let Canaries {
            interval,
            program,
            arguments,
        } = &watchdog.canaries;
        watchdog.next = Instant::now() + *interval;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (began, began_ns) = (Instant::now(), BootClock::boot_now());
        let lost = self.kernel_lost();
        let me = std::process::id();
        let processes = &mut self.probes.processes;
        // The sensor may itself be watched (an agent started it): then it will be again.
        let before = processes.get(me);
        let started = match processes.watch_as_canary(me) {
            Ok(()) => command.spawn().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match before {
            // It was there a moment ago, so there is room.
            Some(before) => drop(processes.watch(me, before)),
            None => drop(processes.unwatch(me)),
        }
        match started {
            Ok(child) => {
                watchdog.ledger.begin();
                watchdog.running = Some(Running {
                    child,
                    began,
                    began_ns,
                    lost,
                    ended: None,
                });
            }
            Err(error) => {
                tracing::warn!(error, "the canary cannot be started: hooks are not tested");
                watchdog.error = Some(format!("cannot be started: {error}"));
            }
        }
    }

    fn judge_canary(
        &mut self,
        watchdog: &mut Watchdog,
        mut running: Running,
        sink: &mut impl Sink,
    ) {
        // Its exit takes the entry out, if the exit hook is there.
        self.probes.processes.unwatch(running.child.id());
        let lost = self.kernel_lost() > running.lost;
        let ended = running.ended.replace(Ok(())).unwrap_or(Ok(()));
        watchdog.error = match &ended {
            Err(error) => Some(error.clone()),
            Ok(()) if lost => Some("the kernel lost records meanwhile".to_owned()),
            Ok(()) => None,
        };
        let outcome = watchdog.ledger.conclude(watchdog.error.is_none());
        let now = self.clock.now();
        for (hook, since_ns) in &outcome.silent {
            tracing::error!(hook = hook.name(), "a hook does not report any more");
            let reason = "the hook does not report the sensor's own calls: somebody has detached it; \
                          what it would have seen is not known";
            let since = self.clock.unix(*since_ns);
            sink.event(about(
                *hook,
                CoveragePhase::Begin,
                (since, since),
                now,
                reason,
            ));
            sink.event(detached(*hook, now));
        }
        if !outcome.silent.is_empty() {
            self.tracker.add_gap(now, sink);
        }
        for (hook, since_ns) in &outcome.back {
            tracing::warn!(hook = hook.name(), "a hook reports again");
            let since = self.clock.unix(*since_ns);
            let reason = "attached again: the hook reports";
            sink.event(about(*hook, CoveragePhase::End, (since, now), now, reason));
        }
        let event = self.canary(&outcome, watchdog, running.began_ns, now);
        sink.event(event);
        watchdog.last = Some(now);
        self.attach_again(&mut watchdog.ledger, &outcome, sink);
    }

    fn attach_again(&mut self, ledger: &mut Ledger, outcome: &Outcome, sink: &mut impl Sink) {
        let mut who = None;
        for hook in &outcome.attach {
            let result = self.probes.reattach(*hook);
            if let Err(error) = &result {
                tracing::error!(hook = hook.name(), error, "a hook cannot be attached again");
            }
            let since_ns = ledger
                .hooks()
                .iter()
                .find(|known| known.hook == *hook)
                .and_then(|known| known.silence.as_ref())
                .map(|silence| silence.since_ns);
            if matches!(hook, Hook::RawTpExec | Hook::RawTpFork | Hook::RawTpExit) && result.is_ok()
            {
                who = who.min(since_ns).or(since_ns);
            }
            ledger.attached(*hook, result);
        }
        // Who was forked, executed something or ended meanwhile, no record has told.
        if let Some(since_ns) = who {
            self.find_again(since_ns, sink);
        }
    }

    /// One event for each canary: it proves the way from here to the last hop.
    fn canary(
        &self,
        outcome: &Outcome,
        watchdog: &Watchdog,
        began_ns: u64,
        now: UnixNanos,
    ) -> Event {
        let missing: Vec<&str> = outcome.missing.iter().map(|hook| hook.name()).collect();
        let mut reason = match missing.as_slice() {
            [] => "the self-test was reported by every hook it is known to reach".to_owned(),
            missing => format!("the self-test was not reported by {}", missing.join(", ")),
        };
        if let Some(error) = &watchdog.error {
            reason.push_str(&format!("; it does not count against any hook: {error}"));
        }
        let range = (self.clock.unix(began_ns), now);
        Coverage::point(CoverageKind::Canary, range, outcome.records, reason).of_machine()
    }

    /// Records the kernel side could not send, of any kind.
    fn kernel_lost(&self) -> u64 {
        let counts = self.probes.counts();
        let lost = counts.iter().flat_map(|counts| &counts.lost);
        lost.map(|(_, count)| *count).sum()
    }
}

impl Watchdog {
    /// Until there is something to do.
    pub(super) fn patience(&self) -> Duration {
        match &self.running {
            Some(_) => LOOK_EVERY,
            None => self.next.saturating_duration_since(Instant::now()),
        }
    }
}

impl Running {
    fn look(&mut self, patience: Duration) {
        self.ended = match self.child.try_wait() {
            Ok(Some(_)) => Some(Ok(())),
            Ok(None) if self.began.elapsed() < patience => None,
            Ok(None) => {
                // It ends by the signal, or has just done so.
                let _ = self.child.kill();
                let _ = self.child.wait();
                Some(Err("did not end within the interval".to_owned()))
            }
            Err(error) => Some(Err(format!("cannot be waited for: {error}"))),
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn about(
    hook: Hook,
    phase: CoveragePhase,
    range: (UnixNanos, UnixNanos),
    now: UnixNanos,
    reason: &str,
) -> Event {
    let coverage = Coverage {
        phase,
        hook: Some(hook.name()),
        ..Coverage::point(CoverageKind::Hook, range, 0, reason)
    };
    Event::told(None, now, Detail::Coverage(coverage))
}

/// Silence of a hook that was attached and proven is somebody's doing.
fn detached(hook: Hook, now: UnixNanos) -> Event {
    let name = hook.name();
    let finding = Finding {
        rule: "sensor.hook_detached".to_owned(),
        title: format!("the sensor's hook {name} was detached"),
        severity: Severity::High,
        // Impair Defenses: Disable or Modify Tools.
        attack: vec!["T1562.001".to_owned()],
        reason: format!(
            "{name} was attached and does not report the sensor's own calls any more: another \
             process with the right to do so has detached it; the sensor attaches it again"
        ),
    };
    Event {
        hook: Some(name),
        ..Event::told(None, now, Detail::Finding(finding))
    }
}
