//! Lines of CSV (RFC 4180): cells are quoted where they must be, lines end in CR LF.

use std::io::{self, Write};

use csv::{ErrorKind, Terminator, WriterBuilder};

/// Cells and quotes of most lines; longer ones are passed on in parts.
const BUFFER: usize = 1 << 10;

/// Writes one line.
pub fn line<T: AsRef<[u8]>>(cells: &[T], out: &mut impl Write) -> io::Result<()> {
    if cells.len() < 2 && cells.iter().all(|cell| cell.as_ref().is_empty()) {
        // The writer would make it `""`, an empty text: null is nothing at all.
        return out.write_all(b"\r\n");
    }
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .buffer_capacity(BUFFER)
        .from_writer(out);
    let written = writer.write_record(cells);
    written.map_err(|error| match error.into_kind() {
        ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    })?;
    writer.flush()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines before they were the csv crate's.
    fn by_hand(cells: &[String]) -> String {
        let quoted = |cell: &String| match cell.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let line: Vec<_> = cells.iter().map(quoted).collect();
        format!("{}\r\n", line.join(","))
    }

    fn written(cells: &[String]) -> String {
        let mut out = Vec::new();
        line(cells, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let cells = ["plain", "", "a,b", "say \"hi\"", "two\r\nlines", " #x '"];
        assert_eq!(
            written(&cells.map(str::to_owned)),
            "plain,,\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\", #x '\r\n"
        );
        assert_eq!(written(&[String::new()]), "\r\n");
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_a_broken_pipe() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for length in [1, 2 * BUFFER] {
            let error = line(&["x".repeat(length)], &mut Closed).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{length}");
        }
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_before(
            cells in prop::collection::vec("([a-c]|[\",\r\n'#; \t]|日|\\PC){0,12}|x{2000}", 1..6),
        ) {
            prop_assert_eq!(written(&cells), by_hand(&cells));
        }
    }
}
