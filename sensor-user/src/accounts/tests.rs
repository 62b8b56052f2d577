//! Every counter against the events that tell of it.

use super::*;

const OPEN: usize = Kind::Open as usize - 1;
const THROTTLED: usize = Cause::Throttled as usize;
const RING_FULL: usize = Cause::RingFull as usize;

/// Two sessions, 20 and 21.
#[derive(Default)]
struct Known {
    gaps: HashMap<SessionId, u64>,
}

fn id(kernel: u64) -> SessionId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&kernel.to_le_bytes());
    SessionId(id)
}

impl Sessions for Known {
    fn by_kernel(&self, kernel: u64) -> Option<SessionId> {
        (20..22).contains(&kernel).then(|| id(kernel))
    }

    fn gap(&mut self, session: SessionId, time: UnixNanos) -> Option<Event> {
        let gaps = self.gaps.entry(session).or_default();
        *gaps += 1;
        let sample = skep_event::sample::session().detail;
        Some(Event::told(Some(session), time, sample))
    }
}

/// What is counted, and everything that was told of it.
#[derive(Default)]
struct World {
    books: Books,
    known: Known,
    kernel: HashMap<u64, SessionState>,
    machine: Counts,
    own: OwnLosses,
    own_of: OfSessions,
    told: Vec<Event>,
    now: u64,
}

impl World {
    /// Records of a kernel session id that were not sent.
    fn lose(&mut self, session: u64, kind: usize, cause: usize, count: u64) {
        self.machine[kind][cause] += count;
        self.kernel.entry(session).or_default().lost[kind][cause] += count;
    }

    /// What is new since the last look.
    fn look(&mut self) -> Vec<Event> {
        self.now += 10;
        let machine: Vec<KernelCounts> = Kind::ALL
            .into_iter()
            .map(|kind| KernelCounts {
                kind,
                sent: 0,
                folded: 0,
                lost: Cause::ALL
                    .map(|cause| (cause, self.machine[kind as usize - 1][cause as usize])),
            })
            .collect();
        let own_of = std::mem::take(&mut self.own_of);
        let counted = Counted {
            machine: &machine,
            own: self.own,
            own_of: &own_of,
        };
        let mut told = Vec::new();
        let now = UnixNanos(self.now);
        let kernel = self.kernel.iter();
        let push = |event| told.push(event);
        self.books
            .tell(now, kernel, &counted, &mut self.known, push);
        self.told.extend(told.iter().cloned());
        told
    }

    /// Over everything told, by hop, record and cause.
    fn sums(&self) -> HashMap<(&'static str, &'static str, &'static str), u64> {
        let mut sums = HashMap::new();
        for (_, lost) in losses(&self.told) {
            *sums.entry((lost.hop, lost.record, lost.cause)).or_default() += lost.count;
        }
        sums
    }
}

fn losses(events: &[Event]) -> Vec<(Option<SessionId>, &Lost)> {
    events
        .iter()
        .filter_map(|event| match &event.detail {
            Detail::Lost(lost) => Some((event.session, lost)),
            _ => None,
        })
        .collect()
}

#[test]
fn what_the_steps_here_lose_is_told_to_the_last_record() {
    let mut world = World {
        own: OwnLosses {
            malformed: 3,
            table_full: 2,
            fold: 5,
        },
        ..World::default()
    };
    let told = world.look();
    let of_machine: Vec<_> = losses(&told)
        .into_iter()
        .map(|(session, lost)| (session, lost.hop, lost.record, lost.cause, lost.count))
        .collect();
    assert_eq!(
        of_machine,
        [
            (None, "decode", "any", "malformed", 3),
            (None, "track", "any", "table_full", 2),
            (None, "fold", "open", "no_event", 5),
        ]
    );
    assert_eq!(world.look(), [], "told once");
    world.own.table_full += 1;
    let told = world.look();
    let [(None, lost)] = losses(&told)[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (lost.count, lost.first, lost.last),
        (1, UnixNanos(20), UnixNanos(30)),
        "since the last look"
    );
}

#[test]
fn what_they_lose_of_a_session_is_that_sessions_and_a_gap_of_it() {
    let mut world = World::default();
    let of = |table_full, fold| OfSession { table_full, fold };
    // Of 21 the kernel has an account, of 20 not; 99 is nobody any more.
    world.kernel.insert(21, SessionState::default());
    for _ in 0..2 {
        world.own.table_full += 7;
        world.own.fold += 4;
        world.own_of = OfSessions::from([(20, of(2, 0)), (21, of(1, 4)), (99, of(3, 0))]);
        world.look();
    }
    let mut told: Vec<_> = losses(&world.told)
        .into_iter()
        .map(|(session, lost)| (session, lost.cause, lost.count))
        .collect();
    told.sort_unstable();
    let mut expected = [
        (None, "table_full", 4), // 99's three and one of nobody
        (Some(id(20)), "table_full", 2),
        (Some(id(21)), "no_event", 4),
        (Some(id(21)), "table_full", 1),
    ]
    .repeat(2);
    expected.sort_unstable();
    assert_eq!(told, expected);
    assert_eq!(world.known.gaps[&id(20)], 1, "what goes on is one gap");
    assert_eq!(world.known.gaps[&id(21)], 1);
    let sums = world.sums();
    assert_eq!(sums[&TABLE_FULL], world.own.table_full);
    assert_eq!(sums[&NO_EVENT], world.own.fold);
    world.look();
    world.own.table_full += 1;
    world.own_of = OfSessions::from([(20, of(1, 0))]);
    world.look();
    assert_eq!(world.known.gaps[&id(20)], 2, "another one");
}

#[test]
fn what_the_kernel_loses_of_a_session_is_taken_off_what_is_told_of_the_machine() {
    let mut world = World::default();
    world.lose(20, OPEN, RING_FULL, 5);
    world.lose(PENDING_SESSION, OPEN, RING_FULL, 2);
    world.lose(CANARY_SESSION, OPEN, RING_FULL, 1);
    world.machine[OPEN][RING_FULL] += 4; // of a session without an account
    let told = world.look();
    let counts: Vec<_> = losses(&told)
        .into_iter()
        .map(|(session, lost)| (session, lost.count))
        .collect();
    assert_eq!(counts, [(Some(id(20)), 5), (None, 7)]);
    assert_eq!(world.known.gaps, HashMap::from([(id(20), 1)]));
    world.lose(20, OPEN, RING_FULL, 1);
    world.look();
    let total = world.machine[OPEN][RING_FULL];
    assert_eq!(world.sums()[&("kernel", "open", "ring_full")], total);
}

#[test]
fn a_session_that_is_held_back_is_told_when_it_begins_and_when_it_is_over() {
    let mut world = World::default();
    let phases = |events: &[Event]| -> Vec<_> {
        let of = |event: &Event| match &event.detail {
            Detail::Coverage(coverage) => Some((coverage.phase, coverage.count)),
            _ => None,
        };
        events.iter().filter_map(of).collect()
    };
    world.lose(20, OPEN, THROTTLED, 5);
    assert_eq!(phases(&world.look()), [(CoveragePhase::Begin, 0)]);
    world.lose(20, OPEN, THROTTLED, 6);
    assert_eq!(phases(&world.look()), []);
    assert_eq!(phases(&world.look()), [(CoveragePhase::End, 11)]);
    // Forgotten while it is held back.
    world.lose(20, OPEN, THROTTLED, 1);
    world.look();
    world.kernel.clear();
    assert_eq!(phases(&world.look()), [(CoveragePhase::End, 1)]);
}
