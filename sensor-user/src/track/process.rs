//! The processes of sessions, by tgid.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

use super::{
    bounds::Bounds,
    images::{self, Cut, Images},
    session::Sessions,
};
use crate::decode::Ids;
use skep_event::{Process, SessionId};

/// A process of a session.
#[derive(Clone, Debug)]
pub struct Member {
    pub session: SessionId,
    /// It runs the agent itself, not a tool of it.
    pub core: bool,
    /// `real_parent` at its fork, where that was seen.
    pub ppid: Option<u32>,
    /// [`skep_abi::FileKey::image`] of what it runs; 0 when that is not known.
    pub executable: u64,
    /// As of the last exec, its own or an ancestor's.
    pub image: Arc<Process>,
    /// `image` under its own pid, made when first needed.
    pub own: Option<Arc<Process>>,
}

/// Outcome of [`Processes::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    Done,
    /// The process was the last of this other session, which is thereby over.
    Emptied(SessionId),
    /// At the bound: the process is not followed.
    NoRoom,
}

struct Entry {
    start_ns: Option<u64>,
    member: Member,
}

/// Bounded in number ([`Bounds::processes`]) and in memory ([`Bounds::image_bytes`]). Keeps the
/// sessions' process counts right.
pub struct Processes {
    by_tgid: HashMap<u32, Entry, RandomState>,
    images: Images,
    max: usize,
    image_bytes_max: usize,
    /// Images that were cut to make room.
    cut: u64,
}

// === impl Member ===

impl Member {
    /// Whether the kernel side saw it run something else than what its last exec was of.
    pub fn runs_another(&self, image: Option<u64>) -> bool {
        self.executable != 0 && image.is_some_and(|seen| seen != self.executable)
    }

    /// Whether its user ids are others than those it had when it last acted.
    #[inline]
    pub fn is_as_another(&self, ids: Option<Ids>) -> bool {
        let image = self.own.as_ref().unwrap_or(&self.image);
        ids.is_some_and(|ids| image.uid != Some(ids.uid) || image.euid != Some(ids.euid))
    }

    /// It has changed its user ids without an exec.
    pub fn go_on_as(&mut self, ids: Ids) {
        self.image = Arc::new(Process {
            uid: Some(ids.uid),
            euid: Some(ids.euid),
            ..Process::clone(&self.image)
        });
        self.own = None;
    }

    /// What it holds: its image, and the one under its own pid where that is another.
    fn images(&self) -> impl Iterator<Item = &Arc<Process>> {
        let own = self.own.iter();
        std::iter::once(&self.image).chain(own.filter(|own| !Arc::ptr_eq(own, &self.image)))
    }
}

// === impl Processes ===

impl Processes {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            by_tgid: HashMap::default(),
            images: Images::default(),
            max: bounds.processes,
            image_bytes_max: bounds.image_bytes,
            cut: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.by_tgid.len()
    }

    /// Memory of what the processes run.
    pub fn image_bytes(&self) -> usize {
        self.images.bytes()
    }

    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// The process with this pid, unless it started at another time (the pid was reused).
    #[inline]
    pub fn get(&self, tgid: u32, start_ns: Option<u64>) -> Option<&Member> {
        let entry = self.by_tgid.get(&tgid)?;
        let same = match (entry.start_ns, start_ns) {
            (Some(known), Some(asked)) => known == asked,
            _ => true,
        };
        same.then_some(&entry.member)
    }

    /// Takes a process in, in place of what had its pid.
    pub fn insert(
        &mut self,
        tgid: u32,
        start_ns: Option<u64>,
        member: Member,
        sessions: &mut Sessions,
    ) -> Inserted {
        if self.by_tgid.len() >= self.max && !self.by_tgid.contains_key(&tgid) {
            return Inserted::NoRoom;
        }
        sessions.add_process(member.session);
        self.hold(&member);
        let old = self.by_tgid.insert(tgid, Entry { start_ns, member });
        if let Some(old) = &old {
            self.let_go(&old.member);
        }
        self.make_room();
        match old {
            // An exec of the same process, or a process whose exit was lost.
            Some(old) if sessions.remove_process(old.member.session) == 0 => {
                Inserted::Emptied(old.member.session)
            }
            _ => Inserted::Done,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<u64>, &Member)> {
        self.by_tgid
            .iter()
            .map(|(tgid, entry)| (*tgid, entry.start_ns, &entry.member))
    }

    /// Changes what is known of a process; gives it back when the process is not followed.
    pub fn update(&mut self, tgid: u32, start_ns: Option<u64>, member: Member) -> Option<Member> {
        if self.get(tgid, start_ns).map(|known| known.session) != Some(member.session) {
            return Some(member);
        }
        self.hold(&member);
        let entry = self.by_tgid.get_mut(&tgid)?;
        let old = std::mem::replace(&mut entry.member, member);
        self.let_go(&old);
        self.make_room();
        None
    }

    /// True when it was the last of its session.
    pub fn remove(&mut self, tgid: u32, sessions: &mut Sessions) -> bool {
        match self.by_tgid.remove(&tgid) {
            Some(entry) => {
                self.let_go(&entry.member);
                sessions.remove_process(entry.member.session) == 0
            }
            None => false,
        }
    }

    fn hold(&mut self, member: &Member) {
        for image in member.images() {
            self.images.take(image);
        }
    }

    fn let_go(&mut self, member: &Member) {
        for image in member.images() {
            self.images.give_back(image);
        }
    }

    /// Cuts images, the largest first, until they take no more than three quarters of their bound, so
    /// that the next does not make it look at all of them again.
    fn make_room(&mut self) {
        if self.images.bytes() <= self.image_bytes_max {
            return;
        }
        let enough = self.image_bytes_max / 4 * 3;
        for what in [Cut::Arguments, Cut::Paths] {
            if self.images.bytes() > enough {
                self.cut_largest(what, enough);
            }
        }
    }

    fn cut_largest(&mut self, what: Cut, enough: usize) {
        let largest = self.images.largest(enough);
        let Self {
            by_tgid,
            images,
            cut,
            ..
        } = self;
        // Those that shared an image share what is left of it.
        let mut done: HashMap<*const Process, Arc<Process>, RandomState> = HashMap::default();
        let mut smaller = |image: &mut Arc<Process>| {
            if !largest.contains(&images::address(image)) {
                return;
            }
            let whole = image.clone();
            *image = match done.get(&Arc::as_ptr(&whole)) {
                Some(smaller) => smaller.clone(),
                None => {
                    let Some(smaller) = what.apply(&whole) else {
                        return;
                    };
                    *cut += 1;
                    let smaller = Arc::new(smaller);
                    done.insert(Arc::as_ptr(&whole), smaller.clone());
                    smaller
                }
            };
            images.take(image);
            images.give_back(&whole);
        };
        for entry in by_tgid.values_mut() {
            let Member { image, own, .. } = &mut entry.member;
            match own {
                Some(own) if Arc::ptr_eq(own, image) => {
                    smaller(image);
                    *own = image.clone();
                }
                Some(own) => {
                    smaller(image);
                    smaller(own);
                }
                None => smaller(image),
            }
        }
    }
}
