//! Takes rows from the queue and writes those of a moment together.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout_at},
};

use super::{FLUSH_EVERY, State, file::File, row::Row};
use crate::trouble::Trouble;

/// Rows of one transaction.
const BATCH: usize = 512;
/// Between attempts while the file cannot be written.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) enum Command {
    Put(Box<Row>),
    /// Told once everything before it is on disk.
    Flush(oneshot::Sender<()>),
    /// The same, and there is nothing after it.
    Close(oneshot::Sender<()>),
}

/// Ends when the record is closed, or when nobody can record any more.
pub(super) async fn run(file: Arc<File>, mut commands: mpsc::Receiver<Command>, state: Arc<State>) {
    let mut open = true;
    while open && let Some(first) = commands.recv().await {
        let mut rows = Vec::new();
        let mut told = Vec::new();
        let until = Instant::now() + FLUSH_EVERY;
        let mut next = Some(first);
        while let Some(command) = next.take() {
            match command {
                Command::Put(row) => rows.push(*row),
                Command::Flush(done) => {
                    told.push(done);
                    break;
                }
                Command::Close(done) => {
                    told.push(done);
                    open = false;
                    break;
                }
            }
            if rows.len() < BATCH {
                next = timeout_at(until, commands.recv()).await.ok().flatten();
            }
        }
        if !rows.is_empty() {
            write(&file, rows, &state).await;
        }
        for done in told {
            // Nobody waits any more.
            let _ = done.send(());
        }
    }
}

/// Tries until the rows are written; once the record is being closed, not again.
async fn write(file: &Arc<File>, rows: Vec<Row>, state: &State) {
    let rows = Arc::new(rows);
    let mut failure = None;
    loop {
        let (target, batch) = (Arc::clone(file), Arc::clone(&rows));
        let attempt = move || {
            let aside = match &failure {
                Some(failure) => target.reopen(failure)?,
                None => None,
            };
            target.write(&batch)?;
            Ok(aside)
        };
        let written: Result<_, Trouble> = tokio::task::spawn_blocking(attempt)
            .await
            .unwrap_or_else(|stopped| Err(Trouble::Other(stopped.to_string())));
        match written {
            Ok(aside) => {
                if let Some(aside) = aside {
                    state.set_aside(aside);
                }
                if state.trouble().is_some() {
                    tracing::info!("queries are recorded again");
                    state.set_trouble(None);
                }
                return;
            }
            Err(trouble) => {
                let reason = trouble.reason();
                if state.trouble().as_ref() != Some(&reason) {
                    tracing::error!(reason, "queries cannot be recorded");
                    state.set_trouble(Some(reason));
                }
                if state.is_closing() {
                    tracing::error!(rows = rows.len(), "queries stay unrecorded");
                    return;
                }
                failure = Some(trouble);
                sleep(RETRY).await;
            }
        }
    }
}
