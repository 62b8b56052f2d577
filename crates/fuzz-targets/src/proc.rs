//! Files of `/proc`, `/etc/passwd`, and the state file of the clock.

use skep_event::Text;
use skep_sensor::{
    cgroup,
    clock::history::History,
    container::{self, Container},
    decode::arguments,
    probes::mount_point_in,
    proc::{Stat, parse_stat, terminal},
    users,
};

use crate::input::Input;

/// What is read is what another writer of the same file would have meant.
pub fn check(bytes: &[u8]) {
    if let Some(stat) = parse_stat(bytes) {
        assert_eq!(parse_stat(&line(&stat)).as_ref(), Some(&stat));
    }

    let argv = arguments(bytes, u32::MAX);
    let argv: Vec<&[u8]> = argv.iter().map(Text::as_bytes).collect();
    let whole = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    assert_eq!(argv.join(&0), whole);

    let number = u32::from_le_bytes(Input(bytes).array());
    assert!(terminal(number).is_none_or(
        |name| name.as_bytes().starts_with(b"pts") || name.as_bytes().starts_with(b"tty")
    ));

    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(place) = mount_point_in(text, "cgroup2")
    {
        assert!(text.contains(place) && !place.contains(' '));
    }

    if let Some(path) = cgroup::path_in(bytes) {
        assert!(path.as_bytes().starts_with(b"/"));
        if let Some(Container { id, .. }) = container::of_cgroup(&path) {
            assert!(!id.as_bytes().is_empty());
        }
    }

    // The first word of the file is the boot.
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some((boot, _)) = text.split_once(' ')
        && let Some(history) = History::read(text, boot)
    {
        assert_eq!(History::read(&history.write(boot), boot), Some(history));
    }

    for uid in [0, 1000] {
        if let Some(name) = users::find(bytes, uid) {
            assert!(!name.chars().any(|c| c.is_control() || c.is_whitespace()));
            let line = format!("{name}:x:{uid}:0::/:/bin/sh");
            assert_eq!(users::find(line.as_bytes(), uid), Some(name));
        }
    }
}

/// `/proc/PID/stat` of a process with a name that looks like the rest of the line.
fn line(stat: &Stat) -> Vec<u8> {
    let Stat {
        state,
        tty,
        flags,
        threads,
        start_ticks,
    } = stat;
    let rest =
        format!(" 1 1 1 {tty} 1 {flags} 1 0 0 0 5 6 0 0 20 0 {threads} 0 {start_ticks} 1 1\n");
    [b"7 (a) R 2 (b)) ", &[*state][..], rest.as_bytes()].concat()
}
