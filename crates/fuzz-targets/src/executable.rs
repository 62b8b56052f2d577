//! Executed files: ELF headers, and the scripts of Bun and Node inside.

use skep_sensor::identify::fuzz::Executable;

/// As `identify/elf.rs` says.
const SECTIONS_MAX: usize = 512;
/// Words of evidence for each marker of a catalogue that has a few dozen.
const EVIDENCE_MAX: usize = 1_000;

thread_local! {
    static FILE: Executable = Executable::new().expect("a file in memory");
}

/// Headers: a note lies in the file, and there are no more sections than the bound.
pub fn elf(bytes: &[u8]) {
    let headers = FILE.with(|file| file.headers(bytes).expect("writes to memory"));
    let Some(headers) = headers else { return };
    assert!(headers.sections <= SECTIONS_MAX);
    if let Some(note) = headers.note {
        assert!(is_within(note, (0, bytes.len() as u64)), "{note:?}");
    }
}

/// What is said to be bundled lies in the file, its parts in it; the evidence is bounded.
pub fn bundle(bytes: &[u8]) {
    FILE.with(|file| {
        if let Some(bundled) = file.bundled(bytes).expect("writes to memory") {
            assert!(is_within(bundled.whole, (0, bytes.len() as u64)));
            for part in bundled.likely {
                assert!(is_within(part, bundled.whole), "{part:?}");
            }
        }
        let evidence = file.evidence(bytes).expect("writes to memory");
        assert!(evidence.len() <= EVIDENCE_MAX);
    });
}

fn is_within((offset, len): (u64, u64), (from, all): (u64, u64)) -> bool {
    let end = offset.checked_add(len);
    offset >= from && end.is_some_and(|end| end <= from + all)
}
