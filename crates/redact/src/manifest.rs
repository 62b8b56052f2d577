//! Values that the fields around them name: manifests of Kubernetes secrets, and `name` beside `value`.
//!
//! Bounds: a text is read once; a name and its value stand within [`REACH`] bytes.

use std::ops::Range;

use crate::{
    name::Names,
    named,
    rules::CREDENTIAL,
    span::{Spans, is_placeholder},
    value::is_reference,
    work::Work,
};

/// How far in front of `value` its `name` may begin.
const REACH: usize = 160;

/// What opens the prefilter for [`secrets`], in lower case.
pub const TRIGGERS: &[&str] = &[
    "stringdata",
    "kind: secret",
    "kind\":\"secret",
    "kind\": \"secret",
];

/// Marks what stands in `stringData`, and in `data` of a secret.
pub fn secrets(text: &[u8], spans: &mut Spans, work: &mut Work) {
    work.spend(text.len() as u64);
    let secret = TRIGGERS[1..]
        .iter()
        .any(|kind| find_ignoring_case(text, kind.as_bytes()));
    let mut at = 0;
    while let Some(found) = memchr::memmem::find(&text[at..], b"ata") {
        let end = at + found + 3;
        at = end;
        let name = text[..end].rsplit(|b| !b.is_ascii_alphabetic()).next();
        let block = match name {
            Some(b"stringData") => true,
            Some(b"data") => secret,
            _ => false,
        };
        if block {
            at = values(text, end, spans, work).max(end);
        }
    }
}

fn find_ignoring_case(text: &[u8], wanted: &[u8]) -> bool {
    memchr::memchr2_iter(wanted[0], wanted[0].to_ascii_uppercase(), text).any(|at| {
        let found = text.get(at..at + wanted.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(wanted))
    })
}

/// Marks the values of the block that the name in front of `from` opens; gives where it ends.
fn values(text: &[u8], from: usize, spans: &mut Spans, work: &mut Work) -> usize {
    let rest = &text[from..];
    let skipped = rest.iter().take(12).take_while(|b| b"\"\\ ':".contains(b));
    let open = skipped.count();
    match rest.get(open) {
        Some(b'{') => of_object(text, from + open + 1, spans, work),
        Some(b'\n') => of_lines(text, from, from + open + 1, spans, work),
        _ => from,
    }
}

/// `{"name":"value", …}`
fn of_object(text: &[u8], from: usize, spans: &mut Spans, work: &mut Work) -> usize {
    let end = memchr::memchr(b'}', &text[from..]).map_or(text.len(), |end| from + end);
    work.spend((end - from) as u64);
    let mut at = from;
    while let Some(colon) = memchr::memchr(b':', &text[at..end]) {
        let value = at + colon + 1;
        let quotes = text[value..end]
            .iter()
            .take_while(|b| b" \\\"'".contains(b));
        let start = value + quotes.count();
        let length = text[start..end]
            .iter()
            .take_while(|b| !b"\\\"'".contains(b));
        let stop = start + length.count();
        add(text, start..stop, spans);
        // The quote that closes it, and the comma.
        let next = memchr::memchr(b',', &text[stop..end]);
        at = next.map_or(end, |comma| stop + comma + 1);
    }
    end
}

/// Lines that are indented deeper than the one the block begins in.
fn of_lines(text: &[u8], name: usize, from: usize, spans: &mut Spans, work: &mut Work) -> usize {
    let line = memchr::memrchr(b'\n', &text[..name]).map_or(0, |at| at + 1);
    let indent = |bytes: &[u8]| bytes.iter().take_while(|b| **b == b' ').count();
    let outer = indent(&text[line..name]);
    let mut at = from;
    while at < text.len() {
        let length = memchr::memchr(b'\n', &text[at..]).unwrap_or(text.len() - at);
        let line = &text[at..at + length];
        let blank = line.trim_ascii().is_empty();
        if !blank && indent(line) <= outer {
            break;
        }
        work.spend(length as u64 + 1);
        let inner = indent(line);
        let start = match memchr::memchr(b':', line) {
            Some(colon) => colon + 1,
            // A line of a value in several.
            None => inner,
        };
        let value = &line[start..];
        let quotes = |b: &&u8| b" \"'\\".contains(b);
        let head = value.iter().take_while(quotes).count();
        let tail = value[head..].iter().rev().take_while(quotes).count();
        let stop = start + value.len() - tail;
        if !matches!(
            line[start + head..stop],
            [b'|' | b'>'] | [b'|' | b'>', b'-']
        ) {
            add(text, at + start + head..at + stop, spans);
        }
        at += length + 1;
    }
    at.min(text.len())
}

fn add(text: &[u8], range: Range<usize>, spans: &mut Spans) {
    let value = &text[range.clone()];
    if !value.is_empty() && !is_placeholder(value) && !is_reference(value) {
        spans.add(range, CREDENTIAL);
    }
}

