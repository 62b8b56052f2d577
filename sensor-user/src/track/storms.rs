//! Storms of changes: many files changed in the same way in one folder.
//!
//! The first [`TOLD`] changes of a kind that a process makes in a folder within a second are told one by
//! one, the rest as changes of the folder, which the fold counts. Bounded: at [`FOLDERS_MAX`] kinds of
//! change in a second, what is new is told one by one.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
};

use foldhash::fast::RandomState;
use skep_event::ChangeRef;

/// Changes of a kind in a folder and second that are told one by one.
const TOLD: u32 = 8;
/// Kinds of change that are counted in a second.
const FOLDERS_MAX: usize = 4096;
const SECOND_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub struct Storms {
    second: u64,
    /// By process, kind and folder.
    changes: HashMap<u64, u32, RandomState>,
    hasher: RandomState,
}

impl Storms {
    /// Counts a change of a process at a time of the boot clock; true when it is one of many.
    pub fn is_more(&mut self, tgid: u32, time_ns: u64, change: &ChangeRef<'_>) -> bool {
        let Some(folder) = change.path.and_then(folder) else {
            return false;
        };
        // Records of several processors are nearly in order: an older second is not begun again.
        let second = time_ns / SECOND_NS;
        if second > self.second {
            self.second = second;
            self.changes.clear();
        }
        let mut state = self.hasher.build_hasher();
        (tgid, change.op).hash(&mut state);
        state.write(folder);
        let key = state.finish();
        if self.changes.len() >= FOLDERS_MAX && !self.changes.contains_key(&key) {
            return false;
        }
        let count = self.changes.entry(key).or_default();
        *count = count.saturating_add(1);
        *count > TOLD
    }

    /// The same change as one of many in its folder.
    pub fn of_folder(change: ChangeRef<'_>) -> ChangeRef<'_> {
        ChangeRef {
            op: change.op,
            path: change.path.and_then(folder),
            to: change.to.and_then(folder),
            resolved: change.resolved,
            many: true,
            ..ChangeRef::default()
        }
    }
}

/// The folder a path is in; none of a name alone.
fn folder(path: &[u8]) -> Option<&[u8]> {
    match memchr::memrchr(b'/', path)? {
        0 => Some(b"/"),
        end => path.get(..end),
    }
}

#[cfg(test)]
mod tests {
    use skep_event::ChangeOp;

    use super::*;

    fn unlink(path: &str) -> ChangeRef<'_> {
        ChangeRef {
            op: ChangeOp::Unlink,
            path: Some(path.as_bytes()),
            ..ChangeRef::default()
        }
    }

    #[test]
    fn beyond_a_handful_a_second_in_a_folder_they_are_many() {
        let mut storms = Storms::default();
        for n in 0..TOLD {
            assert!(!storms.is_more(7, 5, &unlink(&format!("/a/{n}"))));
        }
        assert!(storms.is_more(7, 5, &unlink("/a/x")));
        for (tgid, time, path) in [(8, 5, "/a/x"), (7, 5, "/b/x"), (7, SECOND_NS, "/a/x")] {
            assert!(!storms.is_more(tgid, time, &unlink(path)), "{path}");
        }
        let change = Storms::of_folder(unlink("/a/x"));
        assert_eq!((change.path, change.many), (Some(&b"/a"[..]), true));
        assert_eq!(Storms::of_folder(unlink("/x")).path, Some(&b"/"[..]));
    }

    #[test]
    fn at_the_bound_what_is_new_is_told_one_by_one() {
        let mut storms = Storms::default();
        for n in 0..FOLDERS_MAX {
            storms.is_more(7, 5, &unlink(&format!("/{n}/x")));
        }
        for _ in 0..=TOLD {
            assert!(!storms.is_more(7, 5, &unlink("/new/x")));
        }
        assert_eq!(storms.changes.len(), FOLDERS_MAX);
    }
}
