//! The front end for everything that speaks HTTP and JSON.
//!
//! ```text
//! POST /v1/query     {"sql": …, "max_rows": …}  → rows as JSON, CSV, NDJSON or an Arrow stream
//! GET  /v1/tables    what can be queried
//! GET  /v1/health    whether all is well
//! GET  /openapi.json the same, told to machines
//! ```
//!
//! Invariants:
//! - nothing is done for a web page of another origin, and none can read an answer: the [`guard`]
//!   looks at each request first;
//! - an answer that is not whole is never taken for one: it ends with an error in it, and the
//!   transfer is broken off. That holds for one that the row limit cut, too, but for JSON, whose
//!   member `truncated` says so;
//! - every error is a problem document (RFC 9457).
//!
//! Bounds: [`MAX_BODY`] of a request, 256 connections, and those of the engine.

mod csv;
mod encode;
mod guard;
mod openapi;
mod problem;
mod tables;

use std::{future::IntoFuture, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::StreamExt;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    health::{Health, Vitals},
    listen::{Bounded, Peer, QUERY_CONNECTIONS},
    query::{Answer, Dialect, Engine, Origin, Part, QueryError, Question},
    store::ReaderHealth,
};

use encode::{Encoder, Form};
use problem::Problem;

/// A statement of the greatest length, with every character escaped.
const MAX_BODY: usize = 512 << 10;
/// Of a body that is too large, so much is read and thrown away: a client that is still sending would
/// not see why it is refused.
const MAX_DRAINED: usize = 8 << 20;
/// Chunks of an answer ahead of the client.
const CHUNKS_AHEAD: usize = 4;
/// How long a client may take for the last rows, and the error, of an answer that is broken off.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Bytes of what a client says of itself; more is not kept.
const MAX_AGENT: usize = 256;

/// What the routes need.
#[derive(Clone)]
struct Served {
    engine: Arc<Engine>,
    vitals: Vitals,
}

/// Body of `POST /v1/query`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    #[serde(default)]
    max_rows: Option<u64>,
}

/// Serves until told to stop, and then lets running requests end.
pub async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    vitals: Vitals,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let app = router(Served { engine, vitals }).into_make_service_with_connect_info::<Peer>();
    let listener = Bounded::new(listener, "http", QUERY_CONNECTIONS);
    let served = axum::serve(listener, app).with_graceful_shutdown(stop);
    if let Err(error) = served.into_future().await {
        tracing::error!(%error, "HTTP is no longer served");
    }
}

fn router(served: Served) -> Router {
    Router::new()
        .route("/v1/query", post(query))
        .route("/v1/tables", get(list))
        .route("/v1/health", get(health))
        .route("/openapi.json", get(describe))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method())
        .layer(middleware::from_fn(guard::check))
        .layer(middleware::map_response(finish))
        .with_state(served)
}

/// What all answers say.
async fn finish(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut say = |name, value| headers.insert(name, HeaderValue::from_static(value));
    say(header::CACHE_CONTROL, "no-store");
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::CONTENT_SECURITY_POLICY, "default-src 'none'");
    response
}

async fn health(State(served): State<Served>) -> Json<Value> {
    let Health { problems, readers } = served.vitals.health();
    let status = match problems.is_empty() {
        true => "ok",
        false => "degraded",
    };
    let readers = readers.into_iter().map(reader);
    Json(json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "problems": problems,
        "readers": readers.collect::<Vec<_>>(),
    }))
}

fn reader(reader: ReaderHealth) -> Value {
    let ReaderHealth {
        name,
        position,
        entries,
        bytes,
        seconds,
        still_since,
        missed,
    } = reader;
    let since = still_since.and_then(|millis| {
        let time = Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
        Some(time.to_string())
    });
    json!({
        "name": name,
        "position": position,
        "lag": {"entries": entries, "bytes": bytes, "seconds": seconds},
        "still_since": since,
        "missed": missed,
    })
}

async fn list(State(served): State<Served>) -> Result<Json<Value>, Problem> {
    let listed = tables::list(&served.engine).await?;
    Ok(Json(listed))
}

async fn describe() -> Json<Value> {
    Json(openapi::document())
}

