//! What the sensor reports: the event model that sensor, wire and collector share.
//!
//! Each class of events is a file in `class/`, each part that several classes have one in `part/`.
//! There a field is written once, with its documentation, its names in JSON, on the wire and in the
//! tables, its words in the manifest, and what redaction does with it; everything else that knows
//! fields is derived from it ([`facts!`]) or visits it ([`Facts`], [`Class::each`]).
//!
//! Invariants:
//! - a fact that was not observed is `None`, never a guess or a zero;
//! - text from the kernel is kept as bytes ([`Text`]) and escaped only when it is written out;
//! - nothing here is redacted: `skep-redact` runs over an event before it leaves the process.
//!
//! The JSON form is documented in `docs/events.md` and is stable.
#![forbid(unsafe_code)]

#[macro_use]
mod facts;

#[cfg(feature = "proptest")]
pub mod any_event;
#[cfg(feature = "proptest")]
pub mod arbitrary;
mod borrowed;
mod class;
pub mod column;
mod event;
mod field;
mod id;
pub mod json;
mod named;
mod names;
mod part;
mod record;
pub mod sample;
mod secret;
mod text;
pub mod wire;

pub use borrowed::Borrowed;
pub use class::{
    ActRef, Change, ChangeOp, ChangeRef, Class, Classes, Connect, ConnectRef, Coverage,
    CoverageKind, CoveragePhase, Detail, Device, Exec, Exit, FileMode, Finding, Found, Lane, Lost,
    NetFamily, OfClass, Open, OpenRef, Phase, Protocol, SessionInfo, Severity, UserSource,
};
pub use column::{Cells, Column, Columns, Unfit};
pub use event::{Event, columns};
pub use facts::Facts;
pub use field::{Field, Redaction};
pub use id::{BootId, SessionId, UnixNanos};
pub use names::{OpenFlags, errno_name, proto_name, result_name, time_text};
pub use part::{Agent, Process, Repository, process_bytes};
pub use record::Note;
pub use secret::Secrets;
pub use text::Text;
pub use wire::{Invalid, Wire};
