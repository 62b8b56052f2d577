//! The one task that turns waiting rows into files.
//!
//! A failed write keeps its rows in memory, unacknowledged, and is tried again at the next tick;
//! the buffer fills, appends wait, and the sensors keep their events in their spools. The failure
//! is logged when it begins and when it ends, not at each try.

use std::sync::{Arc, Weak};

use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    Inner, Options, Pending, State, blocking, compact,
    segment::{Numbers, Segment, SourceRange, join_ranges},
};
use crate::error::Result;

pub(super) struct Handle {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

pub(super) fn start(inner: &Arc<Inner>) -> Handle {
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(run(
        Arc::downgrade(inner),
        inner.options.clone(),
        Arc::clone(&inner.flush_now),
        stopped,
    ));
    Handle { stop, task }
}

async fn run(
    store: Weak<Inner>,
    options: Options,
    flush_now: Arc<Notify>,
    mut stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let mut ticks = interval(options.flush_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    let mut merge: Option<JoinHandle<()>> = None;
    loop {
        // Nothing here holds the store, so that it can be dropped. Dropped without `close`, it
        // leaves what waits unwritten and unacknowledged, as a crash does.
        let stop = tokio::select! {
            told = &mut stopped => match told {
                Ok(()) => true,
                Err(_) => return Ok(()),
            },
            _ = ticks.tick() => false,
            () = flush_now.notified() => false,
        };
        let Some(inner) = store.upgrade() else {
            return Ok(());
        };
        let flushed = flush(&inner).await;
        if stop {
            if let Some(merge) = merge {
                merge.await.expect("a merge does not panic");
            }
            return flushed;
        }
        match flushed {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("writing events works again");
            }
            Ok(()) => {}
            Err(error) => {
                inner.counters.write_failures.add(1);
                if !failing {
                    tracing::error!(%error, "cannot write events; they stay in memory, unacknowledged");
                }
                failing = true;
                // Not at once again, however full the buffer is.
                tokio::time::sleep(options.flush_every).await;
            }
        }
        if merge.as_ref().is_none_or(JoinHandle::is_finished) {
            merge = Some(tokio::spawn(merge_all(Arc::clone(&inner))));
        }
        inner.state().forget_unused();
    }
}

async fn merge_all(inner: Arc<Inner>) {
    loop {
        match compact::merge_next(&inner).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::error!(%error, "cannot merge stored files; they stay as they are");
                return;
            }
        }
    }
}

/// Writes everything that waits into one file and announces it as durable.
async fn flush(inner: &Arc<Inner>) -> Result<()> {
    let (number, rows, sources) = {
        let mut state = inner.state();
        if state.flushing.is_empty() {
            state.flushing = std::mem::take(&mut state.pending);
            state.pending_rows = 0;
        }
        if state.flushing.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = state.flushing.iter().map(|p| Ok(p.rows.clone())).collect();
        let ranges: Vec<_> = state.flushing.iter().map(Pending::range).collect();
        (state.next_number, rows, join_ranges(&ranges))
    };
    let directory = inner.options.events();
    let segment =
        blocking(move || Segment::write(&directory, Numbers::one(number), sources, rows)).await?;
    inner.counters.files_written.add(1);

    let mut state = inner.state();
    for range in &segment.sources {
        if let Some(progress) = state.sources.get(&range.source) {
            progress.durable.send_replace(range.last);
        }
    }
    state.segments.push(Arc::new(segment));
    state.next_number = number + 1;
    state.flushing.clear();
    Ok(())
}

// === impl Handle ===

impl Handle {
    /// Has what waits written, then ends the task.
    pub async fn finish(self) -> Result<()> {
        // The task only ends by itself when the store is gone, and the caller holds the store.
        let _ = self.stop.send(());
        self.task.await.expect("the writer does not panic")
    }
}

// === impl Pending ===

impl Pending {
    fn range(&self) -> SourceRange {
        SourceRange {
            source: self.source.clone(),
            first: self.first,
            last: self.last,
        }
    }
}

// === impl State ===

impl State {
    /// Drops sources that have no rows and no stream.
    fn forget_unused(&mut self) {
        self.sources
            .retain(|_, known| known.accepted > 0 || known.durable.receiver_count() > 0);
    }
}
