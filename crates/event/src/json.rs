//! The JSON form of an event (`docs/events.md`): one object, every key always there, `null` for what
//! is unknown or does not apply.

use crate::Event;

/// One line of JSON, without the line's end.
pub fn write(event: &Event) -> String {
    serde_json::to_string(event).expect("no map with keys that are not text, no failing writer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Change, Connect, Coverage, Detail, Exec, Exit, Finding, Lost, Open, SessionInfo, Text,
        sample,
    };

    #[test]
    fn the_example_in_the_documentation_is_what_is_written() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, example) = page.split_once("```json\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        assert_eq!(write(&sample::exec()), example.replace('\n', ""));
    }

    #[test]
    fn each_class_has_its_part_and_null_for_the_others() {
        let cases = [
            (sample::failed_exec(), Exec::SAMPLE_FAILED_JSON),
            (sample::exit(), Exit::SAMPLE_JSON),
            (sample::open(), Open::SAMPLE_JSON),
            (sample::connect(), Connect::SAMPLE_JSON),
            (sample::connect_unix(), Connect::SAMPLE_UNIX_JSON),
            (sample::session(), SessionInfo::SAMPLE_JSON),
            (sample::lost(), Lost::SAMPLE_JSON),
            (sample::coverage(), Coverage::SAMPLE_JSON),
            (sample::finding(), Finding::SAMPLE_JSON),
            (sample::change(), Change::SAMPLE_JSON),
        ];
        for (event, part) in cases {
            let line = write(&event);
            assert!(line.contains(part), "{part}\nnot in\n{line}");
            let parts = [
                "exec",
                "exit",
                "file",
                "net",
                "session_info",
                "lost",
                "coverage",
                "finding",
                "change",
            ];
            let empty = parts
                .iter()
                .filter(|key| line.contains(&format!("\"{key}\":null")));
            assert_eq!(empty.count(), 8, "{line}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_can_be_had_back() {
        let mut event = sample::open();
        let bytes: Vec<u8> = (0..=255).collect();
        if let Detail::Open(file) = &mut event.detail {
            file.path = Some(Text::from(bytes.clone()));
        }
        let line: serde_json::Value = serde_json::from_str(&write(&event)).unwrap();
        let path = Text::unescape(line["file"]["path"].as_str().unwrap()).unwrap();
        assert_eq!(path.as_bytes(), bytes);
    }
}
