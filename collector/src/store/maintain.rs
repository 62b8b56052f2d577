//! What the store does by itself: flushes, merges, expires, deletes, and sees what others wrote.
//!
//! A failed flush keeps its rows in the log and in memory and is tried again; the memory fills,
//! appends wait, and the sensors keep their events in their spools. A failure is logged when it
//! begins and when it ends, and shown in health meanwhile; so is one of everything else.

use std::{
    sync::{Arc, Weak, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{Shared, blocking, commit, flush, log::Log, merge, request::Request, retention};
use crate::{error::Result, schema::Class};

/// How often is looked whether something is due.
const TICK: Duration = Duration::from_millis(250);
/// Between two tries of a flush.
const RETRY: Duration = Duration::from_secs(1);
/// How often the tables are looked at for what other collectors wrote.
const REFRESH: Duration = Duration::from_secs(5);
/// Files of a class above which merging does not wait for a calmer time.
const MANY_FILES: usize = 400;

/// The running tasks of a store.
pub(super) struct Work {
    stop: oneshot::Sender<()>,
    maintenance: JoinHandle<()>,
    writer: thread::JoinHandle<()>,
}

/// When a kind of work was last done.
struct Clock {
    every: Duration,
    last: Instant,
}

// === impl Work ===

impl Work {
    pub fn start(
        shared: &Arc<Shared>,
        log: Log,
        requests: mpsc::Receiver<Request>,
    ) -> Result<Self> {
        let writer = commit::start(shared, log, requests)?;
        let (stop, stopped) = oneshot::channel();
        let maintenance = tokio::spawn(run(Arc::downgrade(shared), stopped));
        Ok(Self {
            stop,
            maintenance,
            writer,
        })
    }

    /// Ends all of it, with the rows in the tables as far as that is possible now.
    pub async fn finish(self, shared: &Arc<Shared>) -> Result<()> {
        let _ = self.stop.send(());
        // A task that was lost with its runtime has nothing more to do.
        let _ = self.maintenance.await;
        if let Err(error) = flush_all(shared).await {
            tracing::error!(%error, "cannot write the tables; the events stay in the log");
        }
        shared.stopping.store(true, Ordering::Relaxed);
        shared.ask(Request::Stop);
        let writer = self.writer;
        blocking(move || {
            writer.join().expect("the writer of the log does not panic");
            Ok(())
        })
        .await
    }
}

/// Flushes until nothing waits.
pub(super) async fn flush_all(shared: &Arc<Shared>) -> Result<()> {
    loop {
        flush::flush(shared).await?;
        let state = shared.state();
        if state.hot.is_empty() && state.flushing.is_none() {
            return Ok(());
        }
    }
}

async fn run(shared: Weak<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    let mut others: Option<JoinHandle<()>> = None;
    let mut refresh = Clock::every(REFRESH);
    let Some((mut expire, mut vacuum)) = shared.upgrade().map(|shared| {
        let options = &shared.options;
        (
            Clock::every(options.expire_every),
            Clock::every(options.vacuum_every),
        )
    }) else {
        return;
    };
    loop {
        let Some(inner) = shared.upgrade() else {
            return;
        };
        tokio::select! {
            _ = &mut stopped => break,
            _ = ticks.tick() => {}
            () = inner.flush_now.notified() => {}
        }
        if flush_is_due(&inner) {
            failing = flush_once(&inner, failing).await;
            if failing {
                tokio::time::sleep(RETRY).await;
            }
        }
        match inner.readers.problem() {
            Some(problem) => drop(inner.health.set("readers", problem)),
            None => drop(inner.health.clear("readers")),
        }
        // The rest does not delay a flush.
        if others.as_ref().is_none_or(JoinHandle::is_finished) {
            let (refresh, expire, vacuum) = (refresh.is_due(), expire.is_due(), vacuum.is_due());
            if refresh || expire || vacuum || merging_may(&inner) {
                others = Some(tokio::spawn(async move {
                    care(&inner, refresh, expire, vacuum).await;
                }));
            }
        }
    }
    if let Some(others) = others {
        // What it leaves half-way is done again later.
        others.abort();
        let _ = others.await;
    }
}

fn flush_is_due(shared: &Shared) -> bool {
    let state = shared.state();
    let old = |hot: &super::hot::Hot| {
        hot.since()
            .is_some_and(|since| since.elapsed() >= shared.options.flush_every)
    };
    state.flushing.is_some() || state.hot.bytes() >= shared.options.flush_bytes || old(&state.hot)
}

/// Whether flushing fails now.
async fn flush_once(shared: &Arc<Shared>, failing: bool) -> bool {
    match flush::flush(shared).await {
        Ok(()) => {
            if failing {
                shared.health.clear("tables");
                tracing::info!("writing the tables works again");
            }
            false
        }
        Err(error) => {
            shared.counters.write_failures.add(1);
            if !failing {
                tracing::error!(%error, "cannot write the tables; events stay in the log");
            }
            let problem =
                format!("{error}; events stay in the log until the tables can be written");
            shared.health.set("tables", problem);
            true
        }
    }
}

/// Merging leaves the machine to the streams while they need it, as long as files are few.
fn merging_may(shared: &Shared) -> bool {
    if !shared.options.merging || !shared.unmerged.load(Ordering::Relaxed) {
        return false;
    }
    let state = shared.state();
    let calm = state.memory() < shared.options.flush_bytes / 4;
    calm || state.files.iter().any(|files| files.len() >= MANY_FILES)
}

/// Each kind of work by itself: one that fails keeps no other from being done.
async fn care(shared: &Arc<Shared>, refresh: bool, expire: bool, vacuum: bool) {
    // Only object storage has other writers.
    if refresh && shared.options.table.is_some() {
        told(shared, "refresh", refresh_all(shared).await);
    }
    if expire {
        // A day may be over, and what failed is tried again.
        shared.unmerged.store(true, Ordering::Relaxed);
        let expired = retention::expire(shared, Timestamp::now()).await;
        shared.counters.expire_runs.add(1);
        told(shared, "retention", expired);
    }
    if vacuum {
        let vacuumed = vacuum_all(shared).await;
        shared.counters.vacuum_runs.add(1);
        told(shared, "vacuum", vacuumed);
    }
    while merging_may(shared) {
        // Not to be looked for again until there are other files.
        shared.unmerged.store(false, Ordering::Relaxed);
        let merged = merge::merge_next(shared).await;
        let again = matches!(merged, Ok(true));
        told(shared, "merge", merged);
        if again {
            shared.unmerged.store(true, Ordering::Relaxed);
        }
    }
}

/// Shows in health whether a kind of work fails; logs when that begins and ends.
fn told<T>(shared: &Shared, part: &'static str, done: Result<T>) {
    match done {
        Ok(_) => {
            if shared.health.clear(part) {
                tracing::info!(part, "looking after the tables works again");
            }
        }
        Err(error) => {
            let problem = format!("cannot look after the tables: {error}; tried again later");
            if shared.health.set(part, problem) {
                tracing::error!(part, %error, "cannot look after the tables; tried again later");
            }
        }
    }
}

async fn refresh_all(shared: &Arc<Shared>) -> Result<()> {
    for class in Class::ALL {
        let mut table = shared.tables[class.index()].lock().await;
        // One that could not be opened is in health as such.
        if table.available().is_ok() {
            table.refresh().await?;
            shared.list(class, &table);
        }
    }
    Ok(())
}

async fn vacuum_all(shared: &Arc<Shared>) -> Result<()> {
    for class in Class::ALL {
        let mut table = shared.tables[class.index()].lock().await;
        if table.available().is_ok() {
            let deleted = table.vacuum(shared.options.vacuum_after).await?;
            shared.counters.files_deleted.add(deleted as u64);
            shared.list(class, &table);
        }
    }
    Ok(())
}

// === impl Clock ===

impl Clock {
    fn every(every: Duration) -> Self {
        Self {
            every,
            last: Instant::now(),
        }
    }

    fn is_due(&mut self) -> bool {
        let due = self.last.elapsed() >= self.every;
        if due {
            self.last = Instant::now();
        }
        due
    }
}
