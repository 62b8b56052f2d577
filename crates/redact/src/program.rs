//! Programs that take a password in an option, a word, or on standard input: `rules/programs.txt`, read.

use std::ops::Range;

use crate::{
    rules::{CREDENTIAL, PASSWORD},
    span::OPENING,
    table::{self, Entry},
    value::{is_path, looks_secret},
};

/// A row of the table.
#[derive(Debug)]
pub struct Program {
    pub names: Vec<Name>,
    /// Words that must all follow it.
    pub words: Vec<&'static [u8]>,
    pub items: Vec<Item>,
}

/// What a program is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub name: &'static [u8],
    /// An ordinary word, too: only a command's first word is the program.
    pub first: bool,
}

/// Where a program takes a password, or what else it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// `flag X`, `flag=X`; `glued`: also `flagX`.
    Flag {
        flag: &'static [u8],
        glued: bool,
        /// Also at the end of a group of one-letter options.
        grouped: bool,
        value: Value,
    },
    /// `flag <(command)`: what the command writes.
    Written {
        flag: &'static [u8],
    },
    /// `flagX` only.
    Glued {
        flag: &'static [u8],
        value: Value,
    },
    /// The word after a word.
    After {
        word: &'static [u8],
        value: Value,
    },
    /// The word of that number among those that are no options, from 1; negative: from the end.
    Position {
        number: isize,
        value: Value,
    },
    /// `NAME=X`; `None`: any name.
    Assigned {
        name: Option<&'static [u8]>,
    },
    /// `USER:X` and `USER:X@HOST`, each word.
    Account,
    Input(Value),
    /// An option with a value that is no secret.
    Other {
        flag: &'static [u8],
    },
}

