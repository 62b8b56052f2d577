//! Every input of `fuzz/corpus` through its target, as an ordinary test.

use std::{
    collections::BTreeSet,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use skep_fuzz_targets::TARGETS;

/// Files of one corpus, and bytes of all: a corpus is for the test run, long ones stay where they were made.
const FILES_MAX: usize = 12;
const BYTES_MAX: u64 = 500_000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| {
            let name = entry.expect("the folder can be read").file_name();
            name.into_string().expect("a name of ours")
        })
        .collect()
}

#[test]
fn every_input_of_every_corpus_passes_its_target() {
    let mut failed = Vec::new();
    for (target, check) in TARGETS {
        let corpus = fuzz().join("corpus").join(target);
        let inputs = names(&corpus);
        assert!(!inputs.is_empty(), "{} has no input", corpus.display());
        for name in inputs {
            let bytes = fs::read(corpus.join(&name)).unwrap();
            if catch_unwind(|| check(&bytes)).is_err() {
                failed.push(format!("fuzz/corpus/{target}/{name}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_target_passes_an_empty_input_and_one_of_noise() {
    let noise: Vec<u8> = (0..2_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for (_, check) in TARGETS {
        for length in [0, 1, 8, 100, noise.len()] {
            check(&noise[..length]);
        }
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_there_are_no_others() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("corpus")), targets);
    let programs = names(&fuzz().join("fuzz_targets"));
    let programs: BTreeSet<String> = programs
        .iter()
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(programs, targets);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &targets {
        let entry = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"");
        assert!(
            manifest.contains(&entry),
            "{name} is not in fuzz/Cargo.toml"
        );
    }
    assert_eq!(manifest.matches("[[bin]]").count(), targets.len());
}

#[test]
fn the_corpora_are_small() {
    let mut bytes = 0;
    for (target, _) in TARGETS {
        let corpus = fuzz().join("corpus").join(target);
        let inputs = names(&corpus);
        assert!(inputs.len() <= FILES_MAX, "{target}: {}", inputs.len());
        bytes += inputs
            .iter()
            .map(|name| fs::metadata(corpus.join(name)).unwrap().len())
            .sum::<u64>();
    }
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
}
