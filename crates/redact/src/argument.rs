//! What a command's words give to the programs of `rules/programs.txt`.
//!
//! Bounds: the first [`PROGRAMS`] different programs of a command count, and the words that a rule asks
//! for stand within [`REACH`] words behind the program.

use std::sync::OnceLock;

use crate::{
    command::trimmed,
    compiled::rules,
    fast::{FastMap, FastSet},
    program::{Item, Name, Program, Value},
    span::{Spans, is_placeholder},
    table,
    value::{is_expansion, is_reference, looks_secret},
    word::Placed,
};

const PROGRAMS: usize = 12;
const REACH: usize = 64;

/// Options that take no value and may stand before `-u` in a group.
const SWITCHES: &[u8] = b"sSkLfviIgGnNqROJjlaB0123467Z#p";

/// Options of `find` before what is looked for.
const SEEKS: &[&[u8]] = &[
    b"-name",
    b"-iname",
    b"-path",
    b"-ipath",
    b"-wholename",
    b"-regex",
    b"-user",
    b"-group",
];

/// A program of a command, and a row of the table about it.
pub struct Active {
    /// Where the program stands.
    at: usize,
    /// Where the words of the row end.
    from: usize,
    program: &'static Program,
}

/// What may stand in front of an option in a group of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    None,
    Switches,
    Any,
}

type Heads = FastSet<&'static [u8]>;
type ByName = FastMap<&'static [u8], Vec<(usize, Name)>>;

fn by_name() -> &'static ByName {
    static BY_NAME: OnceLock<ByName> = OnceLock::new();
    BY_NAME.get_or_init(|| {
        let mut by_name = ByName::default();
        for (row, program) in rules().programs.iter().enumerate() {
            for name in &program.names {
                by_name.entry(name.name).or_default().push((row, *name));
            }
        }
        by_name
    })
}

/// Programs of `rules/commands.txt` of a class.
fn heads(class: &str) -> Heads {
    table::rows::<3>(table::COMMANDS)
        .filter(|[of, ..]| *of == class)
        .flat_map(|[_, words, _]| words.split_whitespace().map(str::as_bytes))
        .collect()
}

/// Quoters, and carriers.
fn quoters_and_carriers() -> &'static (Heads, Heads) {
    static HEADS: OnceLock<(Heads, Heads)> = OnceLock::new();
    HEADS.get_or_init(|| (heads("quoter"), heads("carrier")))
}

fn base(word: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', word).map_or(word, |slash| &word[slash + 1..])
}

