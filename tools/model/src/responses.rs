//! OpenAI Responses: `POST /v1/responses`.
//!
//! Tools may stand at the top, inside a namespace, or in an input item of type `additional_tools`.
//! An agent whose only way to a shell is a free-form tool named `exec`, which runs a piece of
//! JavaScript, gets a piece that calls its shell function.

use serde_json::{Value, json};

use super::tool::{Offer, shell_call};
use super::{Answer, DONE, NOTHING_TO_DO, Script, items};

/// Answers one request.
pub fn answer(body: &Value, script: &Script) -> Answer {
    let item = output_item(body, script);
    let response = json!({
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": body["model"],
        "status": "in_progress",
        "output": [],
    });
    let mut completed = response.clone();
    completed["status"] = "completed".into();
    completed["output"] = json!([item]);
    completed["usage"] = json!({
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    });
    if body["stream"] != true {
        return Answer::ok(completed);
    }
    let mut events = vec![
        ("response.created", json!({"response": response})),
        (
            "response.output_item.added",
            json!({"output_index": 0, "item": item}),
        ),
    ];
    if item["type"] == "message" {
        let text = &item["content"][0]["text"];
        let place = json!({"item_id": item["id"], "output_index": 0, "content_index": 0});
        let with = |member: &str| {
            let mut event = place.clone();
            event[member] = text.clone();
            event
        };
        events.push(("response.output_text.delta", with("delta")));
        events.push(("response.output_text.done", with("text")));
    }
    events.push((
        "response.output_item.done",
        json!({"output_index": 0, "item": item}),
    ));
    events.push(("response.completed", json!({"response": completed})));
    for (number, (_, event)) in events.iter_mut().enumerate() {
        event["sequence_number"] = number.into();
    }
    Answer::typed_events(events)
}

fn output_item(body: &Value, script: &Script) -> Value {
    let input = items(&body["input"]);
    let has_result = input.iter().any(|item| {
        item["type"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("_output"))
    });
    if has_result {
        return message(DONE);
    }
    let mut tools = Vec::new();
    collect(&body["tools"], &mut tools);
    for item in input
        .iter()
        .filter(|item| item["type"] == "additional_tools")
    {
        collect(&item["tools"], &mut tools);
    }
    let functions: Vec<_> = tools
        .iter()
        .filter(|tool| tool["type"] == "function")
        .filter_map(|tool| {
            Some(Offer {
                name: tool["name"].as_str()?,
                schema: &tool["parameters"],
            })
        })
        .collect();
    if let Some(call) = shell_call(&functions, script) {
        return json!({
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": call.name,
            "arguments": call.arguments.to_string(),
            "status": "completed",
        });
    }
    if tools.iter().any(|tool| tool["type"] == "local_shell") {
        return json!({
            "type": "local_shell_call",
            "id": "lsh_1",
            "call_id": "call_1",
            "status": "completed",
            "action": {"type": "exec", "command": ["bash", "-c", script.command], "env": {}},
        });
    }
    if tools
        .iter()
        .any(|tool| tool["type"] == "custom" && tool["name"] == "exec")
    {
        let command = json!({"cmd": script.command});
        let program = format!("text(JSON.stringify(await tools.exec_command({command})));");
        return json!({
            "type": "custom_tool_call",
            "id": "ct_1",
            "call_id": "call_1",
            "name": "exec",
            "input": program,
            "status": "completed",
        });
    }
    message(NOTHING_TO_DO)
}

/// All tools, those in namespaces too.
fn collect<'a>(offered: &'a Value, tools: &mut Vec<&'a Value>) {
    for tool in items(offered) {
        if tool["type"] == "namespace" {
            collect(&tool["tools"], tools);
        } else {
            tools.push(tool);
        }
    }
}

fn message(text: &str) -> Value {
    json!({
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::script;
    use super::*;

    #[test]
    fn a_function_in_a_namespace_of_an_input_item_is_found() {
        let function = json!({"type": "function", "name": "exec_command", "parameters": {
            "properties": {"cmd": {"type": "string"}}}});
        let namespace = json!({"type": "namespace", "name": "n", "tools": [function]});
        let body = json!({"input": [{"type": "additional_tools", "tools": [namespace]}]});
        let item = output_item(&body, &script());
        assert_eq!(item["arguments"], r#"{"cmd":"echo hi"}"#);
    }

    #[test]
    fn a_free_form_tool_gets_a_program_that_calls_the_shell() {
        let body = json!({"tools": [{"type": "custom", "name": "exec"}]});
        let item = output_item(&body, &script());
        assert!(
            item["input"]
                .as_str()
                .unwrap()
                .contains(r#"exec_command({"cmd":"echo hi"})"#)
        );
    }

    #[test]
    fn once_the_result_is_there_the_turn_ends_with_a_message() {
        let body = json!({"stream": true, "input": [{"type": "function_call_output"}]});
        let Answer::Events(events) = answer(&body, &script()) else {
            panic!("expected events");
        };
        assert!(events.iter().any(|(_, data)| data.contains(DONE)));
        assert_eq!(events.last().unwrap().0, Some("response.completed"));
    }
}
