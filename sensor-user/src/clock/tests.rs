//! The clock with readings of two clocks that the tests make up.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const BOOT: &str = "0e3a2f6e-5c1b-4d2a-9a55-0d5d3ef0a001";
const S: u64 = 1_000_000_000;
const BEGAN: i64 = 1_700_000_000 * S as i64;

/// `seconds` after boot, with the wall clock so far off what it was at first.
fn at(seconds: u64, off: i64) -> Measured {
    Measured {
        boot_ns: seconds * S,
        offset: BEGAN + off,
    }
}

fn saved(dir: &Path) -> Option<History> {
    History::read(&fs::read_to_string(dir.join(FILE)).ok()?, BOOT)
}

#[test]
fn boot_time_maps_to_wall_time_and_back() {
    let clock = BootClock::with_offset(BEGAN);
    assert_eq!(clock.unix(5), UnixNanos(1_700_000_000_000_000_005));
    assert_eq!(clock.boot(UnixNanos(1_700_000_000_000_000_005)), 5);
    assert_eq!(clock.boot(UnixNanos(7)), 0);
}

#[test]
fn measured_clock_agrees_with_the_wall_clock() {
    let clock = BootClock::measure();
    let wall = jiff::Timestamp::now().as_nanosecond();
    let ours = i128::from(clock.now().0);
    assert!((ours - wall).abs() < 5_000_000_000, "{ours} against {wall}");
    assert_eq!(clock.measure_again(), None, "nobody has set it");
}

#[test]
fn a_step_is_returned_once_and_changes_nothing_that_was_before_it() {
    let clock = BootClock::with_offset(BEGAN);
    let same = clock.clone();
    assert_eq!(clock.measured(at(10, 0)), None);
    let forward = 3_200 * S as i64 / 1000;
    let step = clock.measured(at(20, forward)).unwrap();
    assert_eq!(
        (step.at_ns, step.before, step.after),
        (20 * S, BEGAN, BEGAN + forward)
    );
    assert!(
        step.reason().contains("forward by 3.200 s"),
        "{}",
        step.reason()
    );
    assert_eq!(clock.measured(at(21, forward)), None);
    let back = clock.measured(at(30, -(S as i64))).unwrap();
    assert!(
        back.reason().contains("back by 4.200 s"),
        "{}",
        back.reason()
    );
    // Its clones are the same clock.
    let unix = |seconds: u64| same.unix(seconds * S).0 as i64 - BEGAN - (seconds * S) as i64;
    assert_eq!([unix(1), unix(19)], [0, 0]);
    assert_eq!([unix(20), unix(29)], [forward, forward]);
    assert_eq!([unix(30), unix(99)], [-(S as i64), -(S as i64)]);
}

#[test]
fn slewing_is_no_step_until_it_amounts_to_one() {
    let clock = BootClock::with_offset(BEGAN);
    // 500 ppm: the most that the kernel slews, were it to move one clock and not the other.
    let slewed = |seconds: u64| at(seconds, seconds as i64 * 500_000);
    let steps: Vec<_> = (0..=1000)
        .filter_map(|seconds| clock.measured(slewed(seconds)))
        .collect();
    let found = steps.iter().map(|step| step.at_ns / S);
    assert_eq!(found.collect::<Vec<_>>(), [200, 400, 600, 800, 1000]);
}

#[test]
fn a_suspend_is_no_step_and_a_clock_that_is_set_after_it_is_one() {
    let clock = BootClock::with_offset(BEGAN);
    let start = clock.unix(9 * S);
    assert_eq!(clock.measured(at(10, 0)), None);
    // Eight hours asleep: both clocks go on.
    assert_eq!(clock.measured(at(10 + 8 * 3600, 0)), None);
    assert_eq!(
        clock.unix((10 + 8 * 3600) * S).0 - start.0,
        (1 + 8 * 3600) * S
    );
    // The battery's clock was two seconds off, which NTP mends.
    let step = clock.measured(at(20 + 8 * 3600, 2 * S as i64)).unwrap();
    assert_eq!(step.after - step.before, 2 * S as i64);
    assert_eq!(clock.unix(9 * S), start);
}

