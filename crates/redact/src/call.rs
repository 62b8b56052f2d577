//! Calls of functions that take a password by its place: `rules/calls.txt`.
//!
//! Bounds: arguments are read for [`REACH`] bytes behind the parenthesis.

use std::{ops::Range, sync::OnceLock};

use crate::{
    fast::FastMap,
    rules::PASSWORD,
    span::{Spans, is_placeholder},
    table,
    value::is_reference,
    work::Work,
};

/// How far behind its parenthesis a call is read.
const REACH: usize = 512;

/// A value that is shorter is an example: `set_password('x')`.
const SHORTEST: usize = 4;

/// How much of a name the prefilter looks for.
const TRIGGER: usize = 6;

/// The longest name of the table.
const LONGEST: usize = 40;

/// Which argument of a function is the secret.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// From 0.
    argument: usize,
    /// The name is an ordinary one, so that the value must convince.
    doubtful: bool,
}

type Calls = FastMap<Vec<u8>, Vec<Call>>;

fn calls() -> &'static Calls {
    static CALLS: OnceLock<Calls> = OnceLock::new();
    CALLS.get_or_init(|| {
        let mut calls = Calls::default();
        for [_, call, _] in table::rows::<3>(table::CALLS) {
            if let Some((name, call)) = read(call) {
                let name = name.to_ascii_lowercase().into_bytes();
                calls.entry(name).or_default().push(call);
            }
        }
        calls
    })
}

fn read(call: &'static str) -> Option<(&'static str, Call)> {
    let (name, arguments) = call.split_once('(')?;
    let mut arguments = arguments.strip_suffix(')')?.split(", ");
    let argument = arguments.clone().position(|argument| argument != "_")?;
    let doubtful = arguments.any(|argument| argument == "?");
    Some((name, Call { argument, doubtful }))
}

/// What must occur in a text, letter case ignored, before [`find`] is worth its cost: the end of a name and
/// its parenthesis.
pub fn triggers() -> impl Iterator<Item = Vec<u8>> {
    let names =
        table::rows::<3>(table::CALLS).filter_map(|[_, call, _]| Some(call.split_once('(')?.0));
    names.flat_map(|name| {
        let end = &name[name.len().saturating_sub(TRIGGER)..];
        // `auth=('user', 'X')`
        let between: &[&str] = match name.to_ascii_lowercase().ends_with("auth") {
            true => &["", "="],
            false => &[""],
        };
        let of = |between: &&str| format!("{end}{between}(").into_bytes();
        between.iter().map(of).collect::<Vec<_>>()
    })
}

/// Marks the secret arguments of calls.
pub fn find(text: &[u8], spans: &mut Spans, work: &mut Work) {
    let mut done = 0;
    for open in memchr::memchr_iter(b'(', text) {
        if open < done {
            continue;
        }
        let head = &text[open.saturating_sub(LONGEST)..open];
        let head = head.strip_suffix(b"=").unwrap_or(head);
        let of_name = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_';
        let length = head.iter().rev().take_while(of_name).count();
        let name = head[head.len() - length..].to_ascii_lowercase();
        work.spend(1);
        let Some(rows) = calls().get(&name) else {
            continue;
        };
        let arguments = arguments(text, open + 1);
        let end = arguments.last().map_or(open, |last| last.end);
        work.spend((end - open) as u64);
        done = end;
        for call in rows {
            let Some(argument) = arguments.get(call.argument) else {
                continue;
            };
            let Some(value) = quoted(text, argument.clone()) else {
                continue;
            };
            let secret = &text[value.clone()];
            let blank = call.doubtful && secret.iter().any(u8::is_ascii_whitespace);
            let letter = |b: &u8| b.is_ascii_alphabetic() || b"\"'\\".contains(b);
            let plain = call.doubtful && secret.iter().all(letter);
            if secret.len() >= SHORTEST
                && !is_placeholder(secret)
                && !is_reference(secret)
                && !plain
                && !blank
            {
                spans.add(value, PASSWORD);
            }
        }
    }
}

/// The arguments of the call whose parenthesis ends at `from`.
fn arguments(text: &[u8], from: usize) -> Vec<Range<usize>> {
    let to = text.len().min(from + REACH);
    let mut arguments = Vec::new();
    let (mut at, mut start, mut depth) = (from, from, 0u32);
    while at < to {
        match text[at] {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < to && text[at] != quote {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth > 0 => depth -= 1,
            b')' | b']' | b'}' => break,
            b',' if depth == 0 => {
                arguments.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    let at = at.min(text.len());
    arguments.push(start.min(at)..at);
    arguments
}

/// What stands in quotes in an argument that is nothing else.
fn quoted(text: &[u8], argument: Range<usize>) -> Option<Range<usize>> {
    let bytes = &text[argument.clone()];
    let space = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let rest = &bytes[space..];
    // `b'…'`, `N'…'`
    let prefix =
        usize::from(matches!(rest, [letter, b'"' | b'\'', ..] if letter.is_ascii_alphabetic()));
    let quote = *rest.get(prefix).filter(|b| b"\"'".contains(b))?;
    let start = space + prefix + 1;
    let length = memchr::memrchr(quote, bytes.get(start..)?)?;
    (length > 0).then_some(argument.start + start..argument.start + start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let mut spans = Spans::default();
        find(
            text.as_bytes(),
            &mut spans,
            &mut Work::for_bytes(text.len()),
        );
        let found = spans.drain();
        found.map(|(range, _)| text[range].to_owned()).collect()
    }

    #[test]
    fn every_row_of_the_table_is_read() {
        for [_, call, _] in table::rows::<3>(table::CALLS) {
            let (name, _) = read(call).expect(call);
            assert!(name.len() <= LONGEST, "{name}");
        }
    }

    #[test]
    fn the_argument_of_the_table_is_the_secret() {
        assert_eq!(found("db.changeUserPassword('app', 'hunt1')"), ["hunt1"]);
        assert_eq!(
            found("new PDO(\"mysql:host=h\", \"root\", \"hunt,1\");"),
            ["hunt,1"]
        );
        assert_eq!(found("connect(dsn(a, b), \"u\", \"hunt1\")"), ["hunt1"]);
        assert_eq!(found("hashpw(b'hunt1', gensalt())"), ["hunt1"]);
        assert_eq!(found("get(u, basic_auth=('bob', 'hunt1'))"), ["hunt1"]);
        assert_eq!(found("s.login(user, password)"), [""; 0]);
        assert_eq!(found("login('admin', 'page')"), [""; 0]);
        assert_eq!(found("set_password("), [""; 0]);
        assert_eq!(found("set_password('"), [""; 0]);
    }

    #[test]
    fn every_call_of_the_table_opens_the_prefilter() {
        let redactor = crate::Redactor::new();
        for [_, call, _] in table::rows::<3>(table::CALLS) {
            let text = call.replace('_', "a").replace(['X', '?'], "'Hunter2zz'");
            let name = call.split('(').next().unwrap_or_default();
            let text = format!("{name}{}", &text[name.len()..]);
            let argv = ["x", "-r", &text].map(skep_event::Text::from);
            let out = redactor.argv(&argv, false).expect(&text);
            assert!(!out[2].escaped().to_string().contains("Hunter2"), "{text}");
        }
    }
}
