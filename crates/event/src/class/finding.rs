//! Something was found.

use crate::{
    Column,
    field::why,
    named::{named_in_column, numbered},
};

class! {
    /// Something a person should look at (OCSF Detection Finding, class 2004).
    Finding = Finding at "finding", "finding" of Finding;

    /// Stable id of the rule, e.g. `sensor.hook_detached`.
    rule: String {
        wire: rule,
        column: text(Column::at(64, "finding_rule", "stable id of the rule, e.g. sensor.hook_detached")),
        secrets: ours,
        meaning: "which rule found it",
        example: "sensor.hook_detached",
        why: why::ATTENTION,
        sample: "sensor.hook_detached".into(),
        only: not_empty,
    }
    /// One line for people.
    title: String {
        wire: title,
        column: text(Column::at(65, "finding_title", "one line for people")),
        secrets: text,
        meaning: "what it is, in one line",
        example: "a hook of the sensor was detached",
        why: why::ATTENTION,
        sample: "a hook of the sensor was detached".into(),
    }
    severity: Severity {
        wire: severity,
        column: text(Column::at(66, "finding_severity", "informational, low, medium, high or critical (OCSF severity_id)")),
        secrets: none,
        meaning: "informational, low, medium, high or critical",
        example: "high",
        why: why::ATTENTION,
        sample: Severity::High,
        also: "severity_id" = Severity::id, "the same as a number, as OCSF has it", "4",
    }
    /// MITRE ATT&CK techniques, e.g. `T1562.001`.
    attack: Vec<String> {
        wire: attack,
        column: texts(Column::at(67, "finding_attack", "MITRE ATT&CK techniques")),
        secrets: ours,
        meaning: "techniques of MITRE ATT&CK",
        example: "[\"T1562.001\"]",
        why: why::ATTENTION,
        sample: vec!["T1562.001".into()],
    }
    /// What was seen, in one sentence.
    reason: String {
        wire: reason,
        column: text(Column::at(68, "finding_reason", "what was seen, in one sentence")),
        secrets: text,
        meaning: "what was seen, in a sentence",
        example: "a hook does not report the sensor's own calls",
        why: why::ATTENTION,
        sample: "cgroup/connect4 does not report the sensor's own calls".into(),
    }
}

numbered! {
    /// OCSF `severity_id`, 1 to 5; its names in lower case.
    pub enum Severity {
        Informational = 1,
        Low = 2,
        Medium = 3,
        High = 4,
        Critical = 5,
    }
}

named_in_column! { Severity }

// === impl Severity ===

impl Severity {
    /// OCSF `severity_id`.
    pub fn id(&self) -> u8 {
        *self as u8
    }
}

#[cfg(test)]
impl Finding {
    /// Part of the JSON form of its sample.
    pub(crate) const SAMPLE_JSON: &'static str = r#""finding":{"rule":"sensor.hook_detached","title":"a hook of the sensor was detached","severity":"high","severity_id":4,"attack":["T1562.001"],"reason":"cgroup/connect4 does not report the sensor's own calls"}"#;
}
