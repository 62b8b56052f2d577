//! A disk in memory for the log, which fails, waits and loses what was not synced on command.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::store::medium::Medium;

/// One disk; clones are the same one. A power cut keeps what was synced, and of what was written since
/// any part, each write whole, in part, or not at all.
#[derive(Clone, Default)]
pub struct Disk {
    blocks: Arc<Mutex<Blocks>>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Blocks {
    synced: Vec<u8>,
    now: Vec<u8>,
    /// Since the last sync, in their order.
    writes: Vec<Write>,
}

/// What the disk does not do, or late.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every write fails with this.
    pub writes: Option<io::ErrorKind>,
    /// So many syncs fail from now on.
    pub syncs: u64,
    /// A sync takes so long.
    pub slow: Duration,
    /// The power is off: nothing is written or read any more.
    pub off: bool,
    /// Syncs that were done.
    pub synced: u64,
}

#[derive(Debug)]
enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

impl Write {
    /// The first `part` of 255 parts of it.
    fn apply(&self, to: &mut Vec<u8>, part: u8) {
        match self {
            Self::Length(length) => {
                if part > 0 {
                    to.resize(usize::try_from(*length).unwrap(), 0);
                }
            }
            Self::Bytes(offset, bytes) => {
                let start = usize::try_from(*offset).unwrap();
                let count = bytes.len() * usize::from(part) / 255;
                if to.len() < start + count {
                    to.resize(start + count, 0);
                }
                to[start..start + count].copy_from_slice(&bytes[..count]);
            }
        }
    }
}

// === impl Disk ===

impl Disk {
    /// What is there after a power cut; `parts` says how much of each write that was not synced.
    pub fn cut(&self, parts: &[u8]) -> Self {
        let blocks = self.blocks.lock().unwrap();
        let mut left = blocks.synced.clone();
        for (write, part) in blocks.writes.iter().zip(parts.iter().cycle()) {
            write.apply(&mut left, *part);
        }
        Self {
            blocks: Arc::new(Mutex::new(Blocks {
                synced: left.clone(),
                now: left,
                writes: Vec::new(),
            })),
            faults: Arc::default(),
        }
    }

    pub fn fail(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap());
    }

    pub fn faults(&self) -> Faults {
        self.faults.lock().unwrap().clone()
    }

    fn write_down(&self, write: Write) -> io::Result<()> {
        let Faults { writes, off, .. } = self.faults();
        if off {
            return Err(io::Error::other("the power is off"));
        }
        if let Some(kind) = writes {
            return Err(kind.into());
        }
        let mut blocks = self.blocks.lock().unwrap();
        write.apply(&mut blocks.now, 255);
        blocks.writes.push(write);
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        match self.faults().off {
            true => Err(io::Error::other("the power is off")),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.alive()?;
        Ok(self.blocks.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.alive()?;
        let blocks = self.blocks.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let found = blocks.now.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.write_down(Write::Length(length))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        std::thread::sleep(self.faults().slow);
        {
            let mut faults = self.faults.lock().unwrap();
            if faults.off {
                return Err(io::Error::other("the power is off"));
            }
            if faults.syncs > 0 {
                faults.syncs -= 1;
                return Err(io::Error::from_raw_os_error(5));
            }
            faults.synced += 1;
        }
        let mut blocks = self.blocks.lock().unwrap();
        blocks.synced = blocks.now.clone();
        blocks.writes.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.write_down(Write::Bytes(offset, data.to_vec()))
    }
}

impl Medium for Disk {
    fn name(&self) -> &Path {
        Path::new("in memory")
    }

    fn bytes(&self) -> Option<u64> {
        let blocks = self.blocks.lock().unwrap();
        Some(blocks.now.len() as u64).filter(|bytes| *bytes > 0)
    }

    fn remove(&self) -> io::Result<()> {
        *self.blocks.lock().unwrap() = Blocks::default();
        Ok(())
    }

    fn create(&self, builder: &mut Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.clone())
    }

    fn open(&self, builder: &mut Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.clone())
    }

    fn is_unreadable(&self) -> bool {
        false
    }

    fn sync_name(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_aside(&self) -> io::Result<PathBuf> {
        self.remove()?;
        Ok(PathBuf::from("elsewhere"))
    }
}
