//! A stand-in for model providers, so that real agents run real sessions without a network.
//!
//! Speaks Anthropic Messages, OpenAI Chat Completions, OpenAI Responses and Gemini's
//! generateContent, streaming and not, over plain HTTP on the loopback addresses. An agent that
//! offers a shell tool is asked once to run one given command; once its result has come back, or if
//! there is no such tool, the answer is a final text. The same conversation always gets the same
//! answers: what was asked before is read from the request, not remembered.
//!
//! Bounds: a request body of at most [`server::BODY_MAX`] bytes. WebSocket upgrades are refused,
//! and agents then fall back to plain requests.

#![forbid(unsafe_code)]

mod anthropic;
mod chat;
mod gemini;
mod responses;
mod server;
mod tool;

use serde_json::{Value, json};

pub use server::Server;

/// The final text once the tool's result is known.
const DONE: &str = "done: the command ran";
/// The final text for a request that offers no shell tool.
const NOTHING_TO_DO: &str = "ok";

/// What the stand-in has agents do.
#[derive(Clone, Debug)]
pub struct Script {
    /// The shell command the one tool call runs.
    pub command: String,
    /// The working directory, for tools that require one.
    pub directory: String,
}

/// An answer to one request.
#[derive(Debug, PartialEq)]
enum Answer {
    /// A JSON body with this status.
    Json(u16, Value),
    /// Server-sent events: an optional name and the data.
    Events(Vec<(Option<&'static str>, String)>),
}

impl Answer {
    fn ok(body: Value) -> Self {
        Self::Json(200, body)
    }

    /// Events whose name is also the member `type` of their data.
    fn typed_events(events: Vec<(&'static str, Value)>) -> Self {
        let named = events.into_iter().map(|(name, mut data)| {
            data["type"] = name.into();
            (Some(name), data.to_string())
        });
        Self::Events(named.collect())
    }
}

/// Answers a request by its path (without the query) and its body.
fn answer(path: &str, body: &Value, script: &Script) -> Answer {
    let method = path.rsplit(['/', ':']).next().unwrap_or_default();
    match method {
        "count_tokens" => Answer::ok(json!({"input_tokens": 10})),
        "countTokens" => Answer::ok(json!({"totalTokens": 10})),
        "messages" => anthropic::answer(body, script),
        "completions" if path.ends_with("/chat/completions") => chat::answer(body, script),
        "responses" => responses::answer(body, script),
        "generateContent" => gemini::answer(body, script, false),
        "streamGenerateContent" => gemini::answer(body, script, true),
        "models" => Answer::ok(json!({
            "object": "list",
            "data": [{"id": "mock-model", "object": "model", "created": 1, "owned_by": "skep"}],
            "models": [],
        })),
        _ => Answer::Json(
            404,
            json!({
                "type": "error",
                "error": {"type": "not_found_error", "message": "the stand-in has no such endpoint"},
            }),
        ),
    }
}

/// The members of an array, or nothing.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn script() -> Script {
        Script {
            command: "echo hi".to_owned(),
            directory: "/project".to_owned(),
        }
    }

    #[test]
    fn an_endpoint_nobody_speaks_is_not_found() {
        let Answer::Json(status, _) = answer("/api/event_logging", &json!({}), &script()) else {
            panic!("expected JSON");
        };
        assert_eq!(status, 404);
    }

    #[test]
    fn a_typed_event_carries_its_name_in_its_data() {
        let answer = Answer::typed_events(vec![("message_stop", json!({}))]);
        let data = r#"{"type":"message_stop"}"#.to_owned();
        assert_eq!(answer, Answer::Events(vec![(Some("message_stop"), data)]));
    }
}
