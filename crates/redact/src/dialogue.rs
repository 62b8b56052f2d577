//! Scripts of expect(1): what is sent as the answer to a prompt for a password.

use std::ops::Range;

use crate::{
    name::{Class, Names},
    rules::PASSWORD,
    span::{Spans, is_placeholder},
    value::is_reference,
    work::Work,
};

/// Text of a prompt for a password, as patterns of it are written: `assword:`.
const PROMPTS: &[&[u8]] = &[b"assw", b"assphrase", b"asscode", b"secret", b"pin:"];

/// How far behind an `expect` its prompt may reach, and how far its answer may be.
const REACH: usize = 256;

/// Marks what is sent after a prompt for a password, and what variables are set to that hold one.
pub fn find(text: &[u8], names: &Names, spans: &mut Spans, work: &mut Work) {
    work.spend(text.len() as u64 * 2);
    variables(text, names, spans);
    let mut from = 0;
    for send in memchr::memmem::find_iter(text, b"send") {
        if send < from || !is_word(text, send) {
            continue;
        }
        let before = &text[from.max(send.saturating_sub(REACH))..send];
        work.spend(before.len() as u64);
        // An answer belongs to the last prompt in front of it.
        let Some(expect) = memchr::memmem::rfind(before, b"expect") else {
            continue;
        };
        let prompt = before[expect..].to_ascii_lowercase();
        if !PROMPTS
            .iter()
            .any(|one| memchr::memmem::find(&prompt, one).is_some())
        {
            continue;
        }
        if let Some(answer) = answer(text, send + 4) {
            from = answer.end;
            let secret = &text[answer.clone()];
            if !is_placeholder(secret) && !is_reference(secret) && secret.first() != Some(&b'$') {
                spans.add(answer, PASSWORD);
            }
        }
    }
}

/// `set password X`
fn variables(text: &[u8], names: &Names, spans: &mut Spans) {
    for set in memchr::memmem::find_iter(text, b"set ") {
        let rest = &text[set + 4..text.len().min(set + 4 + REACH)];
        let of_name = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_';
        let length = rest.iter().take_while(of_name).count();
        if !is_word(text, set) || names.class(&rest[..length]) != Some(Class::Password) {
            continue;
        }
        let quotes = |b: &&u8| b" \\\"{".contains(b);
        let start = length + rest[length..].iter().take_while(quotes).count();
        let ends = |b: &&u8| !b.is_ascii_whitespace() && !b";\\\"'}".contains(b);
        let value = rest[start..].iter().take_while(ends).count();
        let secret = &rest[start..start + value];
        let refers = matches!(secret.first(), None | Some(b'[' | b'$'));
        if start > length && !refers && !is_placeholder(secret) {
            spans.add(set + 4 + start..set + 4 + start + value, PASSWORD);
        }
    }
}

fn is_word(text: &[u8], at: usize) -> bool {
    at == 0 || !text[at - 1].is_ascii_alphanumeric()
}

/// `send "X\r"`, `send -- "X\r"`, `sendline("X")`
fn answer(text: &[u8], from: usize) -> Option<Range<usize>> {
    let end = text.len().min(from + REACH);
    let bytes = text.get(from..end)?;
    let mut at = if bytes.starts_with(b"line") { 4 } else { 0 };
    let between = |b: &&u8| b.is_ascii_whitespace() || b"-(\\b".contains(b);
    at += bytes[at..].iter().take(12).take_while(between).count();
    let quote = match bytes.get(at)? {
        b'{' => b'}',
        quote @ (b'"' | b'\'') => *quote,
        _ => return None,
    };
    let start = at + 1;
    let length = bytes[start..]
        .iter()
        .position(|b| *b == quote || *b == b'\\')?;
    (length > 0).then_some(from + start..from + start + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiled::rules;

    fn found(text: &str) -> Vec<String> {
        let mut spans = Spans::default();
        let mut work = Work::for_bytes(text.len());
        find(text.as_bytes(), &rules().names, &mut spans, &mut work);
        let found = spans.drain();
        found.map(|(range, _)| text[range].to_owned()).collect()
    }

    #[test]
    fn an_answer_to_a_prompt_for_a_password_is_secret() {
        let script =
            "spawn ssh h; expect \"assword:\"; send \"x1\\r\"; expect \"\\$ \"; send \"ls\\r\"";
        assert_eq!(found(script), ["x1"]);
        assert_eq!(found("expect \"Password: \"; send -- \"x1\\r\""), ["x1"]);
        assert_eq!(found("c.expect('assword'); c.sendline('x1')"), ["x1"]);
        assert_eq!(found("expect \"assword\"; send \"$pw\\r\""), [""; 0]);
        assert_eq!(found("expect assword; send -- {x1}"), ["x1"]);
        assert_eq!(found("expect \"login:\"; send \"bob\\r\""), [""; 0]);
        assert_eq!(found("set password x1; expect a"), ["x1"]);
        assert_eq!(found("set password [read f]; set timeout 5"), [""; 0]);
        assert_eq!(found("resend \"assword\""), [""; 0]);
    }
}
