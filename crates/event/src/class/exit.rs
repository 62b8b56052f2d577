//! A process ended.

use crate::Column;

class! {
    /// A process ended.
    Exit = Exit at "exit", "exit" of Exit;

    /// Exit status 0..=255 when it ended by itself.
    code: Option<u8> {
        wire: code,
        column: short(Column::at(35, "exit_code", "exit status, when it ended by itself")),
        secrets: none,
        meaning: "exit status, when it ended by itself",
        example: "0",
        why: "tells whether a command failed",
        sample: Some(3),
    }
    /// Signal that ended it.
    signal: Option<u8> {
        wire: signal,
        column: short(Column::at(36, "exit_signal", "signal that ended it")),
        secrets: none,
        meaning: "signal that ended it",
        example: "9",
        why: "tells whether a command was killed",
        sample: None,
    }
}

#[cfg(test)]
impl Exit {
    /// Part of the JSON form of its sample.
    pub(crate) const SAMPLE_JSON: &'static str = r#""exit":{"code":3,"signal":null}"#;
}
