//! The front end for everything that speaks PostgreSQL's protocol, such as psql and BI tools.
//!
//! `pgwire` has the protocol, `arrow-pg` the encoding of rows, [`session`] what sessions do beside
//! queries (`SET`, `SHOW`, `BEGIN`), `datafusion-pg-catalog` the catalogue. Queries go to the
//! [`Engine`] like all others.
//!
//! Invariants:
//! - every statement is planned on a snapshot of its own, also within `BEGIN … COMMIT` (which change
//!   nothing else) and when it was prepared long before;
//! - a connection holds no data between queries: a prepared statement is its text and its types;
//! - nothing a client sends ends more than its own connection.
//!
//! There is no password: like all of the collector it listens on loopback addresses only. User and
//! application are what the client says; they are recorded with each query.
//!
//! Bounds: 256 connections, [`MAX_MESSAGE`](skep_framing::postgres::MAX_MESSAGE) of a message, [`MAX_NAMED`] prepared statements and as many
//! portals of a connection, and those of the engine.

mod cancel;
mod connection;
mod error;
mod extended;
mod handlers;
mod session;
mod simple;

use std::sync::Arc;

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinError, JoinSet},
};

use crate::{
    listen::{Bounded, QUERY_CONNECTIONS},
    query::Engine,
};

use cancel::Cancels;
use handlers::Handlers;

/// Prepared statements, and portals, of one connection.
const MAX_NAMED: usize = 256;

/// Serves until told to stop, and then lets running queries end.
pub async fn serve(listener: TcpListener, engine: Arc<Engine>, stop: watch::Receiver<bool>) {
    let listener = Bounded::new(listener, "postgres", QUERY_CONNECTIONS);
    let cancels = Arc::new(Cancels::default());
    let mut connections = JoinSet::new();
    let mut stopping = stop.clone();
    loop {
        tokio::select! {
            () = connection::told(&mut stopping) => break,
            (connection, peer) = listener.next() => {
                let handlers = Handlers::new(Arc::clone(&engine), Arc::clone(&cancels));
                connections.spawn(connection::run(connection, peer, handlers, stop.clone()));
            }
            Some(ended) = connections.join_next() => report(ended),
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection of PostgreSQL's protocol ended in a panic");
    }
}
