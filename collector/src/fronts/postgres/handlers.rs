//! What is common to both ways of asking: sessions begin, questions go to the engine, rows come back.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::datatypes::{DataType, SchemaRef};
use arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use async_trait::async_trait;
use datafusion::{common::ParamValues, sql::sqlparser::ast::Statement};
use futures::{Sink, SinkExt, StreamExt, stream};
use pgwire::{
    api::{
        ClientInfo, METADATA_APPLICATION_NAME, METADATA_USER, Type,
        auth::noop::NoopStartupHandler,
        portal::Format,
        results::{FieldInfo, QueryResponse, Tag},
    },
    error::{ErrorInfo, PgWireError, PgWireResult},
    messages::{
        PgWireBackendMessage, PgWireFrontendMessage,
        data::{DataRow, RowDescription},
        response::{NoticeResponse, TransactionStatus},
    },
    types::format::FormatOptions,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    cancel::{Cancellable, Cancelled, Cancels},
    error::{refused, told},
    session,
};
use crate::query::{Answer, Dialect, Engine, Origin, Part, QueryError, Question};

/// Batches of encoded rows ahead of the client.
const BATCHES_AHEAD: usize = 2;
/// Bytes of what a client says of itself; more is not kept.
const MAX_NAME: usize = 256;

/// What serves one connection.
#[derive(Clone)]
pub(super) struct Handlers {
    pub engine: Arc<Engine>,
    cancels: Arc<Cancels>,
}

/// A statement between Parse and Execute: its text and its types, none of the data.
#[derive(Clone)]
pub(super) enum Prepared {
    /// Of the session, and not a query.
    Session(Arc<Statement>),
    Query {
        sql: Arc<str>,
        /// Where it begins in the client's text, in characters.
        offset: u64,
        schema: SchemaRef,
        /// What the parameters are compared with, where that is known.
        types: Arc<[Option<DataType>]>,
        /// As what the client is told to send them.
        wire: Arc<[Type]>,
    },
}

/// An answer on its way to the client.
pub(super) struct Rows {
    pub fields: Arc<Vec<FieldInfo>>,
    batches: ReceiverStream<PgWireResult<Vec<DataRow>>>,
    truncated: Arc<AtomicBool>,
}

// === impl Handlers ===

impl Handlers {
    pub fn new(engine: Arc<Engine>, cancels: Arc<Cancels>) -> Self {
        Self { engine, cancels }
    }

    pub fn cancels(&self) -> Arc<Cancels> {
        Arc::clone(&self.cancels)
    }

    /// The statement, if it is one of the session.
    pub async fn session(&self, sql: &str) -> Option<Statement> {
        const FIRST: [&str; 10] = [
            "set",
            "show",
            "begin",
            "start",
            "commit",
            "end",
            "rollback",
            "abort",
            "discard",
            "deallocate",
        ];
        let word = sql.split(|c: char| !c.is_ascii_alphabetic()).next()?;
        if !FIRST.iter().any(|first| word.eq_ignore_ascii_case(first)) {
            return None;
        }
        let sql = sql.to_owned();
        let parsed = async move { crate::query::parse_postgres(&sql).ok() };
        let statement = self.engine.spawn(parsed).await.ok().flatten()?;
        Some(statement).filter(session::is_session)
    }

    /// Asks the engine; `offset` is where the statement begins in the client's text.
    pub async fn ask<C>(
        &self,
        client: &C,
        sql: &str,
        parameters: Option<ParamValues>,
        offset: u64,
        format: &Format,
        schema: Option<SchemaRef>,
    ) -> PgWireResult<Rows>
    where
        C: ClientInfo,
    {
        let question = Question {
            parameters,
            ..question(client, sql)
        };
        let mut cancelled = client
            .session_extensions()
            .get::<Cancellable>()
            .map(|connection| connection.watch());
        let answer = tokio::select! {
            answer = self.engine.ask(question) => answer.map_err(|error| told(&error, offset))?,
            () = requested(&mut cancelled) => return Err(PgWireError::QueryCanceled),
        };
        // What was told at Parse has marks of the catalogue's types that running may lose.
        let same = |schema: &SchemaRef| {
            let types = |s: &SchemaRef| s.fields().iter().map(|f| f.data_type().clone()).collect();
            let (described, given): (Vec<_>, Vec<_>) = (types(schema), types(&answer.schema));
            described == given
        };
        let schema = schema
            .filter(same)
            .unwrap_or_else(|| Arc::clone(&answer.schema));
        let fields = Arc::new(fields(client, &schema, format)?);
        let truncated = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        self.engine.spawn(encode(
            answer,
            Arc::clone(&fields),
            cancelled,
            Arc::clone(&truncated),
            sender,
        ));
        Ok(Rows {
            fields,
            batches: ReceiverStream::new(receiver),
            truncated,
        })
    }

