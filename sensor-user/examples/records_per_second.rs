//! How many records one core decodes, ties to processes, identifies and folds in a second:
//! `cargo run --release -p skep-sensor --example records_per_second`
//!
//! The records are made beforehand, in the form the kernel side sends; the mix is drawn from a fixed
//! seed. Nothing else is left out: execs are judged by the real identifier (their program is
//! `/bin/true`, looked at once before), events that leave the fold are redacted. Prints JSON; judges
//! nothing. `records_per_second` is without the redaction of what leaves, which comes after the fold.

#[path = "../tests/hot_path/counting.rs"]
mod counting;
#[path = "../tests/hot_path/records.rs"]
mod records;

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use skep_abi::{Claim, ClaimVerdict, FileKey};
use skep_catalogue::Catalogue;
use skep_event::{Agent, Detail, Event, SessionId};
use skep_redact::Redactor;

use skep_sensor::{
    clock::BootClock,
    decode,
    enrich::Enrich,
    fold::Fold,
    identify::{Candidate, Identifier, Judgement},
    step::{Out, Relay},
    track::{Judge, Tracker},
    users::Users,
    verdicts::Verdicts,
};

use self::{
    counting::{Counting, allocations, begin, peak},
    records::{Actor, BEGIN_NS, Tape},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Records of one measurement.
const RECORDS: usize = 200_000;
/// Measurements; the fastest counts, the slowest is told.
const RUNS: usize = 15;
/// Records between two looks at what the fold lets go of, as in the sensor.
const ROUND: usize = 4096;
const AGENTS: u32 = 8;
/// Acts of the agents themselves, in thousandths.
const BY_AGENTS: u64 = 750;
/// Files that are opened again and again.
const FILES: u64 = 64;
/// Records of one epoch: at 500,000 a second the shortest one, a tenth of a second.
const EPOCH: usize = 50_000;
/// Processes the agents have started, at most.
const CHILDREN: usize = 48;
const AGENT_PID: u32 = 4_100_000;

/// Shares of the mix, in thousandths.
const OPEN_AGAIN: u64 = 650;
const OPEN_OTHER: u64 = 150;
const CONNECT: u64 = 100;
const FORK: u64 = 40;
const EXEC: u64 = 25;
// The rest: exits.

/// What records tell of.
const ACTS: [&str; 6] = [
    "open_repeated",
    "open_distinct",
    "connect",
    "fork",
    "exec",
    "exit",
];

/// Agents by name, everything else by the real identifier.
struct Named {
    identifier: Identifier,
    judged: u64,
}

impl Judge for Named {
    fn judge(&mut self, candidate: &Candidate<'_>, _: &mut dyn FnMut()) -> Judgement {
        if candidate.argv.first().map(|arg| arg.as_bytes()) == Some(b"codex") {
            let agent = Agent {
                family: "codex".into(),
                version: None,
                confidence: 90,
                evidence: vec![],
                install_path: None,
                name: None,
            };
            return Judgement {
                agent: Some(Arc::new(agent)),
                ..Judgement::default()
            };
        }
        self.judged += 1;
        // The processes are made up; files are looked for in this one's root.
        self.identifier.judge(&Candidate {
            pid: std::process::id(),
            ..*candidate
        })
    }
}

struct Nowhere;

impl Verdicts for Nowhere {
    fn settle(&mut self, _claim: Claim, _verdict: ClaimVerdict) {}
    fn never(&mut self, _file: FileKey) {}
    fn begin_session(&mut self, _kernel: u64) -> bool {
        true
    }
    fn end_session(&mut self, _kernel: u64) {}
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What the records tell of.
struct World {
    draw: Draw,
    tape: Tape,
    agents: Vec<Actor>,
    children: Vec<Actor>,
    next_pid: u32,
    next_file: u64,
    epoch: u32,
    /// Epoch of the first record of the tape.
    first_epoch: u32,
    tool: FileKey,
    /// Of each of [`ACTS`].
    mix: [u64; ACTS.len()],
    /// Which of them each record of the tape is.
    acts: Vec<usize>,
}

impl World {
    fn new() -> io::Result<Self> {
        let metadata = std::fs::metadata("/bin/true")?;
        let (major, minor) = (
            rustix::fs::major(metadata.dev()),
            rustix::fs::minor(metadata.dev()),
        );
        let tool = FileKey {
            ino: metadata.ino(),
            ctime_sec: metadata.ctime(),
            ctime_nsec: metadata.ctime_nsec() as u32,
            dev: major << 20 | minor,
        };
        Ok(Self {
            draw: Draw(3),
            tape: Tape::new(),
            agents: Vec::new(),
            children: Vec::new(),
            next_pid: AGENT_PID + AGENTS,
            next_file: 1_000_000,
            epoch: 1,
            first_epoch: 1,
            tool,
            mix: [0; ACTS.len()],
            acts: Vec::new(),
        })
    }

    fn start_agents(&mut self) {
        for number in 0..AGENTS {
            let (pid, start_ns) = (AGENT_PID + number, BEGIN_NS + u64::from(number));
            let mut actor = Actor {
                pid,
                start_ns,
                session: 0,
                claim: Claim {
                    exec_ns: self.tape.time_ns + 1_000,
                    tgid: pid,
                    pad: 0,
                },
                image: records::key(1).image(),
            };
            let key = records::key(1);
            self.tape.exec(&actor, key, b"codex\0bin\0", b"codex\0");
            let id = SessionId::derive("boot", pid, start_ns, "codex");
            (actor.session, actor.claim) = (id.kernel(), Claim::NONE);
            self.agents.push(actor);
        }
    }

    fn actor(&mut self) -> Actor {
        // What an agent starts lives for some dozen acts.
        let agent = self.children.is_empty() || self.draw.below(1000) < BY_AGENTS;
        let from = if agent { &self.agents } else { &self.children };
        from[self.draw.below(from.len() as u64) as usize]
    }

    fn draw_records(&mut self) {
        self.tape.clear();
        self.acts.clear();
        self.first_epoch = self.epoch + 1;
        while self.tape.len() < RECORDS {
            self.epoch = self.first_epoch + (self.tape.len() / EPOCH) as u32;
            let actor = self.actor();
            let dice = self.draw.below(1000);
            let mut end = OPEN_AGAIN;
            let mut is = |share: u64| {
                let is = dice < end;
                end += share;
                is
            };
            let which = if is(OPEN_OTHER) {
                let file = self.draw.below(FILES);
                let path = format!("module-{file}.ts\0src\0app\0project\0dev\0home\0");
                self.tape
                    .open(&actor, path.as_bytes(), 10 + file, self.epoch);
                0
            } else if is(CONNECT) {
                self.next_file += 1;
                let file = self.next_file;
                let path = format!("{file}.o\0objects\0build\0app\0project\0dev\0home\0");
                self.tape.open(&actor, path.as_bytes(), file, self.epoch);
                1
            } else if is(FORK) {
                let (host, port) = (self.draw.below(4), self.draw.below(16));
                self.tape.connect(&actor, host as u8, 8_000 + port as u16);
                2
            } else if is(EXEC) && self.children.len() < CHILDREN {
                self.next_pid += 1;
                let child = Actor {
                    pid: self.next_pid,
                    start_ns: self.tape.time_ns,
                    ..actor
                };
                self.tape.fork(&actor, child.pid, child.start_ns);
                self.children.push(child);
                3
            } else if is(0) && !self.children.is_empty() {
                let index = self.draw.below(self.children.len() as u64) as usize;
                self.children[index].image = self.tool.image();
                let child = self.children[index];
                let argv = b"true\0--verbose\0--output\0/home/dev/project/app/build\0";
                self.tape.exec(&child, self.tool, b"true\0bin\0", argv);
                4
            } else if self.children.len() > CHILDREN / 2 {
                let index = self.draw.below(self.children.len() as u64) as usize;
                let child = self.children.swap_remove(index);
                self.tape.exit(&child);
                5
            } else {
                continue;
            };
            self.mix[which] += 1;
            self.acts.push(which);
        }
    }
}

fn main() -> io::Result<()> {
    let before_anything = begin();
    let mut world = World::new()?;
    let judge = Named {
        identifier: Identifier::new(Arc::new(Catalogue::embedded())),
        judged: 0,
    };
    let enrich = Enrich::new(Users::of_file(Path::new("/dev/null")));
    let mut tracker = Tracker::new("boot".into(), BootClock::measure(), judge, enrich);
    let redactor = Redactor::new();
    let mut fold = Fold::default();
    let mut room = Vec::new();
    let mut now = Instant::now();
    let (mut told, mut events, mut fed) = (0u64, 0u64, 0u64);
    let (mut asked, mut best, mut worst) = (0u64, Duration::MAX, Duration::ZERO);
    let mut redacting = Duration::ZERO;
    let mut left = Vec::new();

    world.start_agents();
    for run in 0..=RUNS {
        if run > 0 {
            world.draw_records();
        }
        let before = allocations();
        let start = Instant::now();
        let mut records = world.tape.iter();
        let mut fed_in_run = 0;
        loop {
            let mut sink = fold.then(now, Out(|event| left.push(event)));
            let before_round = fed_in_run;
            for record in records.by_ref().take(ROUND) {
                fed_in_run += 1;
                if let Ok(record) = decode::decode(record, &mut room) {
                    tracker.handle(record, &mut Nowhere, &mut sink);
                }
            }
            if before_round / EPOCH != fed_in_run / EPOCH {
                now += Duration::from_millis(100);
                let current = world.first_epoch + (fed_in_run / EPOCH) as u32;
                fold.close(current.saturating_sub(2));
            }
            fold.tick(now, |event| left.push(event));
            if before_round == fed_in_run {
                break;
            }
        }
        let took = start.elapsed();
        if run > 1 {
            asked += allocations() - before;
            best = best.min(took);
            worst = worst.max(took);
        }
        let start = Instant::now();
        let batch = left.len();
        for event in left.drain(..) {
            events += 1;
            told += count(&std::hint::black_box(redactor.event(event)));
        }
        if batch > 0 && run > 1 {
            redacting += start.elapsed();
        }
        fed += world.tape.len() as u64;
    }
    let by_act = allocations_by_act(&mut world, &mut tracker, &mut fold, now, |event| {
        events += 1;
        told += count(&event);
    });
    fed += world.tape.len() as u64;
    fold.flush(|event| {
        events += 1;
        told += count(&event);
    });
    let counts = tracker.counts();
    let [again, other, connects, ..] = world.mix;
    assert_eq!(told, again + other + connects, "every act is in a count");
    let measured = ((RUNS - 1) * RECORDS) as f64;
    let per_second = |took: Duration| RECORDS as f64 / took.as_secs_f64();
    let redaction = redacting.as_secs_f64() / measured;
    println!(
        "{}",
        serde_json::json!({
            "records_per_second": per_second(best).round(),
            "records_per_second_slowest_run": per_second(worst).round(),
            "records_per_second_with_redaction":
                (1.0 / (best.as_secs_f64() / RECORDS as f64 + redaction)).round(),
            "allocations_per_record": asked as f64 / measured,
            // Until its event is held; told of each kind by itself.
            "allocations_by_act": ACTS.into_iter().zip(by_act).collect::<BTreeMap<_, _>>(),
            // With the records of one measurement, and every event it gave.
            "heap_peak_bytes": peak() - before_anything,
            "records": fed,
            "events": events,
            "mix": ACTS.into_iter().zip(world.mix).collect::<BTreeMap<_, _>>(),
            "processes_at_the_end": counts.processes,
            "ignored": counts.ignored,
            "refused": counts.refused,
        })
    );
    Ok(())
}

/// Allocations a record, on average, by what it tells of: one more run, which is not timed.
fn allocations_by_act(
    world: &mut World,
    tracker: &mut Tracker<Named>,
    fold: &mut Fold,
    now: Instant,
    mut left: impl FnMut(Event),
) -> [f64; ACTS.len()] {
    world.draw_records();
    let mut room = Vec::new();
    let (mut asked, mut records) = ([0u64; ACTS.len()], [0u64; ACTS.len()]);
    for (number, (record, act)) in world.tape.iter().zip(&world.acts).enumerate() {
        if number % EPOCH == 0 {
            let epoch = world.first_epoch + (number / EPOCH) as u32;
            fold.close(epoch.saturating_sub(2));
            fold.tick(now, &mut left);
        }
        let mut sink = fold.then(now, Out(&mut left));
        let before = allocations();
        if let Ok(record) = decode::decode(record, &mut room) {
            tracker.handle(record, &mut Nowhere, &mut sink);
        }
        asked[*act] += allocations() - before;
        records[*act] += 1;
    }
    std::array::from_fn(|act| asked[act] as f64 / records[act] as f64)
}

fn count(event: &Event) -> u64 {
    match &event.detail {
        Detail::Open(file) => file.count,
        Detail::Connect(net) => net.count,
        _ => 0,
    }
}
