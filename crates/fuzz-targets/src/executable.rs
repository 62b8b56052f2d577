//! Executed files: ELF headers, the scripts of Bun and Node inside, archives; code that is handed over.

use skep_sensor::identify::fuzz::{Executable, loads, options_in};

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

/// An archive: what a member holds is bounded, and a directory names no more members than its bytes allow.
pub fn archive(bytes: &[u8]) {
    /// The fixed part of an entry of the directory (APPNOTE 4.3.12).
    const ENTRY: usize = 46;
    /// As `identify/archive.rs` says.
    const MEMBER_MAX: usize = 1 << 20;
    let archive = FILE.with(|file| file.archive(bytes).expect("writes to memory"));
    let Some((members, largest, evidence)) = archive else {
        return;
    };
    assert!(members <= bytes.len() / ENTRY);
    assert!(largest <= MEMBER_MAX && evidence.len() <= EVIDENCE_MAX);
}

/// Code, and options that load it: what is found is bounded, and a comment that is added loads nothing.
pub fn code(bytes: &[u8]) {
    /// As `identify/code.rs` says.
    const LOADS_MAX: usize = 64;
    let found = loads(bytes);
    assert!(found.iter().all(|(loads, _)| *loads <= LOADS_MAX));
    let [javascript, python] = [b"\n// require('x')", b"\n#  import  xxxx"]
        .map(|comment| loads(&[bytes, comment.as_slice()].concat()));
    let is_whole = |(_, is_dynamic): (usize, bool)| !is_dynamic;
    if is_whole(found[0]) && is_whole(javascript[0]) {
        assert_eq!(found[0], javascript[0]);
    }
    if is_whole(found[1]) && is_whole(python[1]) {
        assert_eq!(found[1], python[1]);
    }
    let words: usize = options_in(bytes).iter().map(Vec::len).sum();
    assert!(words <= bytes.len());
}

fn is_within((offset, len): (u64, u64), (from, all): (u64, u64)) -> bool {
    let end = offset.checked_add(len);
    offset >= from && end.is_some_and(|end| end <= from + all)
}
