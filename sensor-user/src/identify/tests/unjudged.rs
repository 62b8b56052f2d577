//! What could not be looked at is never "no agent".

use std::path::Path;

use skep_event::Text;

use super::{Candidate, World, elf_file::ElfFile, key, text};
use crate::identify::{
    Judgement, Root, Unjudged, descriptors,
    looks::{Budget, Looks},
};

/// A judgement of `words` by `program`, of which some may have been cut off, in a directory.
fn judge(
    world: &mut World,
    program: &Path,
    (words, cut): (&[&str], bool),
    cwd: Option<&str>,
    budget: Budget,
) -> Judgement {
    let (file, file_size) = key(program);
    let exe = text(program);
    let argv: Vec<Text> = words.iter().copied().map(Text::from).collect();
    let cwd = cwd.map(Text::from);
    let candidate = Candidate {
        pid: std::process::id(),
        file,
        file_size,
        exe: Some(&exe),
        filename: None,
        argv: &argv,
        argv_truncated: cut,
        cwd: cwd.as_ref(),
        uid: None,
        switches: None,
        since: None,
    };
    let root = Root::of(&candidate, descriptors(&candidate), Looks::within(budget));
    world
        .identifier
        .judge_in(&candidate, &root.expect("it runs"))
}

fn node(world: &World) -> std::path::PathBuf {
    world.file("usr/bin/node", ElfFile::new().dynamic().bytes())
}

#[test]
fn a_script_that_may_have_been_cut_off_is_not_called_none() {
    let mut world = World::new();
    let node = node(&world);
    let mut judge = |words: &[&str], cut| {
        let judgement = judge(
            &mut world,
            &node,
            (words, cut),
            Some("/"),
            Budget::UNBOUNDED,
        );
        judgement.unjudged
    };
    let cut_off = Some(Unjudged::CutArguments);
    assert_eq!(judge(&["node", "--x", "--y"], true), cut_off);
    assert_eq!(judge(&["node", "--x", "/nowhere/begin"], true), cut_off);
    assert_eq!(judge(&["node", "/nowhere/x.js", "--y"], true), None);
    assert_eq!(judge(&["node", "-e", "1", "x"], true), None);
    assert_eq!(
        judge(&["node", "-e", "1"], true),
        cut_off,
        "the code goes on"
    );
    assert_ne!(judge(&["node", "--x", "--y"], false), cut_off);
    assert_ne!(judge(&["node", "-", "x"], true), cut_off);
    assert_eq!(
        judge(&["node", "-"], true),
        cut_off,
        "the first letter of an option"
    );
}

#[test]
fn a_script_in_a_directory_that_is_not_known_is_not_called_missing() {
    let mut world = World::new();
    let node = node(&world);
    let words: &[&str] = &["node", "cli.js"];
    let unknown = judge(&mut world, &node, (words, false), None, Budget::UNBOUNDED);
    assert_eq!(unknown.unjudged, Some(Unjudged::UnknownDirectory));
    assert_eq!(unknown.place, Some(Text::from("cli.js")));
    let known = judge(
        &mut world,
        &node,
        (words, false),
        Some("/"),
        Budget::UNBOUNDED,
    );
    assert_eq!(known.unjudged, None);
}

#[test]
fn what_was_not_read_to_the_end_is_neither_remembered_nor_never_an_agent() {
    let mut world = World::new();
    let tool = world.file("tool", ElfFile::new().dynamic().bytes());
    let words: &[&str] = &["tool"];
    let short = Budget {
        bytes: 10,
        ..Budget::UNBOUNDED
    };
    let judgement = judge(&mut world, &tool, (words, false), Some("/"), short);
    assert_eq!(judgement.unjudged, Some(Unjudged::OverBudget));
    assert!(!judgement.never);
    assert_eq!(world.identifier.learned(key(&tool).0), None);
    let judgement = judge(
        &mut world,
        &tool,
        (words, false),
        Some("/"),
        Budget::UNBOUNDED,
    );
    assert!(
        judgement.never && judgement.unjudged.is_none(),
        "{judgement:?}"
    );
}
