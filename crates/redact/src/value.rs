//! Which values can be a secret, and which are a reference, a switch or a path.

/// `$NAME`, `${…}`, `$(…`, `%s`, `{name}`, `<name>`: says where the value comes from, is not it.
pub fn is_reference(value: &[u8]) -> bool {
    let upper = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_';
    // Text that is quoted itself: `\$NAME`.
    let value = match value {
        [b'\\', b'$', ..] => &value[1..],
        _ => value,
    };
    match value {
        [b'$', b'{' | b'(', ..] | [b'$'] => true,
        [b'$', name @ ..] => name.iter().all(upper),
        [b'%', b's' | b'd' | b'v'] | [b'`', ..] => true,
        // But not `{"name":"value"}`.
        [b'{', inner @ .., b'}'] => !inner.contains(&b'"'),
        [b'<', .., b'>'] => true,
        _ => false,
    }
}

/// `$name` and its like where the shell puts a value in place of it.
pub fn is_expansion(value: &[u8]) -> bool {
    match value {
        [b'`', ..] | [b'$', b'{' | b'(' | b'*' | b'@' | b'!', ..] => true,
        [b'$', name @ ..] => name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_'),
        [b'<', b'(', ..] => true,
        _ => false,
    }
}

/// `true`, `none`, …: says whether there is one.
pub fn is_switch(value: &[u8]) -> bool {
    let words: [&[u8]; 10] = [
        b"true",
        b"false",
        b"yes",
        b"no",
        b"none",
        b"null",
        b"nil",
        b"undefined",
        b"on",
        b"off",
    ];
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// A file's name rather than a value: begins like a path, and no part of it looks random.
pub fn is_path(value: &[u8]) -> bool {
    let begins = [&b"/"[..], b"./", b"../", b"~", b"@", b"file:"]
        .iter()
        .any(|p| value.starts_with(p));
    let extension = [
        &b".json"[..],
        b".pem",
        b".key",
        b".txt",
        b".yaml",
        b".yml",
        b".toml",
        b".env",
        b".crt",
    ]
    .iter()
    .any(|end| value.ends_with(end));
    let parts_plain = || {
        value
            .split(|b| b"/@".contains(b))
            .all(|part| !is_random(part))
    };
    (begins || extension) && parts_plain()
}

/// 20 bytes or more of upper case, lower case and digits, in one piece.
pub fn is_random(part: &[u8]) -> bool {
    let has = |test: fn(&u8) -> bool| part.iter().any(test);
    part.len() >= 16
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
}

/// Long or random enough for a key, and not something else that is long.
pub fn looks_secret(value: &[u8]) -> bool {
    let has = |test: fn(&u8) -> bool| value.iter().any(test);
    if value
        .iter()
        .any(|b| b.is_ascii_whitespace() || b.is_ascii_control())
        || is_path(value)
        || is_reference(value)
        // `.a.b` of jq
        || value.starts_with(b".")
        || memchr::memmem::find(value, b"://").is_some()
        || value
            .iter()
            .all(|b| b.is_ascii_digit() || b".,:-+".contains(b))
    {
        return false;
    }
    let run = value
        .split(|b| !b.is_ascii_alphanumeric())
        .map(<[u8]>::len)
        .max()
        .unwrap_or(0);
    let letters = has(u8::is_ascii_alphabetic);
    let digits = has(u8::is_ascii_digit);
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    match value.len() {
        0..=7 => false,
        8..=11 => digits && mixed,
        12..=19 => digits && letters,
        _ => (digits && letters) || run >= 20 || (mixed && run >= 16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_secret_when_long_or_random() {
        for value in [
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "abcdef123456",
            "correcthorsebatterystaple",
        ] {
            assert!(looks_secret(value.as_bytes()), "{value}");
        }
        for value in [
            "",
            "us",
            "banana",
            "4096",
            "/home/dev/.ssh/id_ed25519",
            "~/key.pem",
            "$TOKEN",
            "${X}",
            "https://example.com/x1y2z3",
            "my-production-cluster",
            "user_id",
            "2024-01-02",
        ] {
            assert!(!looks_secret(value.as_bytes()), "{value}");
        }
    }
}
