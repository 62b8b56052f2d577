//! The reader of a journal, for its fuzz target.

use super::{Found, entry, header, load, put};
use crate::track::kept::Kept;

/// What a journal of this boot says.
pub fn read(bytes: &[u8], boot: &[u8; 16]) -> Found {
    load(bytes, boot)
}

/// A journal of this boot, without a record.
pub fn empty(boot: &[u8; 16], until_ns: u64) -> Vec<u8> {
    header(boot, until_ns)
}

/// A journal that says this, with every image.
pub fn write(kept: &Kept, boot: &[u8; 16]) -> Vec<u8> {
    let mut out = empty(boot, kept.until_ns);
    for session in &kept.sessions {
        put(&mut out, &entry::session(session));
    }
    for process in &kept.processes {
        put(&mut out, &entry::process(process, true));
    }
    out
}
