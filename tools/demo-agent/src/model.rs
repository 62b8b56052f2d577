//! The model's side of the conversation: one request for the next step, over plain HTTP.
//!
//! Speaks as much of the Anthropic Messages protocol as one shell tool needs. Bounds: an answer of
//! at most [`ANSWER_MAX`] bytes, [`TIMEOUT`] for each read and write.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const ANSWER_MAX: u64 = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(20);

/// What the model wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Run this shell command and report its output.
    Run(String),
    /// Nothing: the text is the final answer.
    Finish(String),
}

/// Asks for the next step after the prompt and, if a tool ran, its output.
pub fn ask(address: SocketAddr, prompt: &str, tool_output: Option<&str>) -> io::Result<Step> {
    let body = request_body(prompt, tool_output);
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {address}\r\nUser-Agent: skep-demo-agent/{}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    parse_answer(&answer)
}

fn request_body(prompt: &str, tool_output: Option<&str>) -> String {
    let tool = r#"{"name":"Bash","input_schema":{"type":"object","properties":{"command":{"type":"string"}},"required":["command"]}}"#;
    let result = tool_output.map_or_else(String::new, |output| {
        format!(
            r#",{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"call","content":{}}}]}}"#,
            quote(output)
        )
    });
    format!(
        r#"{{"model":"demo","max_tokens":256,"tools":[{tool}],"messages":[{{"role":"user","content":{}}}{result}]}}"#,
        quote(prompt)
    )
}

fn parse_answer(answer: &str) -> io::Result<Step> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| bad("the answer has no header"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(bad(&format!("the model answered with status {status}")));
    }
    if let Some(command) = string_member(body, "command") {
        return Ok(Step::Run(command));
    }
    string_member(body, "text")
        .map(Step::Finish)
        .ok_or_else(|| bad("the answer has no content"))
}

/// The first string member of that name in a JSON text. Enough for the few members read here, all
/// of which have names that occur once.
fn string_member(json: &str, name: &str) -> Option<String> {
    let key = format!("\"{name}\"");
    for (position, _) in json.match_indices(&key) {
        let after = json[position + key.len()..].trim_start();
        let Some(value) = after.strip_prefix(':') else {
            continue;
        };
        if let Some(quoted) = value.trim_start().strip_prefix('"') {
            return unquote(quoted);
        }
    }
    None
}

/// The characters of a JSON string whose opening quote has been taken off.
fn unquote(quoted: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'u' => {
                    let digits: String = characters.by_ref().take(4).collect();
                    let unit = u32::from_str_radix(&digits, 16).ok()?;
                    text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                literal => text.push(literal),
            },
            character => text.push(character),
        }
    }
}

fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if control < ' ' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{body}")
    }

    #[test]
    fn a_tool_call_is_a_command_to_run() {
        let body = r#"{"content":[{"type":"tool_use","input":{"command":"printf \"a\\n\" > b"}}]}"#;
        let expected = Step::Run("printf \"a\\n\" > b".to_owned());
        assert_eq!(parse_answer(&answer(body)).unwrap(), expected);
    }

    #[test]
    fn a_text_is_the_final_answer() {
        let body = r#"{"content":[{"type":"text","text":"done"}]}"#;
        assert_eq!(
            parse_answer(&answer(body)).unwrap(),
            Step::Finish("done".to_owned())
        );
    }

    #[test]
    fn a_refusal_is_an_error_with_its_status() {
        let error = parse_answer("HTTP/1.1 529 Overloaded\r\n\r\n{}").unwrap_err();
        assert_eq!(error.to_string(), "the model answered with status 529");
    }

    #[test]
    fn quoting_and_unquoting_give_the_text_back() {
        let text = "tab\t quote\" back\\slash\nbell\u{7} λ";
        assert_eq!(unquote(&quote(text)[1..]).as_deref(), Some(text));
    }
}