/// Marks `value: X` behind `name: DB_PASSWORD`, and its like in JSON, Helm and CloudFormation.
pub fn pairs(text: &[u8], names: &Names, spans: &mut Spans, work: &mut Work) {
    work.spend(text.len() as u64);
    for found in memchr::memmem::find_iter(text, b"alue") {
        let Some(start) = found.checked_sub(1).filter(|at| text[*at] | 0x20 == b'v') else {
            continue;
        };
        let after = found + 4;
        let signs = |b: &&u8| b" \"'\\:=".contains(b);
        let between = text[after..].iter().take(12).take_while(signs);
        let from = after + between.count();
        if !text[after..from].iter().any(|b| b":=".contains(b)) {
            continue;
        }
        work.spend(REACH as u64);
        let window = &text[start.saturating_sub(REACH)..start];
        let Some(class) = named_before(window).and_then(|name| names.class(name)) else {
            continue;
        };
        let ends = |b: &&u8| !b.is_ascii_whitespace() && !b"\"'\\,}".contains(b);
        let length = text[from..].iter().take_while(ends).count();
        let value = &text[from..from + length];
        if named::is_secret_value(class, value) && !is_reference(value) {
            spans.add(from..from + length, named::kind(class));
        }
        work.spend(length as u64);
    }
}

/// The name that `name: NAME`, `"key":"NAME"`, `ParameterKey=NAME` at the end of a text gives to the value
/// that follows.
fn named_before(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_suffix(b"Parameter").unwrap_or(text);
    // `--set env[0].name=NAME --set env[0].value=X`
    let path = |b: &&u8| b.is_ascii_alphanumeric() || b"[].".contains(b);
    let text = match text.last() {
        Some(b'.') => {
            let text = &text[..text.len() - text.iter().rev().take_while(path).count()];
            let quotes = |b: &&u8| b" \"'\\,".contains(b);
            let text = &text[..text.len() - text.iter().rev().take_while(quotes).count()];
            let flags: [&[u8]; 2] = [b"--set", b"--set-string"];
            let flag = flags.iter().find_map(|flag| text.strip_suffix(*flag));
            flag.unwrap_or(text)
        }
        _ => text,
    };
    let between = |b: &&u8| b.is_ascii_whitespace() || b"\"'\\,{-".contains(b);
    let text = &text[..text.len() - text.iter().rev().take_while(between).count()];
    let of_name = |b: &&u8| b.is_ascii_alphanumeric() || b"_.-".contains(b);
    let length = text.iter().rev().take_while(of_name).count();
    let (head, name) = text.split_at(text.len() - length);
    let signs = |b: &&u8| b" \"'\\:=".contains(b);
    let head = &head[..head.len() - head.iter().rev().take(12).take_while(signs).count()];
    let ends: [&[u8]; 2] = [b"name", b"key"];
    let tells = ends.iter().any(|end| {
        head.len() >= end.len() && head[head.len() - end.len()..].eq_ignore_ascii_case(end)
    });
    (tells && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiled::rules;

    fn found(text: &str) -> Vec<String> {
        let mut spans = Spans::default();
        let mut work = Work::for_bytes(text.len());
        secrets(text.as_bytes(), &mut spans, &mut work);
        pairs(text.as_bytes(), &rules().names, &mut spans, &mut work);
        let found = spans.drain();
        found.map(|(range, _)| text[range].to_owned()).collect()
    }

    #[test]
    fn values_of_a_kubernetes_secret_are_secret_whatever_their_names() {
        let yaml = "kind: Secret\nmetadata:\n  name: s\nstringData:\n  thing: x1\n  b: \"x2\"\ntype: Opaque\n";
        assert_eq!(found(yaml), ["x1", "x2"]);
        assert_eq!(
            found("{\"stringData\":{\"a\":\"x1\", \"b\":\"x2\"}}"),
            ["x1", "x2"]
        );
        assert_eq!(found("kind: Secret\ndata:\n  a: eDE=\n"), ["eDE="]);
        assert_eq!(found("kind: ConfigMap\ndata:\n  a: eDE=\n"), [""; 0]);
        assert_eq!(found("stringData"), [""; 0]);
        assert_eq!(found("stringData:"), [""; 0]);
        assert_eq!(found("stringData: {"), [""; 0]);
    }

    #[test]
    fn a_value_goes_by_the_name_beside_it() {
        assert_eq!(
            found("[{\"name\":\"DB_PASSWORD\",\"value\":\"x1\"}]"),
            ["x1"]
        );
        assert_eq!(found("- name: DB_PASSWORD\n  value: x1\n"), ["x1"]);
        assert_eq!(found("ParameterKey=DbPassword,ParameterValue=x1"), ["x1"]);
        let helm = "--set env[0].name=DB_PASSWORD --set env[0].value=x1";
        assert_eq!(found(helm), ["x1"]);
        assert_eq!(found("- name: DB_HOST\n  value: x1\n"), [""; 0]);
        assert_eq!(found("name: DB_PASSWORD\n  valueFrom:\n"), [""; 0]);
        assert_eq!(found("value=x1"), [""; 0]);
    }
}
