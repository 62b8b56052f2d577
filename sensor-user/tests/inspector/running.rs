//! Processes that run already, as an adoption asks about them.

use std::os::unix::fs::MetadataExt;

use skep_abi::{FileKey, Hook};
use skep_event::Text;
use skep_sensor::{
    decode::{Common, Task},
    inspect::Inspector,
    track::adopt::Running as _,
};

use crate::desk::{NOBODY, Place, Running, inspector, is_root, limits, me, text};

/// As a walk over the task list would have found it.
pub fn walked(process: &Running, uid: u32) -> (Common, Task) {
    let pid = process.pid();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after = stat.rsplit(')').next().expect("a name");
    let ticks: u64 = after
        .split_whitespace()
        .nth(19)
        .expect("a start")
        .parse()
        .expect("a number");
    let exe = std::fs::metadata(format!("/proc/{pid}/exe")).expect("it runs");
    let common = Common {
        time_ns: 0,
        tgid: pid,
        tid: pid,
        start_ns: Some(ticks * 10_000_000 + 1),
        session: None,
        claim: None,
        image: None,
        ids: None,
        hook: Hook::TaskWalk,
    };
    let file = FileKey {
        ino: exe.ino(),
        ..FileKey::UNKNOWN
    };
    let task = Task {
        watched: false,
        file,
        ppid: 1,
        parent_start_ns: 1,
        uid,
        euid: uid,
    };
    (common, task)
}

fn image(
    inspector: &mut Inspector,
    (common, task): &(Common, Task),
) -> Option<skep_sensor::decode::Exec> {
    inspector.image(common, task, &mut || ())
}

#[test]
fn a_running_process_shows_what_it_executes() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let program = place.program("tool");
    for uid in [me(), NOBODY] {
        if uid == NOBODY && !is_root() {
            continue;
        }
        let process = Running::start(&program, Some(uid));
        // It has executed it once its arguments are there.
        let (common, task) = walked(&process, uid);
        let exec = image(&mut inspector, &(common, task)).expect("it runs");
        assert_eq!(exec.exe, Some(text(&program)));
        assert_eq!(exec.argv, [text(&program), Text::from("600")]);
        assert_eq!((exec.cwd, exec.uid), (Some(Text::from("/")), Some(uid)));
        let size = std::fs::metadata(&program).expect("there").len();
        assert_eq!(exec.file.expect("read").size, size);
    }
}

#[test]
fn a_pid_that_is_another_process_or_program_shows_nothing() {
    let place = Place::new();
    let mut inspector = inspector(limits());
    let process = Running::start(&place.program("tool"), None);
    let (common, task) = walked(&process, me());
    let earlier = Common {
        start_ns: common.start_ns.map(|ns| ns - 10_000_000),
        ..common
    };
    assert_eq!(image(&mut inspector, &(earlier, task)), None);
    let mut other = task;
    other.file.ino += 1;
    assert_eq!(image(&mut inspector, &(common, other)), None);
}
