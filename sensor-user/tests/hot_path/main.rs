//! The hot path asks for no memory: real records through decoder, tracker and fold, with an allocator
//! that counts.

mod counting;
mod records;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use skep_abi::{Claim, ClaimVerdict, FileKey};
use skep_event::{Agent, Detail, Event};

use skep_sensor::{
    clock::BootClock,
    decode,
    enrich::Enrich,
    fold::Fold,
    identify::{Candidate, Judgement},
    step::{Out, Relay},
    track::{Judge, Tracker},
    users::Users,
    verdicts::Verdicts,
};

use self::{
    counting::{Counting, allocations, begin, peak},
    records::{Actor, BEGIN_NS, Tape, key},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Every program is the agent.
struct Everything;

impl Judge for Everything {
    fn judge(&mut self, _candidate: &Candidate<'_>, _: &mut dyn FnMut()) -> Judgement {
        let agent = Agent {
            family: "codex".into(),
            version: None,
            confidence: 90,
            evidence: vec![],
            install_path: None,
            name: None,
        };
        Judgement {
            agent: Some(Arc::new(agent)),
            ..Judgement::default()
        }
    }
}

/// No kernel to tell.
struct Nowhere;

impl Verdicts for Nowhere {
    fn settle(&mut self, _claim: Claim, _verdict: ClaimVerdict) {}
    fn never(&mut self, _file: FileKey) {}
    fn begin_session(&mut self, _kernel: u64) -> bool {
        true
    }
    fn end_session(&mut self, _kernel: u64) {}
}

struct Sensor {
    tracker: Tracker<Everything>,
    fold: Fold,
    room: Vec<u8>,
    now: Instant,
    /// Opens and connects told.
    told: u64,
}

impl Sensor {
    /// With an agent in it.
    fn new(tape: &mut Tape, agent: &Actor) -> Self {
        let enrich = Enrich::new(Users::of_file(Path::new("/dev/null")));
        let clock = BootClock::measure();
        let mut sensor = Self {
            tracker: Tracker::new("boot".into(), clock, Everything, enrich),
            fold: Fold::default(),
            room: Vec::new(),
            now: Instant::now(),
            told: 0,
        };
        tape.exec(agent, key(1), b"codex\0bin\0", b"codex\0");
        sensor.run(tape);
        tape.clear();
        sensor
    }

    /// Gives what was asked of the allocator meanwhile.
    fn run(&mut self, tape: &Tape) -> u64 {
        let before = allocations();
        let told = &mut self.told;
        let mut sink = self
            .fold
            .then(self.now, Out(|event| *told += count(&event)));
        for record in tape.iter() {
            let record =
                decode::decode(record, &mut self.room).expect("a record as the ABI has it");
            self.tracker.handle(record, &mut Nowhere, &mut sink);
        }
        allocations() - before
    }
}

fn count(event: &Event) -> u64 {
    match &event.detail {
        Detail::Open(file) => file.count,
        Detail::Connect(net) => net.count,
        _ => 0,
    }
}

fn agent() -> Actor {
    let claim = Claim {
        exec_ns: BEGIN_NS + 1_000,
        tgid: 4_000_000,
        pad: 0,
    };
    Actor {
        pid: 4_000_000,
        start_ns: BEGIN_NS,
        session: 0,
        claim,
        image: key(1).image(),
    }
}

/// So many files, in turn.
fn opens(tape: &mut Tape, actor: &Actor, records: u64, files: u64) {
    for record in 0..records {
        let file = record % files;
        let path = format!("file-{file}.rs\0src\0project\0dev\0home\0");
        tape.open(actor, path.as_bytes(), 1_000 + file, 0);
    }
}

/// The count is the whole program's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn records_that_repeat_earlier_ones_allocate_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut tape, agent) = (Tape::new(), agent());
    let mut sensor = Sensor::new(&mut tape, &agent);

    // The first of each kind makes its event.
    let files = 100;
    opens(&mut tape, &agent, files, files);
    for port in 1..50 {
        tape.connect(&agent, 1, port);
    }
    assert!(sensor.run(&tape) > 0, "the allocator counts");
    let first = tape.len() as u64;
    tape.clear();

    opens(&mut tape, &agent, 20_000, files);
    for record in 0..20_000 {
        tape.connect(&agent, 1, record % 49 + 1);
    }
    assert_eq!(sensor.run(&tape), 0, "for {} records", tape.len());
    let told = first + tape.len() as u64;
    tape.clear();

    // A process that was forked is copied from its parent once, when it first does something.
    tape.fork(&agent, 4_000_001, BEGIN_NS + 5);
    let child = Actor {
        pid: 4_000_001,
        start_ns: BEGIN_NS + 5,
        ..agent
    };
    opens(&mut tape, &child, files, files);
    sensor.run(&tape);
    tape.clear();
    opens(&mut tape, &child, 20_000, files);
    assert_eq!(sensor.run(&tape), 0, "for {} records", tape.len());
    let told = told + files + tape.len() as u64;

    // Nothing it did stays behind when it ends.
    tape.clear();
    tape.exit(&child);
    sensor.run(&tape);

    let told_by_fold = &mut sensor.told;
    sensor.fold.flush(|event| *told_by_fold += count(&event));
    assert_eq!(sensor.told, told, "every record is in a count");
    tape.clear();

    // An open of another file each time: its path, and now and then a larger table.
    let distinct = 4_096;
    opens(&mut tape, &agent, distinct, distinct);
    let asked = sensor.run(&tape);
    println!("{asked} allocations for {distinct} distinct opens");
    assert!((distinct..distinct + 64).contains(&asked), "{asked}");
}

/// 20,000 processes at once, each with as much to remember as the kernel side sends: 8 KiB of arguments,
/// sometimes 4,096 of them, an executable with a path of 4,000 bytes, and an open of another such path.
#[test]
fn a_storm_of_long_command_lines_stays_within_the_memory_bound() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let memory = 64 << 20;
    let (mut tape, agent) = (Tape::new(), agent());
    let mut sensor = Sensor::new(&mut tape, &agent);
    let before = begin();
    let argv = [
        b"a\0".repeat(4_096),
        [&[b'a'; 31][..], b"\0"].concat().repeat(256),
    ];
    let long = [&[b'x'; 249][..], b"\0"].concat().repeat(16);
    for number in 0..20_000 {
        tape.clear();
        let child = Actor {
            pid: 1_000_000 + number,
            start_ns: BEGIN_NS + u64::from(number),
            image: key(2).image(),
            ..agent
        };
        tape.fork(&agent, child.pid, child.start_ns);
        let argv = &argv[usize::from(number % 16 != 0)];
        tape.exec(&child, key(2), &long, argv);
        let path = [format!("{number}\0").as_bytes(), &long[..3_750]].concat();
        tape.open(&child, &path, u64::from(number), 1 + number / 4_096);
        sensor.run(&tape);
        if number % 256 == 0 {
            sensor.now += Duration::from_millis(50);
            let told = &mut sensor.told;
            sensor.fold.tick(sensor.now, |event| *told += count(&event));
        }
    }
    let counts = sensor.tracker.counts();
    let taken = peak() - before;
    println!("{} MiB at most, {:?}", taken >> 20, counts.evicted);
    assert_eq!(counts.processes, 20_001, "all of them are followed");
    assert!(counts.evicted.images > 0);
    // The program itself, its catalogue and what the allocator wastes have the rest.
    assert!(taken < memory * 3 / 4, "{taken} bytes");
    let told = &mut sensor.told;
    sensor.fold.flush(|event| *told += count(&event));
    assert_eq!(sensor.told, 20_000);
}
