//! Choosing an agent's shell tool and filling in its arguments by its schema.

use serde_json::{Map, Value, json};

use super::Script;

/// Names agents give their shell tool.
const SHELL_TOOLS: [&str; 8] = [
    "Bash",
    "bash",
    "run_shell_command",
    "exec_command",
    "shell_command",
    "shell",
    "container.exec",
    "execute",
];
/// Names of the argument that takes the command.
const COMMAND_ARGUMENTS: [&str; 3] = ["command", "cmd", "script"];
/// Names of the argument that takes the working directory.
const DIRECTORY_ARGUMENTS: [&str; 4] = ["cwd", "workdir", "directory", "dir_path"];

/// A tool an agent offers.
pub struct Offer<'a> {
    pub name: &'a str,
    /// JSON schema of its arguments.
    pub schema: &'a Value,
}

/// A tool call to ask for.
#[derive(Debug, PartialEq)]
pub struct Call {
    pub name: String,
    pub arguments: Value,
}

/// The call of the first shell tool among those on offer.
pub fn shell_call(offers: &[Offer<'_>], script: &Script) -> Option<Call> {
    let offer = SHELL_TOOLS
        .into_iter()
        .find_map(|name| offers.iter().find(|offer| offer.name == name))?;
    Some(Call {
        name: offer.name.to_owned(),
        arguments: arguments(offer.schema, script),
    })
}

fn arguments(schema: &Value, script: &Script) -> Value {
    let properties = &schema["properties"];
    let mut arguments = Map::new();
    let command = COMMAND_ARGUMENTS
        .into_iter()
        .find(|name| properties.get(name).is_some());
    let command = command.unwrap_or("command");
    let value = if type_of(&properties[command]) == "array" {
        json!(["bash", "-c", script.command])
    } else {
        json!(script.command)
    };
    arguments.insert(command.to_owned(), value);
    for name in super::items(&schema["required"])
        .iter()
        .filter_map(Value::as_str)
    {
        if !arguments.contains_key(name) {
            arguments.insert(name.to_owned(), required(name, &properties[name], script));
        }
    }
    arguments.into()
}

/// A value for an argument that must be given.
fn required(name: &str, schema: &Value, script: &Script) -> Value {
    if DIRECTORY_ARGUMENTS.contains(&name) {
        return json!(script.directory);
    }
    if let Some(first) = super::items(&schema["enum"]).first() {
        return first.clone();
    }
    match type_of(schema).as_str() {
        "boolean" => json!(false),
        "number" | "integer" => json!(30),
        "array" => json!([]),
        "object" => json!({}),
        _ => json!("run the command"),
    }
}

/// The type a schema names, in lower case; the first of several.
fn type_of(schema: &Value) -> String {
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().cloned().unwrap_or_default(),
        kind => kind.clone(),
    };
    kind.as_str().unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::tests::script;
    use super::*;

    fn call(name: &str, schema: &Value) -> Option<Call> {
        shell_call(&[Offer { name, schema }], &script())
    }

    #[test]
    fn a_tool_that_is_no_shell_is_not_called() {
        assert_eq!(call("read_file", &json!({})), None);
    }

    #[test]
    fn what_the_schema_requires_is_filled_in() {
        let schema = json!({
            "properties": {
                "cmd": {"type": "string"},
                "workdir": {"type": "string"},
                "is_background": {"type": "BOOLEAN"},
                "timeout": {"type": ["integer", "null"]},
                "risk": {"type": "string", "enum": ["low", "high"]},
                "note": {"type": "string"},
            },
            "required": ["cmd", "workdir", "is_background", "timeout", "risk"],
        });
        let expected = json!({
            "cmd": "echo hi",
            "workdir": "/project",
            "is_background": false,
            "timeout": 30,
            "risk": "low",
        });
        assert_eq!(call("exec_command", &schema).unwrap().arguments, expected);
    }

    #[test]
    fn a_command_of_array_type_is_an_argument_list() {
        let schema = json!({"properties": {"command": {"type": "array"}}, "required": ["command"]});
        let expected = json!({"command": ["bash", "-c", "echo hi"]});
        assert_eq!(call("shell", &schema).unwrap().arguments, expected);
    }
}
