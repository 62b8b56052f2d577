//! Reads a journal that an earlier life of the sensor left.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{
    entry::Replay,
    format::{
        ANY_VERSION, BEGUN_AT, BOOT_AT, FRAME, Found, HEADER, HEADER_CRC_AT, HEARTBEAT_AT, MAGIC,
        MAX_BYTES,
    },
};
use skep_spool::frame;

/// The whole file; `None` when there is none.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it is no file of at most {MAX_BYTES} bytes"
        )));
    }
    let mut bytes = Vec::new();
    (&mut file).take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

pub fn load(bytes: &[u8], boot: &[u8; 16]) -> Found {
    let damaged = |damage: String, kept| Found {
        kept,
        damage: Some(damage),
    };
    let word = |at: usize| -> Option<u64> {
        let bytes = bytes.get(at..at + 8)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    };
    let half = |at: usize| -> Option<u32> {
        let bytes = bytes.get(at..at + 4)?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    };
    let header_crc = bytes.get(..HEADER_CRC_AT).map(crc32fast::hash);
    let good_header = bytes.starts_with(&MAGIC)
        && bytes.len() >= HEADER
        && header_crc.is_some()
        && header_crc == half(HEADER_CRC_AT);
    let is_of_another_version = bytes.starts_with(ANY_VERSION) && !bytes.starts_with(&MAGIC);
    if is_of_another_version {
        let damage = "another version of the sensor wrote it, in a format of its own";
        return damaged(damage.to_owned(), None);
    }
    if !good_header {
        return damaged("its header is not one".to_owned(), None);
    }
    if bytes.get(BOOT_AT..BEGUN_AT) != Some(boot.as_slice()) {
        return Found::default();
    }
    let beat = word(HEARTBEAT_AT).unwrap_or(0);
    let beat_good = half(HEARTBEAT_AT + 8) == Some(crc32fast::hash(&beat.to_le_bytes()));
    // At the latest it watched when it began.
    let until_ns = match beat_good {
        true => beat,
        false => word(BEGUN_AT).unwrap_or(0),
    };
    let mut replay = Replay::default();
    let mut damage = (!beat_good).then(|| "its heartbeat is not one".to_owned());
    let mut at = HEADER;
    while at < bytes.len() {
        let rest = bytes.len() - at;
        let length = half(at).map_or(usize::MAX, |length| length as usize);
        // Shorter than it says: it was being written.
        if rest < FRAME || (length <= skep_spool::MAX_RECORD && rest - FRAME < length) {
            break;
        }
        let payload = bytes.get(at + FRAME..(at + FRAME).saturating_add(length));
        let good =
            payload.filter(|payload| frame(payload).get(..FRAME) == bytes.get(at..at + FRAME));
        let taken = good.is_some_and(|payload| replay.take(payload));
        if !taken {
            damage = Some(format!("the record at byte {at} is not one"));
            break;
        }
        at += FRAME + length;
    }
    let kept = Some(replay.finish(until_ns));
    Found { kept, damage }
}
