//! Sends canaries through the hooks, and attaches again what does not report them.
//!
//! Nothing here waits: a canary is started in one round, found to have ended in a later one, and
//! judged in a round after that which left nothing in the ring, or was well past what had been sent when
//! the canary ended: a storm does not put it off. What the kernel loses of others is nothing to it: its
//! session has an account of its own, and is never held back.
//!
//! When hooks cannot be tested (no canary can be started, or [`UNSOUND_MAX`] in a row do not count), that
//! is told, once for each cause, and once more when they are tested again.

use std::{
    ffi::OsString,
    io::Read,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use skep_abi::{CANARY_SESSION, Hook};

use super::Pipeline;
use skep_event::{
    Coverage, CoverageKind, CoveragePhase, Detail, Event, Finding, Severity, UnixNanos,
};

use crate::{
    act::Sink,
    clock::BootClock,
    liveness::{Ledger, Liveness, Outcome, Steps, act},
    track::Judge,
};

/// How many canaries in a row may not count before that is told.
const UNSOUND_MAX: u32 = 3;
/// Records read beyond those sent when a canary ended, until its own are surely among them: more than
/// programs run at once.
const SURELY: u64 = 4096;
/// Most that is read of what a canary says.
const SAID_MAX: u64 = 64 << 10;
/// How often a canary that runs is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How canaries are sent.
#[derive(Clone, Debug)]
pub struct Canaries {
    pub interval: Duration,
    /// What is started: it must do what [`act::act`] does, report the steps, and end.
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
    /// Canaries that were started, or could not be.
    pub attempts: u64,
}

/// The state of this duty.
pub(super) struct Watchdog {
    canaries: Canaries,
    ledger: Ledger,
    next: Instant,
    running: Option<Running>,
    last: Option<UnixNanos>,
    error: Option<String>,
    attempts: u64,
    /// When hooks were tested last, and how many canaries have not counted since.
    tested: UnixNanos,
    unsound: u32,
    /// Why they are not tested, as far as that was told.
    untested: Vec<Untested>,
}

/// Why hooks are not tested.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Untested {
    NotStarted,
    Unsound,
}

struct Running {
    child: Child,
    began: Instant,
    began_ns: u64,
    /// What had been lost of canaries by then.
    lost: u64,
    ended: Option<Ended>,
}