fn is_assignment(word: &[u8]) -> bool {
    let equals = memchr::memchr(b'=', word).unwrap_or(0);
    equals > 0
        && word[..equals]
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// `alias db='mysql -p…'`, `GIT_SSH_COMMAND='sshpass -p …'`, `--rsh='sshpass -p …'`: the command line that
/// is assigned begins with a program of the table.
fn assigned_program(word: &[u8]) -> Option<&[u8]> {
    let equals = memchr::memchr(b'=', &word[..word.len().min(64)])?;
    let program = &word[equals + 1..];
    let name = |b: &u8| b.is_ascii_alphanumeric() || b"_-".contains(b);
    (equals > 0 && word[..equals].iter().all(name) && by_name().contains_key(base(program)))
        .then_some(program)
}

/// The rows of the table that a command's words call for.
pub fn active(words: &[Placed<'_>]) -> Vec<Active> {
    let mut active = Vec::new();
    let mut seen: Vec<&[u8]> = Vec::new();
    // The first word that is a program; what is in front of it.
    let first = words.iter().enumerate().position(|(at, word)| {
        let bytes = word.bytes();
        (at == 0 && assigned_program(bytes).is_some())
            || (!is_assignment(bytes) && !bytes.starts_with(b"-"))
    });
    let Some(first) = first else { return active };
    let head = words[first].bytes();
    let assigned = (first == 0).then(|| assigned_program(head)).flatten();
    let head = base(assigned.unwrap_or(head));
    let (quoters, carriers) = quoters_and_carriers();
    let (quoted, carried) = (quoters.contains(head), carriers.contains(head));
    for (at, word) in words.iter().enumerate().skip(first) {
        let bytes = match assigned {
            Some(program) if at == 0 => program,
            _ => word.bytes(),
        };
        if at > first && (quoted || bytes.starts_with(b"-")) {
            continue;
        }
        let sought = at > first && SEEKS.contains(&words[at - 1].bytes());
        if sought {
            continue;
        }
        let name = base(bytes);
        if name.len() > 40 || !(at == first || is_program_path(bytes)) || seen.contains(&name) {
            continue;
        }
        let name = name.strip_suffix(b".exe").unwrap_or(name);
        let Some(rows) = by_name().get(name) else {
            continue;
        };
        if seen.len() == PROGRAMS {
            break;
        }
        seen.push(name);
        for (row, name) in rows {
            if name.first && at > first && !carried {
                continue;
            }
            let program = &rules().programs[*row];
            if let Some(from) = follow(program, words, at) {
                active.push(Active { at, from, program });
            }
        }
    }
    active
}

/// A bare name, or a path that ends as those of programs do.
fn is_program_path(word: &[u8]) -> bool {
    let Some(slash) = memchr::memrchr(b'/', word) else {
        return true;
    };
    let folder = &word[..slash];
    [&b"bin"[..], b".", b"libexec"]
        .iter()
        .any(|end| folder.ends_with(end))
        || folder.is_empty()
}

/// Whether all words that a row asks for follow the program at `at`; where the last of them stands.
fn follow(program: &Program, words: &[Placed<'_>], at: usize) -> Option<usize> {
    let mut last = at;
    let behind = &words[at + 1..words.len().min(at + 1 + REACH)];
    for wanted in &program.words {
        let found = behind
            .iter()
            .position(|word| is_wanted(word.bytes(), wanted))?;
        if !wanted.starts_with(b"-") {
            last = last.max(at + 1 + found);
        }
    }
    Some(last)
}

/// The word itself, or a group of switches that has it.
fn is_wanted(word: &[u8], wanted: &[u8]) -> bool {
    match wanted {
        [b'-', letter] if letter.is_ascii_alphabetic() => {
            word.len() > 1
                && word[0] == b'-'
                && word[1..].iter().all(u8::is_ascii_alphabetic)
                && word.contains(letter)
        }
        [prefix @ .., b'*'] => word.starts_with(prefix),
        _ => {
            word == wanted
                || word
                    .strip_prefix(wanted)
                    .is_some_and(|rest| rest[0] == b'=')
        }
    }
}

/// What the programs of a command read from standard input, if it is a password.
pub fn input(active: &[Active]) -> Option<Value> {
    active
        .iter()
        .flat_map(|active| &active.program.items)
        .find_map(|item| match item {
            Item::Input(value) => Some(*value),
            _ => None,
        })
}

/// Whether a program of a command reads a password from the file that is given to this option.
pub fn reads_from(active: &[Active], option: &[u8]) -> bool {
    let mut items = active.iter().flat_map(|active| &active.program.items);
    items.any(|item| matches!(item, Item::Written { flag } if *flag == option))
}

/// Marks what a command's words give to its programs. `inner`: a shell puts values in place of `$NAME`.
pub fn mark(active: &[Active], words: &[Placed<'_>], inner: bool, spans: &mut [Spans]) {
    for Active { at, from, program } in active {
        let mut marks = Marks {
            words,
            at: *at,
            from: *from,
            items: &program.items,
            inner,
            spans: &mut *spans,
        };
        marks.options();
        marks.positions();
    }
}

struct Marks<'m, 'w> {
    words: &'m [Placed<'w>],
    at: usize,
    from: usize,
    items: &'static [Item],
    inner: bool,
    spans: &'m mut [Spans],
}

// === impl Marks ===

impl Marks<'_, '_> {
    fn options(&mut self) {
        let items = self.items;
        // Options may stand in front of the words of a row.
        for at in self.at + 1..self.words.len() {
            let bytes = self.words[at].bytes();
            for item in items {
                match item {
                    Item::Flag {
                        flag,
                        glued,
                        grouped,
                        value,
                    } => {
                        let grouped = match *value {
                            _ if *grouped => Group::Any,
                            Value::After(b':') => Group::Switches,
                            _ => Group::None,
                        };
                        match after_flag(flag, *glued, grouped, bytes) {
                            Some(rest) if rest == bytes.len() => self.next(at, *value),
                            Some(rest) => self.value(at, rest, *value),
                            None => {}
                        }
                    }
                    Item::Glued { flag, value }
                        if bytes.len() > flag.len() && bytes.starts_with(flag) =>
                    {
                        self.value(at, flag.len(), *value);
                    }
                    Item::After { word, value } if at >= self.from && bytes == *word => {
                        self.next(at, *value);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The value in the next word, if there is one.
    fn next(&mut self, at: usize, value: Value) {
        let Some(next) = self.words.get(at + 1) else {
            return;
        };
        let bytes = next.bytes();
        // No value after all, unless it looks like one that begins with a dash.
        if bytes.first() == Some(&b'-') && !(bytes.len() >= 12 && looks_secret(bytes)) {
            return;
        }
        self.value(at + 1, 0, value);
    }

    fn positions(&mut self) {
        let counted = |item: &Item| {
            matches!(
                item,
                Item::Position { .. } | Item::Assigned { .. } | Item::Account
            )
        };
        if !self.items.iter().any(counted) {
            return;
        }
        let slashes = self
            .items
            .iter()
            .any(|item| matches!(item, Item::Other { flag: b"/" }));
        let mut places: Vec<usize> = Vec::new();
        let mut at = self.from + 1;
        while let Some(word) = self.words.get(at) {
            let bytes = word.bytes();
            if bytes.len() > 1 && bytes.starts_with(b"-") {
                let takes = self.items.iter().any(|item| match item {
                    Item::Flag { flag, .. } | Item::Other { flag } => *flag == bytes,
                    _ => false,
                });
                at += usize::from(takes);
            } else if !(slashes && bytes.starts_with(b"/")) {
                places.push(at);
            }
            at += 1;
        }
        for item in self.items {
            match *item {
                Item::Position { number, value } => {
                    let place = match number {
                        1.. => places.get(number as usize - 1),
                        _ => places
                            .iter()
                            .rev()
                            .nth(number.unsigned_abs().saturating_sub(1)),
                    };
                    if let Some(place) = place {
                        self.value(*place, 0, value);
                    }
                }
                Item::Assigned { name } => {
                    for place in &places {
                        let bytes = self.words[*place].bytes();
                        if let Some(equals) = memchr::memchr(b'=', bytes)
                            && name.is_none_or(|name| bytes[..equals] == *name)
                            && bytes.get(equals + 1) != Some(&b'@')
                        {
                            self.value(*place, equals + 1, Value::Whole);
                        }
                    }
                }
                Item::Account => {
                    for place in &places {
                        self.value(*place, 0, Value::Account);
                    }
                }
                _ => {}
            }
        }
    }

    /// Marks what of the word at `at`, from `from` on, is the secret.
    fn value(&mut self, at: usize, from: usize, value: Value) {
        let word = self.words[at];
        let all = word.bytes();
        let range = match from {
            0 => 0..all.len(),
            _ => trimmed(all, from..all.len()),
        };
        let (secret, kind) = match value.part(&all[range.clone()]) {
            Some((part, kind)) => (range.start + part.start..range.start + part.end, kind),
            None => return,
        };
        let bytes = &all[secret.clone()];
        let known =
            self.inner && (is_reference(bytes) || (word.word.expands && is_expansion(bytes)));
        if !known && !is_placeholder(bytes) {
            word.mark(secret, kind, self.spans);
        }
    }
}

/// Where the flag ends in the word, with its `=`; also in a group of curl's switches (`-sSu`).
fn after_flag(flag: &[u8], glued: bool, grouped: Group, bytes: &[u8]) -> Option<usize> {
    let rest = match bytes.strip_prefix(flag) {
        Some(rest) => rest,
        None => return in_group(flag, grouped, bytes),
    };
    let one_letter = flag.len() == 2;
    match rest.first() {
        None => Some(flag.len()),
        Some(b'=') => Some(flag.len() + 1),
        Some(b':') if !one_letter && !flag.starts_with(b"--") => Some(flag.len() + 1),
        Some(_) if glued && one_letter => Some(flag.len()),
        Some(_) => None,
    }
}

fn in_group(flag: &[u8], grouped: Group, bytes: &[u8]) -> Option<usize> {
    let (&letter, &[b'-']) = flag.split_last()? else {
        return None;
    };
    if grouped == Group::None || !bytes.starts_with(b"-") || bytes.starts_with(b"--") {
        return None;
    }
    let at = bytes.iter().position(|b| *b == letter)?;
    bytes[1..at]
        .iter()
        .all(|b| SWITCHES.contains(b) || (grouped == Group::Any && b.is_ascii_alphanumeric()))
        .then_some(at + 1)
}
