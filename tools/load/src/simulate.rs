//! One simulated machine: its user runs agents, and its sensor tells of it.
//!
//! Invariants: the bytes depend on nothing but the seed, the number of the machine, and the time it
//! is to span; events come in the order of their time; every event is one that the collector takes.

mod session;
mod told;

use std::sync::Arc;

use prost::Message;
use skep_proto::{tag, v1};

use crate::{
    draw::Draw,
    encode::Fields,
    tally::{Class, Made},
    world::{USERS, World},
};

use self::session::{Next, Session};

const SECOND: u64 = 1_000_000_000;
/// Agents that one machine runs at the same time, at most.
const SLOTS: usize = 2;
/// Between two sessions of a slot.
const IDLE: u64 = 40 * 60 * SECOND;
/// Between two self-tests of the sensor.
const CANARY: u64 = 10 * 60 * SECOND;
/// What one event takes when nothing is stretched, as the test
/// `a_machine_keeps_to_the_span_it_is_given` holds it to.
const NATURAL: u64 = SECOND * 145 / 100;

/// The time a machine's events are spread over, Unix nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub begin: u64,
    pub end: u64,
    /// How many events it is to hold, about.
    pub events: u64,
}

/// Who the machine is.
pub struct Identity {
    /// 32 hexadecimal digits.
    pub sensor_id: String,
    pub hostname: String,
    pub user: &'static str,
    pub uid: u32,
    pub home: String,
    /// The agents and projects that are used here, by their place in the world.
    agents: [usize; 2],
    projects: [usize; 3],
    device: &'static str,
    /// Opens are seen by the tracepoints: with the outcome, and the path as it was given.
    tracepoints: bool,
}

/// A machine.
pub struct Machine {
    common: Common,
    slots: [Slot; SLOTS],
    next_canary: u64,
}

/// A terminal in which one agent runs after the other.
struct Slot {
    time: u64,
    session: Option<Session>,
}

/// What the sessions of a machine share.
struct Common {
    world: Arc<World>,
    identity: Arc<Identity>,
    draw: Draw,
    next_pid: u32,
    span: Span,
    /// By which times between things are multiplied, in 1/1024.
    stretch: u64,
    /// The encoded event, and its part that is of one class.
    event: Fields,
    detail: Fields,
}

// === impl Identity ===

impl Identity {
    fn new(world: &World, seed: u64, number: u64) -> Self {
        let mut draw = Draw::new(seed, 2 * number);
        let user = *draw.pick(USERS);
        Self {
            sensor_id: draw.hex(32),
            hostname: format!("ws-{number:04}"),
            user,
            uid: 1000 + u32::from(draw.chance(200)),
            home: format!("/home/{user}"),
            agents: [0; 2].map(|_| draw.skewed(world.agents.len())),
            projects: [0; 3].map(|_| draw.index(world.projects.len())),
            device: *draw.pick(&["8:1", "254:1", "259:2"]),
            tracepoints: draw.chance(500),
        }
    }

    /// What its sensor says first.
    pub fn hello(&self, epoch: u64, lane: v1::Lane) -> v1::Hello {
        let open = if self.tracepoints {
            "tp/sys_open*"
        } else {
            "fentry/vfs_open"
        };
        let hooks = [
            ("exec", "raw_tp/sched_process_exec"),
            ("fork", "raw_tp/sched_process_fork"),
            ("exit", "raw_tp/sched_process_exit"),
            ("open", open),
            ("connect_inet", "cgroup/connect4,6 sendmsg4,6"),
            ("connect_unix", "fentry/unix_stream_connect"),
            ("socket", "fentry/security_socket_post_create"),
        ];
        v1::Hello {
            sensor_id: self.sensor_id.clone(),
            epoch,
            sensor_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: Some(v1::Host {
                hostname: self.hostname.clone(),
                os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
                kernel: "6.1.0-56-cloud-amd64".to_owned(),
                arch: "x86_64".to_owned(),
                boot_id: format!("{}-4000-8000", &self.sensor_id[..18]),
            }),
            hooks: hooks
                .map(|(fact, hook)| v1::HookState {
                    fact: fact.to_owned(),
                    hook: Some(hook.to_owned()),
                    status: v1::HookStatus::Live.into(),
                    reason: String::new(),
                })
                .to_vec(),
            lane: lane.into(),
            takes_orders: false,
        }
    }
}

// === impl Machine ===

