//! Rebuilds the state of the store from the names and footers of its files.
//!
//! Every state that a crash can leave is one of: a temporary file (removed), all inputs of a merge
//! (kept), the result of a merge with some of its inputs (inputs removed), a file cut short by the
//! disk (set aside; its inputs, where they still exist, are kept).

use std::{
    cmp::Reverse,
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Source,
    segment::{self, Numbers, Segment},
};
use crate::{
    counters::Counters,
    error::{Error, Result},
};

pub(super) struct Recovered {
    pub segments: Vec<Arc<Segment>>,
    pub acked: HashMap<Source, u64>,
    /// Higher than the number of every file ever seen here, damaged ones included.
    pub next_number: u64,
}

pub(super) fn recover(directory: &Path, counters: &Counters) -> Result<Recovered> {
    let mut found = Vec::new();
    let mut next_number = 1;
    for entry in fs::read_dir(directory).map_err(Error::file("list", directory))? {
        let entry = entry.map_err(Error::file("list", directory))?;
        let path = entry.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(".parquet.tmp") {
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            tracing::info!(file = %path.display(), "removed a file left unfinished by the last run");
            continue;
        }
        let readable = Numbers::parse(name);
        let set_aside = name.strip_suffix(".damaged").and_then(Numbers::parse);
        if let Some(numbers) = readable.or(set_aside) {
            next_number = next_number.max(numbers.last + 1);
        } else {
            tracing::warn!(file = %path.display(), "not a file of the store; left alone");
        }
        found.extend(readable.map(|numbers| (numbers, path)));
    }

    let mut acked: HashMap<Source, u64> = HashMap::new();
    let segments = open_all(found, counters)?;
    for range in segments.iter().flat_map(|segment| &segment.sources) {
        let last = acked.entry(range.source.clone()).or_default();
        *last = range.last.max(*last);
    }
    Ok(Recovered {
        segments,
        acked,
        next_number,
    })
}

fn open_all(mut found: Vec<(Numbers, PathBuf)>, counters: &Counters) -> Result<Vec<Arc<Segment>>> {
    // The widest of several files with the same start comes first, so that a merged file is seen
    // before what it replaces.
    found.sort_by_key(|(numbers, _)| (numbers.first, Reverse(numbers.last)));
    let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(found.len());
    for (numbers, path) in found {
        let merged = segments
            .last()
            .is_some_and(|last| last.numbers.contains(numbers));
        if merged {
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            continue;
        }
        match Segment::open(path.clone(), numbers) {
            Ok(segment) => segments.push(Arc::new(segment)),
            Err(damage @ Error::Damaged { .. }) => segment::set_aside(&path, &damage, counters)?,
            Err(error) => return Err(error),
        }
    }
    Ok(segments)
}