async fn query(
    State(served): State<Served>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::accepted(request.headers())?;
    let agent = agent(request.headers());
    let asked = asked(request).await?;
    let question = Question {
        sql: asked.sql,
        dialect: Dialect::Generic,
        parameters: None,
        max_rows: asked.max_rows.unwrap_or(0),
        max_time: None,
        origin: Origin {
            front_end: "http",
            peer: Some(peer),
            user: None,
            application: agent,
        },
    };
    let mut answer = served.engine.ask(question).await?;
    // Most that goes wrong does so before the first rows, and can still be told by the status.
    let first = answer.next().await.unwrap_or_else(|| Err(unfinished()))?;
    let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let encoder = Encoder::new(form, &answer.schema);
    // Who asked for no more rows knows that there can be more.
    let limit = served.engine.limits().rows;
    let own = asked.max_rows.is_some_and(|own| (1..=limit).contains(&own));
    let limit = (!own).then_some(limit);
    served
        .engine
        .spawn(send(encoder, first, answer, limit, chunks));
    let body = Body::from_stream(ReceiverStream::new(receiver));
    let headers = [
        (header::CONTENT_TYPE, form.content_type()),
        (header::VARY, "accept"),
    ];
    Ok((headers, body).into_response())
}

/// The body of a request, which has to be JSON and to be said to be.
async fn asked(request: Request) -> Result<Asked, Problem> {
    let said = request.headers().get(header::CONTENT_TYPE);
    let said = said.and_then(|value| value.to_str().ok()).unwrap_or("");
    let (essence, _) = said.split_once(';').unwrap_or((said, ""));
    if !essence.trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::not_json());
    }
    let mut chunks = request.into_body().into_data_stream();
    let (mut body, mut size) = (Vec::new(), 0);
    while size < MAX_DRAINED
        && let Some(chunk) = chunks.next().await
    {
        let chunk = chunk.map_err(|error| Problem::broken(&error))?;
        size += chunk.len();
        if size <= MAX_BODY {
            body.extend_from_slice(&chunk);
        }
    }
    if size > MAX_BODY {
        return Err(Problem::too_large(MAX_BODY));
    }
    serde_json::from_slice(&body).map_err(|error| Problem::body(&error))
}

fn agent(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(agent[..agent.len().min(MAX_AGENT)].to_owned())
}

type Chunks = mpsc::Sender<Result<Bytes, Problem>>;

/// Sends the answer as it comes. An error ends the transfer before its time, as does a cut at the
/// limit of rows, if there is one that the client has not asked for.
async fn send(
    mut encoder: Encoder,
    first: Part,
    mut answer: Answer,
    limit: Option<u64>,
    chunks: Chunks,
) {
    let mut next = Some(Ok(first));
    loop {
        let part = match next.take() {
            Some(part) => part,
            None => tokio::select! {
                part = answer.next() => part.unwrap_or_else(|| Err(unfinished())),
                () = chunks.closed() => return,
            },
        };
        let (encoded, end) = match part {
            Ok(Part::Rows(batch)) => (encoder.rows(&batch).map_err(Problem::from), false),
            Ok(Part::End { rows, truncated }) => {
                let cut = limit.filter(|_| truncated).map(Problem::cut);
                (encoder.end(rows, truncated, cut), true)
            }
            Err(error) => (Err(error.into()), true),
        };
        let sent = match encoded {
            Ok(bytes) => chunks.send(Ok(bytes)).await,
            Err(problem) => {
                if let Some(bytes) = encoder.broken(&problem) {
                    let _ = chunks.send(Ok(bytes)).await;
                }
                // What is still on its way when the transfer is broken off is lost.
                let _ = timeout(LAST_WORD, chunks.reserve_many(CHUNKS_AHEAD)).await;
                sleep(LAST_WORD / 10).await;
                let _ = chunks.send(Err(problem)).await;
                return;
            }
        };
        if end || sent.is_err() {
            return;
        }
    }
}

fn unfinished() -> QueryError {
    QueryError::Engine("the answer has no end".to_owned())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn a_body_of_any_bytes_is_a_question_or_a_problem(
            sql in any::<String>(), noise in vec(any::<u8>(), 0..6), at in any::<prop::sample::Index>(),
        ) {
            let mut body = json!({"sql": sql}).to_string().into_bytes();
            let at = at.index(body.len() + 1);
            body.splice(at..at, noise.iter().copied());
            let request = Request::builder().header(header::CONTENT_TYPE, "application/json");
            let request = request.body(Body::from(body)).unwrap();
            match asked(request).now_or_never().unwrap() {
                Ok(asked) => prop_assert!(!noise.is_empty() || asked.sql == sql),
                Err(problem) => prop_assert!(!noise.is_empty(), "{}", problem),
            }
        }
    }
}
