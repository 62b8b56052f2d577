//! The state file: two slots, written in turn, so that a torn write leaves the other. Its room is
//! taken when it is made, so that it can be written on a full disk.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::segment::NUMBER_MAX;

/// Slots lie in different blocks of the disk.
const SLOT: u64 = 4096;
const BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"SKEPSTA1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Counts the writes; the higher slot is the newer.
    pub generation: u64,
    pub epoch: u64,
    pub acked_seq: u64,
    /// Highest sequence ever handed out in this epoch.
    pub pinned_seq: u64,
    /// The segment that holds the record after `acked_seq` (or will).
    pub head_segment: u64,
    /// How many records of it are acknowledged.
    pub head_skip: u64,
}

/// The open file; writes of older states than it holds are ignored.
#[derive(Debug)]
pub struct StateFile {
    file: File,
    written: Mutex<u64>,
}

// === impl State ===

impl State {
    fn to_bytes(self) -> [u8; BYTES] {
        let Self {
            generation,
            epoch,
            acked_seq,
            pinned_seq,
            head_segment,
            head_skip,
        } = self;
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        let words = [
            generation,
            epoch,
            acked_seq,
            pinned_seq,
            head_segment,
            head_skip,
        ];
        for (slot, word) in bytes[8..56].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[..56]);
        bytes[56..60].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Option<Self> {
        let crc = u32::from_le_bytes(bytes[56..60].try_into().expect("4 bytes"));
        if bytes[..8] != MAGIC || crc != crc32fast::hash(&bytes[..56]) {
            return None;
        }
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let state = Self {
            generation: word(8),
            epoch: word(16),
            acked_seq: word(24),
            pinned_seq: word(32),
            head_segment: word(40),
            head_skip: word(48),
        };
        let Self {
            generation,
            epoch,
            acked_seq,
            pinned_seq,
            head_segment,
            head_skip,
        } = state;
        let numbers = [generation, epoch, pinned_seq, head_segment, head_skip];
        let good = acked_seq <= pinned_seq && numbers.iter().all(|number| *number <= NUMBER_MAX);
        good.then_some(state)
    }
}

// === impl StateFile ===

impl StateFile {
    /// Opens or creates the file; the newest good state in it, if any.
    pub fn open(path: &Path) -> io::Result<(Self, Option<State>)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        // Room for both, while there is some: what waits must be able to go when the disk is full.
        let length = file.metadata()?.len();
        let all = SLOT * 2;
        if length < all {
            file.write_all_at(&vec![0; (all - length) as usize], length)?;
        }
        let slot = |index: u64| {
            let mut bytes = [0; BYTES];
            file.read_exact_at(&mut bytes, index * SLOT).ok()?;
            State::from_bytes(&bytes)
        };
        let newest = slot(0)
            .into_iter()
            .chain(slot(1))
            .max_by_key(|state| state.generation);
        let written = Mutex::new(newest.map_or(0, |state| state.generation));
        Ok((Self { file, written }, newest))
    }

    /// Writes a state; `durable`: it survives a power cut when this returns.
    pub fn write(&self, state: State, durable: bool) -> io::Result<()> {
        // Nothing is left half-done by a panic: the mutex guards a number.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if state.generation > *written {
            self.file
                .write_all_at(&state.to_bytes(), state.generation % 2 * SLOT)?;
            *written = state.generation;
        }
        if durable {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(generation: u64) -> State {
        State {
            generation,
            epoch: 9,
            acked_seq: 3,
            pinned_seq: 5,
            head_segment: 2,
            head_skip: 1,
        }
    }

    #[test]
    fn the_newest_state_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let (file, none) = StateFile::open(&path).unwrap();
        assert_eq!(none, None);
        for generation in 1..=5 {
            file.write(state(generation), true).unwrap();
        }
        file.write(state(4), true).unwrap();
        assert_eq!(StateFile::open(&path).unwrap().1, Some(state(5)));
    }

    #[test]
    fn a_torn_write_leaves_the_state_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let (file, _) = StateFile::open(&path).unwrap();
        file.write(state(1), true).unwrap();
        file.write(state(2), true).unwrap();
        file.file.write_all_at(b"torn", 20).unwrap();
        assert_eq!(StateFile::open(&path).unwrap().1, Some(state(1)));
    }
}