/// What of a value is the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Whole,
    /// What follows the first such byte.
    After(u8),
    /// From the first `/` to the last `@`.
    Slash,
    /// From the first `:` to the last `@`, or to the end.
    Account,
    /// What follows these words; nothing without them.
    Prefix(&'static [u8]),
    /// `NAME=X`, but no file.
    Cookie,
    /// What follows that word and a blank, in each line.
    Word(&'static [u8]),
    /// What follows that word and one more, in each line.
    SecondWord(&'static [u8]),
    /// What follows the last colon.
    LastColon,
    /// The third of at least three words, without quotes.
    ThirdWord,
    /// The last of at least two words, without quotes.
    LastWord,
    /// What follows those words wherever they stand, to a comma.
    Within(&'static [u8]),
}

/// Words of rows that any text may have.
const COMMON: &[&[u8]] = &[b"user", b"server"];

/// Programs that everybody runs all day.
const DAILY: &[&[u8]] = &[
    b"docker",
    b"podman",
    b"npm",
    b"pnpm",
    b"yarn",
    b"bun",
    b"git",
    b"gh",
    b"kubectl",
    b"oc",
    b"cargo",
    b"pip",
    b"pip3",
    b"poetry",
    b"uv",
    b"aws",
    b"az",
    b"gcloud",
    b"java",
    b"helm",
    b"mvn",
    b"gradle",
    b"gradlew",
    b"dotnet",
    b"bundle",
    b"composer",
    b"terraform",
    b"openssl",
    b"net",
    b"fly",
    b"code",
    b"now",
    b"mount",
    b"gem",
];

// === impl Program ===

impl Program {
    pub fn read(text: &'static str) -> impl Iterator<Item = Self> {
        table::rows::<4>(text).map(|[names, words, items, _]| Self {
            names: names.split_whitespace().map(Name::read).collect(),
            words: words.split_whitespace().map(str::as_bytes).collect(),
            items: items.split(", ").filter_map(Item::read).collect(),
        })
    }

    /// The rows as people read them.
    pub fn entries() -> impl Iterator<Item = Entry> {
        table::rows::<4>(table::PROGRAMS).map(|[of, words, what, source]| Entry {
            of,
            // Both columns are slices of one line.
            what: match words {
                "" => what,
                _ => joined(words, what),
            },
            source,
        })
    }

    /// Words of which one stands in every command line that the row is about: the programs, but for those
    /// that everybody runs all day the longest word that the row asks for, or its options.
    pub fn triggers(&self) -> Vec<&'static [u8]> {
        const LONG: usize = 5;
        let names = || self.names.iter().map(|name| name.name);
        let longest = self.words.iter().max_by_key(|word| word.len());
        if !names().any(|name| DAILY.contains(&name)) {
            return names().collect();
        }
        if let Some(word) = longest
            && word.len() >= 4
            && !COMMON.contains(word)
        {
            return vec![word.strip_suffix(b"*").unwrap_or(word)];
        }
        let flags: Option<Vec<&[u8]>> = self
            .items
            .iter()
            .filter(|item| !matches!(item, Item::Other { .. }))
            .map(|item| match item {
                Item::Flag { flag, .. } if flag.len() >= LONG => Some(*flag),
                _ => None,
            })
            .collect();
        flags.unwrap_or_else(|| names().collect())
    }

    /// Whether the program takes anything on its command line.
    pub fn has_arguments(&self) -> bool {
        self.items
            .iter()
            .any(|item| !matches!(item, Item::Input(_) | Item::Other { .. }))
    }
}

/// `words | what`, as it stands in the table that both are columns of.
fn joined(words: &'static str, what: &'static str) -> &'static str {
    let text = table::PROGRAMS;
    let offset = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    text.get(offset(words)..offset(what) + what.len())
        .unwrap_or(what)
}

impl Name {
    fn read(name: &'static str) -> Self {
        match name.strip_prefix('!') {
            Some(name) => Self {
                name: name.as_bytes(),
                first: true,
            },
            None => Self {
                name: name.as_bytes(),
                first: name.len() <= 3 && !name.starts_with("gh") && name != "7za" && name != "7zz",
            },
        }
    }
}

impl Item {
    fn read(item: &'static str) -> Option<Self> {
        let item = item.trim();
        if let Some(value) = item.strip_prefix('<') {
            return Some(Self::Input(match Value::read(value)? {
                (prefix, Value::Whole) if !prefix.is_empty() => Value::Prefix(prefix.as_bytes()),
                (_, value) => value,
            }));
        }
        if item == "* u:X@" {
            return Some(Self::Account);
        }
        if let Some(name) = item.strip_prefix("* ") {
            let name = name.strip_suffix("=X")?;
            return Some(Self::Assigned {
                name: (name != "k").then_some(name.as_bytes()),
            });
        }
        let Some((head, template)) = item.rsplit_once(' ') else {
            let (prefix, value) = Value::read(item)?;
            return Some(Self::Glued {
                flag: prefix.as_bytes(),
                value,
            });
        };
        if let Some(number) = head.strip_prefix('#') {
            return Some(Self::Position {
                number: number.parse().ok()?,
                value: Value::read(template)?.1,
            });
        }
        let (head, grouped) = match head.strip_suffix('*') {
            Some(head) => (head, true),
            None => (head, false),
        };
        let (flag, glued) = match head.strip_suffix('=') {
            Some(flag) => (flag.as_bytes(), false),
            None => (head.as_bytes(), head.len() == 2),
        };
        if template == "<X" {
            return Some(Self::Written { flag });
        }
        if template == "_" {
            return Some(Self::Other { flag });
        }
        let value = match Value::read(template)? {
            ("", value) => value,
            (prefix, Value::Whole) => Value::Prefix(prefix.as_bytes()),
            _ => return None,
        };
        Some(match head.starts_with('-') {
            true => Self::Flag {
                flag,
                glued,
                grouped,
                value,
            },
            false => Self::After { word: flag, value },
        })
    }
}

impl Value {
    /// Which part of a value is the secret, and its kind.
    pub fn part(self, value: &[u8]) -> Option<(Range<usize>, &'static str)> {
        let end = value.len();
        let range = match self {
            Self::Whole => 0..end,
            Self::After(byte) => {
                let at = memchr::memchr(byte, value)?;
                // `-u TOKEN:`: the user is the secret.
                if at + 1 == end {
                    return looks_secret(&value[..at]).then_some((0..at, CREDENTIAL));
                }
                // `https://…`
                if value[at + 1..].starts_with(b"//") {
                    return None;
                }
                at + 1..end
            }
            Self::Slash => {
                let slash = memchr::memchr(b'/', value)?;
                let at = memchr::memrchr(b'@', value).unwrap_or(end);
                // `/ as sysdba`, `user@//host/service`
                if slash == 0 || at < slash {
                    return None;
                }
                slash + 1..at
            }
            Self::Account => {
                let colon = memchr::memchr(b':', value)?;
                let at = memchr::memrchr(b'@', value).unwrap_or(end);
                let secret = value.get(colon + 1..at)?;
                // `https://…`, `host:445`
                let other = secret.starts_with(b"/")
                    || secret.starts_with(b" ")
                    || value[..colon].iter().any(u8::is_ascii_whitespace)
                    || secret.iter().all(u8::is_ascii_digit);
                if colon == 0 || other {
                    return None;
                }
                colon + 1..at
            }
            Self::Prefix(prefix) => {
                value.strip_prefix(prefix)?;
                prefix.len()..end
            }
            Self::Cookie => {
                let file = !value.contains(&b'=') || is_path(value);
                return (!file).then_some((0..end, CREDENTIAL));
            }
            Self::SecondWord(word) => {
                let rest = value.strip_prefix(word)?.strip_prefix(b" ")?;
                let space = memchr::memchr(b' ', rest)?;
                end - rest.len() + space + 1..end
            }
            Self::LastColon => {
                if memchr::memmem::find(value, OPENING).is_some() {
                    return None;
                }
                let colon = memchr::memrchr(b':', value)?;
                let at = memchr::memrchr(b'@', value).filter(|at| *at > colon);
                colon + 1..at.unwrap_or(end)
            }
            Self::ThirdWord => {
                let blank = |b: &u8| b.is_ascii_whitespace() || b"\"'".contains(b);
                let mut words = value.split(blank).filter(|word| !word.is_empty());
                let word = words.nth(2)?;
                let start = word.as_ptr() as usize - value.as_ptr() as usize;
                start..start + word.len()
            }
            Self::LastWord => {
                let blank = memchr::memrchr2(b' ', b'\t', value)?;
                let word = &value[blank + 1..];
                let quotes = |b: &&u8| b"\"'\\".contains(b);
                let head = word.iter().take_while(quotes).count();
                let tail = word[head..].iter().rev().take_while(quotes).count();
                blank + 1 + head..end - tail
            }
            Self::Within(words) => {
                let at = memchr::memmem::find(value, words)? + words.len();
                let length = memchr::memchr(b',', &value[at..]).unwrap_or(end - at);
                at..at + length
            }
            Self::Word(word) => {
                let at = memchr::memmem::find(value, word)? + word.len();
                let space = value[at..]
                    .iter()
                    .take_while(|b| b.is_ascii_whitespace())
                    .count();
                if space == 0 {
                    return None;
                }
                at + space..end
            }
        };
        (!range.is_empty()).then_some((range, PASSWORD))
    }

    /// The value at the end of an item, and what stands before it.
    fn read(text: &'static str) -> Option<(&'static str, Self)> {
        if let Some(word) = text.strip_suffix(" u X") {
            return Some(("", Self::SecondWord(word.as_bytes())));
        }
        if let Some(word) = text.strip_suffix(" X") {
            return Some(("", Self::Word(word.as_bytes())));
        }
        if let Some(words) = text.strip_prefix('…') {
            return Some(("", Self::Within(words.strip_suffix('X')?.as_bytes())));
        }
        let ends: [(&str, Self); 8] = [
            ("c=X", Self::Cookie),
            ("u:X", Self::After(b':')),
            ("u:X@", Self::Account),
            ("u%X", Self::After(b'%')),
            ("u/X", Self::Slash),
            ("u,X", Self::After(b',')),
            ("k=X", Self::After(b'=')),
            ("X", Self::Whole),
        ];
        ends.iter()
            .find_map(|(end, value)| Some((text.strip_suffix(end)?, *value)))
    }
}

#[cfg(test)]
mod tests;
