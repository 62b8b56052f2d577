//! What is done when the spool is opened: it is locked, every segment is read, and a spool of the
//! layout before lanes is taken over.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use prost::Message;
use rustix::fs::{FlockOperation, flock};
use skep_event::Note;
use skep_proto::v1;

use super::{
    losses::Losses,
    notes::Notes,
    segment::{self, HEADER, Reader, Segment},
    state::State,
    unix_nanos,
};

/// A directory that no other sensor can open, until it is dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread has forked and that has not
        // executed its program yet has the descriptor too, and with it the lock (flock(2)). It cannot
        // fail for a lock that is held.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Locks a directory.
pub fn lock(directory: &Path) -> io::Result<Lock> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join("lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(io::Error::other("another sensor uses this directory"))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Ends what handing over left undone ([`super::disk`]): a gap without its tombstone takes its place.
pub fn close_gaps(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(segment::gap_id_of) else {
            continue;
        };
        let place = segment::path(directory, id);
        if place.try_exists()? {
            fs::remove_file(entry.path())?;
        } else {
            fs::rename(entry.path(), place)?;
        }
    }
    Ok(())
}

/// Moves the files of a spool without lanes into `directory`, which is in it. The state goes last: it
/// says that there is something to move, so that a crash meanwhile is no harm.
pub fn take_over(before: &Path, directory: &Path) -> io::Result<()> {
    let state = before.join("state");
    if !state.try_exists()? {
        return Ok(());
    }
    if directory.join("state").try_exists()? {
        // Somebody went back to a sensor without lanes, and forward again.
        let error = io::Error::other(format!(
            "{} holds a spool of an older sensor beside that of this one: remove its state and *.seg \
             files, or move them into an empty {}",
            before.display(),
            directory.display()
        ));
        return Err(error);
    }
    let _lock = lock(before)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    for entry in fs::read_dir(before)? {
        let entry = entry?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| segment::id_of(name).is_some())
        {
            fs::rename(entry.path(), directory.join(name))?;
        }
    }
    File::open(directory)?.sync_all()?;
    fs::rename(&state, directory.join("state"))?;
    File::open(directory)?.sync_all()?;
    File::open(before)?.sync_all()?;
    for left in ["lock", "segment.new"] {
        match fs::remove_file(before.join(left)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    tracing::info!(directory = %before.display(), "the spool of an older sensor was taken over");
    Ok(())
}

/// What was found in a directory.
#[derive(Default)]
pub struct Scanned {
    pub segments: VecDeque<Segment>,
    pub notes: Notes,
    pub losses: Losses,
    /// Segments after which records are missing that are counted in `losses`.
    pub cut: Vec<u64>,
    /// Records that may have been handed out are damaged.
    pub damaged: bool,
}

/// Reads every segment; removes what no longer counts.
pub fn scan(directory: &Path, saved: Option<State>) -> io::Result<Scanned> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(directory)? {
        ids.extend(entry?.file_name().to_str().and_then(segment::id_of));
    }
    ids.sort_unstable();
    let head = saved.map_or(0, |state| state.head_segment);
    let Scanned {
        mut segments,
        mut notes,
        mut losses,
        mut cut,
        mut damaged,
    } = Scanned::default();
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
        if segment::is_of_another_version(&path)? {
            let aside = segment::aside_path(directory, *id);
            fs::rename(&path, &aside)?;
            tracing::error!(
                kept_as = %aside.display(),
                "what another version of the sensor left in the spool cannot be read: go back to that \
                 version to have it sent, or remove it"
            );
            continue;
        }
        let fits = |reader: &Reader| reader.header.id == *id && reader.header.is_plausible();
        let Some(reader) = Reader::open(&path)?.filter(fits) else {
            let is_last = position + 1 == ids.len();
            damaged |= !is_last;
            if fs::metadata(&path)?.len() <= HEADER {
                // Made, and not yet given its header: nothing was in it.
                fs::remove_file(&path)?;
                continue;
            }
            // The segments around it tell how many records are missing. At an end there are none, and
            // those that are whole are counted, less those that are acknowledged.
            let mut records = Reader::after_header(&path)?.scan(|_| {})?.records;
            let acked = saved.filter(|state| state.head_segment == *id);
            records = records.saturating_sub(acked.map_or(0, |state| state.head_skip));
            if (is_last || segments.is_empty()) && records > 0 {
                losses.add_range("any", "corrupt", records, last_time, unix_nanos());
            }
            damaged = true;
            let aside = segment::damaged_path(directory, *id);
            fs::rename(&path, &aside)?;
            tracing::error!(
                kept_as = %aside.display(), records,
                "a segment of the spool has a damaged header, and its records are counted as lost: \
                 remove it when it was looked at"
            );
            continue;
        };
        let mut index = 0;
        let scan = reader.scan(|record| {
            notes.add(*id, index, Note::read(record));
            index += 1;
            if let Ok(event) = v1::Event::decode(record) {
                last_time = event.time_unix_nano;
            }
        })?;
        // A tombstone stands for more records than it has, and after a cut one those that are missing are
        // told.
        let unaccounted = |before: &&Segment| !before.header.tombstone && !before.header.cut;
        if let Some(before) = segments.back().filter(unaccounted) {
            let expected = before.header.first_record + before.records;
            let missing = scan.header.first_record.saturating_sub(expected);
            if missing > 0 {
                losses.add_range("any", "corrupt", missing, last_time, unix_nanos());
                cut.push(before.header.id);
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
    Ok(Scanned {
        segments,
        notes,
        losses,
        cut,
        damaged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        assert!(error.to_string().contains("another sensor"), "{error}");
        drop(held);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn a_dropped_lock_is_free_also_while_a_forked_process_has_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        // What a fork makes of it: another descriptor of the same open file.
        let inherited = held.0.try_clone().unwrap();
        drop(held);
        lock(dir.path()).unwrap();
        drop(inherited);
    }
}
