//! Merges small files into larger ones.
//!
//! Sixteen neighbours of one level become one file of the next; a file's level is the power of
//! sixteen of the flushes in it. The result is durable before an input is deleted, and an input is
//! deleted when the last query that reads it is gone. [`super::recover`] handles every crash.
//!
//! Bounds: one merge at a time; memory of one row group and one batch.

use std::sync::Arc;

use super::{
    Inner, blocking,
    segment::{Numbers, Segment, join_ranges},
};
use crate::error::{Error, Result};

/// How many files become one.
const FAN_IN: usize = 16;
/// A file of this size is not merged further.
pub(super) const FULL_BYTES: u64 = 32 << 20;

/// Merges one run of files; false when there is none.
pub(super) async fn merge_next(inner: &Arc<Inner>) -> Result<bool> {
    let inputs = next_run(&inner.state().segments);
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
        return Ok(false);
    };
    let numbers = Numbers {
        first: first.numbers.first,
        last: last.numbers.last,
    };
    let sources = join_ranges(inputs.iter().flat_map(|segment| &segment.sources));
    let directory = inner.options.events();
    let reading = inputs.clone();
    let merged = blocking(move || {
        let rows = reading.iter().flat_map(|segment| match segment.batches() {
            Ok(batches) => Box::new(batches) as Box<dyn Iterator<Item = _>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        Segment::write(&directory, numbers, sources, rows)
    })
    .await;
    match merged {
        Ok(merged) => {
            replace(inner, &inputs, merged);
            inner.counters.files_merged.add(1);
            Ok(true)
        }
        Err(Error::Damaged { path, reason }) => {
            let damage = Error::Damaged {
                path: path.clone(),
                reason,
            };
            match inputs.iter().find(|segment| segment.path() == path) {
                Some(segment) => inner.set_aside(segment, &damage).map(|()| true),
                None => Err(damage),
            }
        }
        Err(error) => Err(error),
    }
}

/// The oldest run of [`FAN_IN`] neighbours of the same level; empty when there is none.
fn next_run(segments: &[Arc<Segment>]) -> Vec<Arc<Segment>> {
    let runs = segments.windows(FAN_IN);
    let same = |run: &&[Arc<Segment>]| {
        let level = level(&run[0]);
        level.is_some() && run.iter().all(|segment| self::level(segment) == level)
    };
    runs.into_iter().find(same).unwrap_or_default().to_vec()
}

/// `None` when the file is full.
fn level(segment: &Segment) -> Option<u32> {
    let flushes = segment.numbers.last - segment.numbers.first + 1;
    (segment.bytes() < FULL_BYTES).then(|| flushes.ilog(FAN_IN as u64))
}

fn replace(inner: &Inner, inputs: &[Arc<Segment>], merged: Segment) {
    let mut state = inner.state();
    let is_input = |segment: &Arc<Segment>| inputs.iter().any(|input| Arc::ptr_eq(input, segment));
    let here = state
        .segments
        .iter()
        .filter(|segment| is_input(segment))
        .count();
    if here < inputs.len() {
        // One was set aside as damaged meanwhile, though it could be read for the merge; its rows
        // are in the merged file, which is the better copy.
        tracing::info!(file = %merged.path().display(), "merged a file that was set aside");
    }
    let at = state
        .segments
        .iter()
        .position(is_input)
        .unwrap_or(state.segments.len());
    state.segments.retain(|segment| !is_input(segment));
    state.segments.insert(at, Arc::new(merged));
    inputs.iter().for_each(|segment| segment.retire());
}
