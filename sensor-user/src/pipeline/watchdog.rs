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

use skep_event::{
    Coverage, CoverageKind, CoveragePhase, Detail, Event, Finding, Severity, UnixNanos,
};

use crate::{
    canary::{self, Deeds},
    clock::BootClock,
    liveness::{Ledger, Liveness, Outcome},
    probes::{AttachedHook, Probes},
    step::Sink,
    track::{Judge, Tracker},
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
    /// What is started: it must do what [`canary::act`] does, report its deeds, and end.
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

/// What a watchdog looks at, and what it acts on.
pub struct Parts<'a, J> {
    pub clock: BootClock,
    /// Records read so far.
    pub records_read: u64,
    pub probes: &'a mut Probes,
    pub track: &'a mut Tracker<J>,
}

/// The state of this duty.
pub struct Watchdog {
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
    outcome: Result<Deeds, String>,
    /// Records sent by then.
    sent: u64,
}

impl Canaries {
    /// Of this program.
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            program: "/proc/self/exe".into(),
            arguments: vec![canary::ARGUMENT.into()],
        }
    }
}

impl Watchdog {
    /// Sends canaries through these hooks from now on.
    pub fn new(canaries: Canaries, attached: &[AttachedHook], now: UnixNanos) -> Self {
        Self {
            canaries,
            ledger: Ledger::new(attached, BootClock::boot_now()),
            next: Instant::now(),
            running: None,
            last: None,
            error: None,
            attempts: 0,
            tested: now,
            unsound: 0,
            untested: Vec::new(),
        }
    }

    /// Hooks were attached or detached on purpose.
    pub fn hooks_changed(&mut self, attached: &[AttachedHook]) {
        self.ledger.renew(attached, BootClock::boot_now());
    }

    pub fn report(&self) -> LivenessReport {
        LivenessReport {
            hooks: self.ledger.hooks().to_vec(),
            last: self.last,
            error: self.error.clone(),
            attempts: self.attempts,
        }
    }

    /// Until there is something to do.
    pub fn patience(&self) -> Duration {
        match &self.running {
            Some(_) => LOOK_EVERY,
            None => self.next.saturating_duration_since(Instant::now()),
        }
    }

    /// After the ring was read; `more` when something may be left in it. When a hook that says who runs
    /// was attached again: the time since which it had been silent (boot clock, nanoseconds).
    pub fn check<J: Judge>(
        &mut self,
        more: bool,
        mut parts: Parts<'_, J>,
        sink: &mut impl Sink,
    ) -> Option<u64> {
        let records = parts.track.take_canaries();
        if let Some(running) = &self.running {
            // Those of an earlier one, or of the sensor's trials, prove nothing now.
            let began_ns = running.began_ns;
            let own = records.iter().filter(|record| record.time_ns >= began_ns);
            own.for_each(|record| self.ledger.saw(record.hook, record.time_ns));
        }
        let Some(mut running) = self.running.take() else {
            if Instant::now() >= self.next {
                self.start_canary(&mut parts, sink);
            }
            return None;
        };
        match running.ended.take() {
            Some(ended) if !more || parts.records_read >= ended.sent + SURELY => {
                return self.judge_canary(&running, ended.outcome, &mut parts, sink);
            }
            Some(ended) => running.ended = Some(ended),
            None => {
                let outcome = running.look(self.canaries.interval);
                running.ended = outcome.map(|outcome| Ended {
                    outcome,
                    sent: parts.probes.counts().iter().map(|counts| counts.sent).sum(),
                });
            }
        }
        self.running = Some(running);
        None
    }

