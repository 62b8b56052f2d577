//! What is done when the spool is opened: it is locked, and every segment is read.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use prost::Message;
use rustix::fs::{FlockOperation, flock};
use skep_proto::v1;

use super::{
    disk::Segment,
    losses::Losses,
    segment::{self, Reader},
    state::State,
    unix_nanos,
};

/// Held for as long as the file is open.
pub fn lock(directory: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join("lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(io::Error::other("another sensor uses this directory"))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Reads every segment; removes what no longer counts. The flag: records that may have been handed
/// out are damaged.
pub fn scan(
    directory: &Path,
    saved: Option<State>,
) -> io::Result<(VecDeque<Segment>, Losses, bool)> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(directory)? {
        ids.extend(entry?.file_name().to_str().and_then(segment::id_of));
    }
    ids.sort_unstable();
    let head = saved.map_or(0, |state| state.head_segment);
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut losses = Losses::default();
    let mut damaged = false;
    let mut last_time = 0;
    for (position, id) in ids.iter().enumerate() {
        let path = segment::path(directory, *id);
        let covered = segments
            .back()
            .is_some_and(|before| *id <= before.header.covers);
        if *id < head || covered {
            fs::remove_file(&path)?;
            continue;
        }
        let Some(reader) = Reader::open(&path)?.filter(|reader| reader.header.id == *id) else {
            // Made, and not yet given its header: nothing was in it. Or damaged: the next one tells
            // how many records are missing.
            fs::remove_file(&path)?;
            damaged |= position + 1 < ids.len();
            continue;
        };
        let scan = reader.scan(|record| {
            if let Ok(event) = v1::Event::decode(record) {
                last_time = event.time_unix_nano;
            }
        })?;
        // A tombstone stands for more records than it has.
        if let Some(before) = segments.back().filter(|before| !before.header.tombstone) {
            let expected = before.header.first_record + before.records;
            let missing = scan.header.first_record.saturating_sub(expected);
            if missing > 0 {
                losses.add_range("any", "corrupt", missing, last_time, unix_nanos());
                damaged = true;
            }
        }
        if scan.good_bytes < scan.file_bytes {
            OpenOptions::new()
                .write(true)
                .open(&path)?
                .set_len(scan.good_bytes)?;
        }
        segments.push_back(Segment {
            header: scan.header,
            records: scan.records,
            bytes: scan.good_bytes,
        });
    }
    Ok((segments, losses, damaged))
}
