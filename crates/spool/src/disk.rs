//! The files of the spool and what is known of them in memory.

mod drop;

pub use drop::HandedOver;

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    ops::RangeInclusive,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Lane, Note,
    losses::Losses,
    notes::Notes,
    recovery::{Lock, Scanned, close_gaps, lock, scan},
    segment::{self, HEADER, Header, Reader, Segment},
    state::{State, StateFile},
    unix_nanos,
};

const SEGMENT_BYTES: RangeInclusive<u64> = 64 << 10..=8 << 20;

/// A segment in use that is acknowledged to its end and is smaller than this is gone on with.
const KEEP_BYTES: u64 = 1 << 20;

/// Encoded events with their sequences.
pub type Records = Vec<(u64, Vec<u8>)>;

/// An open spool directory. It is locked: no second sensor can open it.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    lane: Lane,
    max_bytes: u64,
    segment_bytes: u64,
    /// Ascending ids; the first holds the head.
    segments: VecDeque<Segment>,
    notes: Notes,
    /// The last segment, when it is open for appending.
    active: Option<Arc<File>>,
    /// Something was written to `active` since it was last synced.
    dirty: bool,
    /// A write failed and could not be undone.
    in_doubt: bool,
    /// Writing the state failed: what it says of pins is not on disk.
    state_unwritten: bool,
    /// Segments that are to be marked as cut when what damage has lost is told.
    cut: Vec<u64>,
    /// Files that do not count any more and could not be removed yet.
    leftover: Vec<PathBuf>,
    state: State,
    state_file: Arc<StateFile>,
    next_record: u64,
    cursor: Option<Cursor>,
    /// Events dropped to make room, until somebody asks.
    dropped: u64,
    _lock: Lock,
}

/// Where the record `seq` begins.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    seq: u64,
    segment: u64,
    offset: u64,
}

