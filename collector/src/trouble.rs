//! Why a redb file does not do as it is told, and that nothing in one ends the process.
//!
//! redb checks little of what it reads outside [`redb::Database::check_integrity`], and panics over
//! pages that make no sense: [`guarded`] makes that an answer.

use std::{
    io::ErrorKind::{InvalidData, UnexpectedEof},
    panic::AssertUnwindSafe,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// What is in it makes no sense.
    Damaged(String),
    /// Anything that may pass, such as a full disk.
    Other(String),
}

/// Does something with a file: what panics over it is damage, too.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Trouble::Damaged("reading it panicked".to_owned())))
}

// === impl Trouble ===

impl Trouble {
    pub fn reason(&self) -> String {
        match self {
            Self::Damaged(reason) => format!("damaged: {reason}"),
            Self::Other(reason) => reason.clone(),
        }
    }
}

/// What `redb` says of a file whose content is wrong; all else may pass.
impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        let text = error.to_string();
        match error {
            redb::Error::Io(io) if matches!(io.kind(), InvalidData | UnexpectedEof) => {
                Self::Damaged(text)
            }
            redb::Error::Corrupted(_)
            | redb::Error::RepairAborted
            | redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. } => Self::Damaged(text),
            _ => Self::Other(text),
        }
    }
}

macro_rules! from {
    ($($error:ty),*) => {$(
        impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
from!(
    redb::DatabaseError,
    redb::StorageError,
    redb::TransactionError,
    redb::TableError,
    redb::CommitError
);
