//! The manifest for people: `skep-sensor explain`, and the page in `docs/`.

use std::fmt::Write;

use skep_event::Event;

use super::{
    Family, Field, KEPT, NEVER, RedactedKind, Redaction, RedactionRule, RuleTable, SENSOR_FIELDS,
    WATCHED, redacted_kinds, rule_tables, set_by,
};
use crate::{settings::Settings, status::page};

const WIDTH: usize = 96;

/// What `skep-sensor explain` prints.
pub fn human(settings: &Settings, families: &[Family]) -> String {
    let mut out = String::new();
    // Writing to a `String` does not fail.
    let _ = write_human(&mut out, settings, families);
    out
}

fn write_human(out: &mut String, settings: &Settings, families: &[Family]) -> std::fmt::Result {
    let config = &settings.config;
    writeln!(out, "WHAT SKEP COLLECTS ON THIS MACHINE\n")?;
    writeln!(out, "Who is watched")?;
    wrapped(out, "  ", WATCHED)?;
    if !families.is_empty() {
        let names: Vec<&str> = families.iter().map(|family| family.name.as_str()).collect();
        wrapped(out, "  ", &format!("Agents: {}.", names.join(", ")))?;
    }
    writeln!(out, "\nWhat is never collected")?;
    for never in NEVER {
        item(out, never)?;
    }
    writeln!(out, "\nWhat is collected")?;
    for (title, prefixes) in GROUPS {
        writeln!(out, "\n  {title}")?;
        let of_group = |field: &&Field| group(field) == *prefixes;
        for Field {
            name,
            meaning,
            example,
            redaction,
            ..
        } in Event::fields().iter().filter(of_group)
        {
            let mark = if *redaction == Redaction::None {
                ' '
            } else {
                '*'
            };
            let name = name.unwrap_or_default();
            writeln!(out, "   {mark}{name:<31} {meaning}, e.g. {example}")?;
        }
    }
    writeln!(
        out,
        "\n  About the sensor and the host: when it connects, with each batch, in answer to an order"
    )?;
    for Field {
        wire,
        meaning,
        example,
        ..
    } in SENSOR_FIELDS
    {
        writeln!(
            out,
            "    {:<31} {meaning}, e.g. {example}",
            wire.unwrap_or_default()
        )?;
    }
    writeln!(out)?;
    let starred = "* Secrets are taken out of these before they are stored, shown or sent. What is \
                   recognised (nothing recognises every secret):";
    wrapped(out, "  ", starred)?;
    for RedactedKind {
        kind,
        what,
        example,
    } in redacted_kinds()
    {
        item(out, &format!("{what}: {kind}"))?;
        writeln!(out, "      {example}")?;
    }
    let tables = "The rules it works from, each with its source (X is the secret; the notation is explained \
                  at the top of each file of crates/redact/rules in the source):";
    writeln!(out)?;
    wrapped(out, "  ", tables)?;
    for RuleTable { name, about, rules } in rule_tables() {
        writeln!(out, "\n  {name}: {about}")?;
        for RedactionRule { of, what, source } in rules {
            writeln!(out, "    {of}: {what}  ({source})")?;
        }
    }
    writeln!(out, "\nWhere it is kept")?;
    for kept in KEPT {
        item(out, kept)?;
    }
    let size = page::bytes(config.spool.max_bytes);
    let share = page::bytes(config.spool.findings_bytes);
    writeln!(
        out,
        "    state directory  {}",
        config.state_directory.display()
    )?;
    writeln!(
        out,
        "    spool            {}, at most {size}, of which {share} for findings",
        config.spool.directory.display()
    )?;
    writeln!(out, "\nWhere it goes")?;
    writeln!(
        out,
        "  To the collector at {}, and nowhere else.",
        config.collector.address
    )?;
    let set_by: Vec<String> = set_by(settings)
        .map(|(key, by)| format!("{key} ({by})"))
        .collect();
    writeln!(out)?;
    wrapped(out, "  ", &format!("Who set that: {}.", set_by.join(", ")))?;
    writeln!(
        out,
        "\nSee for yourself: `skep-sensor watch --json` prints every event in full."
    )
}

/// Heading, and the first part of the names under it.
const GROUPS: &[(&str, &str)] = &[
    ("With every event", ""),
    ("Which agent", "agent"),
    ("Which process", "process"),
    ("Programs it runs", "exec"),
    ("How they end", "exit"),
    ("Files it opens", "file"),
    ("Files it renames, removes or changes", "change"),
    ("Connections it makes", "net"),
    ("Once a session", "session_info"),
    ("What was missed", "lost"),
    ("What the sensor can vouch for", "coverage"),
    ("What should be looked at", "finding"),
];

