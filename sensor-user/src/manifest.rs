//! What is collected, said to the person it is collected about: the one definition behind
//! `skep-sensor explain` and `docs/data-manifest.md`.
//!
//! The fields of events are those of the event model ([`skep_event::Facts::fields`]).
//!
//! Invariant, held by tests: the fields are exactly the keys of the JSON form and exactly the
//! fields of the messages that leave the host. A field that is collected and not listed fails the
//! build's tests, and so does one that is listed and not collected.

mod sensor;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;
use skep_event::Event;
use skep_redact::{Finder, RULES, Redactor, tables};

use crate::settings::Settings;

pub use sensor::SENSOR_FIELDS;
pub use skep_event::{Field, Redaction};
pub use text::{human, markdown};

/// A kind of secret that is taken out.
#[derive(Clone, Debug, Serialize)]
pub struct RedactedKind {
    pub kind: &'static str,
    pub what: &'static str,
    /// A made-up command line after redaction.
    pub example: String,
}

/// A table of the rules by which secrets are recognised.
#[derive(Clone, Debug, Serialize)]
pub struct RuleTable {
    pub name: &'static str,
    pub about: &'static str,
    pub rules: Vec<RedactionRule>,
}

/// A rule, in the notation of its table.
#[derive(Clone, Debug, Serialize)]
pub struct RedactionRule {
    pub of: &'static str,
    pub what: &'static str,
    /// Manual page, vendor's page or public set of rules.
    pub source: &'static str,
}

/// An agent family that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Family {
    /// Catalogue id.
    pub id: String,
    /// Name people know it by.
    pub name: String,
}

/// What is never collected.
pub const NEVER: &[&str] = &[
    "contents of files: a file that is opened is named, not read. The sensor itself reads an agent's \
     package files, and HEAD and config of the repository it works in, for the fields listed here",
    "prompts, answers and anything else inside a connection",
    "environment variables: no value is recorded (to tell what some programs are, the sensor looks whether \
     one switch of theirs, such as BUN_BE_BUN, is set, and which files variables such as NODE_OPTIONS have \
     an interpreter load; the evidence for an agent names the variable it was loaded by)",
    "what is typed, shown on the screen or put on the clipboard",
    "output of commands",
    "processes that are neither an agent nor started by one, directly or through others",
    "serial numbers, hardware addresses, location",
];

/// What stays on this host.
pub const KEPT: &[&str] = &[
    "the random install id and the boot clock, in the state directory",
    "which processes are in which session, in the state directory, redacted already, of this boot only",
    "events that the collector has not acknowledged, in the spool, redacted already",
    "counters, shown by `skep-sensor status`; once a minute the log says how much was sent",
];

/// All of it, for `explain --json`.
#[derive(Debug, Serialize)]
pub struct Manifest<'a> {
    pub version: &'static str,
    pub watched: Watched<'a>,
    pub fields: Vec<Field>,
    pub sensor_fields: &'static [Field],
    pub never: &'static [&'static str],
    pub redacted: Vec<RedactedKind>,
    pub rules: Vec<RuleTable>,
    pub kept: Kept<'a>,
    pub sent_to: &'a str,
    /// Who set the values shown here, by their keys in the configuration.
    pub set_by: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
pub struct Watched<'a> {
    pub rule: &'static str,
    pub families: &'a [Family],
}

#[derive(Debug, Serialize)]
pub struct Kept<'a> {
    pub what: &'static [&'static str],
    pub state_directory: &'a std::path::Path,
    pub spool_directory: &'a std::path::Path,
    pub spool_max_bytes: u64,
    pub spool_findings_bytes: u64,
}

/// Who is watched.
pub const WATCHED: &str = "Only the AI coding agents listed here, and every process that one of \
    them starts, directly or through others, until it ends. A program is taken for an agent by \
    evidence such as its package files, not by its name alone. Until a new program is recognised, \
    what it does is held back, and thrown away on this host when it turns out to be no agent.";

/// The manifest under a configuration.
pub fn manifest<'a>(settings: &'a Settings, families: &'a [Family]) -> Manifest<'a> {
    let config = &settings.config;
    Manifest {
        version: env!("CARGO_PKG_VERSION"),
        watched: Watched {
            rule: WATCHED,
            families,
        },
        fields: Event::fields(),
        sensor_fields: SENSOR_FIELDS,
        never: NEVER,
        redacted: redacted_kinds(),
        rules: rule_tables(),
        kept: Kept {
            what: KEPT,
            state_directory: &config.state_directory,
            spool_directory: &config.spool.directory,
            spool_max_bytes: config.spool.max_bytes,
            spool_findings_bytes: config.spool.findings_bytes,
        },
        sent_to: &config.collector.address,
        set_by: set_by(settings).collect(),
    }
}

/// Keys of the values that a manifest shows, and who set them.
fn set_by(settings: &Settings) -> impl Iterator<Item = (&'static str, String)> {
    let shown = [
        "state_directory",
        "spool.directory",
        "spool.max_bytes",
        "spool.findings_bytes",
        "collector.address",
    ];
    shown
        .map(|key| (key, settings.by(key).to_string()))
        .into_iter()
}

/// What `explain --json` prints.
pub fn json(settings: &Settings, families: &[Family]) -> String {
    serde_json::to_string_pretty(&manifest(settings, families))
        .expect("no map with keys that are not text, no failing writer")
}

/// The rules that the redactor works from.
pub fn rule_tables() -> Vec<RuleTable> {
    let table = |table: skep_redact::Table| RuleTable {
        name: table.name,
        about: table.about,
        rules: table
            .entries
            .into_iter()
            .map(|skep_redact::Entry { of, what, source }| RedactionRule { of, what, source })
            .collect(),
    };
    tables().into_iter().map(table).collect()
}

/// Every kind of secret, each with an example the redactor itself has been over.
pub fn redacted_kinds() -> Vec<RedactedKind> {
    let redactor = Redactor::new();
    let kinds = RULES.iter().map(|rule| {
        let argv: Vec<_> = rule.example.iter().map(|word| (*word).into()).collect();
        let argv = redactor.argv(&argv, false).unwrap_or(argv);
        let kind = match rule.finder {
            Finder::UrlUserinfo => "***",
            _ => rule.kind,
        };
        RedactedKind {
            kind,
            what: rule.description,
            example: crate::output::human::command(&argv),
        }
    });
    kinds.collect()
}

#[cfg(test)]
mod tests;
