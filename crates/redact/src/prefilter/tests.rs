//! Every name, program and shape of the tables opens the prefilter.

use super::*;
use crate::program::Item;

#[test]
fn an_ordinary_command_line_triggers_nothing() {
    for text in [
        "bash",
        "-c",
        "cargo build --workspace",
        "/usr/bin/rg",
        "--json",
        "TODO",
        "cd /home/dev && ls -la && pwd -P >| /tmp/claude-1234-cwd",
        "npm install @scope/pkg",
        "git@github.com:org/repo.git",
        "sudo apt-get update",
    ] {
        assert!(
            Prefilter::get().scan(text.as_bytes()).rough.nothing(),
            "{text}"
        );
    }
}

#[test]
fn every_name_of_the_table_opens_it() {
    for [class, words, _] in crate::table::rows::<3>(crate::table::NAMES) {
        for word in words.split_whitespace() {
            let name = match class {
                "password" | "compound" | "key" | "variable" | "header" => word.to_owned(),
                "pass" => format!("{word}pass"),
                _ => continue,
            };
            for text in [
                format!("{name}=x"),
                format!("--{name} x"),
                format!("x '{name}' : y"),
                format!("{}=x", name.to_ascii_uppercase()),
            ] {
                let found = Prefilter::get().scan(text.as_bytes());
                assert!(found.rough.has(Rough::NAME), "{text}");
            }
        }
    }
}

#[test]
fn every_program_of_the_table_opens_it() {
    for program in &rules().programs {
        let words: Vec<_> = program
            .words
            .iter()
            .map(|w| String::from_utf8_lossy(w))
            .collect();
        for name in &program.names {
            let name = String::from_utf8_lossy(name.name);
            if !program.has_arguments() {
                let line = format!("echo x | /usr/bin/{name} {}", words.join(" "));
                let found = Prefilter::get().scan(line.as_bytes());
                assert!(found.rough.has(Rough::INPUT), "{line}");
            }
            if program.has_arguments() {
                let opened = |word: &str| {
                    let found = Prefilter::get().scan(word.as_bytes());
                    found.rough.has(Rough::PROGRAM)
                };
                let flag = |item: &Item| match item {
                    Item::Flag { flag, .. } => opened(&String::from_utf8_lossy(flag)),
                    _ => false,
                };
                let some = opened(&name)
                    || words.iter().any(|word| opened(word))
                    || program.items.iter().any(flag);
                assert!(some, "{name} {}", words.join(" "));
            }
        }
    }
}

#[test]
fn every_shape_has_a_text_to_look_for() {
    for shape in &rules().shapes {
        for pattern in &shape.patterns {
            assert!(pattern.trigger().len() >= 2, "{}: {pattern:?}", shape.kind);
        }
    }
}

#[test]
fn the_automaton_takes_less_than_a_megabyte() {
    let bytes = Prefilter::get().automaton.memory_usage();
    assert!(bytes < 1 << 20, "{bytes}");
}
