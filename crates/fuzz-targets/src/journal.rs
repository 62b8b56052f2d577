//! The journal of sessions.

use skep_sensor::{
    journal::fuzz::{empty, read, write},
    track::kept::Kept,
};
use skep_spool::frame;

use crate::input::Input;

const BOOT: [u8; 16] = [7; 16];
/// As the journal names its boot.
const BOOT_AT: std::ops::Range<usize> = 8..24;

/// What is read can be written and read again. The input is a file, and then the records of one.
pub fn check(bytes: &[u8]) {
    let boot = bytes.get(BOOT_AT).and_then(|boot| boot.try_into().ok());
    let boot = boot.unwrap_or(BOOT);
    if let Some(kept) = read(bytes, &boot).kept {
        comes_back(kept, &boot);
    }

    let mut file = empty(&BOOT, 7);
    let mut input = Input(bytes);
    while !input.is_empty() {
        file.extend(frame(input.counted()));
    }
    let found = read(&file, &BOOT);
    comes_back(found.kept.expect("of this boot"), &BOOT);
    // A record that was torn is taken off, and costs nothing else.
    let torn = [&file[..], &frame(b"torn")[..9]].concat();
    let damage = found.damage;
    assert_eq!(read(&torn, &BOOT).damage, damage);
}

fn comes_back(kept: Kept, boot: &[u8; 16]) {
    // Arguments are kept as far as they fit, so what was written once stays.
    let once = sorted(again(&kept, boot));
    assert_eq!(once.sessions, sorted(kept.clone()).sessions);
    assert_eq!(once.processes.len(), kept.processes.len());
    assert_eq!(once.until_ns, kept.until_ns);
    assert_eq!(sorted(again(&once, boot)), once);
}

fn again(kept: &Kept, boot: &[u8; 16]) -> Kept {
    let found = read(&write(kept, boot), boot);
    assert_eq!(found.damage, None);
    found.kept.expect("of this boot")
}

fn sorted(mut kept: Kept) -> Kept {
    kept.sessions.sort_by_key(|session| session.id);
    kept.processes.sort_by_key(|process| process.tgid);
    kept
}
