//! Path forms of the ABI (`skep_abi::PathForm`) to bytes as people know them.

use std::io::Write;

/// Mark of a path whose leading part could not be read.
const CUT: &[u8] = "…".as_bytes();

/// Names leaf first, each ended by NUL, to a path. A trailing empty name says that the file is
/// mounted nowhere: its one name is then not a path below `/`. `whole` false: the head is missing.
/// Written into `out`, which is emptied first and keeps its room.
pub fn components<'a>(bytes: &[u8], whole: bool, out: &'a mut Vec<u8>) -> &'a [u8] {
    out.clear();
    append(bytes, whole, out);
    out
}

/// The same, after what `out` holds.
pub fn append(bytes: &[u8], whole: bool, out: &mut Vec<u8>) {
    let mut bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if !whole {
        out.extend_from_slice(CUT);
    } else if bytes.is_empty() {
        out.push(b'/');
        return;
    }
    out.reserve(bytes.len() + 1);
    let mounted = !matches!(bytes, [] | [.., 0]);
    if !mounted {
        bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    }
    for name in Names(Some(bytes)) {
        if mounted {
            out.push(b'/');
        }
        out.extend_from_slice(name);
    }
}

/// What NULs separate, from the back.
struct Names<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.0?;
        let (rest, name) = match memchr::memrchr(0, bytes) {
            Some(end) => (bytes.get(..end), bytes.get(end + 1..)),
            None => (None, Some(bytes)),
        };
        self.0 = rest;
        name
    }
}

/// A NUL-terminated string.
pub fn string(bytes: &[u8]) -> &[u8] {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

/// `sun_path` (unix(7)): a path, an abstract name (first byte NUL, written `@`), or unnamed.
pub fn unix<'a>(bytes: &'a [u8], out: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    match bytes {
        [] => None,
        [0, name @ ..] => {
            out.clear();
            out.push(b'@');
            out.extend_from_slice(name);
            Some(out)
        }
        path => Some(string(path)),
    }
}

/// An address of vsock(7), written `CID:PORT`.
pub fn vsock(cid: u32, port: u32, out: &mut Vec<u8>) -> &[u8] {
    out.clear();
    // Writing to memory does not fail.
    let _ = write!(out, "{cid}:{port}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_event::Text;

    fn text(bytes: &[u8], whole: bool) -> String {
        Text::from(components(bytes, whole, &mut b"left from before".to_vec())).escaped()
    }

    fn socket(bytes: &[u8]) -> Option<String> {
        unix(bytes, &mut Vec::new()).map(|path| Text::from(path).escaped())
    }

    #[test]
    fn names_are_turned_round() {
        assert_eq!(text(b"passwd\0etc\0", true), "/etc/passwd");
        assert_eq!(text(b"", true), "/");
    }

    #[test]
    fn a_file_mounted_nowhere_is_not_a_path_below_the_root() {
        assert_eq!(text(b"memfd:x\0\0", true), "memfd:x");
        assert_eq!(text(b"pipe:[7]\0\0", false), "…pipe:[7]");
    }

    #[test]
    fn a_missing_head_is_marked() {
        assert_eq!(text(b"passwd\0etc\0", false), "…/etc/passwd");
    }

    #[test]
    fn abstract_and_path_sockets_differ() {
        assert_eq!(socket(b"\0bus\0x"), Some("@bus\\x00x".into()));
        assert_eq!(socket(b"/run/x\0\0"), Some("/run/x".into()));
        assert_eq!(socket(b""), None);
    }
}
