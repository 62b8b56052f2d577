//! Rows of the data manifest: what an event says, to the person of whom it is said.
#![expect(
    clippy::extra_unused_type_parameters,
    reason = "the macros call every kind alike, with the field's type and its type on the wire"
)]

use serde::Serialize;

use crate::{Class, Facts, column::Part};

/// One fact that is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Key in JSON, with dots; `None` when it is not part of an event.
    pub name: Option<&'static str>,
    /// Field in `skep.v1` (`proto/skep/v1/skep.proto`), with dots; `None` when it does not leave the
    /// host as a field of its own.
    pub wire: Option<&'static str>,
    /// Classes of events that can carry it.
    pub classes: &'static [Class],
    pub meaning: &'static str,
    pub example: &'static str,
    pub why: &'static str,
    pub redaction: Redaction,
}

/// What is done to a field before it leaves the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Redaction {
    /// It is a number, a name of ours, or nothing that can hold a secret.
    None,
    /// Searched for shapes of secrets and for URLs that carry one.
    Text,
    /// Also read as a command line.
    Command,
}

/// Why facts are collected, where several have one reason.
pub mod why {
    pub const WHO: &str = "tells whose agent it was, where accounts differ";
    pub const WHICH_PROCESS: &str = "tells processes apart and puts them into a tree";
    pub const WHERE_WORKED: &str = "tells which project the agent worked on";
    pub const CONTAINER: &str =
        "tells which container it was in, and where its numbers and paths mean something else";
    pub const FILES: &str = "answers which files the agent looked at or changed";
    pub const SAME_FILE: &str = "tells that two paths are one file";
    pub const DESTINATIONS: &str = "answers where data went";
    pub const COMMANDS: &str = "answers what the agent ran";
    pub const RECOGNITION: &str = "answers which agent it was, and how that is known";
    pub const COMPLETENESS: &str = "says honestly what is missing";
    pub const ATTENTION: &str = "tells people what they should look at";
    pub const FOLDING: &str = "many equal events are reported as one";
}

/// The redaction that the functions of [`crate::secret`] stand for.
#[expect(non_upper_case_globals, reason = "named as the functions are")]
pub(crate) mod redaction {
    use super::Redaction;

    pub const none: Redaction = Redaction::None;
    pub const ours: Redaction = Redaction::None;
    pub const text: Redaction = Redaction::Text;
    pub const command: Redaction = Redaction::Command;
}

macro_rules! one_row {
    ($($kind:ident)*) => {$(
        pub(crate) fn $kind<T>(rows: &mut Vec<Field>, field: Field) {
            rows.push(field);
        }
    )*};
}

one_row! { text texts arguments flag short int long wide signed time }

/// A part has rows of its own.
pub(crate) fn part<T: Part>(rows: &mut Vec<Field>, _: Field) {
    T::Facts::fields(rows);
}
