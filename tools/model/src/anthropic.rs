//! Anthropic Messages: `POST /v1/messages`.

use serde_json::{Value, json};

use super::tool::{Call, Offer, shell_call};
use super::{Answer, DONE, NOTHING_TO_DO, Script, items};

/// Answers one request.
pub fn answer(body: &Value, script: &Script) -> Answer {
    let call = if has_result(body) {
        None
    } else {
        wanted_call(body, script)
    };
    let stop_reason = if call.is_some() {
        "tool_use"
    } else {
        "end_turn"
    };
    let block = match &call {
        Some(call) => {
            json!({"type": "tool_use", "id": "toolu_1", "name": call.name, "input": call.arguments})
        }
        None => json!({"type": "text", "text": final_text(body)}),
    };
    let usage = json!({
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    });
    let mut message = json!({
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [block],
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage,
    });
    if body["stream"] != true {
        return Answer::ok(message);
    }
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    let (start, delta) = block_events(&block, call.as_ref());
    Answer::typed_events(vec![
        ("message_start", json!({"message": message})),
        (
            "content_block_start",
            json!({"index": 0, "content_block": start}),
        ),
        ("content_block_delta", json!({"index": 0, "delta": delta})),
        ("content_block_stop", json!({"index": 0})),
        (
            "message_delta",
            json!({
                "delta": {"stop_reason": stop_reason, "stop_sequence": null},
                "usage": {"output_tokens": 5},
            }),
        ),
        ("message_stop", json!({})),
    ])
}

/// The block as it begins, and the piece that completes it.
fn block_events(block: &Value, call: Option<&Call>) -> (Value, Value) {
    let mut start = block.clone();
    match call {
        Some(call) => {
            start["input"] = json!({});
            let delta = json!({
                "type": "input_json_delta",
                "partial_json": call.arguments.to_string(),
            });
            (start, delta)
        }
        None => {
            start["text"] = "".into();
            (start, json!({"type": "text_delta", "text": block["text"]}))
        }
    }
}

fn has_result(body: &Value) -> bool {
    items(&body["messages"])
        .iter()
        .flat_map(|message| items(&message["content"]))
        .any(|block| block["type"] == "tool_result")
}

fn wanted_call(body: &Value, script: &Script) -> Option<Call> {
    let offers: Vec<_> = items(&body["tools"])
        .iter()
        .filter_map(|tool| {
            Some(Offer {
                name: tool["name"].as_str()?,
                schema: &tool["input_schema"],
            })
        })
        .collect();
    shell_call(&offers, script)
}

fn final_text(body: &Value) -> String {
    let wants_json = !body["output_config"]["format"].is_null() || !body["output_format"].is_null();
    if wants_json {
        json!({"title": "stand-in"}).to_string()
    } else if has_result(body) {
        DONE.to_owned()
    } else {
        NOTHING_TO_DO.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::script;
    use super::*;

    fn request(messages: Value, stream: bool) -> Value {
        json!({
            "model": "m",
            "stream": stream,
            "messages": messages,
            "tools": [{"name": "Bash", "input_schema": {"properties": {"command": {}}}}],
        })
    }

    #[test]
    fn the_first_turn_asks_for_the_command() {
        let Answer::Json(200, message) = answer(&request(json!([]), false), &script()) else {
            panic!("expected JSON");
        };
        assert_eq!(message["stop_reason"], "tool_use");
        assert_eq!(
            message["content"][0]["input"],
            json!({"command": "echo hi"})
        );
    }

    #[test]
    fn once_the_result_is_there_the_turn_ends() {
        let messages = json!([{"role": "user", "content": [{"type": "tool_result"}]}]);
        let Answer::Json(200, message) = answer(&request(messages, false), &script()) else {
            panic!("expected JSON");
        };
        assert_eq!(message["stop_reason"], "end_turn");
        assert_eq!(message["content"][0]["text"], DONE);
    }

    #[test]
    fn a_stream_begins_with_an_empty_message_and_carries_the_arguments_in_a_delta() {
        let Answer::Events(events) = answer(&request(json!([]), true), &script()) else {
            panic!("expected events");
        };
        let data: Vec<Value> = events
            .iter()
            .map(|(_, data)| serde_json::from_str(data).unwrap())
            .collect();
        assert_eq!(data[0]["message"]["content"], json!([]));
        assert_eq!(data[1]["content_block"]["input"], json!({}));
        assert_eq!(data[2]["delta"]["partial_json"], r#"{"command":"echo hi"}"#);
        assert_eq!(events.last().unwrap().0, Some("message_stop"));
    }
}
