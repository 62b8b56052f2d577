//! The events a fold holds, and the ways to find them: by what they tell of, by process, by age.
//!
//! Events are in slots; two lists run through the slots, one in order of arrival, one through what is
//! of the same process. Every operation but growing is a few look-ups, and none allocates once the
//! table is as large as it was before. What was held is given back when the table empties.

use std::{collections::HashMap, time::Instant};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use skep_event::{Event, UnixNanos, process_bytes};

use crate::act::{Act, Folding};

/// Slots kept when the table is empty.
const KEPT: usize = 1024;

/// Names a slot.
pub type Index = u32;

/// An event that is held.
#[derive(Debug)]
pub struct Held {
    pub event: Event,
    pub closes: Instant,
    /// Where the kernel side counts repeats of it.
    pub folding: Option<Folding>,
    /// It has left, with what had been counted until then; kept for what is still to be counted.
    pub told: bool,
    hash: u64,
}

/// Which process; `None` start when it is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    pid: u32,
    start: Option<UnixNanos>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Links {
    before: Option<Index>,
    after: Option<Index>,
}

/// First and last of a list.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    first: Option<Index>,
    last: Option<Index>,
}

/// What is held of one process.
#[derive(Clone, Copy, Debug)]
struct Kin {
    ends: Ends,
    /// Memory of the process itself, which its events share.
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    held: Held,
    serial: u64,
    /// Memory of the process, when it is told: it may be gone everywhere else.
    process_bytes: usize,
    age: Links,
    kin: Links,
}

#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<Index>,
    by_key: HashTable<Index>,
    by_process: HashMap<ProcessKey, Kin, RandomState>,
    waiting: Ends,
    told: Ends,
    waiting_len: usize,
    told_len: usize,
    bytes: usize,
    serial: u64,
}

// === impl Held ===

impl Held {
    pub fn new(event: Event, hash: u64, closes: Instant, folding: Option<Folding>) -> Self {
        Self {
            event,
            closes,
            folding,
            told: false,
            hash,
        }
    }

    /// Bytes it takes, its process (which it shares) left out.
    fn bytes(&self) -> usize {
        size_of::<Slot>() + self.event.detail.heap_bytes()
    }
}

// === impl ProcessKey ===

impl ProcessKey {
    pub fn of(event: &Event) -> Option<Self> {
        let process = event.process.as_deref()?;
        Some(Self {
            pid: process.pid,
            start: process.start,
        })
    }
}

// === impl Table ===

impl Table {
    /// Events that have not left.
    pub fn waiting(&self) -> usize {
        self.waiting_len
    }

