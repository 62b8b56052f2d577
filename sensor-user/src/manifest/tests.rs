//! The manifest is held to the code: to the JSON form, to the protocol, to the committed page.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use super::*;
use skep_event::sample;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Names of what has a value, with dots.
fn keys(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                keys(value, &name, into);
            }
        }
        Value::Null => {}
        _ => {
            into.insert(prefix.to_owned());
        }
    }
}

fn samples() -> Vec<Event> {
    let mut killed = sample::exit();
    killed.detail = skep_event::Detail::Exit(skep_event::Exit {
        code: None,
        signal: Some(9),
    });
    let mut samples = sample::all();
    samples.push(killed);
    samples
}

#[test]
fn the_manifest_lists_exactly_the_keys_of_the_json_form() {
    let mut written = BTreeSet::new();
    for event in samples() {
        keys(
            &serde_json::from_str(&skep_event::json::write(&event)).unwrap(),
            "",
            &mut written,
        );
    }
    let listed: BTreeSet<String> = Event::fields()
        .iter()
        .filter_map(|field| field.name)
        .map(str::to_owned)
        .collect();
    assert_eq!(written, listed);
    assert_eq!(
        listed.len(),
        Event::fields().len(),
        "a name is listed twice"
    );
}

#[test]
fn each_field_names_the_classes_that_carry_it() {
    for event in samples() {
        let mut written = BTreeSet::new();
        keys(
            &serde_json::from_str(&skep_event::json::write(&event)).unwrap(),
            "",
            &mut written,
        );
        for field in Event::fields() {
            let name = field.name.unwrap();
            let carried = field.classes.contains(&event.class());
            // A session's events have the result of none; the samples set it everywhere.
            let everywhere = ["result", "hook", "session"].contains(&name);
            if written.contains(name) && !everywhere {
                assert!(carried, "{name} in {}", event.class().name());
            }
        }
    }
}

#[test]
fn every_json_line_has_every_top_level_key() {
    for event in samples() {
        let Value::Object(line) = serde_json::from_str(&skep_event::json::write(&event)).unwrap()
        else {
            panic!("no object");
        };
        let have: Vec<&str> = line.keys().map(String::as_str).collect();
        let mut expected = vec![
            "time",
            "boot_time",
            "boot_id",
            "class",
            "session",
            "agent",
            "process",
            "exec",
            "exit",
            "file",
            "net",
            "result",
            "hook",
            "session_info",
            "lost",
            "coverage",
            "finding",
            "change",
        ];
        expected.sort_unstable();
        assert_eq!(have, expected);
    }
}

/// Fields of a message of the protocol, with dots, read from the protocol itself.
fn wire_fields(message: &str, prefix: &str, into: &mut BTreeSet<String>) {
    let set = protox::compile(["skep/v1/skep.proto"], [root().join("proto")]).unwrap();
    let messages = set.file.iter().flat_map(|file| &file.message_type);
    let message = messages
        .into_iter()
        .find(|one| one.name() == message)
        .unwrap();
    for field in &message.field {
        let name = format!("{prefix}{}", field.name());
        if name == "batch" {
            // Bytes on the wire, and a batch in them.
            wire_fields("Batch", "batch.", into);
            continue;
        }
        let inner = field.type_name().strip_prefix(".skep.v1.");
        let is_message = set
            .file
            .iter()
            .flat_map(|file| &file.message_type)
            .any(|one| Some(one.name()) == inner);
        match inner {
            Some(inner) if is_message => wire_fields(inner, &format!("{name}."), into),
            _ => {
                into.insert(name);
            }
        }
    }
}

#[test]
fn the_manifest_lists_exactly_the_fields_that_leave_the_host() {
    let mut sent = BTreeSet::new();
    wire_fields("SensorMessage", "", &mut sent);
    let wire = |fields: &[Field], prefix: &str| -> Vec<String> {
        let names = fields.iter().filter_map(|field| field.wire);
        names.map(|name| format!("{prefix}{name}")).collect()
    };
    let mut listed: BTreeSet<String> = wire(&Event::fields(), "batch.events.")
        .into_iter()
        .collect();
    for name in wire(SENSOR_FIELDS, "") {
        let has_place = name.starts_with("batch.") || name.starts_with("outcome.");
        listed.insert(if has_place {
            name
        } else {
            format!("hello.{name}")
        });
    }
    assert_eq!(sent, listed);
}

/// Names of what contains a text.
fn holding(value: &Value, text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    keys(value, "", &mut names);
    names.retain(|name| {
        let at = name.split('.').fold(value, |value, key| &value[key]);
        at.to_string().contains(text)
    });
    names
}

#[test]
fn exactly_the_fields_marked_for_it_can_hold_a_secret_and_do_not_after_redaction() {
    let secret = concat!("gh", "p_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v");
    let redactor = Redactor::new();
    let json =
        |event: &Event| serde_json::from_str::<Value>(&skep_event::json::write(event)).unwrap();
    let mut before = BTreeSet::new();
    for mut event in samples() {
        sample::plant(&mut event, secret);
        before.extend(holding(&json(&event), secret));
        assert_eq!(
            holding(&json(&redactor.event(event)), secret),
            BTreeSet::new()
        );
    }
    let fields = Event::fields();
    let marked = fields
        .iter()
        .filter(|field| field.redaction != Redaction::None);
    let marked: BTreeSet<String> = marked
        .filter_map(|field| field.name)
        .map(str::to_owned)
        .collect();
    assert_eq!(before, marked);
}

#[test]
fn the_page_in_docs_is_current() {
    let path = root().join("docs/data-manifest.md");
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&path, markdown()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == markdown(),
        "docs/data-manifest.md is not current: run `SKEP_BLESS=1 cargo test -p skep-sensor manifest`"
    );
}

#[test]
fn explain_says_where_data_is_kept_and_goes() {
    let families = [Family {
        id: "claude-code".into(),
        name: "Claude Code".into(),
    }];
    let settings = Settings::of_defaults();
    let text = human(&settings, &families);
    for part in [
        "Agents: Claude Code.",
        "contents of files",
        "process.argv",
        "/var/lib/skep/spool, at most 256.0 MiB",
        "To the collector at http://127.0.0.1:7317, and nowhere else.",
        "Who set that: state_directory (default), spool.directory (default),",
    ] {
        assert!(text.contains(part), "{part:?} not in\n{text}");
    }
    let fields = Event::fields();
    let listed = fields.iter().filter_map(|field| field.name);
    assert_eq!(listed.filter(|name| !text.contains(name)).count(), 0);
    let parsed: Value = serde_json::from_str(&json(&settings, &families)).unwrap();
    assert_eq!(parsed["sent_to"], "http://127.0.0.1:7317");
    assert_eq!(parsed["set_by"]["collector.address"], "default");
    assert_eq!(
        parsed["fields"].as_array().unwrap().len(),
        Event::fields().len()
    );
    assert_eq!(parsed["watched"]["families"][0]["id"], "claude-code");
}