    /// What the client is told of an answer that was cut.
    pub fn cut(&self) -> PgWireBackendMessage {
        let limit = self.engine.limits().rows;
        let text = format!(
            "the answer was cut at the limit of {limit} rows: narrow the query with WHERE, or add LIMIT"
        );
        let notice = ErrorInfo::new("WARNING".to_owned(), "01000".to_owned(), text);
        PgWireBackendMessage::NoticeResponse(NoticeResponse::from(notice))
    }

    /// Sends a whole answer.
    pub async fn send<C>(&self, client: &mut C, mut rows: Rows, describe: bool) -> PgWireResult<()>
    where
        C: Sink<PgWireBackendMessage> + Unpin,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if describe {
            let description = RowDescription::new(rows.fields.iter().map(Into::into).collect());
            client
                .feed(PgWireBackendMessage::RowDescription(description))
                .await?;
        }
        let mut count = 0;
        while let Some(batch) = rows.batches.next().await {
            for row in batch? {
                count += 1;
                client.feed(PgWireBackendMessage::DataRow(row)).await?;
            }
        }
        if rows.truncated.load(Ordering::Relaxed) {
            client.feed(self.cut()).await?;
        }
        let tag = Tag::new("SELECT").with_rows(count);
        client
            .feed(PgWireBackendMessage::CommandComplete(tag.into()))
            .await?;
        Ok(())
    }
}

/// Nothing asks who it is; see the module `postgres`.
#[async_trait]
impl NoopStartupHandler for Handlers {
    async fn post_startup<C>(
        &self,
        client: &mut C,
        _message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (process, secret) = client.pid_and_secret_key();
        let cancellable = self.cancels.add(process, &secret);
        client.session_extensions().insert(cancellable);
        Ok(())
    }
}

/// In a transaction that has failed, only its end is answered.
pub(super) fn check_transaction(client: &impl ClientInfo) -> PgWireResult<()> {
    match client.transaction_status() {
        TransactionStatus::Error => Err(refused(
            "25P02",
            "the transaction has failed: end it with ROLLBACK",
        )),
        TransactionStatus::Idle | TransactionStatus::Transaction => Ok(()),
    }
}

pub(super) fn question<C: ClientInfo>(client: &C, sql: &str) -> Question {
    let told = |name: &str| {
        let value = client.metadata().get(name)?;
        let end = value.floor_char_boundary(MAX_NAME);
        Some(value[..end].to_owned()).filter(|value| !value.is_empty())
    };
    Question {
        sql: sql.to_owned(),
        dialect: Dialect::Postgres,
        parameters: None,
        max_rows: 0,
        max_time: session::timeout(client),
        origin: Origin {
            front_end: "postgres",
            peer: Some(client.socket_addr()),
            user: told(METADATA_USER),
            application: told(METADATA_APPLICATION_NAME),
        },
    }
}

/// The columns as the protocol describes them.
pub(super) fn fields<C: ClientInfo>(
    client: &C,
    schema: &SchemaRef,
    format: &Format,
) -> PgWireResult<Vec<FieldInfo>> {
    check_formats(format, schema.fields().len())?;
    let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
    arrow_schema_to_pg_fields(schema, format, Some(options))
}

/// Formats are none, one for all, or one each.
pub(super) fn check_formats(format: &Format, columns: usize) -> PgWireResult<()> {
    match format {
        Format::Individual(each) if each.len() != columns => Err(refused(
            "08P01",
            format!("{} formats for {columns} values", each.len()),
        )),
        _ => Ok(()),
    }
}

async fn requested(cancelled: &mut Option<Cancelled>) {
    match cancelled {
        Some(cancelled) => cancelled.requested().await,
        None => std::future::pending().await,
    }
}

/// Encodes the answer as it comes.
async fn encode(
    mut answer: Answer,
    fields: Arc<Vec<FieldInfo>>,
    mut cancelled: Option<Cancelled>,
    truncated: Arc<AtomicBool>,
    sender: mpsc::Sender<PgWireResult<Vec<DataRow>>>,
) {
    loop {
        let part = tokio::select! {
            part = answer.next() => part,
            () = requested(&mut cancelled) => {
                // A client that is gone needs no answer, here and below.
                let _ = sender.send(Err(PgWireError::QueryCanceled)).await;
                return;
            }
            () = sender.closed() => return,
        };
        let encoded = match part {
            Some(Ok(Part::Rows(batch))) => encode_recordbatch(Arc::clone(&fields), batch).collect(),
            Some(Ok(Part::End { truncated: cut, .. })) => {
                truncated.store(cut, Ordering::Relaxed);
                return;
            }
            Some(Err(error)) => Err(told(&error, 0)),
            None => Err(told(&QueryError::Engine("the answer has no end".into()), 0)),
        };
        let failed = encoded.is_err();
        if sender.send(encoded).await.is_err() || failed {
            return;
        }
    }
}

// === impl Rows ===

impl Rows {
    /// The rows one by one, for a portal; and what says in the end that they were cut.
    pub fn response(self) -> (QueryResponse, Arc<AtomicBool>) {
        let rows = self.batches.flat_map(|batch| {
            stream::iter(match batch {
                Ok(rows) => rows.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        (QueryResponse::new(self.fields, rows), self.truncated)
    }
}
