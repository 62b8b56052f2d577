//! Gemini: `POST …:generateContent` and `…:streamGenerateContent`.

use serde_json::{Value, json};

use super::tool::{Offer, shell_call};
use super::{Answer, DONE, NOTHING_TO_DO, Script, items};

/// Answers one request.
pub fn answer(body: &Value, script: &Script, stream: bool) -> Answer {
    let response = json!({
        "candidates": [{
            "content": {"role": "model", "parts": [part(body, script)]},
            "finishReason": "STOP",
            "index": 0,
        }],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        "modelVersion": "stand-in",
        "responseId": "resp_1",
    });
    if stream {
        Answer::Events(vec![(None, response.to_string())])
    } else {
        Answer::ok(response)
    }
}

fn part(body: &Value, script: &Script) -> Value {
    let has_result = items(&body["contents"])
        .iter()
        .flat_map(|content| items(&content["parts"]))
        .any(|part| part.get("functionResponse").is_some());
    let offers: Vec<_> = items(&body["tools"])
        .iter()
        .flat_map(|tool| items(&tool["functionDeclarations"]))
        .filter_map(|function| {
            let schema = function
                .get("parametersJsonSchema")
                .unwrap_or(&function["parameters"]);
            Some(Offer {
                name: function["name"].as_str()?,
                schema,
            })
        })
        .collect();
    if !has_result && let Some(call) = shell_call(&offers, script) {
        return json!({"functionCall": {"name": call.name, "args": call.arguments}});
    }
    if body["generationConfig"]["responseMimeType"] == "application/json" {
        return json!({"text": routing_answer().to_string()});
    }
    json!({"text": if has_result { DONE } else { NOTHING_TO_DO }})
}

/// Answers the agent's side questions, which ask for JSON: which model to take, who speaks next.
fn routing_answer() -> Value {
    json!({
        "reasoning": "stand-in",
        "next_speaker": "user",
        "model_choice": "flash",
        "complexity_reasoning": "stand-in",
        "complexity_score": 10,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::script;
    use super::*;

    #[test]
    fn a_declared_shell_function_is_called_once() {
        let function = json!({"name": "run_shell_command", "parametersJsonSchema": {
            "properties": {"command": {"type": "string"}}, "required": ["command"]}});
        let mut body = json!({"tools": [{"functionDeclarations": [function]}], "contents": []});
        assert_eq!(
            part(&body, &script())["functionCall"]["args"]["command"],
            "echo hi"
        );
        body["contents"] = json!([{"parts": [{"functionResponse": {}}]}]);
        assert_eq!(part(&body, &script()), json!({"text": DONE}));
    }

    #[test]
    fn a_side_question_gets_json() {
        let body = json!({"generationConfig": {"responseMimeType": "application/json"}});
        let text = part(&body, &script())["text"].as_str().unwrap().to_owned();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["next_speaker"], "user");
    }
}
