//! Repeated opens are counted in the kernel: few records, every open in a count.

use std::sync::OnceLock;

use skep_event::{Detail, Event, SessionId, Text};

use crate::sensor::{Sensor, file, scratch, shown, wait_for};

pub fn sensor() -> &'static Sensor {
    static FOLDING: OnceLock<Sensor> = OnceLock::new();
    FOLDING.get_or_init(|| Sensor::start_folding(&[]))
}

/// Runs a shell script in a session of its own.
pub fn run(script: &str) -> SessionId {
    sensor().run(&["exec", "/bin/sh", "-c", script]).session
}

/// What was told of opens of `path` in a session.
fn opens(session: SessionId, path: &str) -> Vec<Event> {
    let mut opens = Vec::new();
    sensor().each(|event| {
        if event.session == Some(session)
            && let Detail::Open(open) = &event.detail
            && shown(open) == path
        {
            opens.push(event.clone());
        }
    });
    opens
}

fn count(event: &Event) -> u64 {
    match &event.detail {
        Detail::Open(open) => open.count,
        _ => 0,
    }
}

/// The events of opens of `path`, once they stand for as many opens as there were.
pub fn all_opens(session: SessionId, path: &str, expected: u64) -> Vec<Event> {
    wait_for("every open to be counted", || {
        let opens = opens(session, path);
        let total = opens.iter().map(count).sum::<u64>();
        assert!(total <= expected, "{total} of {expected}: {opens:?}");
        (total == expected).then_some(opens)
    })
}

#[test]
fn opens_of_two_programs_are_not_folded_together() {
    let directory = scratch("programs");
    let path = file(&directory, "shared");
    // Under the name busybox knows itself by.
    let other = directory.join("sh");
    std::fs::copy("/bin/sh", &other).expect("own directory");
    let other = other.to_str().expect("text");
    let session = run(&format!(
        ": < {path}; : < {path}; {other} -c ': < {path}; : < {path}; : < {path}'; : < {path}"
    ));
    let opens = all_opens(session, &path, 6);
    let by = |exe: &str| {
        opens
            .iter()
            .filter(|event| {
                let process = event.process.as_ref().expect("an open has a process");
                process.exe.as_ref().map(Text::escaped).as_deref() == Some(exe)
            })
            .map(count)
            .sum::<u64>()
    };
    assert_eq!(by(other), 3, "{opens:?}");
    std::fs::remove_dir_all(directory).expect("own directory");
}

#[test]
fn opens_by_other_names_of_a_file_are_told_by_those_names() {
    let directory = scratch("names");
    let path = file(&directory, "first");
    let at = |name: &str| {
        directory
            .join(name)
            .into_os_string()
            .into_string()
            .expect("text")
    };
    let (link, moved) = (at("link"), at("moved"));
    std::fs::hard_link(&path, &link).expect("own directory");
    let session = run(&format!(
        ": < {path}; : < {link}; : < {path}; : < {link}; mv {path} {moved}; : < {moved}; : < {moved}"
    ));
    for name in [&path, &link, &moved] {
        all_opens(session, name, 2);
    }
    std::fs::remove_dir_all(directory).expect("own directory");
}
