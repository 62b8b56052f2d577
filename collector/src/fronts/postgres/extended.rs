//! Extended queries: Parse, Bind, Describe, Execute.

use std::{
    collections::HashSet,
    fmt::Debug,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow_pg::datatypes::{arrow_schema_to_pg_fields, df, into_pg_type, pg_type_for_alias_kind};
use async_trait::async_trait;
use futures::{Sink, SinkExt};
use pgwire::{
    api::{
        ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type,
        portal::{Format, Portal, PortalExecutionState},
        query::ExtendedQueryHandler,
        results::{FieldInfo, Response},
        stmt::{QueryParser, StoredStatement},
        store::{Entry, PortalStore},
    },
    error::{PgWireError, PgWireResult},
    messages::{
        PgWireBackendMessage,
        extendedquery::{
            Bind, BindComplete, Close, CloseComplete, Execute, Parse, ParseComplete,
            TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
        },
    },
};
use skep_framing::postgres::split;

use super::{
    MAX_NAMED,
    error::{refused, told},
    handlers::{Handlers, Prepared, Rows, check_formats, check_transaction, question},
    session,
};

/// Names in use by one connection, for the bound on them.
#[derive(Default)]
struct Named {
    statements: Mutex<HashSet<String>>,
    portals: Mutex<HashSet<String>>,
}

#[async_trait]
impl QueryParser for Handlers {
    type Statement = Prepared;

    async fn parse_sql<C>(
        &self,
        client: &C,
        sql: &str,
        _types: &[Option<Type>],
    ) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut pieces = split(sql).into_iter();
        let (piece, more) = (pieces.next(), pieces.next());
        let Some(piece) = piece else {
            return Ok(None);
        };
        if more.is_some() {
            let text = "only one statement can be prepared at a time";
            return Err(refused("42601", text));
        }
        if let Some(statement) = self.session(&piece.sql).await {
            return Ok(Some(Prepared::Session(Arc::new(statement))));
        }
        check_transaction(client)?;
        let question = question(client, &piece.sql);
        let described = self.engine.describe(&question).await;
        let described = described.map_err(|error| told(&error, piece.offset))?;
        let mut wire = Vec::new();
        for parameter in &described.parameters {
            let alias = parameter.alias.as_deref().and_then(pg_type_for_alias_kind);
            wire.push(match (alias, &parameter.data_type) {
                (Some(alias), _) => alias,
                (None, Some(known)) => into_pg_type(known)?,
                (None, None) => Type::UNKNOWN,
            });
        }
        let types = described.parameters.into_iter().map(|p| p.data_type);
        Ok(Some(Prepared::Query {
            sql: piece.sql.into(),
            offset: piece.offset,
            schema: described.schema,
            types: types.collect(),
            wire: wire.into(),
        }))
    }

    fn get_parameter_types(&self, statement: &Prepared) -> PgWireResult<Vec<Type>> {
        Ok(match statement {
            Prepared::Session(_) => Vec::new(),
            Prepared::Query { wire, .. } => wire.to_vec(),
        })
    }

    fn get_result_schema(
        &self,
        statement: &Prepared,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        match statement {
            Prepared::Session(statement) => Ok(session::columns(statement)),
            Prepared::Query { schema, .. } => {
                let format = format.unwrap_or(&Format::UnifiedText);
                check_formats(format, schema.fields().len())?;
                arrow_schema_to_pg_fields(schema, format, None)
            }
        }
    }
}