    /// Events that have left and are kept for what is still to be counted.
    pub fn told(&self) -> usize {
        self.told_len
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn get_mut(&mut self, index: Index) -> Option<&mut Held> {
        Some(&mut self.slots.get_mut(index as usize)?.as_mut()?.held)
    }

    /// As [`Table::get_mut`], unless the slot holds something else than when it had that serial number.
    pub fn get_serial(&mut self, index: Index, serial: u64) -> Option<&mut Held> {
        let slot = self.slots.get_mut(index as usize)?.as_mut()?;
        (slot.serial == serial).then_some(&mut slot.held)
    }

    /// The event this act repeats, if it waits.
    pub fn find(&self, hash: u64, act: &Act<'_>, epoch: Option<u32>) -> Option<Index> {
        self.by_key
            .find(hash, |index| {
                self.held(*index).is_some_and(|held| {
                    held.hash == hash
                        && held.folding.map(|folding| folding.epoch) == epoch
                        && act.repeats(&held.event)
                })
            })
            .copied()
    }

    /// The oldest of those that wait.
    pub fn oldest(&self) -> Option<(Index, &Held)> {
        let index = self.waiting.first?;
        Some((index, self.held(index)?))
    }

    /// The oldest of those told.
    pub fn oldest_told(&self) -> Option<(Index, &Held)> {
        let index = self.told.first?;
        Some((index, self.held(index)?))
    }

    /// What came after it, of those that wait or of those told as it does itself.
    pub fn after(&self, index: Index) -> Option<Index> {
        self.slot(index)?.age.after
    }

    /// The oldest of a process that waits.
    pub fn oldest_of(&self, process: ProcessKey) -> Option<Index> {
        self.by_process.get(&process)?.ends.first
    }

    pub fn serial(&self, index: Index) -> Option<u64> {
        Some(self.slot(index)?.serial)
    }

    pub fn held(&self, index: Index) -> Option<&Held> {
        Some(&self.slot(index)?.held)
    }

    /// Takes an event in.
    pub fn insert(&mut self, held: Held) -> Index {
        let (hash, bytes) = (held.hash, held.bytes());
        let process = ProcessKey::of(&held.event);
        let image = held.event.process.clone();
        self.serial += 1;
        let slot = Some(Slot {
            held,
            serial: self.serial,
            process_bytes: 0,
            age: Links::default(),
            kin: Links::default(),
        });
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                Index::try_from(self.slots.len() - 1).expect("bounded far below 2^32")
            }
        };
        self.bytes += bytes;
        self.waiting_len += 1;
        self.waiting = append(&mut self.slots, self.waiting, index, |slot| &mut slot.age);
        if let Some(process) = process {
            let kin = self.by_process.entry(process).or_insert_with(|| {
                let bytes = image.as_deref().map_or(0, process_bytes);
                self.bytes += bytes;
                let ends = Ends::default();
                Kin { ends, bytes }
            });
            kin.ends = append(&mut self.slots, kin.ends, index, |slot| &mut slot.kin);
        }
        let slots = &self.slots;
        self.by_key.insert_unique(hash, index, |index| {
            slots
                .get(*index as usize)
                .and_then(Option::as_ref)
                .map_or(0, |slot| slot.held.hash)
        });
        index
    }

    /// Marks one that waits as told: from now on it is found by its number only.
    pub fn tell(&mut self, index: Index) {
        self.unlist(index);
        self.told = append(&mut self.slots, self.told, index, |slot| &mut slot.age);
        self.told_len += 1;
        if let Some(Some(slot)) = self.slots.get_mut(index as usize) {
            slot.held.told = true;
            slot.process_bytes = slot.held.event.process.as_deref().map_or(0, process_bytes);
            self.bytes += slot.process_bytes;
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, index: Index) -> Option<Held> {
        if self.held(index)?.told {
            self.told = cut(&mut self.slots, self.told, index, |slot| &mut slot.age);
            self.told_len -= 1;
        } else {
            self.unlist(index);
        }
        let Slot {
            held,
            process_bytes,
            ..
        } = self.slots.get_mut(index as usize)?.take()?;
        self.bytes -= held.bytes() + process_bytes;
        self.free.push(index);
        if self.waiting_len + self.told_len == 0 {
            self.slots.clear();
            self.free.clear();
            if self.slots.capacity() > KEPT {
                self.slots.shrink_to(KEPT);
                self.free.shrink_to(KEPT);
                self.by_key.shrink_to(KEPT, |_| 0);
                self.by_process.shrink_to(KEPT);
            }
        }
        Some(held)
    }

    /// Takes one that waits out of everything it is found by.
    fn unlist(&mut self, index: Index) {
        let Some(held) = self.held(index) else {
            return;
        };
        let (hash, process) = (held.hash, ProcessKey::of(&held.event));
        if let Ok(entry) = self.by_key.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        self.waiting = cut(&mut self.slots, self.waiting, index, |slot| &mut slot.age);
        self.waiting_len -= 1;
        if let Some(process) = process
            && let Some(kin) = self.by_process.get_mut(&process)
        {
            kin.ends = cut(&mut self.slots, kin.ends, index, |slot| &mut slot.kin);
            if kin.ends.first.is_none() {
                self.bytes -= kin.bytes;
                self.by_process.remove(&process);
            }
        }
    }

    fn slot(&self, index: Index) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_ref()
    }
}

/// The links of a slot that is in the list.
fn links(
    slots: &mut [Option<Slot>],
    index: Index,
    list: fn(&mut Slot) -> &mut Links,
) -> &mut Links {
    let slot = slots
        .get_mut(index as usize)
        .and_then(Option::as_mut)
        .expect("what is in a list is in its slot");
    list(slot)
}

fn append(
    slots: &mut [Option<Slot>],
    ends: Ends,
    index: Index,
    list: fn(&mut Slot) -> &mut Links,
) -> Ends {
    *links(slots, index, list) = Links {
        before: ends.last,
        after: None,
    };
    if let Some(last) = ends.last {
        links(slots, last, list).after = Some(index);
    }
    Ends {
        first: ends.first.or(Some(index)),
        last: Some(index),
    }
}

fn cut(
    slots: &mut [Option<Slot>],
    ends: Ends,
    index: Index,
    list: fn(&mut Slot) -> &mut Links,
) -> Ends {
    let Links { before, after } = *links(slots, index, list);
    let mut ends = ends;
    match before {
        Some(before) => links(slots, before, list).after = after,
        None => ends.first = after,
    }
    match after {
        Some(after) => links(slots, after, list).before = before,
        None => ends.last = before,
    }
    ends
}
