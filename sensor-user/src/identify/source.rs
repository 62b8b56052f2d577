//! Bounded reading of a file that somebody else may be changing.
//!
//! Invariants: nothing is mapped, so a file that shrinks gives a short read and not a signal, and
//! reading it leaves nothing in this process; every read is of a length the caller has bounded; an
//! I/O error, or a budget that is used up, is a short read, and is noted.

use std::{fs::File, os::unix::fs::FileExt};

use super::{candidate::Unjudged, looks::Looks};

/// A regular file opened for reading.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    len: u64,
    looks: Option<Looks>,
}

// === impl Source ===

impl Source {
    /// `len` is the size the file had when it was opened; nothing past it is read.
    pub(super) fn new(file: File, len: u64) -> Self {
        Self {
            file,
            len,
            looks: None,
        }
    }

    /// What is read counts there, and what cannot be read is noted there.
    pub(super) fn counted_by(self, looks: &Looks) -> Self {
        Self {
            looks: Some(looks.clone()),
            ..self
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buffer` from `offset` on; returns how many bytes there were.
    pub(super) fn read_into(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let available = self.len.saturating_sub(offset);
        let wanted = usize::try_from(available)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let is_refused = |looks: &Looks| looks.read(wanted).is_err();
        if self.looks.as_ref().is_some_and(is_refused) {
            return 0;
        }
        let mut filled = 0;
        while filled < wanted {
            match self
                .file
                .read_at(&mut buffer[filled..wanted], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if let Some(looks) = &self.looks {
                        let errno = error.raw_os_error().unwrap_or(0);
                        looks.note(Unjudged::Unreadable { errno }, None);
                    }
                    break;
                }
            }
        }
        filled
    }

    /// At most `max` bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, max: usize) -> Vec<u8> {
        let available = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; max.min(available)];
        let filled = self.read_into(offset, &mut buffer);
        buffer.truncate(filled);
        buffer
    }

    /// Exactly `N` bytes at `offset`, or nothing.
    pub(super) fn read_array<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut buffer = [0; N];
        (self.read_into(offset, &mut buffer) == N).then_some(buffer)
    }
}

/// Little-endian integers out of a slice that may be too short.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}
