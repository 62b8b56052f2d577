//! The HTTP/1.1 side of the stand-in: one thread, both loopback addresses, every request noted.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, UPGRADE, USER_AGENT};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, Script};

/// Most bytes of a request body.
pub const BODY_MAX: usize = 16 * 1024 * 1024;

/// A request that came in.
#[derive(Clone, Debug, Serialize)]
pub struct Note {
    /// `POST` and the like.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The client's name for itself.
    pub user_agent: Option<String>,
    /// Length of the body, in bytes.
    pub bytes: usize,
    /// Status of the answer.
    pub status: u16,
}

/// A running stand-in. It ends with the process.
pub struct Server {
    /// Where it listens: this port of 127.0.0.1 and of ::1.
    pub address: SocketAddr,
    notes: Arc<Mutex<Vec<Note>>>,
}

impl Server {
    /// Starts the stand-in on a port the system chooses.
    pub fn start(script: Script) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("the stand-in model server cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        // A machine without IPv6 runs the demo all the same.
        let second = TcpListener::bind((Ipv6Addr::LOCALHOST, address.port())).ok();
        let notes = Arc::new(Mutex::new(Vec::new()));
        let state = Arc::new(State {
            script,
            notes: Arc::clone(&notes),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                if let Some(second) = second {
                    tokio::spawn(accept(second, Arc::clone(&state)));
                }
                accept(listener, state).await;
            });
        });
        Ok(Self { address, notes })
    }

    /// The requests so far.
    pub fn notes(&self) -> Vec<Note> {
        self.notes
            .lock()
            .expect("no holder of the lock panics")
            .clone()
    }
}

struct State {
    script: Script,
    notes: Arc<Mutex<Vec<Note>>>,
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    listener
        .set_nonblocking(true)
        .expect("a listening socket can be made non-blocking");
    let listener = tokio::net::TcpListener::from_std(listener)
        .expect("a listening socket can be given to the runtime");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| serve(request, &state));
            // A client that goes away in the middle is no business of the stand-in's.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    state: &State,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map(|body| body.to_bytes());
    let answer = match &body {
        // With this status Codex falls back to plain requests at once; with others it tries for
        // some ten seconds.
        _ if head.headers.contains_key(UPGRADE) => refuse(426, "no protocol upgrades here"),
        _ if head.headers.contains_key(CONTENT_ENCODING) => {
            refuse(415, "the stand-in takes plain bodies only")
        }
        Err(_) => refuse(413, "the body is too long or was cut off"),
        Ok(body) => {
            let body = serde_json::from_slice(body).unwrap_or(Value::Null);
            super::answer(head.uri.path(), &body, &state.script)
        }
    };
    let response = respond(answer);
    let user_agent = head.headers.get(USER_AGENT);
    state
        .notes
        .lock()
        .expect("no holder of the lock panics")
        .push(Note {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            user_agent: user_agent
                .and_then(|name| name.to_str().ok())
                .map(str::to_owned),
            bytes: body.map_or(0, |body| body.len()),
            status: response.status().as_u16(),
        });
    Ok(response)
}

fn refuse(status: u16, message: &str) -> Answer {
    Answer::Json(status, json!({"error": {"message": message}}))
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let (status, kind, body) = match answer {
        Answer::Json(status, body) => (status, "application/json", body.to_string()),
        Answer::Events(events) => {
            let mut body = String::new();
            for (name, data) in events {
                if let Some(name) = name {
                    writeln!(body, "event: {name}").expect("writing to a string does not fail");
                }
                write!(body, "data: {data}\n\n").expect("writing to a string does not fail");
            }
            (200, "text/event-stream", body)
        }
    };
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header("request-id", "req_1")
        .body(Full::new(Bytes::from(body)))
        .expect("status and headers are constants")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::super::tests::script;
    use super::*;

    fn exchange(server: &Server, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_conversation_over_the_socket_asks_for_the_command_and_is_noted() {
        let server = Server::start(script()).unwrap();
        let tools = r#"[{"name":"Bash","input_schema":{"properties":{"command":{}}}}]"#;
        let body = format!(r#"{{"messages":[],"stream":true,"tools":{tools}}}"#);
        let answer = exchange(&server, "POST /v1/messages?beta=true", &body);
        assert!(
            answer.contains("text/event-stream") && answer.contains("echo hi"),
            "{answer}"
        );
        let notes = server.notes();
        assert_eq!(
            (notes[0].path.as_str(), notes[0].status),
            ("/v1/messages", 200)
        );
    }

    #[test]
    fn a_websocket_upgrade_is_refused() {
        let server = Server::start(script()).unwrap();
        let head = "GET /v1/responses HTTP/1.1\r\nUpgrade: websocket\r\nX:";
        assert!(exchange(&server, head, "").starts_with("HTTP/1.1 426"));
    }

    #[test]
    fn a_compressed_body_is_refused_rather_than_misread() {
        let server = Server::start(script()).unwrap();
        let head = "POST /v1/responses HTTP/1.1\r\nContent-Encoding: zstd\r\nX:";
        assert!(exchange(&server, head, "x").starts_with("HTTP/1.1 415"));
    }
}
