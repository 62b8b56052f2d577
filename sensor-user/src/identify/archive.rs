//! Files within a zip archive: packages of Yarn's Plug'n'Play, Python's zip applications.
//!
//! Invariants: an archive is bytes of somebody else's; what does not fit is no member. Nothing is unpacked but
//! the members asked for. Bounds: [`ENTRIES_MAX`] names, [`MEMBER_MAX`] bytes of a member, the directory of the
//! archive in [`BUFFER`] bytes at a time; what is read counts against the budget of the question.

use std::io::{self, Read};

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder, ZipLocator};

use super::source::Source;

pub(super) const MEMBER_MAX: usize = 1 << 20;
const ENTRIES_MAX: usize = 100_000;
const BUFFER: usize = 128 << 10;
/// A comment of 64 KiB may stand behind the end of the directory.
const END_SEARCH_MAX: u64 = 66 << 10;

impl ReaderAt for &Source {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.read_into(offset, buffer))
    }
}

/// A zip archive in a file.
pub(super) struct Archive<'s> {
    zip: ZipArchive<&'s Source>,
    buffer: Vec<u8>,
}

/// Where a member is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    at: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
}

// === impl Archive ===

impl<'s> Archive<'s> {
    /// `None` when the file is no archive.
    pub(super) fn open(source: &'s Source) -> Option<Self> {
        let mut buffer = vec![0; BUFFER];
        let locator = ZipLocator::new().max_search_space(END_SEARCH_MAX);
        let zip = locator.locate_in_reader(source, &mut buffer, source.len());
        Some(Self {
            zip: zip.ok()?,
            buffer,
        })
    }

    /// The members whose names are wanted, in the order of the archive's directory.
    pub(super) fn members(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, Member)> {
        let mut entries = self.zip.entries(&mut self.buffer);
        let mut members = Vec::new();
        for _ in 0..ENTRIES_MAX {
            let Ok(Some(entry)) = entries.next_entry() else {
                break;
            };
            let path = entry.file_path();
            let name: &[u8] = path.as_ref();
            if wanted(name) {
                let member = Member {
                    at: entry.wayfinder(),
                    method: entry.compression_method(),
                };
                members.push((name.to_vec(), member));
            }
        }
        members
    }

    /// What a member holds; `None` when that is more than [`MEMBER_MAX`], or packed in another way than zip
    /// archives of code are.
    pub(super) fn read(&self, member: Member) -> Option<Vec<u8>> {
        let entry = self.zip.get_entry(member.at).ok()?;
        let mut bytes = Vec::new();
        let max = MEMBER_MAX as u64 + 1;
        let read = match member.method {
            CompressionMethod::Store => entry.reader().take(max).read_to_end(&mut bytes),
            CompressionMethod::Deflate => {
                let unpacked = DeflateDecoder::new(entry.reader());
                unpacked.take(max).read_to_end(&mut bytes)
            }
            _ => return None,
        };
        (read.is_ok() && bytes.len() <= MEMBER_MAX).then_some(bytes)
    }
}
