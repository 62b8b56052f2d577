//! One segment file: a header, then records of `length u32 | crc32 u32 | payload`, little endian.
//! The CRC covers length and payload.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A larger event is not kept.
pub const MAX_RECORD: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"SKEPSPL1";
/// What every version of the format begins with; its last byte is the version.
const ANY_VERSION: &[u8] = MAGIC.split_at(7).0;
/// Numbers of a header or a state beyond this are damage when a spool is opened: at a record, a segment or
/// an epoch each nanosecond it takes 146 years to come here. So sums of what files say stay within 64 bits.
pub const NUMBER_MAX: u64 = 1 << 62;
pub const HEADER: u64 = 40;
const FRAME: u64 = 8;

/// What a segment file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub id: u64,
    /// Segments up to this id are replaced by this one; its own id when it replaces none.
    pub covers: u64,
    /// How many records had ever been appended before its first.
    pub first_record: u64,
    /// It holds only `lost` events, in place of records that were dropped.
    pub tombstone: bool,
    /// Damage took records between its last and the next segment, and that was told.
    pub cut: bool,
}

/// What is known of a segment file in memory.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub header: Header,
    pub records: u64,
    pub bytes: u64,
}

/// Where in a header it says whether it is a tombstone, or cut; the CRC follows.
const FLAG_AT: usize = 32;
const TOMBSTONE: u32 = 1;
const CUT: u32 = 2;

/// What reading a segment from end to end found.
#[derive(Debug)]
pub struct Scan {
    pub header: Header,
    pub records: u64,
    /// Length of the file as far as it is good.
    pub good_bytes: u64,
    pub file_bytes: u64,
}

// === impl Header ===

impl Header {
    fn to_bytes(self) -> [u8; HEADER as usize] {
        let mut bytes = [0; HEADER as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.covers.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_record.to_le_bytes());
        let flag = match (self.tombstone, self.cut) {
            // What is missing after a tombstone is what it stands for.
            (true, _) => TOMBSTONE,
            (false, true) => CUT,
            (false, false) => 0,
        };
        bytes[FLAG_AT..36].copy_from_slice(&flag.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER as usize]) -> Option<Self> {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        (bytes[..8] == MAGIC && half(36) == crc32fast::hash(&bytes[..36])).then(|| Self {
            id: word(8),
            covers: word(16),
            first_record: word(24),
            tombstone: half(FLAG_AT) == TOMBSTONE,
            cut: half(FLAG_AT) == CUT,
        })
    }

    /// Whether its numbers are some that a sensor comes to.
    pub fn is_plausible(&self) -> bool {
        let Self {
            id,
            covers,
            first_record,
            tombstone: _,
            cut: _,
        } = *self;
        (id..=NUMBER_MAX).contains(&covers) && first_record <= NUMBER_MAX
    }
}

pub fn path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{id:016x}.seg"))
}

/// What takes the place of a tombstone that is being handed over to the other lane.
pub fn gap_path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{id:016x}.gap"))
}

/// A tombstone of the other lane, before it is a segment of this one.
pub fn told_path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{id:016x}.told"))
}

/// The id in a segment's file name.
pub fn id_of(name: &str) -> Option<u64> {
    id_with(name, ".seg")
}

pub fn gap_id_of(name: &str) -> Option<u64> {
    id_with(name, ".gap")
}

pub fn told_id_of(name: &str) -> Option<u64> {
    id_with(name, ".told")
}

fn id_with(name: &str, suffix: &str) -> Option<u64> {
    let id = name.strip_suffix(suffix)?;
    let id = (id.len() == 16).then(|| u64::from_str_radix(id, 16).ok())?;
    id.filter(|id| *id <= NUMBER_MAX)
}

/// Where a segment of a version that is not understood is kept, for the sensor that wrote it.
pub fn aside_path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{id:016x}.seg.other-version"))
}

/// Where a segment whose header is damaged is kept.
pub fn damaged_path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{id:016x}.seg.damaged"))
}

/// Whether another version of the sensor wrote this file.
pub fn is_of_another_version(path: &Path) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    match File::open(path)?.read_exact(&mut magic) {
        Ok(()) => Ok(magic.starts_with(ANY_VERSION) && magic != MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates a segment for appending.
pub fn create(directory: &Path, header: Header) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path(directory, header.id))?;
    file.write_all(&header.to_bytes())?;
    Ok(file)
}

/// Writes the flag of a header into its segment, with the CRC: 8 bytes of one sector.
pub fn rewrite_flag(directory: &Path, header: Header) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .open(path(directory, header.id))?;
    file.write_all_at(&header.to_bytes()[FLAG_AT..], FLAG_AT as u64)
}

/// Writes a whole segment in one go, in place of what has its id, all or nothing.
pub fn replace(directory: &Path, header: Header, records: &[Vec<u8>]) -> io::Result<u64> {
    let new = directory.join("segment.new");
    let bytes = write(&new, header, records)?;
    std::fs::rename(&new, path(directory, header.id))?;
    File::open(directory)?.sync_all()?;
    Ok(bytes)
}

/// Writes a whole segment to a file; its length.
pub fn write(file: &Path, header: Header, records: &[Vec<u8>]) -> io::Result<u64> {
    let mut bytes = header.to_bytes().to_vec();
    for record in records {
        bytes.extend(frame(record));
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    Ok(bytes.len() as u64)
}

/// A record as it stands in the file. The payload is at most [`MAX_RECORD`] long.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(payload);
    let mut out = Vec::with_capacity(payload.len() + FRAME as usize);
    out.extend(length);
    out.extend(crc.finalize().to_le_bytes());
    out.extend(payload);
    out
}

/// Reads the records of a segment one after the other.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    pub header: Header,
    /// Where the next record begins.
    pub offset: u64,
    file_bytes: u64,
}

// === impl Reader ===

impl Reader {
    /// `None` when the file does not begin with a segment's header.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        let mut file = BufReader::new(file);
        let mut header = [0; HEADER as usize];
        match file.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let header = Header::from_bytes(&header);
        Ok(header.map(|header| Self {
            file,
            header,
            offset: HEADER,
            file_bytes,
        }))
    }

    /// Goes over a header that is damaged, to the records after it.
    pub fn after_header(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut reader = Self {
            file_bytes: file.metadata()?.len(),
            file: BufReader::new(file),
            header: Header {
                id: 0,
                covers: 0,
                first_record: 0,
                tombstone: false,
                cut: false,
            },
            offset: HEADER,
        };
        reader.seek(HEADER)?;
        Ok(reader)
    }

    /// Goes on at a record that begins at `offset`.
    pub fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        Ok(())
    }

    /// The next record; `None` at the end, or where the file is damaged.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; FRAME as usize];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let [a, b, c, d, crc @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MAX_RECORD {
            return Ok(None);
        }
        let mut payload = vec![0; length];
        if !self.fill(&mut payload)? {
            return Ok(None);
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[a, b, c, d]);
        hasher.update(&payload);
        if hasher.finalize() != u32::from_le_bytes(crc) {
            return Ok(None);
        }
        self.offset += FRAME + length as u64;
        Ok(Some(payload))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads to the end, handing each record to `each`.
    pub fn scan(mut self, mut each: impl FnMut(&[u8])) -> io::Result<Scan> {
        let mut records = 0;
        while let Some(record) = self.next()? {
            each(&record);
            records += 1;
        }
        let Self {
            header,
            offset,
            file_bytes,
            ..
        } = self;
        Ok(Scan {
            header,
            records,
            good_bytes: offset,
            file_bytes,
        })
    }
}