/// A canary has ended.
struct Ended {
    /// How.
    outcome: Result<Steps, String>,
    /// Records sent by then.
    sent: u64,
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
            attempts: 0,
            tested: self.clock.now(),
            unsound: 0,
            untested: Vec::new(),
        });
    }

    pub fn liveness(&self) -> Option<LivenessReport> {
        self.watchdog.as_ref().map(|watchdog| LivenessReport {
            hooks: watchdog.ledger.hooks().to_vec(),
            last: watchdog.last,
            error: watchdog.error.clone(),
            attempts: watchdog.attempts,
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
            None if Instant::now() >= watchdog.next => self.start_canary(&mut watchdog, sink),
            None => {}
            Some(mut running) => match running.ended.take() {
                Some(ended) if !more || self.records_read() >= ended.sent + SURELY => {
                    self.judge_canary(&mut watchdog, &running, ended.outcome, sink);
                }
                Some(ended) => {
                    running.ended = Some(ended);
                    watchdog.running = Some(running);
                }
                None => {
                    let outcome = running.look(watchdog.canaries.interval);
                    running.ended = outcome.map(|outcome| Ended {
                        outcome,
                        sent: self.probes.counts().iter().map(|counts| counts.sent).sum(),
                    });
                    watchdog.running = Some(running);
                }
            },
        }
        self.watchdog = Some(watchdog);
    }

    fn start_canary(&mut self, watchdog: &mut Watchdog, sink: &mut impl Sink) {
        let Canaries {
            interval,
            program,
            arguments,
        } = &watchdog.canaries;
        watchdog.next = Instant::now() + *interval;
        watchdog.attempts += 1;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let (began, began_ns) = (Instant::now(), BootClock::boot_now());
        let lost = self.canaries_lost();
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
                let error = format!("cannot be started: {error}");
                self.tell_untested(watchdog, Untested::NotStarted, &error, sink);
                watchdog.error = Some(error);
            }
        }
    }

    /// Once for each cause, until hooks are tested again.
    fn tell_untested(
        &self,
        watchdog: &mut Watchdog,
        cause: Untested,
        error: &str,
        sink: &mut impl Sink,
    ) {
        if watchdog.untested.contains(&cause) {
            return;
        }
        watchdog.untested.push(cause);
        tracing::warn!(error, "hooks are not tested");
        let since = watchdog.tested;
        let coverage = Coverage {
            phase: CoveragePhase::Begin,
            ..Coverage::point(
                CoverageKind::Untested,
                (since, since),
                0,
                format!(
                    "hooks are not tested, one that is detached is not noticed: self-test: {error}"
                ),
            )
        };
        sink.event(Event::told(
            None,
            self.clock.now(),
            Detail::Coverage(coverage),
        ));
    }

    fn tell_tested(&self, watchdog: &mut Watchdog, sink: &mut impl Sink) {
        let now = self.clock.now();
        let since = std::mem::replace(&mut watchdog.tested, now);
        watchdog.unsound = 0;
        if std::mem::take(&mut watchdog.untested).is_empty() {
            return;
        }
        let coverage = Coverage {
            phase: CoveragePhase::End,
            ..Coverage::point(
                CoverageKind::Untested,
                (since, now),
                0,
                "hooks are tested again",
            )
        };
        sink.event(coverage.of_machine());
    }

    fn judge_canary(
        &mut self,
        watchdog: &mut Watchdog,
        running: &Running,
        ended: Result<Steps, String>,
        sink: &mut impl Sink,
    ) {
        // Its exit takes the entry out, if the exit hook is there.
        self.probes.processes.unwatch(running.child.id());
        let sound = match ended {
            Ok(_) if self.canaries_lost() > running.lost => {
                Err("records of it were lost".to_owned())
            }
            ended => ended,
        };
        match &sound {
            Ok(_) => self.tell_tested(watchdog, sink),
            Err(error) => {
                watchdog.unsound += 1;
                if watchdog.unsound >= UNSOUND_MAX {
                    self.tell_untested(watchdog, Untested::Unsound, error, sink);
                }
            }
        }
        let done = sound.as_ref().copied().unwrap_or(Steps::NONE);
        watchdog.error = sound.err();
        let outcome = watchdog.ledger.conclude(done);
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
        let event = self.canary(&outcome, done, watchdog, running.began_ns, now);
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
        done: Steps,
        watchdog: &Watchdog,
        began_ns: u64,
        now: UnixNanos,
    ) -> Event {
        let missing: Vec<&str> = outcome.missing.iter().map(|hook| hook.name()).collect();
        let mut reason = match missing.as_slice() {
            [] => "the self-test was reported by every hook it is known to reach".to_owned(),
            missing => format!("the self-test was not reported by {}", missing.join(", ")),
        };
        match &watchdog.error {
            Some(error) => {
                reason.push_str(&format!("; it does not count against any hook: {error}"));
            }
            None if done != Steps::ALL => {
                reason.push_str(&format!(
                    "; this host could not do {}",
                    done.missing().join(", ")
                ));
            }
            None => {}
        }
        let range = (self.clock.unix(began_ns), now);
        Coverage::point(CoverageKind::Canary, range, outcome.records, reason).of_machine()
    }

    /// Records of canaries that did not get here.
    fn canaries_lost(&self) -> u64 {
        let account = self.probes.sessions.get(&CANARY_SESSION, 0);
        let of_kernel: u64 = account.map_or(0, |account| account.lost.iter().flatten().sum());
        of_kernel + self.tracker.counts().evicted.walked
    }

    /// Records read so far.
    fn records_read(&self) -> u64 {
        self.read.iter().sum()
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
    /// How it has ended, if it has.
    fn look(&mut self, patience: Duration) -> Option<Result<Steps, String>> {
        match self.child.try_wait() {
            Ok(Some(_)) => Some(match said(self.child.stdout.take()) {
                Some(done) => Ok(done),
                None => Err("it did not say what it has done".to_owned()),
            }),
            Ok(None) if self.began.elapsed() < patience => None,
            Ok(None) => {
                self.end();
                Some(Err("did not end within the interval".to_owned()))
            }
            Err(error) => Some(Err(format!("cannot be waited for: {error}"))),
        }
    }

    fn end(&mut self) {
        // It ends by the signal, or has done so: then both calls change nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a canary that has ended has said. Does not wait, should somebody else hold its output open.
fn said(output: Option<ChildStdout>) -> Option<Steps> {
    let output = output?;
    rustix::io::ioctl_fionbio(&output, true).ok()?;
    let mut text = Vec::new();
    // What was read before an error counts.
    let _ = output.take(SAID_MAX).read_to_end(&mut text);
    Steps::from_report(&text)
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