impl Machine {
    pub fn new(world: &Arc<World>, seed: u64, number: u64, span: Span) -> Self {
        let identity = Arc::new(Identity::new(world, seed, number));
        let mut draw = Draw::new(seed, 2 * number + 1);
        let wanted = span.end.saturating_sub(span.begin) / span.events.max(1);
        let next_canary = span.begin + draw.below(CANARY);
        let next_pid = 1000 + u32::try_from(draw.below(30_000)).expect("less than 30,000");
        let mut common = Common {
            world: Arc::clone(world),
            identity,
            draw,
            next_pid,
            span,
            stretch: scaled(wanted, 1024, NATURAL),
            event: Fields::default(),
            detail: Fields::default(),
        };
        let slots = [0; SLOTS].map(|_| Slot {
            time: span.begin + common.pause(span.begin, IDLE / 2),
            session: None,
        });
        Self {
            common,
            slots,
            next_canary,
        }
    }

    pub fn identity(&self) -> &Arc<Identity> {
        &self.common.identity
    }

    /// The encoded `skep.v1.Event` that [`Self::make`] made last.
    pub fn bytes(&self) -> &[u8] {
        &self.common.event.0
    }

    /// Makes the next event.
    pub fn make(&mut self) -> Made {
        let Self {
            common,
            slots,
            next_canary,
        } = self;
        loop {
            let first = usize::from(slots[1].time < slots[0].time);
            let Slot { time, session } = &mut slots[first];
            if *next_canary <= *time {
                let at = *next_canary;
                *next_canary += CANARY.max(scaled(CANARY, common.stretch, 1024));
                return common.canary(at);
            }
            let running = session.get_or_insert_with(|| common.begin_session(*time));
            match running.next(common, time) {
                Next::Event(made) => return made,
                Next::Later => {}
                Next::Over => {
                    *session = None;
                    *time += common.pause(*time, IDLE);
                }
            }
        }
    }
}

// === impl Common ===

impl Common {
    fn begin_session(&mut self, time: u64) -> Session {
        let Self {
            world,
            identity,
            draw,
            next_pid,
            ..
        } = self;
        // One in five runs the agent that is used less.
        let agent = identity.agents[usize::from(draw.chance(200))];
        let project = *draw.pick(&identity.projects);
        *next_pid += 1;
        Session::new(world, identity, draw, [agent, project], time, *next_pid)
    }

    /// How long nothing happens; hardly at all once the span is over.
    fn pause(&mut self, now: u64, mean: u64) -> u64 {
        let pause = self.draw.around(mean);
        let end = self.span.end;
        if now >= end {
            return 1_000;
        }
        scaled(pause, self.stretch, 1024).min(end - now) + 1_000
    }

    fn canary(&mut self, at: u64) -> Made {
        let coverage = v1::Coverage {
            what: "canary".to_owned(),
            phase: v1::coverage::Phase::Point.into(),
            hook: None,
            first_unix_nano: at - 2_000_000,
            last_unix_nano: at,
            count: 9,
            reason: "the self-test was reported by every hook it is known to reach".to_owned(),
            ..v1::Coverage::default()
        };
        self.of_host(
            at,
            &v1::event::Detail::Coverage(coverage),
            Class::Coverage,
            9,
        )
    }

    /// An event that is the whole host's.
    fn of_host(
        &mut self,
        nanos: u64,
        detail: &v1::event::Detail,
        class: Class,
        count: u64,
    ) -> Made {
        self.event.clear();
        self.event.fixed64(tag::event::TIME_UNIX_NANO, nanos);
        self.finish(detail);
        Made {
            class,
            nanos,
            count,
            pid: 0,
            path_bytes: 0,
        }
    }

    /// Appends a detail that is rare enough to be encoded the usual way.
    fn finish(&mut self, detail: &v1::event::Detail) {
        use v1::event::Detail;
        let bytes = match detail {
            Detail::SessionInfo(info) => info.encode_to_vec(),
            Detail::Lost(lost) => lost.encode_to_vec(),
            Detail::Coverage(coverage) => coverage.encode_to_vec(),
            Detail::Finding(finding) => finding.encode_to_vec(),
            Detail::Exec(exec) => exec.encode_to_vec(),
            Detail::Exit(exit) => exit.encode_to_vec(),
            Detail::Open(open) => open.encode_to_vec(),
            Detail::Connect(connect) => connect.encode_to_vec(),
            Detail::Change(change) => change.encode_to_vec(),
        };
        self.event.message(Class::of(detail).tag(), &bytes);
    }
}

/// `value * by / of`, as much of it as a `u64` holds.
fn scaled(value: u64, by: u64, of: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(by) / u128::from(of.max(1)))
        .unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
