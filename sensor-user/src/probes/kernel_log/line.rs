//! Lines of the kernel programs' log, as aya-log-ebpf 0.2 writes them.
//!
//! A record is its length (`u16`), then fields: a tag (`u8`), a length (`u16`), a value, in host byte order.
//! Those of the header come first, then the arguments of the format string. What the kernel programs write
//! has five numbers, with blanks between them; anything else is no line, so that no text gets through.

use std::fmt;

use skep_abi::{Hook, Kind, LogLine};

/// Tags of the header (`aya_log_common::RecordFieldKind`).
const LEVEL: u8 = 1;
const NUMBER_OF_ARGUMENTS: u8 = 5;
/// Fields of the header.
const HEADER_FIELDS: usize = 6;
/// Tags of arguments (`aya_log_common::ArgumentKind`).
const DISPLAY_HINT: u8 = 0;
const U8: u8 = 6;
const U32: u8 = 8;
const U64: u8 = 9;
const TEXT: u8 = 20;
/// `aya_log_common::Level`.
const WARN: u8 = 2;
const DEBUG: u8 = 4;

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Said at level `warn`, not `debug`.
    pub is_warning: bool,
    pub hook: Hook,
    pub pid: u32,
    pub says: LogLine,
    pub numbers: [u64; 2],
}

/// Reads a record; `None` for one that is no line.
pub fn parse(record: &[u8]) -> Option<Line> {
    let (len, _) = record.split_first_chunk::<2>()?;
    let mut rest = record.get(2..usize::from(u16::from_ne_bytes(*len)))?;
    let mut is_warning = None;
    let mut arguments = None;
    for _ in 0..HEADER_FIELDS {
        let (tag, value) = field(&mut rest)?;
        match tag {
            LEVEL => {
                is_warning = match value {
                    [WARN] => Some(true),
                    [DEBUG] => Some(false),
                    _ => None,
                };
            }
            NUMBER_OF_ARGUMENTS => arguments = value.try_into().ok().map(u32::from_ne_bytes),
            _ => {}
        }
    }
    let mut numbers = [0; 5];
    let mut found = 0;
    for _ in 0..arguments? {
        let (tag, value) = field(&mut rest)?;
        let number = match tag {
            DISPLAY_HINT => continue,
            TEXT if value == b" " => continue,
            U8 => u64::from(u8::from_ne_bytes(value.try_into().ok()?)),
            U32 => u64::from(u32::from_ne_bytes(value.try_into().ok()?)),
            U64 => u64::from_ne_bytes(value.try_into().ok()?),
            _ => return None,
        };
        *numbers.get_mut(found)? = number;
        found += 1;
    }
    if found < numbers.len() || !rest.is_empty() {
        return None;
    }
    let [hook, pid, says, first, second] = numbers;
    Some(Line {
        is_warning: is_warning?,
        hook: Hook::from_u8(u8::try_from(hook).ok()?)?,
        pid: u32::try_from(pid).ok()?,
        says: LogLine::from_u8(u8::try_from(says).ok()?)?,
        numbers: [first, second],
    })
}

