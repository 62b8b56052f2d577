//! Moves rows from the log into the tables.
//!
//! For each class: encode, store the files, commit them with the position of the last entry, and in
//! one step show the files and forget the rows. When all classes are done the tables, as a reader of the
//! log, are at that position. Invariants:
//! - a query sees each row once: in memory or in a file, never in both and never in none;
//! - whatever fails, or is killed, between two steps is done again: a class whose table has the
//!   position already is left out, files that no commit names are deleted by vacuum later.
//!
//! Bounds: one flush at a time, whoever asks for it; memory of the rows, of their order, and of a block in the making.

use std::sync::{Arc, atomic::Ordering};

use jiff::Timestamp;
use object_store::{ObjectStoreExt, PutPayload};

use super::{Shared, blocking, file, readers::TABLES, request::Request};
use crate::{error::Result, schema::Class};

/// Moves everything that waits now; or what is left of a flush that failed.
pub(super) async fn flush(shared: &Arc<Shared>) -> Result<()> {
    let _only = shared.flush.lock().await;
    let began = std::time::Instant::now();
    // Until it has ended well: an answer may be lost, and so may the whole flush.
    let in_doubt = shared.in_doubt.swap(true, Ordering::Relaxed);
    let (position, rows) = {
        let mut state = shared.state();
        if state.flushing.is_none() {
            if state.hot.is_empty() {
                shared.in_doubt.store(false, Ordering::Relaxed);
                return Ok(());
            }
            state.flushing = Some(std::mem::take(&mut state.hot));
        }
        let flushing = state.flushing.as_ref().expect("just put there");
        (flushing.position(), flushing.rows())
    };
    let mut failed = None;
    for class in Class::ALL {
        // The table of one class that cannot be written does not keep the others.
        if let Err(error) = flush_class(shared, class, position, in_doubt).await {
            failed.get_or_insert(error);
        }
    }
    if let Some(error) = failed {
        shared.room.notify_all();
        return Err(error);
    }
    shared.in_doubt.store(false, Ordering::Relaxed);
    shared.state().flushing = None;
    shared.room.notify_all();
    let counters = &shared.counters;
    counters.flushes.add(1);
    counters.rows_flushed.add(rows as u64);
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    counters.flush_micros.add(micros);
    (shared.options.tidy)();
    // A store that is gone has nothing to cut.
    shared.ask(Request::Commit {
        reader: TABLES.to_owned(),
        position,
        reply: None,
    });
    Ok(())
}

async fn flush_class(
    shared: &Arc<Shared>,
    class: Class,
    position: u64,
    in_doubt: bool,
) -> Result<()> {
    let rows: Vec<_> = {
        let state = shared.state();
        let flushing = state.flushing.as_ref();
        flushing
            .into_iter()
            .flat_map(|hot| hot.of(class).cloned())
            .collect()
    };
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = shared.tables[class.index()].lock().await;
    table.available()?;
    // A commit of which the answer was lost counts.
    if in_doubt {
        table.refresh().await?;
    }
    if !in_doubt || table.position(&shared.log_id).await? < position {
        let now = Timestamp::now();
        let encoded = blocking(move || file::encode(class, rows, now)).await?;
        let mut files = Vec::with_capacity(encoded.len());
        for encoded in encoded {
            let path = shared.place.path(class, &encoded.file.path);
            let bytes = PutPayload::from(encoded.bytes);
            let stored = shared.place.root().put(&path, bytes).await;
            stored.map_err(|error| shared.place.failed("write", &path, error))?;
            shared.counters.files_written.add(1);
            shared.counters.bytes_written.add(encoded.file.bytes);
            files.push(encoded.file);
        }
        table.add(&files, &shared.log_id, position).await?;
    }
    let mut state = shared.state();
    shared.list_in(&mut state, class, &table);
    if let Some(flushing) = &mut state.flushing {
        flushing.forget(class);
    }
    Ok(())
}