#[test]
fn the_first_step_after_boot_is_a_step_however_large() {
    // A board without a clock of its own begins in 1970.
    let clock = BootClock::with_offset(0);
    let start = clock.unix(3 * S);
    let step = clock.measured(at(40, 0)).unwrap();
    assert_eq!((step.before, step.after), (0, BEGAN));
    assert_eq!(clock.unix(3 * S), start);
    assert_eq!(clock.unix(40 * S).0, BEGAN as u64 + 40 * S);
}

#[test]
fn the_history_survives_a_restart_but_not_a_reboot() {
    let dir = tempfile::tempdir().unwrap();
    let first = BootClock::for_boot_as(dir.path(), BOOT, at(10, 0));
    assert_eq!(saved(dir.path()), Some(History::new(BEGAN)));
    first.measured(at(20, 5 * S as i64)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while saved(dir.path()).is_none_or(|saved| saved.newest().from_ns == 0) {
        assert!(Instant::now() < deadline, "the step is saved");
        thread::sleep(Duration::from_millis(10));
    }
    // Measured a little otherwise: a process has the start that it had.
    let second = BootClock::for_boot_as(dir.path(), BOOT, at(30, 5 * S as i64 + 1000));
    for boot_ns in [9 * S, 19 * S, 21 * S, 31 * S] {
        assert_eq!(second.unix(boot_ns), first.unix(boot_ns));
    }
    assert_eq!(second.measured(at(31, 5 * S as i64)), None);
    let rebooted = BootClock::for_boot_as(dir.path(), "another", at(5, 1000));
    assert_eq!(rebooted.unix(0).0 as i64, BEGAN + 1000);
}

#[test]
fn a_step_while_the_sensor_was_not_running_is_returned_after_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = BootClock::for_boot_as(dir.path(), BOOT, at(10, 0));
    let start = first.unix(9 * S);
    let second = BootClock::for_boot_as(dir.path(), BOOT, at(50, -(60 * S as i64)));
    assert_eq!(second.unix(9 * S), start);
    let step = second.measured(at(51, -(60 * S as i64))).unwrap();
    assert_eq!((step.at_ns, step.unwatched), (50 * S, true));
    assert!(
        step.reason().contains("was not running"),
        "{}",
        step.reason()
    );
    assert_eq!(second.measured(at(52, -(60 * S as i64))), None);
    assert_eq!(saved(dir.path()).unwrap().newest().from_ns, 50 * S);
}

#[test]
fn a_directory_that_cannot_be_written_costs_only_the_file() {
    let clock = BootClock::for_boot_as(Path::new("/proc/no/such"), BOOT, at(10, 0));
    assert!(clock.measured(at(20, 5 * S as i64)).is_some());
    assert_eq!(clock.unix(0).0 as i64, BEGAN);
}

#[test]
fn who_reads_while_another_measures_sees_one_of_the_differences() {
    let clock = BootClock::with_offset(BEGAN);
    let reader = clock.clone();
    let reading = thread::spawn(move || {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            let newest = reader.newest();
            // Each step is by as many seconds as it is after boot.
            assert_eq!(newest.offset - BEGAN, newest.from_ns as i64);
        }
    });
    for seconds in 1.. {
        if reading.is_finished() {
            break;
        }
        clock.measured(at(seconds, (seconds * S) as i64));
    }
    reading.join().unwrap();
}

proptest! {
    #[test]
    fn the_way_without_the_lock_gives_what_the_history_does(
        steps in prop::collection::vec((1..100u64, -1000..1000i64), 0..20),
        asked in 0..3000u64,
    ) {
        let clock = BootClock::with_offset(BEGAN);
        let mut seconds = 0;
        for (after, off) in steps {
            seconds += after;
            clock.measured(at(seconds, off * S as i64));
        }
        let history = lock(&clock.0.history).clone();
        let boot_ns = asked * S;
        prop_assert_eq!(clock.unix(boot_ns), history.at(boot_ns).unix(boot_ns));
        let time = clock.unix(boot_ns);
        prop_assert_eq!(clock.boot(time), history.boot(time));
    }
}