    fn start_canary<J: Judge>(&mut self, parts: &mut Parts<'_, J>, sink: &mut impl Sink) {
        let Canaries {
            interval,
            program,
            arguments,
        } = &self.canaries;
        self.next = Instant::now() + *interval;
        self.attempts += 1;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let (began, began_ns) = (Instant::now(), BootClock::boot_now());
        let lost = parts.canaries_lost();
        let me = std::process::id();
        let processes = &mut parts.probes.processes;
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
                self.ledger.begin();
                self.running = Some(Running {
                    child,
                    began,
                    began_ns,
                    lost,
                    ended: None,
                });
            }
            Err(error) => {
                let error = format!("cannot be started: {error}");
                let now = parts.clock.now();
                self.tell_untested(now, Untested::NotStarted, &error, sink);
                self.error = Some(error);
            }
        }
    }

    /// Once for each cause, until hooks are tested again.
    fn tell_untested(
        &mut self,
        now: UnixNanos,
        cause: Untested,
        error: &str,
        sink: &mut impl Sink,
    ) {
        if self.untested.contains(&cause) {
            return;
        }
        self.untested.push(cause);
        tracing::warn!(error, "hooks are not tested");
        let since = self.tested;
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
        sink.event(Event::told(None, now, Detail::Coverage(coverage)));
    }

    fn tell_tested(&mut self, now: UnixNanos, sink: &mut impl Sink) {
        let since = std::mem::replace(&mut self.tested, now);
        self.unsound = 0;
        if std::mem::take(&mut self.untested).is_empty() {
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

    fn judge_canary<J: Judge>(
        &mut self,
        running: &Running,
        ended: Result<Deeds, String>,
        parts: &mut Parts<'_, J>,
        sink: &mut impl Sink,
    ) -> Option<u64> {
        let clock = parts.clock.clone();
        // Its exit takes the entry out, if the exit hook is there.
        parts.probes.processes.unwatch(running.child.id());
        let sound = match ended {
            Ok(_) if parts.canaries_lost() > running.lost => {
                Err("records of it were lost".to_owned())
            }
            ended => ended,
        };
        match &sound {
            Ok(_) => self.tell_tested(clock.now(), sink),
            Err(error) => {
                self.unsound += 1;
                if self.unsound >= UNSOUND_MAX {
                    self.tell_untested(clock.now(), Untested::Unsound, error, sink);
                }
            }
        }
        let done = sound.as_ref().copied().unwrap_or(Deeds::NONE);
        self.error = sound.err();
        let outcome = self.ledger.conclude(done);
        let now = clock.now();
        for (hook, since_ns) in &outcome.silent {
            tracing::error!(hook = hook.name(), "a hook does not report any more");
            let reason = "the hook does not report the sensor's own calls: somebody has detached it; \
                          what it would have seen is not known";
            let since = clock.unix(*since_ns);
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
            parts.track.add_gap(now, sink);
        }
        for (hook, since_ns) in &outcome.back {
            tracing::warn!(hook = hook.name(), "a hook reports again");
            let since = clock.unix(*since_ns);
            let reason = "attached again: the hook reports";
            sink.event(about(*hook, CoveragePhase::End, (since, now), now, reason));
        }
        let event = self.outcome(&outcome, done, clock.unix(running.began_ns), now);
        sink.event(event);
        self.last = Some(now);
        self.attach_again(&outcome, parts.probes)
    }

    fn attach_again(&mut self, outcome: &Outcome, probes: &mut Probes) -> Option<u64> {
        let ledger = &mut self.ledger;
        let mut who = None;
        for hook in &outcome.attach {
            let result = probes.reattach(*hook);
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
        who
    }

    /// One event for each canary: it proves the way from here to the last hop.
    fn outcome(&self, outcome: &Outcome, done: Deeds, began: UnixNanos, now: UnixNanos) -> Event {
        let missing: Vec<&str> = outcome.missing.iter().map(|hook| hook.name()).collect();
        let mut reason = match missing.as_slice() {
            [] => "the self-test was reported by every hook it is known to reach".to_owned(),
            missing => format!("the self-test was not reported by {}", missing.join(", ")),
        };
        match &self.error {
            Some(error) => {
                reason.push_str(&format!("; it does not count against any hook: {error}"));
            }
            None if done != Deeds::ALL => {
                reason.push_str(&format!(
                    "; this host could not do {}",
                    done.missing().join(", ")
                ));
            }
            None => {}
        }
        Coverage::point(CoverageKind::Canary, (began, now), outcome.records, reason).of_machine()
    }
}

impl<J: Judge> Parts<'_, J> {
    /// Records of canaries that did not get here.
    fn canaries_lost(&self) -> u64 {
        let of_kernel = self.probes.lost_of_session(CANARY_SESSION);
        of_kernel + self.track.counts().evicted.walked
    }
}

impl Running {
    /// How it has ended, if it has.
    fn look(&mut self, patience: Duration) -> Option<Result<Deeds, String>> {
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
fn said(output: Option<ChildStdout>) -> Option<Deeds> {
    let output = output?;
    rustix::io::ioctl_fionbio(&output, true).ok()?;
    let mut text = Vec::new();
    // What was read before an error counts.
    let _ = output.take(SAID_MAX).read_to_end(&mut text);
    Deeds::from_report(&text)
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
