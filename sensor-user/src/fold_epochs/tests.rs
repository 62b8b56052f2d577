//! The turn of the epochs, against a kernel side that counts by hand.

use std::sync::Arc;

use super::*;
use skep_event::sample;
use skep_event::{ActRef, Detail, Event, OpenRef, SessionId, UnixNanos};

use crate::act::{self, Act};
use crate::clock::Moment;

/// Whose opens are folded.
const SESSION: u64 = 7;

/// A kernel side: what was counted, by epoch.
#[derive(Default)]
struct Table {
    epoch: u32,
    entries: Vec<(u32, FoldCount)>,
    folded: u64,
    sent: u64,
    turns: u32,
}

impl Table {
    fn hand_out(&mut self, closed: u32, sink: &mut dyn FnMut(u64, &FoldCount)) -> u32 {
        for (_, count) in self.entries.extract_if(.., |(epoch, _)| *epoch <= closed) {
            sink(SESSION, &count);
        }
        closed
    }
}

impl Folding for Table {
    fn turn(&mut self, sink: &mut dyn FnMut(u64, &FoldCount)) -> io::Result<u32> {
        self.turns += 1;
        self.epoch += 1;
        Ok(self.hand_out(self.epoch.saturating_sub(2), sink))
    }

    fn stop(&mut self) -> io::Result<()> {
        self.epoch = 0;
        Ok(())
    }

    fn take_all(&mut self, sink: &mut dyn FnMut(u64, &FoldCount)) -> io::Result<u32> {
        Ok(self.hand_out(u32::MAX, sink))
    }

    fn folded(&self) -> u64 {
        self.folded
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}

struct World {
    kernel: Table,
    epochs: FoldEpochs,
    fold: Fold,
    now: Instant,
    read: u64,
    out: Vec<Event>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            kernel: Table::default(),
            epochs: FoldEpochs::new(BootClock::measure()),
            fold: Fold::default(),
            now: Instant::now(),
            read: 0,
            out: vec![],
        };
        world.run(Duration::ZERO);
        world
    }

    fn run(&mut self, after: Duration) {
        self.now += after;
        self.epochs
            .run(&mut self.kernel, &mut self.fold, self.read, self.now);
        self.fold.tick(self.now, |event| self.out.push(event));
    }

    /// An open, of which the kernel side counts so many repeats.
    fn open(&mut self, time_ns: u64, repeats: u64) {
        let record = RecordId { time_ns, tid: 7 };
        let epoch = self.kernel.epoch;
        self.kernel.sent += 1;
        self.kernel.folded += repeats;
        let count = FoldCount {
            count: repeats,
            last_ns: time_ns + 1,
            first_ns: time_ns,
            first_tid: 7,
            pad: 0,
        };
        self.kernel.entries.push((epoch, count));
        let process = sample::exec().process.expect("an exec has a process");
        let act = Act {
            at: Moment {
                time: UnixNanos(time_ns),
                boot_ns: time_ns,
            },
            session: SessionId([1; 16]),
            agent: None,
            process: &Arc::clone(&process),
            result: None,
            hook: "lsm/file_open",
            facts: ActRef::Open(OpenRef {
                path: Some(b"/a"),
                resolved: true,
                inode: Some(time_ns),
                ..OpenRef::default()
            }),
            folding: Some(act::Folding { epoch, record }),
        };
        self.read += 1;
        self.epochs.saw(epoch, self.now);
        self.fold.act(&act, self.now, |event| self.out.push(event));
    }

    fn told(&self) -> u64 {
        let count = |event: &Event| match &event.detail {
            Detail::Open(file) => file.count,
            _ => 0,
        };
        self.out.iter().map(count).sum()
    }
}

#[test]
fn an_open_is_told_with_its_repeats_two_epochs_later() {
    let mut world = World::new();
    world.open(5, 99);
    world.run(EPOCH);
    assert_eq!(world.told(), 0);
    world.run(EPOCH);
    assert_eq!(world.told(), 100);
    assert_eq!(world.epochs.counts(), FoldCounts { added: 99, lost: 0 });
}

#[test]
fn nothing_is_turned_while_nothing_is_opened() {
    let mut world = World::new();
    world.open(5, 1);
    for _ in 0..100 {
        world.run(EPOCH);
    }
    assert_eq!(
        world.kernel.turns, 3,
        "the first, and two to close an epoch"
    );
    world.open(6, 1);
    world.run(EPOCH);
    world.run(EPOCH);
    assert_eq!((world.kernel.turns, world.told()), (5, 4));
}

#[test]
fn what_was_folded_waits_for_its_record_to_be_read() {
    let mut world = World::new();
    world.open(5, 1);
    world.kernel.sent += 1; // one more, not read yet
    for _ in 0..10 {
        world.run(EPOCH);
    }
    assert_eq!(world.kernel.turns, 1);
    world.read += 1;
    world.run(EPOCH);
    world.run(EPOCH);
    assert_eq!((world.told(), world.epochs.counts().lost), (2, 0));
}

#[test]
fn what_the_kernel_side_folded_and_did_not_hand_out_is_lost() {
    let mut world = World::new();
    world.open(5, 10);
    world.kernel.entries.clear();
    for time in 6..11 {
        world.run(EPOCH);
        world.open(time, 1);
    }
    assert_eq!(world.epochs.counts().lost, 10);
    assert!(
        world.epochs.take_unmatched().is_empty(),
        "nobody knows whose"
    );
    // And what it handed out for a record that never came.
    world.kernel.entries.push((
        1,
        FoldCount {
            count: 4,
            last_ns: 1,
            first_ns: 1,
            first_tid: 1,
            pad: 0,
        },
    ));
    world.kernel.folded += 4;
    world.run(EPOCH);
    world.run(EPOCH);
    assert_eq!(world.epochs.counts().lost, 14);
    let unmatched = world.epochs.take_unmatched();
    assert_eq!(unmatched, HashMap::from([(SESSION, 4)]));
    assert!(
        world.epochs.take_unmatched().is_empty(),
        "asked for already"
    );
}

#[test]
fn at_the_end_everything_folded_is_handed_out_at_once() {
    let mut world = World::new();
    world.open(5, 10);
    world.epochs.stop(&mut world.kernel);
    world.kernel.sent += 1;
    world.epochs.stop(&mut world.kernel); // once is enough
    assert!(
        world
            .epochs
            .finish(&mut world.kernel, &mut world.fold, world.read)
    );
    world.fold.flush(|event| world.out.push(event));
    assert_eq!((world.told(), world.epochs.counts().added), (11, 10));
    assert_eq!(world.kernel.epoch, 0, "nothing is folded any more");
}
