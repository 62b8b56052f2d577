//! The agent of an event.

use crate::{Class, Column, Text, field::why};

facts! {
    /// A recognised agent.
    Agent = Agent at "agent", "agent" of &Class::ALL;

    /// Catalogue id of the family, e.g. `claude-code`; `unknown` when no family describes it.
    family: String {
        wire: family,
        column: text(Column::at(8, "agent_family", "catalogue id of the agent")),
        secrets: text,
        meaning: "which agent it is",
        example: "claude-code",
        why: why::RECOGNITION,
        sample: "claude-code".into(),
    }
    version: Option<String> {
        wire: version,
        column: text(Column::at(9, "agent_version", "version of the agent")),
        secrets: text,
        meaning: "its version",
        example: "2.1.91",
        why: why::RECOGNITION,
        sample: Some("2.1.91".into()),
    }
    /// 0 to 100.
    confidence: u8 {
        wire: confidence,
        column: short(Column::at(10, "agent_confidence", "0 to 100")),
        secrets: none,
        meaning: "how sure that is, 0 to 100",
        example: "95",
        why: why::RECOGNITION,
        sample: 95,
        only: hundred,
    }
    /// What it was recognised by, strongest first, e.g. `package.json:@openai/codex@0.169.0`.
    evidence: Vec<String> {
        wire: evidence,
        column: texts(Column::at(11, "agent_evidence", "what the agent was recognised by, strongest first")),
        secrets: text,
        meaning: "what it was recognised by",
        example: "package.json:@openai/codex@0.169.0",
        why: why::RECOGNITION,
        sample: vec!["package.json:@anthropic-ai/claude-code@2.1.91".into()],
    }
    /// Directory of the package, or the executable itself where there is none.
    install_path: Option<Text> {
        wire: install_path,
        column: text(Column::at(12, "agent_install_path", "folder of the agent's package, or its executable")),
        secrets: text,
        meaning: "where it is installed",
        example: "/usr/lib/node_modules/@openai/codex",
        why: why::RECOGNITION,
        sample: Some("/usr/lib/node_modules/@anthropic-ai/claude-code".into()),
    }
    /// Name of the package or program of an agent of the family `unknown`, e.g. `mini-swe-agent`.
    name: Option<String> {
        wire: name,
        column: text(Column::at(95, "agent_name", "name of the package or program of an agent whose family is unknown")),
        secrets: text,
        meaning: "of an agent that no family describes, the name of its package or program",
        example: "mini-swe-agent",
        why: why::RECOGNITION,
        sample: Some("mini-swe-agent".into()),
    }
}
