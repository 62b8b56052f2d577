//! How much may be looked at for one question, and what could not be.
//!
//! Shared by everything that reads for the question. Once a budget is used up, every further look is refused,
//! and that is noted: the answer is then not "no".

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::candidate::Unjudged;

/// What one question may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes read of files.
    pub bytes: u64,
    /// Paths looked up and names read in directories.
    pub entries: u64,
}

/// A budget was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UsedUp;

/// Why something could not be looked at, and where that was met.
pub type Noted = (Unjudged, Option<Box<[u8]>>);

/// What is left of a budget, and what could not be looked at. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct Looks(Rc<State>);

#[derive(Debug)]
struct State {
    budget: Budget,
    bytes: Cell<u64>,
    entries: Cell<u64>,
    noted: RefCell<Option<Noted>>,
}

// === impl Budget ===

impl Budget {
    /// For tools and tests.
    pub const UNBOUNDED: Self = Self {
        bytes: u64::MAX,
        entries: u64::MAX,
    };
}

// === impl Looks ===

impl Looks {
    pub fn within(budget: Budget) -> Self {
        Self(Rc::new(State {
            budget,
            bytes: Cell::new(0),
            entries: Cell::new(0),
            noted: RefCell::new(None),
        }))
    }

    /// What was used of the budget.
    pub fn used(&self) -> Budget {
        Budget {
            bytes: self.0.bytes.get(),
            entries: self.0.entries.get(),
        }
    }

    /// The first thing that could not be looked at.
    pub fn noted(&self) -> Option<Noted> {
        self.0.noted.borrow().clone()
    }

    pub(super) fn note(&self, what: Unjudged, place: Option<&[u8]>) {
        let mut noted = self.0.noted.borrow_mut();
        if noted.is_none() {
            *noted = Some((what, place.map(Box::from)));
        }
    }

    /// One path or name is looked at.
    pub(super) fn entry(&self) -> Result<(), UsedUp> {
        self.spend(&self.0.entries, self.0.budget.entries, 1)
    }

    /// So many bytes are to be read.
    pub(super) fn read(&self, bytes: usize) -> Result<(), UsedUp> {
        self.spend(&self.0.bytes, self.0.budget.bytes, bytes as u64)
    }

    fn spend(&self, used: &Cell<u64>, budget: u64, more: u64) -> Result<(), UsedUp> {
        let then = used.get().saturating_add(more);
        if then > budget {
            self.note(Unjudged::OverBudget, None);
            return Err(UsedUp);
        }
        used.set(then);
        Ok(())
    }
}
