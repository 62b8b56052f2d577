//! Many map entries in one system call (`BPF_MAP_LOOKUP_BATCH`, `BPF_MAP_DELETE_BATCH`, 5.6).
//!
//! The buffers grow to the largest table seen and are kept: nothing is allocated on the way.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use zerocopy::FromBytes;

/// `BPF_MAP_LOOKUP_BATCH`, `BPF_MAP_DELETE_BATCH` (enum bpf_cmd, linux/bpf.h).
const LOOKUP_BATCH: libc::c_long = 24;
const DELETE_BATCH: libc::c_long = 27;
/// Entries asked for at first. The kernel answers ENOSPC when one bucket holds more.
const AT_ONCE: usize = 1024;

/// `union bpf_attr`, `batch` (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Attr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Keys and values of a hash map.
pub struct Batch<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Batch<K, V> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl<K: FromBytes, V: FromBytes> Batch<K, V> {
    /// Reads the whole map. An entry that is put in meanwhile may be missed, or not.
    pub fn read(&mut self, map: BorrowedFd<'_>) -> io::Result<()> {
        self.keys.clear();
        self.values.clear();
        let mut position = [0u64; 8];
        let mut at_once = AT_ONCE;
        let mut begun = false;
        loop {
            self.keys.reserve(at_once);
            self.values.reserve(at_once);
            let mut next = [0u64; 8];
            let mut attr = Attr {
                in_batch: if begun { position.as_ptr() as u64 } else { 0 },
                out_batch: next.as_mut_ptr() as u64,
                keys: self.keys.spare_capacity_mut().as_mut_ptr() as u64,
                values: self.values.spare_capacity_mut().as_mut_ptr() as u64,
                count: u32::try_from(at_once).unwrap_or(u32::MAX),
                map_fd: fd(map),
                ..Attr::default()
            };
            let outcome = call(LOOKUP_BATCH, &mut attr);
            let last = match outcome {
                Ok(()) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    at_once *= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // SAFETY: the kernel has written `count` keys and as many values into the room reserved, and
            // any bytes make a key and a value (`FromBytes`).
            unsafe {
                self.keys.set_len(self.keys.len() + attr.count as usize);
                self.values.set_len(self.values.len() + attr.count as usize);
            }
            if last {
                return Ok(());
            }
            position = next;
            begun = true;
        }
    }

    /// Looks at what was read, and keeps the keys `keep` says true to.
    pub fn retain_keys(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let mut values = self.values.iter();
        self.keys
            .retain(|key| values.next().is_some_and(|value| keep(key, value)));
    }
    /// What was read.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }

    /// Deletes the keys held. One that is gone already is none the worse.
    pub fn delete(&mut self, map: BorrowedFd<'_>) -> io::Result<()> {
        let mut done = 0;
        while let Some(keys) = self.keys.get(done..).filter(|keys| !keys.is_empty()) {
            let mut attr = Attr {
                keys: keys.as_ptr() as u64,
                count: u32::try_from(keys.len()).unwrap_or(u32::MAX),
                map_fd: fd(map),
                ..Attr::default()
            };
            match call(DELETE_BATCH, &mut attr) {
                Ok(()) => break,
                // The key after those deleted is not there: go on behind it.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    done += attr.count as usize + 1;
                }
                Err(error) => return Err(error),
            }
        }
        self.keys.clear();
        self.values.clear();
        Ok(())
    }
}

fn fd(map: BorrowedFd<'_>) -> u32 {
    u32::try_from(map.as_raw_fd()).expect("an open descriptor is not negative")
}

fn call(command: libc::c_long, attr: &mut Attr) -> io::Result<()> {
    // SAFETY: `attr` lives through the call, has the layout of `union bpf_attr`, and points to
    // buffers of the sizes it names.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<Attr>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
