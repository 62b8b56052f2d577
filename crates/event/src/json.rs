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
    use crate::{Detail, Text, sample};

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
            (sample::exit(), r#""exit":{"code":3,"signal":null}"#),
            (
                sample::open(),
                r#""file":{"path":"/home/dev/new","resolved":true,"flags":["O_WRONLY","O_CREAT"],"mode":"100644","count":2,"last":"2023-11-14T22:13:20.500000000Z","inode":1048577,"device":"8:1","links":2}"#,
            ),
            (
                sample::connect(),
                r#""net":{"family":"inet","addr":"127.0.0.1","port":8399,"proto":"tcp","path":null,"count":2,"last":"2023-11-14T22:13:20.500000000Z"},"result":"ECONNREFUSED""#,
            ),
            (
                sample::connect_unix(),
                r#""net":{"family":"unix","addr":null,"port":null,"proto":null,"path":"/run/docker.sock","count":1,"last":null}"#,
            ),
            (
                sample::session(),
                r#""session_info":{"phase":"start","parent":"09090909090909090909090909090909","user":"dev","uid":1000,"login_uid":1001,"terminal":"/dev/pts/3","cwd":"/home/dev/app","repository":{"root":"/home/dev/app","remote":"https://example.com/app.git","branch":"main"},"gaps":0,"found":"observed"}"#,
            ),
            (
                sample::lost(),
                r#""session":null,"agent":null,"process":null,"exec":null,"exit":null,"file":null,"net":null,"result":null,"hook":null,"session_info":null,"lost":{"hop":"kernel","record":"open","cause":"ring_full","count":7,"first":"2023-11-14T22:13:20.000000001Z","last":"2023-11-14T22:13:20.500000000Z"}"#,
            ),
            (
                sample::coverage(),
                r#""coverage":{"what":"throttled","phase":"end","hook":"fexit/vfs_open","first":"2023-11-14T22:13:20.000000001Z","last":"2023-11-14T22:13:20.500000000Z","count":1200,"reason":"the session sent more than its share while the ring was over half full"}"#,
            ),
            (
                sample::finding(),
                r#""finding":{"rule":"sensor.hook_detached","title":"a hook of the sensor was detached","severity":"high","severity_id":4,"attack":["T1562.001"],"reason":"cgroup/connect4 does not report the sensor's own calls"}"#,
            ),
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
            ];
            let empty = parts
                .iter()
                .filter(|key| line.contains(&format!("\"{key}\":null")));
            assert_eq!(empty.count(), 7, "{line}");
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
