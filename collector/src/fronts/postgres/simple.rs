//! Simple queries: a text of one or more statements, answered one after the other.

use std::fmt::Debug;

use async_trait::async_trait;
use futures::{Sink, SinkExt};
use pgwire::{
    api::{
        ClientInfo, ClientPortalStore, PgWireConnectionState,
        portal::Format,
        query::{
            SimpleQueryHandler, send_execution_response, send_query_response, send_ready_for_query,
        },
        results::Response,
        store::PortalStore,
    },
    error::{PgWireError, PgWireResult},
    messages::{
        PgWireBackendMessage,
        response::{EmptyQueryResponse, TransactionStatus},
        simplequery::Query,
    },
};
use skep_framing::postgres::split;

use super::{
    error::refused,
    handlers::{Handlers, check_transaction},
    session,
};

#[async_trait]
impl SimpleQueryHandler for Handlers {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let pieces = split(&query.query);
        if pieces.is_empty() {
            let empty = PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new());
            client.feed(empty).await?;
        }
        for piece in pieces {
            match self.session(&piece.sql).await {
                Some(statement) => {
                    let response = session::answer(client, &statement).await?;
                    send(client, response).await?;
                }
                None => {
                    check_transaction(client)?;
                    let format = Format::UnifiedText;
                    let rows = self
                        .ask(client, &piece.sql, None, piece.offset, &format, None)
                        .await?;
                    self.send(client, rows, true).await?;
                }
            }
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        send_ready_for_query(client, client.transaction_status()).await
    }

    /// Never called: `on_query` does not go through it.
    async fn do_query<C>(&self, _client: &mut C, _query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(refused("0A000", "statements are answered one by one"))
    }
}

/// Sends what a statement of the session is answered with.
async fn send<C>(client: &mut C, response: Response) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    match response {
        Response::Query(rows) => send_query_response(client, rows, true).await,
        Response::Execution(tag) => send_execution_response(client, tag).await,
        Response::TransactionStart(tag) => {
            client.set_transaction_status(TransactionStatus::Transaction);
            send_execution_response(client, tag).await
        }
        Response::TransactionEnd(tag) => {
            client.set_transaction_status(TransactionStatus::Idle);
            send_execution_response(client, tag).await
        }
        _ => Err(refused("0A000", "this statement is not known here")),
    }
}
