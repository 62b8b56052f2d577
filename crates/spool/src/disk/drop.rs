//! What goes when there is no room, and where that is told.
//!
//! The oldest segment that was never handed out is replaced by a *tombstone*: a segment of the `lost`
//! events that account for it. That is one `rename`, so that a crash finds either the records or the
//! account of them. A tombstone of the bulk is then handed over to the lane of findings, so that the
//! account is not held up by what it is an account of; that is one `rename` too, from one directory
//! into the other, so that each loss is told once.
//!
//! | in the bulk's directory | in the findings' | means |
//! |---|---|---|
//! | `N.seg` (and `N.gap`) | | not handed over; the gap is not needed |
//! | `N.gap` | `M.told` | handed over: the gap becomes `N.seg`, `M.told` becomes `M.seg` |
//! | `N.seg`, empty | `M.told`, `M.seg` | the same, nearly done |
//!
//! The empty tombstone stays, since it says that records are missing there and are accounted for.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use prost::Message;
use skep_proto::v1;

use super::{AppendError, Disk, HEADER, Header, Losses, Note, Reader, Segment, segment};

/// What became of the tombstones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedOver {
    /// There was nothing to hand over.
    Nothing,
    /// All, or as many as there was room for.
    Some,
}

impl Disk {
    /// Puts `lost` events in place of the oldest segment that was never handed out.
    pub(super) fn drop_oldest(&mut self) -> Result<(), AppendError> {
        let mut before: Option<usize> = None;
        for index in 0..self.segments.len() {
            let segment = self.segments[index];
            let untouched = self.is_untouched(index);
            if untouched && !segment.header.tombstone && segment.records > 0 {
                return Ok(self.bury(index, before)?);
            }
            before = (untouched && segment.header.tombstone).then_some(index);
        }
        Err(AppendError::Full)
    }

    /// Whether no record of the segment was ever handed out.
    fn is_untouched(&self, index: usize) -> bool {
        let whole = index > 0 || self.state.head_skip == 0;
        whole && self.first_seq(index) > i128::from(self.state.pinned_seq)
    }

    /// Replaces segment `index`, and the tombstone before it, by one tombstone.
    fn bury(&mut self, index: usize, tombstone: Option<usize>) -> io::Result<()> {
        if index + 1 == self.segments.len() {
            self.active = None;
            self.dirty = false;
        }
        let mut losses = Losses::default();
        for at in tombstone.into_iter().chain([index]) {
            let path = segment::path(&self.directory, self.segments[at].header.id);
            let Some(reader) = Reader::open(&path)? else {
                continue;
            };
            reader.scan(|record| {
                // Everything in it was encoded here, and its CRC holds.
                if let Ok(event) = v1::Event::decode(record) {
                    losses.add(&event, "spool_full");
                }
            })?;
        }
        let newly_lost = losses.newly_lost();
        let buried = self.segments[index].header;
        let place = tombstone.unwrap_or(index);
        let header = Header {
            covers: buried.covers,
            tombstone: true,
            ..self.segments[place].header
        };
        let records: Vec<Vec<u8>> = losses
            .into_events()
            .map(|event| event.encode_to_vec())
            .collect();
        let bytes = segment::replace(&self.directory, header, &records)?;
        self.segments[place] = Segment {
            header,
            records: records.len() as u64,
            bytes,
        };
        self.notes.forget(header.id);
        if place != index {
            self.notes.forget(buried.id);
            self.segments.remove(index);
            // `covers` already says that it does not count any more.
            let _ = fs::remove_file(segment::path(&self.directory, buried.id));
        }
        self.cursor = None;
        self.dropped = self.dropped.saturating_add(newly_lost);
        Ok(())
    }

    /// Hands tombstones that were not handed out over to `to`, as far as it has room.
    pub fn hand_over(&mut self, to: &mut Self) -> io::Result<HandedOver> {
        let mut outcome = HandedOver::Nothing;
        for index in 0..self.segments.len() {
            let segment = self.segments[index];
            let untold = segment.header.tombstone && segment.records > 0;
            if !untold || !self.is_untouched(index) {
                continue;
            }
            while to.bytes() + segment.bytes > to.max_bytes {
                match to.drop_oldest() {
                    Ok(()) => {}
                    Err(AppendError::Full) => return Ok(outcome),
                    Err(AppendError::Io(error)) => return Err(error),
                }
            }
            self.hand_over_one(index, to)?;
            outcome = HandedOver::Some;
        }
        Ok(outcome)
    }

    fn hand_over_one(&mut self, index: usize, to: &mut Self) -> io::Result<()> {
        let header = self.segments[index].header;
        to.seal()?;
        let id = to.next_id();
        let gap = segment::gap_path(&self.directory, header.id);
        let place = segment::path(&self.directory, header.id);
        let told = segment::told_path(&to.directory, id);
        segment::write(&gap, header, &[])?;
        // From here on the loss is the other lane's to tell.
        fs::rename(&place, &told).inspect_err(|_| {
            // It does nothing where it is.
            let _ = fs::remove_file(&gap);
        })?;
        self.cursor = None;
        self.notes.forget(header.id);
        self.segments[index] = Segment {
            header,
            records: 0,
            bytes: HEADER,
        };
        let taken = to.take_told(id);
        to.in_doubt |= taken.is_err();
        let closed = fs::rename(&gap, &place).and_then(|()| self.sync_directory());
        self.in_doubt |= closed.is_err();
        taken.and(closed)
    }

    /// Makes a tombstone of the other lane the newest segment of this one.
    fn take_told(&mut self, id: u64) -> io::Result<()> {
        self.sync_directory()?;
        let told = segment::told_path(&self.directory, id);
        let mut records = Vec::new();
        if let Some(reader) = Reader::open(&told)? {
            reader.scan(|record| records.push(record.to_vec()))?;
        }
        let header = Header {
            id,
            covers: id,
            first_record: self.next_record,
            tombstone: false,
            cut: false,
        };
        let bytes = segment::replace(&self.directory, header, &records)?;
        fs::remove_file(&told)?;
        for (record, index) in records.iter().zip(0..) {
            self.notes.add(id, index, Note::read(record));
        }
        let records = records.len() as u64;
        self.next_record += records;
        self.segments.push_back(Segment {
            header,
            records,
            bytes,
        });
        Ok(())
    }

    /// At the start: what was handed over to this lane when the sensor ended.
    pub(super) fn take_what_was_told(&mut self) -> io::Result<()> {
        let mut told: Vec<(u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(segment::told_id_of);
            told.extend(id.map(|id| (id, entry.path())));
        }
        told.sort_unstable();
        let ids: Vec<u64> = told.iter().map(|(id, _)| *id).collect();
        for (id, path) in told {
            let is_there = self.segments.iter().any(|have| have.header.id == id);
            if is_there || id < self.state.head_segment {
                fs::remove_file(path)?;
            } else {
                // It was to be the newest. If it cannot be that any more, it gets a place behind.
                let mut place = self.next_id().max(id);
                if place != id && ids.contains(&place) {
                    // That is where another one lies, whose turn comes.
                    let last = ids.iter().copied().fold(place, u64::max);
                    place = last.saturating_add(1);
                }
                if self.segments.is_empty() && place != self.state.head_segment {
                    self.state.head_segment = place;
                    self.state.head_skip = 0;
                    let (file, state) = self.next_state();
                    file.write(state, true)?;
                }
                fs::rename(path, segment::told_path(&self.directory, place))?;
                self.take_told(place)?;
            }
        }
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}
