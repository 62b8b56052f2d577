//! OpenAI Chat Completions: `POST /v1/chat/completions`.

use serde_json::{Value, json};

use super::tool::{Call, Offer, shell_call};
use super::{Answer, DONE, NOTHING_TO_DO, Script, items};

/// Answers one request.
pub fn answer(body: &Value, script: &Script) -> Answer {
    let has_result = items(&body["messages"])
        .iter()
        .any(|message| message["role"] == "tool");
    let call = if has_result {
        None
    } else {
        wanted_call(body, script)
    };
    let text = if has_result { DONE } else { NOTHING_TO_DO };
    let finish_reason = if call.is_some() { "tool_calls" } else { "stop" };
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let tool_calls = call.map(|call| {
        json!([{
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments.to_string()},
        }])
    });

    if body["stream"] != true {
        let message = match tool_calls {
            Some(calls) => json!({"role": "assistant", "content": null, "tool_calls": calls}),
            None => json!({"role": "assistant", "content": text}),
        };
        return Answer::ok(json!({
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": usage,
        }));
    }
    let chunk = |choices: Value| {
        let chunk = json!({
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": body["model"],
            "choices": choices,
        });
        (None, chunk)
    };
    let delta = match tool_calls {
        Some(calls) => json!({"role": "assistant", "content": null, "tool_calls": calls}),
        None => json!({"role": "assistant", "content": text}),
    };
    let mut last = chunk(json!([]));
    last.1["usage"] = usage;
    let chunks = [
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}])),
        chunk(json!([{"index": 0, "delta": {}, "finish_reason": finish_reason}])),
        last,
    ];
    let mut events: Vec<_> = chunks.map(|(name, chunk)| (name, chunk.to_string())).into();
    events.push((None, "[DONE]".to_owned()));
    Answer::Events(events)
}

fn wanted_call(body: &Value, script: &Script) -> Option<Call> {
    let offers: Vec<_> = items(&body["tools"])
        .iter()
        .map(|tool| &tool["function"])
        .filter_map(|tool| {
            Some(Offer {
                name: tool["name"].as_str()?,
                schema: &tool["parameters"],
            })
        })
        .collect();
    shell_call(&offers, script)
}

#[cfg(test)]
mod tests {
    use super::super::tests::script;
    use super::*;

    fn request(messages: Value, stream: bool) -> Value {
        let tool =
            json!({"function": {"name": "bash", "parameters": {"properties": {"command": {}}}}});
        json!({"model": "m", "stream": stream, "messages": messages, "tools": [tool]})
    }

    #[test]
    fn the_first_turn_asks_for_the_command() {
        let Answer::Json(200, completion) = answer(&request(json!([]), false), &script()) else {
            panic!("expected JSON");
        };
        let choice = &completion["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        let function = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!(function["arguments"], r#"{"command":"echo hi"}"#);
    }

    #[test]
    fn a_stream_ends_with_the_usage_and_the_end_mark() {
        let messages = json!([{"role": "tool", "content": "hi"}]);
        let Answer::Events(events) = answer(&request(messages, true), &script()) else {
            panic!("expected events");
        };
        assert!(events[0].1.contains(DONE));
        assert!(events[2].1.contains("total_tokens"));
        assert_eq!(events[3].1, "[DONE]");
    }
}
