//! What is known of programs that run, and the memory that takes.
//!
//! One image is shared by a process and those it forked that have not done anything yet; it is counted
//! once, for as long as one of them has it. An image of 8 KiB of arguments takes 200 KiB and more, and
//! whoever runs programs chooses how many of those there are: beyond the bound the largest lose their
//! arguments first, then executable and working directory. Events they have already been in keep them.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;
use skep_event::{Process, process_bytes};

/// Images smaller than this are not worth cutting.
const CUT_MIN: usize = 256;

/// Images in use, by address.
#[derive(Debug, Default)]
pub struct Images {
    users: HashMap<usize, Use, RandomState>,
    bytes: usize,
    serial: u64,
}

#[derive(Debug)]
struct Use {
    /// Order of arrival.
    serial: u64,
    users: usize,
    bytes: usize,
}

/// What is taken out of images to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Arguments,
    /// Executable and working directory as well.
    Paths,
}

// === impl Images ===

impl Images {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// One more has it.
    pub fn take(&mut self, image: &Arc<Process>) {
        let entry = self.users.entry(address(image)).or_insert_with(|| {
            let bytes = process_bytes(image);
            self.bytes += bytes;
            self.serial += 1;
            Use {
                serial: self.serial,
                users: 0,
                bytes,
            }
        });
        entry.users += 1;
    }

    /// One less has it.
    pub fn give_back(&mut self, image: &Arc<Process>) {
        let address = address(image);
        if let Some(entry) = self.users.get_mut(&address) {
            entry.users -= 1;
            if entry.users == 0 {
                self.bytes -= entry.bytes;
                self.users.remove(&address);
            }
        }
    }
}

impl Images {
    /// The largest, and of equals the oldest, by address: so many that without them the rest takes no more than `enough`.
    pub fn largest(&self, enough: usize) -> HashSet<usize, RandomState> {
        let mut sizes: Vec<(usize, u64, usize)> = self
            .users
            .iter()
            .map(|(address, image)| (image.bytes, image.serial, *address))
            .filter(|(bytes, ..)| *bytes > CUT_MIN)
            .collect();
        sizes.sort_unstable_by_key(|(bytes, serial, _)| (Reverse(*bytes), *serial));
        let mut left = self.bytes;
        let largest = sizes.into_iter().take_while(|(bytes, ..)| {
            let more = left > enough;
            left -= bytes - CUT_MIN;
            more
        });
        largest.map(|(.., address)| address).collect()
    }
}

// === impl Cut ===

impl Cut {
    /// The image without what is cut; `None` when there is nothing to cut.
    pub fn apply(self, image: &Process) -> Option<Process> {
        let mut cut = Process {
            argv: Vec::new(),
            argv_truncated: true,
            exe: None,
            cwd: None,
            cgroup: None,
            container_id: None,
            ..*image
        };
        if self == Self::Arguments {
            (cut.exe, cut.cwd) = (image.exe.clone(), image.cwd.clone());
            (cut.cgroup, cut.container_id) = (image.cgroup.clone(), image.container_id.clone());
        }
        let changes = !image.argv.is_empty()
            || self == Self::Paths
                && [&image.exe, &image.cwd, &image.cgroup, &image.container_id]
                    .iter()
                    .any(|text| text.is_some());
        changes.then_some(cut)
    }
}

pub fn address(image: &Arc<Process>) -> usize {
    Arc::as_ptr(image).addr()
}