#[derive(Debug)]
pub enum AppendError {
    /// All records are pinned.
    Full,
    Io(io::Error),
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What must still be made durable; done outside the spool's lock.
#[must_use]
#[derive(Debug)]
pub struct Unsynced {
    active: Option<Arc<File>>,
    state: Option<(Arc<StateFile>, State)>,
    durable: bool,
    /// To be removed once the state is durable.
    done: Vec<PathBuf>,
}

// === impl Unsynced ===

impl Unsynced {
    pub fn finish(&self) -> io::Result<()> {
        let Self {
            active,
            state,
            durable,
            done,
        } = self;
        if let Some(active) = active {
            active.sync_data()?;
        }
        if let Some((file, state)) = state {
            file.write(*state, *durable)?;
        }
        for path in done {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

// === impl Disk ===

impl Disk {
    /// Opens a directory, creating it when it is not there; what damage has lost is in the losses.
    pub fn open(directory: &Path, max_bytes: u64, lane: Lane) -> io::Result<(Self, Losses)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let lock = lock(directory)?;
        close_gaps(directory)?;
        let (state_file, saved) = StateFile::open(&directory.join("state"))?;
        let Scanned {
            segments,
            notes,
            losses,
            cut,
            damaged,
        } = scan(directory, saved)?;
        let next_record = segments
            .back()
            .map_or(0, |last| last.header.first_record + last.records);
        let head = segments.front().map(|first| first.header.id);
        let fresh = State {
            generation: saved.map_or(0, |state| state.generation),
            epoch: 0,
            acked_seq: 0,
            pinned_seq: 0,
            head_segment: head.unwrap_or(1),
            head_skip: 0,
        };
        let mut disk = Self {
            directory: directory.to_owned(),
            lane,
            max_bytes,
            segment_bytes: (max_bytes / 8).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end()),
            segments,
            notes,
            active: None,
            dirty: false,
            in_doubt: false,
            state_unwritten: false,
            cut,
            leftover: Vec::new(),
            state: saved.unwrap_or(fresh),
            state_file: Arc::new(state_file),
            next_record,
            cursor: None,
            dropped: 0,
            _lock: lock,
        };
        // Without segments the next one takes the place the state names.
        let head_is_there = head.is_none_or(|id| id == disk.state.head_segment);
        let head_records = disk.segments.front().map_or(0, |first| first.records);
        let skip_fits = head.is_none() || disk.state.head_skip <= head_records;
        if head.is_none() && disk.state.head_skip > 0 {
            disk.state.head_segment += 1;
            disk.state.head_skip = 0;
        }
        if !head_is_there || !skip_fits {
            disk.state.head_segment = head.unwrap_or(disk.state.head_segment);
            disk.state.head_skip = 0;
        }
        let pinned_are_there =
            disk.state.pinned_seq <= disk.state.acked_seq.saturating_add(disk.records());
        if saved.is_none() || damaged || !head_is_there || !skip_fits || !pinned_are_there {
            disk.new_epoch()?;
        }
        disk.take_what_was_told()?;
        File::open(directory)?.sync_all()?;
        Ok((disk, losses))
    }

    pub fn epoch(&self) -> u64 {
        self.state.epoch
    }

    pub fn acked_seq(&self) -> u64 {
        self.state.acked_seq
    }

    pub fn pinned_seq(&self) -> u64 {
        self.state.pinned_seq
    }

    /// A write failed half-way: the files must be read anew.
    pub fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Records that are not acknowledged.
    pub fn records(&self) -> u64 {
        let all: u64 = self.segments.iter().map(|segment| segment.records).sum();
        all.saturating_sub(self.state.head_skip)
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// What damage has lost is told: it is not counted again at the next start.
    pub fn losses_told(&mut self) -> io::Result<()> {
        while let Some(id) = self.cut.last() {
            // It may have been dropped or acknowledged since.
            let mut segments = self.segments.iter_mut();
            if let Some(segment) = segments.find(|segment| segment.header.id == *id) {
                segment.header.cut = true;
                segment::rewrite_flag(&self.directory, segment.header)?;
            }
            self.cut.pop();
        }
        Ok(())
    }

    /// How many events were dropped to make room since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// It could not be made durable: it must be done again.
    pub fn sync_failed(&mut self, unsynced: Unsynced) {
        let Unsynced {
            active,
            state,
            durable: _,
            done,
        } = unsynced;
        self.dirty |= active.is_some();
        self.state_unwritten |= state.is_some();
        self.leftover.extend(done);
    }

    /// Appends a record, dropping the oldest when there is no room.
    pub fn append(&mut self, payload: &[u8], note: Option<Note>) -> Result<(), AppendError> {
        let frame = segment::frame(payload);
        while self.bytes() + HEADER + frame.len() as u64 > self.max_bytes {
            self.drop_oldest()?;
        }
        let full = self
            .segments
            .back()
            .is_some_and(|last| last.bytes >= self.segment_bytes);
        if full || self.active.is_none() {
            self.roll()?;
        }
        let (Some(active), Some(last)) = (&self.active, self.segments.back_mut()) else {
            return Err(io::Error::other("no segment is open").into());
        };
        let mut file: &File = active;
        if let Err(error) = file.write_all(&frame) {
            // Part of it may be there: take it off again, or give the files up for now.
            self.in_doubt = file
                .set_len(last.bytes)
                .and_then(|()| seek_end(file))
                .is_err();
            // What comes next goes into a file of its own, so that this one can go, and make room,
            // once it is acknowledged.
            self.in_doubt |= self.seal().is_err();
            return Err(error.into());
        }
        self.notes.add(last.header.id, last.records, note);
        last.records += 1;
        last.bytes += frame.len() as u64;
        self.next_record += 1;
        self.dirty = true;
        Ok(())
    }

    /// What comes next goes into another segment.
    fn seal(&mut self) -> io::Result<()> {
        if let Some(active) = self.active.take()
            && self.dirty
        {
            active.sync_data()?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Id of the next segment.
    fn next_id(&self) -> u64 {
        self.segments
            .back()
            .map_or(self.state.head_segment, |last| last.header.covers + 1)
    }

    /// Seals the last segment and begins another.
    fn roll(&mut self) -> io::Result<()> {
        self.seal()?;
        let id = self.next_id();
        let header = Header {
            id,
            covers: id,
            first_record: self.next_record,
            tombstone: false,
            cut: false,
        };
        let file = segment::create(&self.directory, header).inspect_err(|_| {
            // A file left without its header would be in the way of the next attempt.
            let _ = fs::remove_file(segment::path(&self.directory, id));
        })?;
        File::open(&self.directory)?.sync_all()?;
        self.active = Some(Arc::new(file));
        self.segments.push_back(Segment {
            header,
            records: 0,
            bytes: HEADER,
        });
        Ok(())
    }

    /// Reads and pins records; they may be used once `finish` has returned.
    pub fn read_from(
        &mut self,
        seq: u64,
        max_bytes: usize,
        max_records: usize,
    ) -> io::Result<(Records, Unsynced)> {
        let mut records = Vec::new();
        let last_seq = self.state.acked_seq + self.records();
        let mut size = 0;
        let mut at = seq.max(self.state.acked_seq + 1);
        while at <= last_seq && records.len() < max_records {
            let (index, mut reader) = self.reader_at(at)?;
            let (id, last_index) = (self.segments[index].header.id, self.segments.len() - 1);
            let end = self.first_seq(index) + i128::from(self.segments[index].records);
            let mut enough = false;
            while i128::from(at) < end && records.len() < max_records {
                let Some(record) = reader.next()? else {
                    self.in_doubt = true;
                    return Err(io::Error::other(format!(
                        "segment {id:016x} is damaged at record {at}"
                    )));
                };
                if !records.is_empty() && size + record.len() > max_bytes {
                    enough = true;
                    break;
                }
                size += record.len();
                records.push((at, record));
                at += 1;
                self.cursor = Some(Cursor {
                    seq: at,
                    segment: id,
                    offset: reader.offset,
                });
            }
            if enough || index == last_index {
                break;
            }
        }
        let Some((pinned, _)) = records.last() else {
            return Ok((
                records,
                Unsynced {
                    active: None,
                    state: None,
                    durable: false,
                    done: vec![],
                },
            ));
        };
        let newly_pinned = *pinned > self.state.pinned_seq;
        self.state.pinned_seq = self.state.pinned_seq.max(*pinned);
        let mut to_sync = self.unsynced();
        if newly_pinned && to_sync.state.is_none() {
            to_sync.state = Some(self.next_state());
            to_sync.durable = true;
        }
        Ok((records, to_sync))
    }

    /// What is noted of the records from one sequence to another.
    pub fn notes(&self, seqs: RangeInclusive<u64>) -> Vec<(u64, Note)> {
        let mut found = Vec::new();
        let mut first = self.first_seq(0);
        for segment in &self.segments {
            let noted = self.notes.of(segment.header.id).filter_map(|(at, note)| {
                let seq = u64::try_from(first + i128::from(at)).ok()?;
                seqs.contains(&seq).then_some((seq, note))
            });
            found.extend(noted);
            first += i128::from(segment.records);
        }
        found
    }

    /// The record that was handed out as `seq`, if it is still there.
    pub fn handed_out(&self, seq: u64) -> io::Result<Option<Vec<u8>>> {
        let State {
            acked_seq,
            pinned_seq,
            head_skip,
            ..
        } = self.state;
        if seq > acked_seq && seq <= pinned_seq {
            return self.reader_at(seq)?.1.next();
        }
        // The last one that was acknowledged may still be in the first segment.
        let Some(first) = self.segments.front() else {
            return Ok(None);
        };
        if seq == 0 || seq != acked_seq || head_skip == 0 {
            return Ok(None);
        }
        let path = segment::path(&self.directory, first.header.id);
        let Some(mut reader) = Reader::open(&path)? else {
            return Ok(None);
        };
        for _ in 1..head_skip {
            if reader.next()?.is_none() {
                return Ok(None);
            }
        }
        reader.next()
    }

    /// Sequence of a segment's first record. Signed: at the head, records acknowledged in an earlier
    /// epoch come before sequence 1.
    fn first_seq(&self, index: usize) -> i128 {
        let before: u64 = self
            .segments
            .iter()
            .take(index)
            .map(|segment| segment.records)
            .sum();
        i128::from(self.state.acked_seq) + 1 + i128::from(before) - i128::from(self.state.head_skip)
    }

    /// Reads on at `seq`, in the segment of the index.
    fn reader_at(&self, seq: u64) -> io::Result<(usize, Reader)> {
        let mut index = 0;
        let mut first = self.first_seq(0);
        while let Some(segment) = self.segments.get(index) {
            let end = first + i128::from(segment.records);
            if i128::from(seq) < end {
                break;
            }
            first = end;
            index += 1;
        }
        let damaged = || io::Error::other(format!("no record {seq} in the spool"));
        let segment = self.segments.get(index).ok_or_else(damaged)?;
        let path = segment::path(&self.directory, segment.header.id);
        let mut reader = Reader::open(&path)?.ok_or_else(damaged)?;
        match self.cursor {
            Some(cursor) if cursor.seq == seq && cursor.segment == segment.header.id => {
                reader.seek(cursor.offset)?;
            }
            _ => {
                for _ in 0..i128::from(seq) - first {
                    reader.next()?.ok_or_else(damaged)?;
                }
            }
        }
        Ok((index, reader))
    }

    /// What was appended and is not synced.
    pub fn unsynced(&mut self) -> Unsynced {
        let active = self.active.as_ref().filter(|_| self.dirty).cloned();
        self.dirty = false;
        let again = std::mem::take(&mut self.state_unwritten);
        Unsynced {
            active,
            state: again.then(|| self.next_state()),
            durable: again,
            done: std::mem::take(&mut self.leftover),
        }
    }

    fn next_state(&mut self) -> (Arc<StateFile>, State) {
        self.state.generation += 1;
        (Arc::clone(&self.state_file), self.state)
    }

    /// Lets go of everything up to `seq`, which is at most the pinned one.
    pub fn ack(&mut self, seq: u64) -> Unsynced {
        let mut done = std::mem::take(&mut self.leftover);
        let mut more = seq.saturating_sub(self.state.acked_seq);
        if more == 0 && done.is_empty() {
            return Unsynced {
                active: None,
                state: None,
                durable: false,
                done,
            };
        }
        self.state.acked_seq = seq;
        while let Some(first) = self.segments.front().copied() {
            let left = first.records - self.state.head_skip;
            let last = self.segments.len() == 1;
            let goes_on = last && self.active.is_some() && first.bytes < KEEP_BYTES;
            if more < left || (more == left && goes_on) {
                self.state.head_skip += more;
                break;
            }
            if last {
                self.active = None;
                self.dirty = false;
            }
            more -= left;
            self.segments.pop_front();
            self.notes.forget(first.header.id);
            done.push(segment::path(&self.directory, first.header.id));
            self.state.head_segment = self
                .segments
                .front()
                .map_or(first.header.covers + 1, |next| next.header.id);
            self.state.head_skip = 0;
        }
        let durable = !done.is_empty();
        Unsynced {
            active: None,
            state: Some(self.next_state()),
            durable,
            done,
        }
    }

    /// Numbers what is not acknowledged from 1.
    pub fn new_epoch(&mut self) -> io::Result<u64> {
        self.state.epoch = next_epoch(self.state.epoch, unix_nanos(), self.lane);
        self.state.acked_seq = 0;
        self.state.pinned_seq = 0;
        self.cursor = None;
        let (file, state) = self.next_state();
        file.write(state, true)?;
        Ok(state.epoch)
    }
}

/// An epoch that this lane never had, whatever the clock says, and the other lane never has: the
/// lowest bit tells them apart. Random below a millisecond, so that copies of one machine do not
/// choose alike.
fn next_epoch(previous: u64, now: u64, lane: Lane) -> u64 {
    let mut random = [0; 4];
    // Without random bytes it is the clock alone that tells copies apart.
    let _ = getrandom::fill(&mut random);
    let random = u64::from(u32::from_le_bytes(random)) & 0xf_ffff;
    let base = now.max(previous).saturating_add(random);
    ((base & !1) | u64::from(lane == Lane::Findings)).saturating_add(2)
}

fn seek_end(mut file: &File) -> io::Result<()> {
    use io::Seek;
    file.seek(io::SeekFrom::End(0)).map(|_| ())
}

#[cfg(test)]
mod tests;
