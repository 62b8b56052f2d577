//! Lines of the kernel programs' log.

use skep_sensor::probes::log_line::{Line, parse};

/// Header fields that a line has besides its level and the number of its arguments.
const OTHER_HEADER_FIELDS: [u8; 4] = [0, 2, 3, 4];

/// A line written as the kernel programs write it is the same line, and none when it is cut.
pub fn check(bytes: &[u8]) {
    let Some(line) = parse(bytes) else { return };
    let record = record(&line);
    assert_eq!(parse(&record), Some(line));
    for cut in 0..record.len() {
        assert_eq!(parse(&record[..cut]), None, "cut at {cut}");
    }
    assert!(!line.to_string().is_empty());
}

fn record(line: &Line) -> Vec<u8> {
    let Line {
        is_warning,
        hook,
        pid,
        says,
        numbers: [first, second],
    } = *line;
    let mut fields = Vec::new();
    let mut field = |tag: u8, value: &[u8]| {
        fields.push(tag);
        fields.extend(u16::try_from(value.len()).expect("short").to_ne_bytes());
        fields.extend(value);
    };
    field(1, &[if is_warning { 2 } else { 4 }]);
    field(5, &5_u32.to_ne_bytes());
    for tag in OTHER_HEADER_FIELDS {
        field(tag, b"x");
    }
    field(6, &[hook as u8]);
    field(8, &pid.to_ne_bytes());
    field(6, &[says as u8]);
    field(9, &first.to_ne_bytes());
    field(9, &second.to_ne_bytes());
    let length = u16::try_from(fields.len() + 2).expect("short");
    [&length.to_ne_bytes()[..], &fields].concat()
}