/// Takes the next field: its tag and its value.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, after) = rest.split_first()?;
    let (len, after) = after.split_first_chunk::<2>()?;
    let (value, after) = after.split_at_checked(usize::from(u16::from_ne_bytes(*len)))?;
    *rest = after;
    Some((*tag, value))
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.says.words())?;
        for (name, number) in self.says.numbers().into_iter().zip(self.numbers) {
            let kind = u16::try_from(number).ok().and_then(Kind::from_u16);
            match (name, kind) {
                ("", _) => {}
                ("kind", Some(kind)) => write!(f, " kind={}", kind.name())?,
                // Bits.
                ("missing", _) => write!(f, " missing={number:#x}")?,
                _ => write!(f, " {name}={number}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aya_log_common::{Argument, DisplayHint, Field, Header, Level};
    use proptest::prelude::*;

    use super::*;

    /// Appends an argument to a record.
    type Add<'a> = &'a dyn Fn(&mut Vec<u8>);

    /// A record with these arguments, made by what the kernel programs use.
    fn record(level: Level, arguments: &[Add<'_>]) -> Vec<u8> {
        let count = u32::try_from(arguments.len()).unwrap();
        let header = Header::new("log", level, "log", "src/log.rs", 7, count).unwrap();
        let mut fields = Vec::new();
        header.with_bytes(&mut append(&mut fields)).unwrap();
        for argument in arguments {
            argument(&mut fields);
        }
        let len = u16::try_from(fields.len() + 2).unwrap();
        let mut record = [&len.to_ne_bytes(), &fields[..]].concat();
        // As much as aya-log reserves.
        record.resize(256, 0xff);
        record
    }

    fn append(to: &mut Vec<u8>) -> impl FnMut(&[u8]) -> Option<()> {
        |bytes| {
            to.extend_from_slice(bytes);
            Some(())
        }
    }

    fn add(argument: impl Argument) -> impl Fn(&mut Vec<u8>) {
        move |to| {
            let (kind, value) = argument.as_argument();
            let field = Field::new(kind, value).unwrap();
            field.with_bytes(&mut append(to)).unwrap();
        }
    }

    fn of_numbers(level: Level, hook: u8, pid: u32, says: u8, numbers: [u64; 2]) -> Vec<u8> {
        let [first, second] = numbers;
        let (hint, blank) = (add(DisplayHint::Default), add(" "));
        let [hook, says] = [add(hook), add(says)];
        let [first, second] = [add(first), add(second)];
        let pid = add(pid);
        record(
            level,
            &[
                &hint, &hook, &blank, &hint, &pid, &blank, &hint, &says, &blank, &hint, &first,
                &blank, &hint, &second,
            ],
        )
    }

    #[test]
    fn a_line_as_aya_log_writes_it_is_read() {
        let hook = Hook::FentryVfsOpen;
        let says = LogLine::Sent;
        let bytes = of_numbers(Level::Debug, hook as u8, 4711, says as u8, [0x200, 99]);
        let line = parse(&bytes).unwrap();
        let expected = Line {
            is_warning: false,
            hook,
            pid: 4711,
            says,
            numbers: [0x200, 99],
        };
        assert_eq!(line, expected);
        assert_eq!(line.to_string(), "record sent missing=0x200 bytes=99");
        let bytes = of_numbers(Level::Warn, 1, 1, LogLine::MapFull as u8, [4, 0]);
        let line = parse(&bytes).unwrap();
        assert!(line.is_warning);
        assert_eq!(line.to_string(), "record lost: map full kind=open");
    }

    #[test]
    fn every_line_has_a_number_words_and_names_for_its_numbers() {
        for line in LogLine::ALL {
            assert_eq!(LogLine::from_u8(line as u8), Some(line));
            assert!(!line.words().is_empty());
            let [first, second] = line.numbers();
            assert!(!first.is_empty() || second.is_empty(), "{line:?}");
        }
        assert_eq!(LogLine::from_u8(0), None);
    }

    #[test]
    fn text_does_not_get_through() {
        let numbers = [add(1u8), add(2u8)];
        let pid = add(3u32);
        let [first, second] = [add(4u64), add(5u64)];
        let with = |blank: Add<'_>| {
            record(
                Level::Debug,
                &[
                    &numbers[0],
                    blank,
                    &pid,
                    blank,
                    &numbers[1],
                    &first,
                    &second,
                ],
            )
        };
        assert!(parse(&with(&add(" "))).is_some());
        assert_eq!(parse(&with(&add("/etc/passwd"))), None);
        assert_eq!(parse(&with(&add([1u8, 2, 3, 4]))), None);
    }

    #[test]
    fn a_line_of_an_unknown_hook_or_word_or_level_is_refused() {
        let sent = LogLine::Sent as u8;
        for bytes in [
            of_numbers(Level::Debug, 0, 1, sent, [0, 0]),
            of_numbers(Level::Debug, 1, 1, 0, [0, 0]),
            of_numbers(Level::Debug, 1, 1, 255, [0, 0]),
            of_numbers(Level::Info, 1, 1, sent, [0, 0]),
        ] {
            assert_eq!(parse(&bytes), None);
        }
    }

    #[test]
    fn a_line_that_is_cut_or_goes_on_is_refused() {
        let bytes = of_numbers(Level::Debug, 1, 1, LogLine::Sent as u8, [0, 0]);
        let len = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        for cut in 0..len {
            assert_eq!(parse(&bytes[..cut]), None, "{cut}");
        }
        for stated in 0..=u16::MAX {
            let mut bytes = bytes.clone();
            bytes[..2].copy_from_slice(&stated.to_ne_bytes());
            assert_eq!(parse(&bytes).is_some(), usize::from(stated) == len);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_line_with_one_wrong_byte_is_read_or_refused(at in 0usize..256, byte: u8) {
            let mut bytes = of_numbers(Level::Debug, 1, 1, LogLine::Sent as u8, [7, 8]);
            bytes[at] = byte;
            let _ = parse(&bytes);
        }
    }
}
