//! What is out of the ordinary about records ([`Note`]), by where they are.
//!
//! In memory only: known when a record is appended, read from the records when the spool is opened.

use std::collections::BTreeMap;

use skep_event::Note;

/// By id of the segment and place in it.
#[derive(Debug, Default)]
pub struct Notes(BTreeMap<(u64, u64), Note>);

impl Notes {
    pub fn add(&mut self, segment: u64, record: u64, note: Option<Note>) {
        if let Some(note) = note {
            self.0.insert((segment, record), note);
        }
    }

    /// The segment is gone, or its records are.
    pub fn forget(&mut self, segment: u64) {
        let mut its = self.0.split_off(&(segment, 0));
        if let Some(after) = segment.checked_add(1) {
            self.0.append(&mut its.split_off(&(after, 0)));
        }
    }

    /// Those of a segment, by place.
    pub fn of(&self, segment: u64) -> impl Iterator<Item = (u64, Note)> {
        let its = self.0.range((segment, 0)..=(segment, u64::MAX));
        its.map(|((_, record), note)| (*record, *note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_is_gone_takes_its_notes_with_it_and_no_others() {
        let mut notes = Notes::default();
        for segment in [1, 2, u64::MAX] {
            notes.add(segment, 7, Some(Note::Malformed));
            notes.add(segment, 8, None);
        }
        notes.forget(2);
        let of = |segment| notes.of(segment).collect::<Vec<_>>();
        assert_eq!(of(1), [(7, Note::Malformed)]);
        assert_eq!(of(2), []);
        assert_eq!(of(u64::MAX), [(7, Note::Malformed)]);
    }
}
