//! Names of variables, fields, options and headers: which say that their value is secret.
//!
//! A name is read word by word, split at case and at separators, against `rules/names.txt`.

use std::ops::Range;

use crate::{fast::FastSet, span::OPENING, table};

/// What a name promises of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Whatever the value is, it is secret.
    Password,
    /// `PWD` is the working directory as often as a password.
    Ambiguous,
    /// A key or token for certain: secret unless it is a file or a switch.
    Certain,
    /// A key, token, …: secret when it is long or random.
    Credential,
}

type Words = FastSet<&'static [u8]>;

/// The table of names.
#[derive(Debug, Default)]
pub struct Names {
    passwords: Words,
    /// In front of an ending of `ENDINGS`.
    before_pass: Words,
    compounds: Words,
    keys: Words,
    /// Words that stand side by side in a name that is no secret's.
    plain: Vec<Vec<&'static [u8]>>,
    headers: Words,
    header_ends: Words,
    variables: Words,
    parameters: Vec<&'static [u8]>,
    parameter_ends: Words,
    schemes: Words,
}

/// What a telling name contains, lower case: the prefilter looks for these, and for the names that have
/// none of them.
pub const TRIGGERS: &[&str] = &[
    "pass", "pwd", "pw", "secret", "token", "key", "cred", "auth", "cookie", "bearer",
];

/// Endings of one word that mean a password when the table knows what stands in front.
const ENDINGS: &[&[u8]] = &[b"pass", b"pw", b"pwd"];

/// Endings of one word that mean a password whatever stands in front.
const LONG_ENDINGS: &[&[u8]] = &[
    b"password",
    b"passwd",
    b"passphrase",
    b"passwort",
    b"passwrd",
];

/// Whether the name has two letters with which a word of the table begins.
pub fn maybe_telling(name: &[u8]) -> bool {
    const BEGINNINGS: [[u8; 2]; 16] = [
        *b"pa", *b"pw", *b"ps", *b"se", *b"to", *b"ke", *b"cr", *b"co", *b"au", *b"be", *b"jw",
        *b"ds", *b"ot", *b"hm", *b"md", *b"bw",
    ];
    name.len() >= 2
        && name
            .windows(2)
            .any(|two| BEGINNINGS.contains(&[two[0] | 0x20, two[1] | 0x20]))
}

/// The longest name that is read whole; of a longer one its end is.
const LONGEST: usize = 96;
const MOST_WORDS: usize = 24;

/// A name in lower case, and its words.
struct Split {
    bytes: [u8; LONGEST],
    words: [(u8, u8); MOST_WORDS],
    count: usize,
}

// === impl Split ===

impl Split {
    fn of(name: &[u8]) -> Self {
        let name = &name[name.len().saturating_sub(LONGEST)..];
        let mut split = Self {
            bytes: [0; LONGEST],
            words: [(0, 0); MOST_WORDS],
            count: 0,
        };
        let mut start = 0;
        for (at, byte) in name.iter().enumerate() {
            split.bytes[at] = byte.to_ascii_lowercase();
            if !byte.is_ascii_alphanumeric() {
                split.push(start..at);
                start = at + 1;
            } else if byte.is_ascii_uppercase() && at > start {
                let before = name[at - 1];
                let next_is_lower = name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
                // `dbPassword`, `AWSSecretKey`
                if before.is_ascii_lowercase() || (before.is_ascii_uppercase() && next_is_lower) {
                    split.push(start..at);
                    start = at;
                }
            }
        }
        split.push(start..name.len());
        split
    }

    fn push(&mut self, mut range: Range<usize>) {
        let word = &self.bytes[range.clone()];
        // `password2`
        let digits = word.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        range.end -= digits;
        if !range.is_empty() && self.count < MOST_WORDS {
            self.words[self.count] = (range.start as u8, range.end as u8);
            self.count += 1;
        }
    }

    fn word(&self, index: usize) -> &[u8] {
        let (start, end) = self.words[index];
        &self.bytes[usize::from(start)..usize::from(end)]
    }

    fn words(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        (0..self.count).map(|index| self.word(index))
    }

    fn last(&self) -> Option<&[u8]> {
        self.count.checked_sub(1).map(|last| self.word(last))
    }

    /// Whether the words `wanted` stand side by side.
    fn has(&self, wanted: &[&[u8]]) -> bool {
        (0..(self.count + 1).saturating_sub(wanted.len())).any(|from| {
            wanted
                .iter()
                .zip(from..)
                .all(|(word, at)| self.word(at) == *word)
        })
    }
}

// === impl Names ===

impl Names {
    pub fn read(text: &'static str) -> Self {
        let mut names = Self::default();
        for [class, words, _] in table::rows::<3>(text) {
            let words = words.split_whitespace();
            let bytes = words.clone().map(str::as_bytes);
            match class {
                "password" => names.passwords.extend(bytes),
                "pass" => names.before_pass.extend(bytes),
                "compound" => names.compounds.extend(bytes),
                "key" => names.keys.extend(bytes),
                "ours" => names
                    .plain
                    .extend(words.map(|word| word.split('+').map(str::as_bytes).collect())),
                "header" => names.headers.extend(bytes),
                "header-end" => names.header_ends.extend(bytes),
                "variable" => names.variables.extend(bytes),
                "parameter" => names.parameters.extend(bytes),
                "parameter-end" => names.parameter_ends.extend(bytes),
                "scheme" => names.schemes.extend(bytes),
                // A test walks the classes.
                _ => {}
            }
        }
        names
    }

