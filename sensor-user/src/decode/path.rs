//! Path forms of the ABI (`skep_abi::PathForm`) to text.

use crate::event::Text;

/// Mark of a path whose leading part could not be read.
const CUT: &[u8] = "…".as_bytes();

/// Names leaf first, each ended by NUL, to a path. A trailing empty name says that the file is
/// mounted nowhere: its one name is then not a path below `/`. `whole` false: the head is missing.
pub fn components(bytes: &[u8], whole: bool) -> Text {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let mut out = Vec::with_capacity(bytes.len() + CUT.len() + 1);
    if bytes.is_empty() && whole {
        return Text::from("/");
    }
    if !whole {
        out.extend_from_slice(CUT);
    }
    let mut names = bytes.rsplit(|byte| *byte == 0).peekable();
    if names.next_if(|name| name.is_empty()).is_some() {
        for name in names {
            out.extend_from_slice(name);
        }
        return Text::from(out);
    }
    for name in names {
        out.push(b'/');
        out.extend_from_slice(name);
    }
    Text::from(out)
}

/// A NUL-terminated string.
pub fn string(bytes: &[u8]) -> Text {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    Text::from(bytes.get(..end).unwrap_or_default())
}

/// `sun_path` (unix(7)): a path, an abstract name (first byte NUL, written `@`), or unnamed.
pub fn unix(bytes: &[u8]) -> Option<Text> {
    match bytes {
        [] => None,
        [0, name @ ..] => {
            let mut out = vec![b'@'];
            out.extend_from_slice(name);
            Some(Text::from(out))
        }
        path => Some(string(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], whole: bool) -> String {
        components(bytes, whole).escaped()
    }

    #[test]
    fn names_are_turned_round() {
        assert_eq!(text(b"passwd\0etc\0", true), "/etc/passwd");
        assert_eq!(text(b"", true), "/");
    }

    #[test]
    fn a_file_mounted_nowhere_is_not_a_path_below_the_root() {
        assert_eq!(text(b"memfd:x\0\0", true), "memfd:x");
    }

    #[test]
    fn a_missing_head_is_marked() {
        assert_eq!(text(b"passwd\0etc\0", false), "…/etc/passwd");
    }

    #[test]
    fn abstract_and_path_sockets_differ() {
        assert_eq!(
            unix(b"\0bus\0x").map(|t| t.escaped()),
            Some("@bus\\x00x".into())
        );
        assert_eq!(
            unix(b"/run/x\0\0").map(|t| t.escaped()),
            Some("/run/x".into())
        );
        assert_eq!(unix(b""), None);
    }
}