fn group(field: &Field) -> &'static str {
    field
        .name
        .and_then(|name| name.split_once('.'))
        .map_or("", |(first, _)| first)
}

fn item(out: &mut String, text: &str) -> std::fmt::Result {
    let mut lines = String::new();
    wrapped(&mut lines, "    ", text)?;
    // The first line begins with a dash in place of its last two blanks.
    write!(out, "  - {}", lines.trim_start())
}

fn wrapped(out: &mut String, indent: &str, text: &str) -> std::fmt::Result {
    let mut column = 0;
    for word in text.split_whitespace() {
        if column == 0 {
            write!(out, "{indent}{word}")?;
            column = indent.len() + word.chars().count();
        } else if column + 1 + word.chars().count() > WIDTH {
            write!(out, "\n{indent}{word}")?;
            column = indent.len() + word.chars().count();
        } else {
            write!(out, " {word}")?;
            column += 1 + word.chars().count();
        }
    }
    writeln!(out)
}

/// `docs/data-manifest.md`.
pub fn markdown() -> String {
    let mut out = String::new();
    // Writing to a `String` does not fail.
    let _ = write_markdown(&mut out);
    out
}

fn write_markdown(out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "# Data manifest\n\n\
         Written by a test from `crates/event` (fields of events) and `sensor-user/src/manifest/`, the \
         definition that `skep-sensor explain` prints and that tests hold the code to. After a change \
         there: \
         `SKEP_BLESS=1 cargo test -p skep-sensor manifest`.\n"
    )?;
    writeln!(out, "## Who is watched\n\n{WATCHED}\n")?;
    writeln!(out, "`skep-sensor explain` lists the agents.\n")?;
    writeln!(out, "## What is never collected\n")?;
    for never in NEVER {
        writeln!(out, "- {never}")?;
    }
    writeln!(
        out,
        "\n## What is collected\n\n\
         *Secrets out*: `text` is searched for shapes of secrets and for URLs that carry one, `command` \
         is also read as a command line. Everything here leaves the host, to the collector.\n\n\
         | field | wire | in events | meaning | example | why | secrets out |\n\
         |---|---|---|---|---|---|---|"
    )?;
    for Field {
        name,
        wire,
        classes,
        meaning,
        example,
        why,
        redaction,
    } in Event::fields()
    {
        let name = name.unwrap_or_default();
        let wire = wire.map_or_else(
            || "(which detail is set)".to_owned(),
            |wire| format!("`{wire}`"),
        );
        let classes: Vec<&str> = classes.iter().map(|class| class.name()).collect();
        let classes = classes.join(" ");
        let redaction = match redaction {
            Redaction::None => "",
            Redaction::Text => "text",
            Redaction::Command => "command",
        };
        writeln!(
            out,
            "| `{name}` | {wire} | {classes} | {meaning} | `{example}` | {why} | {redaction} |"
        )?;
    }
    writeln!(
        out,
        "\n## Fields about the sensor and the host\n\n\
         Sent when the sensor connects, with each batch of events (`batch.`) and in answer to an order of\n\
         the collector (`outcome.`).\n\n\
         | wire | meaning | example | why |\n|---|---|---|---|"
    )?;
    for Field {
        wire,
        meaning,
        example,
        why,
        ..
    } in SENSOR_FIELDS
    {
        writeln!(
            out,
            "| `{}` | {meaning} | `{example}` | {why} |",
            wire.unwrap_or_default()
        )?;
    }
    writeln!(
        out,
        "\n## Secrets that are taken out\n\n\
         Before an event is stored, shown or sent. A secret with neither a known shape nor a telling \
         name or place is not recognised. The rules are the tables in `crates/redact/rules`; \
         `skep-sensor explain` prints them.\n\n| what | replaced by | a made-up command line afterwards |\n|---|---|---|"
    )?;
    for RedactedKind {
        kind,
        what,
        example,
    } in redacted_kinds()
    {
        let kind = if kind == "***" {
            kind.to_owned()
        } else {
            format!("[redacted:{kind}]")
        };
        writeln!(
            out,
            "| {what} | `{kind}` | `{}` |",
            example.replace('|', "\\|")
        )?;
    }
    writeln!(out, "\n| table | rules | |\n|---|---|---|")?;
    for RuleTable { name, about, rules } in rule_tables() {
        writeln!(out, "| `{name}` | {} | {about} |", rules.len())?;
    }
    writeln!(out, "\n## Where it is kept\n")?;
    for kept in KEPT {
        writeln!(out, "- {kept}")?;
    }
    writeln!(
        out,
        "\nPaths and sizes are in the configuration (`deploy/sensor.toml`); `skep-sensor explain` prints \
         those that hold on a machine.\n\n## Where it goes\n\nTo the collector that the configuration \
         names, and nowhere else."
    )
}