    /// What the prefilter looks for so that no name is missed.
    pub fn triggers(&self) -> Vec<String> {
        let all = [
            &self.passwords,
            &self.compounds,
            &self.keys,
            &self.headers,
            &self.variables,
        ];
        let mut triggers: Vec<String> = TRIGGERS.iter().map(|word| (*word).to_owned()).collect();
        let more = all
            .into_iter()
            .flatten()
            .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
            .filter(|name| !TRIGGERS.iter().any(|word| name.contains(word)));
        triggers.extend(more);
        triggers.sort_unstable();
        triggers.dedup();
        triggers
    }

    /// What a name of a variable, field or option says; `None` when nothing.
    pub fn class(&self, name: &[u8]) -> Option<Class> {
        if !maybe_telling(name) {
            return None;
        }
        // `-p[redacted:password]` is no name.
        if name.contains(&b'[') && memchr::memmem::find(name, OPENING).is_some() {
            return None;
        }
        let split = Split::of(name);
        let last = split.last()?;
        let variable = self.variables.contains(name);
        if last == b"oldpwd" {
            return None;
        }
        if last == b"pwd" && !variable {
            let old = split.count > 1 && split.word(split.count - 2) == b"old";
            return (!old).then_some(Class::Ambiguous);
        }
        if self.is_password(last) || (variable && last == b"pwd") {
            return Some(Class::Password);
        }
        if variable {
            return Some(Class::Certain);
        }
        let tells = split.words().any(|word| self.is_key(word))
            || (split.count > 1
                && matches!(last, b"keys" | b"tokens")
                && self.goes_before_keys(split.word(split.count - 2)));
        let plain = || self.plain.iter().any(|words| split.has(words));
        (tells && !plain()).then_some(Class::Credential)
    }

    fn is_password(&self, word: &[u8]) -> bool {
        self.passwords.contains(word)
            || LONG_ENDINGS.iter().any(|end| word.ends_with(end))
            || ENDINGS.iter().any(|end| {
                word.strip_suffix(*end)
                    .is_some_and(|before| self.before_pass.contains(before))
            })
    }

    fn is_key(&self, word: &[u8]) -> bool {
        const ANY_ENDS: &[&[u8]] = &[
            b"token",
            b"secret",
            b"apikey",
            b"credential",
            b"credentials",
        ];
        self.keys.contains(word)
            || self.compounds.contains(word)
            || self.is_password(word)
            || ANY_ENDS.iter().any(|end| word.ends_with(end))
            || (word.len() >= 5 && word.ends_with(b"key"))
    }

    fn goes_before_keys(&self, word: &[u8]) -> bool {
        let words: [&[u8]; 8] = [
            b"api",
            b"access",
            b"auth",
            b"secret",
            b"bearer",
            b"refresh",
            b"signing",
            b"encryption",
        ];
        words.contains(&word)
    }

    /// What an option's name (dashes and all) says. Options name files, limits and stores as well, so
    /// this is stricter than [`Names::class`].
    pub fn option_class(&self, option: &[u8]) -> Option<Class> {
        let split = Split::of(option);
        let first = if split.count > 1 { split.word(0) } else { b"" };
        let limits: [&[u8]; 6] = [b"no", b"with", b"ask", b"use", b"max", b"min"];
        if limits.contains(&first) {
            return None;
        }
        let class = self.class(option)?;
        if class != Class::Credential {
            return Some(class);
        }
        let last = split.last()?;
        let before = match split.count {
            0 | 1 => b"",
            count => split.word(count - 2),
        };
        let of_key: [&[u8]; 14] = [
            b"api",
            b"access",
            b"secret",
            b"private",
            b"auth",
            b"account",
            b"encryption",
            b"signing",
            b"license",
            b"licence",
            b"application",
            b"master",
            b"shared",
            b"setup",
        ];
        let certain = self.compounds.contains(last)
            || [
                &b"token"[..],
                b"secret",
                b"apikey",
                b"credential",
                b"credentials",
            ]
            .iter()
            .any(|end| last.ends_with(end))
            || (last == b"key" && (of_key.contains(&before) || option.ends_with(b"Key")));
        certain.then_some(Class::Credential)
    }

    /// Headers whose value is a credential.
    pub fn is_header(&self, name: &[u8]) -> bool {
        if name.len() > LONGEST {
            return false;
        }
        let name = name.to_ascii_lowercase();
        self.headers.contains(&name[..])
            || memchr::memrchr(b'-', &name)
                .is_some_and(|dash| self.header_ends.contains(&name[dash + 1..]))
    }

    /// Parameters of URLs whose value is a credential.
    pub fn is_parameter(&self, name: &[u8]) -> bool {
        let name = name[name.len().saturating_sub(LONGEST)..].to_ascii_lowercase();
        let name = name.strip_prefix(b"amp;").unwrap_or(&name);
        let name = name.strip_suffix(b"]").unwrap_or(name);
        let contains = |part: &&[u8]| memchr::memmem::find(name, part).is_some();
        let last = name.rsplit(|b| b"_-.[".contains(b)).next().unwrap_or(name);
        self.parameters.iter().any(contains)
            || self.parameter_ends.contains(last)
            || self.parameter_ends.contains(name)
    }

    /// `Bearer`, `Basic`, …
    pub fn is_scheme(&self, word: &[u8]) -> bool {
        word.len() <= 24 && self.schemes.contains(&word.to_ascii_lowercase()[..])
    }
}

#[cfg(test)]
mod tests;