#[async_trait]
impl ExtendedQueryHandler for Handlers {
    type Statement = Prepared;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        named(client).admit(TARGET_TYPE_BYTE_STATEMENT, message.name.as_deref())?;
        match StoredStatement::parse(client, &message, self.query_parser()).await? {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => {
                let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
                client.portal_store().put_empty_statement(name);
            }
        }
        let done = PgWireBackendMessage::ParseComplete(ParseComplete::new());
        Ok(client.send(done).await?)
    }

    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        named(client).admit(TARGET_TYPE_BYTE_PORTAL, message.portal_name.as_deref())?;
        let name = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        match client.portal_store().get_statement(name) {
            Some(Entry::Value(statement)) => {
                let portal = Portal::try_new(&message, statement)?;
                client.portal_store().put_portal(Arc::new(portal));
            }
            Some(Entry::Empty) => {
                let portal = message.portal_name.as_deref().unwrap_or(DEFAULT_NAME);
                client.portal_store().put_empty_portal(portal);
            }
            None => return Err(PgWireError::StatementNotFound(name.to_owned())),
        }
        let done = PgWireBackendMessage::BindComplete(BindComplete::new());
        Ok(client.send(done).await?)
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        named(client).release(message.target_type, message.name.as_deref());
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => client.portal_store().rm_statement(name),
            _ => client.portal_store().rm_portal(name),
        }
        let done = PgWireBackendMessage::CloseComplete(CloseComplete::new());
        Ok(client.send(done).await?)
    }

    /// All rows are sent as they come. A part of them is taken together first, which needs a bound:
    /// asked for more than an answer can have, it is all of them.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal = match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => portal,
            _ => return self._on_execute(client, message).await,
        };
        let Prepared::Query { .. } = &portal.statement.statement else {
            return self._on_execute(client, message).await;
        };
        let part = u64::try_from(message.max_rows).unwrap_or(0);
        let all = part == 0 || part >= self.engine.limits().rows;
        let state = portal.state();
        let first = matches!(*state.lock().await, PortalExecutionState::Initial);
        if first {
            client.set_state(PgWireConnectionState::QueryInProgress);
            let rows = self.execute(client, &portal).await?;
            if all {
                *state.lock().await = PortalExecutionState::Finished;
                self.send(client, rows, false).await?;
                client.set_state(PgWireConnectionState::ReadyForQuery);
                return Ok(());
            }
            let (response, truncated) = rows.response();
            client.session_extensions().insert(Truncated(truncated));
            portal.start(response).await;
            client.set_state(PgWireConnectionState::ReadyForQuery);
        }
        let rows = if all { 0 } else { message.max_rows };
        self._on_execute(client, Execute::new(message.name, rows))
            .await?;
        let truncated = client.session_extensions().get::<Truncated>();
        if truncated.is_some_and(|truncated| truncated.0.swap(false, Ordering::Relaxed)) {
            client.feed(self.cut()).await?;
        }
        Ok(())
    }

    /// Only of statements of the session; `on_execute` has the others.
    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Prepared>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match &portal.statement.statement {
            Prepared::Session(statement) => session::answer(client, statement).await,
            Prepared::Query { .. } => Err(refused("XX000", "a query went astray")),
        }
    }
}

impl Handlers {
    /// Begins the query of a portal with the values that were bound to it.
    async fn execute<C>(&self, client: &C, portal: &Portal<Prepared>) -> PgWireResult<Rows>
    where
        C: ClientInfo,
    {
        check_transaction(client)?;
        let Prepared::Query {
            sql,
            offset,
            schema,
            types,
            wire,
        } = &portal.statement.statement
        else {
            return Err(refused(
                "XX000",
                "a statement of the session is not a query",
            ));
        };
        let bound = portal.parameter_len();
        if bound != types.len() {
            let text = format!("{bound} values for {} parameters", types.len());
            return Err(refused("08P01", text));
        }
        check_formats(&portal.parameter_format, bound)?;
        let types: Vec<_> = types.iter().map(Option::as_ref).collect();
        let wire: Vec<_> = wire.iter().map(Some).collect();
        let values = df::deserialize_parameters_with_server_types(portal, &types, &wire)?;
        let values = (bound > 0).then_some(values);
        let format = &portal.result_column_format;
        let schema = Some(Arc::clone(schema));
        self.ask(client, sql, values, *offset, format, schema).await
    }
}

/// Says that the rows of the portal that was fetched from last were cut.
struct Truncated(Arc<AtomicBool>);

fn named(client: &impl ClientInfo) -> Arc<Named> {
    client
        .session_extensions()
        .get_or_insert_with(Named::default)
}

// === impl Named ===

impl Named {
    /// Takes a name, unless there are too many. The one without a name is always free.
    fn admit(&self, kind: u8, name: Option<&str>) -> PgWireResult<()> {
        let Some(name) = name else {
            return Ok(());
        };
        let mut names = self.names(kind);
        if names.len() >= MAX_NAMED && !names.contains(name) {
            let text = format!(
                "a connection can have {MAX_NAMED} prepared statements, and as many portals: close some"
            );
            return Err(refused("53400", text));
        }
        names.insert(name.to_owned());
        Ok(())
    }

    fn release(&self, kind: u8, name: Option<&str>) {
        if let Some(name) = name {
            self.names(kind).remove(name);
        }
    }

    fn names(&self, kind: u8) -> MutexGuard<'_, HashSet<String>> {
        let names = match kind {
            TARGET_TYPE_BYTE_STATEMENT => &self.statements,
            _ => &self.portals,
        };
        names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
