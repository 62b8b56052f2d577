//! Records of the kernel programs.

use std::mem::offset_of;

use skep_abi::Header;
use skep_event::Text;
use skep_sensor::decode::{Body, Record, decode};

/// What a path can be longer than its bytes in the record: the mark of a cut, a slash, a number.
const LONGER: usize = 64;

/// Decodes the same whatever the buffer held, and gives no more text than there are bytes.
pub fn check(bytes: &[u8]) {
    one(bytes);
    // The length stands in the header: with the right one, what comes after it is looked at, too.
    let at = offset_of!(Header, len);
    let mut whole = bytes.to_vec();
    if let Some(len) = whole.get_mut(at..at + 4) {
        len.copy_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_ne_bytes());
        one(&whole);
    }
}

fn one(bytes: &[u8]) {
    let mut empty = Vec::new();
    let mut used = b"left from before".repeat(9);
    let first = decode(bytes, &mut empty);
    assert_eq!(first, decode(bytes, &mut used));
    if let Ok(record) = first {
        let text = text_bytes(&record);
        assert!(text <= bytes.len() + LONGER, "{text} of {}", bytes.len());
    }
}

fn text_bytes(record: &Record<'_>) -> usize {
    let of = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.as_bytes().len());
    match &record.body {
        Body::Exec(exec) => {
            let argv: usize = exec.argv.iter().map(|text| text.as_bytes().len()).sum();
            let texts = [&exec.exe, &exec.filename, &exec.cwd, &exec.terminal];
            argv + texts.into_iter().map(of).sum::<usize>()
        }
        Body::FailedExec(failed) => {
            let argv: usize = failed.argv.iter().map(|text| text.as_bytes().len()).sum();
            argv + of(&failed.filename)
        }
        Body::Change(change) => {
            let texts = [change.facts.path, change.facts.to, change.facts.attribute];
            texts.into_iter().flatten().map(<[u8]>::len).sum()
        }
        Body::Open(open) => open.facts.path.map_or(0, <[u8]>::len),
        Body::Connect(connect) => connect.facts.path.map_or(0, <[u8]>::len),
        Body::Fork(_) | Body::Exit(_) | Body::Task(_) | Body::Uring | Body::Socket(_) => 0,
    }
}
