//! Changes of names and attributes: names put together from what was given and what it is relative to.

use skep_abi::{
    self as abi, CHANGE_FOLLOWS, CHANGE_GUESSED, MISSING_CWD, MISSING_FILENAME, MISSING_INODE,
    MISSING_PATH, MISSING_PATH_HEAD, MISSING_RESULT, MISSING_SIZE, MISSING_TO, MISSING_TO_FOLDER,
    MISSING_TO_HEAD,
};
use skep_event::{ChangeOp, ChangeRef, Device, FileMode};

use super::{Malformed, Tail, fixed, path};

/// An id that is not to be changed (chown(2)).
const UNCHANGED: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    pub facts: ChangeRef<'a>,
    pub result: Option<i32>,
}

/// A name as it was given, and the components of what it is relative to; `None`: not readable.
struct Name<'a> {
    given: Option<&'a [u8]>,
    folder: Option<&'a [u8]>,
    /// The folder's beginning is there.
    is_whole: bool,
    /// A link at its end was followed.
    follows: bool,
}

pub fn change<'a>(bytes: &'a [u8], room: &'a mut Vec<u8>) -> Result<Change<'a>, Malformed> {
    let raw = fixed::<abi::Change>(bytes).ok_or(Malformed("change cut short"))?;
    let op = abi::ChangeOp::from_u16(raw.op).ok_or(Malformed("unknown change"))?;
    let have = |bit: u32| raw.header.missing & bit == 0;
    let mut tail = Tail::of::<abi::Change>(bytes);
    let given = tail.take(raw.given_len)?;
    let folder = tail.take(raw.folder_len)?;
    let to_given = tail.take(raw.to_given_len)?;
    let to_folder = tail.take(raw.to_folder_len)?;
    let attribute = tail.take(raw.attribute_len)?;
    tail.end()?;
    let name = Name {
        given: have(MISSING_PATH).then(|| path::string(given)),
        folder: have(MISSING_CWD).then_some(folder),
        is_whole: have(MISSING_PATH_HEAD),
        follows: raw.flags & CHANGE_FOLLOWS != 0,
    };
    let to = Name {
        given: have(MISSING_TO).then(|| path::string(to_given)),
        folder: have(MISSING_TO_FOLDER).then_some(to_folder),
        is_whole: have(MISSING_TO_HEAD),
        follows: false,
    };
    use abi::ChangeOp as Op;
    room.clear();
    let mut resolved = name.append(room) && raw.flags & CHANGE_GUESSED == 0;
    let end = room.len();
    let has_path = name.given.is_some();
    let mut has_to = false;
    match op {
        Op::Rename | Op::Exchange | Op::Link => {
            resolved &= to.append(room);
            has_to = to.given.is_some();
        }
        Op::Symlink => {
            room.extend_from_slice(to.given.unwrap_or_default());
            has_to = to.given.is_some();
        }
        _ => {}
    }
    let (path, to) = room.split_at_checked(end).unwrap_or_default();
    let is_of = |ops: &[Op]| ops.contains(&op);
    let id = |id: u32| (is_of(&[Op::Chown]) && id != UNCHANGED).then_some(id);
    Ok(Change {
        facts: ChangeRef {
            op: named(op),
            path: has_path.then_some(path),
            to: has_to.then_some(to),
            resolved,
            many: false,
            mode: is_of(&[Op::Chmod, Op::Mkdir]).then_some(FileMode(raw.mode)),
            uid: id(raw.uid),
            gid: id(raw.gid),
            size: (is_of(&[Op::Truncate]) && have(MISSING_SIZE)).then_some(raw.size),
            attribute: (is_of(&[Op::Setxattr, Op::Removexattr]) && have(MISSING_FILENAME))
                .then(|| path::string(attribute)),
            inode: have(MISSING_INODE).then_some(raw.file.ino),
            device: have(MISSING_INODE).then(|| Device::from_kernel(raw.file.dev)),
        },
        result: have(MISSING_RESULT).then_some(raw.result),
    })
}

impl Name<'_> {
    /// Appends the path; true when it is the kernel's own.
    fn append(&self, out: &mut Vec<u8>) -> bool {
        let mut given = self.given.unwrap_or_default();
        while let Some(rest) = given.strip_prefix(b"./") {
            given = rest;
        }
        if given.first() == Some(&b'/') {
            out.extend_from_slice(given);
            return false;
        }
        let Some(folder) = self.folder else {
            out.extend_from_slice(given);
            return false;
        };
        path::append(folder, self.is_whole, out);
        if given.is_empty() {
            return self.is_whole && self.given.is_some();
        }
        if out.last() != Some(&b'/') {
            out.push(b'/');
        }
        out.extend_from_slice(given);
        let is_plain = !given.contains(&b'/') && given != b"." && given != b"..";
        self.is_whole && is_plain && !self.follows
    }
}

fn named(op: abi::ChangeOp) -> ChangeOp {
    match op {
        abi::ChangeOp::Rename => ChangeOp::Rename,
        abi::ChangeOp::Exchange => ChangeOp::Exchange,
        abi::ChangeOp::Link => ChangeOp::Link,
        abi::ChangeOp::Symlink => ChangeOp::Symlink,
        abi::ChangeOp::Unlink => ChangeOp::Unlink,
        abi::ChangeOp::Rmdir => ChangeOp::Rmdir,
        abi::ChangeOp::Mkdir => ChangeOp::Mkdir,
        abi::ChangeOp::Truncate => ChangeOp::Truncate,
        abi::ChangeOp::Chmod => ChangeOp::Chmod,
        abi::ChangeOp::Chown => ChangeOp::Chown,
        abi::ChangeOp::Setxattr => ChangeOp::Setxattr,
        abi::ChangeOp::Removexattr => ChangeOp::Removexattr,
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    /// The paths of a record with these parts: given and folder, of either name.
    fn names(
        op: abi::ChangeOp,
        flags: u16,
        missing: u32,
        parts: [&[u8]; 4],
    ) -> (Option<String>, Option<String>, bool) {
        let [given, folder, to_given, to_folder] = parts;
        let mut raw = abi::Change::new_zeroed();
        raw.op = op as u16;
        raw.flags = flags;
        raw.header.missing = missing;
        raw.given_len = given.len() as u16;
        raw.folder_len = folder.len() as u16;
        raw.to_given_len = to_given.len() as u16;
        raw.to_folder_len = to_folder.len() as u16;
        let bytes = [raw.as_bytes(), given, folder, to_given, to_folder].concat();
        let mut room = b"left from before".to_vec();
        let change = change(&bytes, &mut room).unwrap();
        let text = |path: Option<&[u8]>| path.map(|path| String::from_utf8(path.into()).unwrap());
        let facts = change.facts;
        (text(facts.path), text(facts.to), facts.resolved)
    }

    fn two(path: &str, to: &str, resolved: bool) -> (Option<String>, Option<String>, bool) {
        (Some(path.to_owned()), Some(to.to_owned()), resolved)
    }

    #[test]
    fn a_name_is_joined_to_what_it_is_relative_to() {
        use abi::ChangeOp::{Chmod, Link, Rename, Symlink, Unlink};
        let (cwd, none): (&[u8], &[u8]) = (b"app\0home\0", b"");
        assert_eq!(
            names(Rename, 0, 0, [b"./a.tmp\0", cwd, b"a\0", cwd]),
            two("/home/app/a.tmp", "/home/app/a", true)
        );
        assert_eq!(
            names(Rename, 0, 0, [b"/x/a\0", none, b"b/a\0", cwd]),
            two("/x/a", "/home/app/b/a", false)
        );
        // By a descriptor: what it stands for.
        assert_eq!(
            names(Link, CHANGE_FOLLOWS, 0, [b"\0", b"#7\0tmp\0", b"a\0", cwd]),
            two("/tmp/#7", "/home/app/a", true)
        );
        assert_eq!(
            names(Symlink, 0, 0, [b"l\0", cwd, b"../x\0", none]),
            two("/home/app/l", "../x", true)
        );
        let followed = names(Chmod, CHANGE_FOLLOWS, 0, [b"l\0", cwd, none, none]);
        assert_eq!(followed, (Some("/home/app/l".to_owned()), None, false));
        let up = names(Unlink, 0, 0, [b"..\0", cwd, none, none]);
        assert_eq!(up, (Some("/home/app/..".to_owned()), None, false));
        let root = names(Unlink, 0, 0, [b"a\0", none, none, none]);
        assert_eq!(root, (Some("/a".to_owned()), None, true));
    }

    #[test]
    fn what_could_not_be_read_is_said() {
        use abi::ChangeOp::{Rename, Unlink};
        let cwd: &[u8] = b"app\0home\0";
        let unknown = names(Unlink, 0, MISSING_PATH, [b"", cwd, b"", b""]);
        assert_eq!((unknown.0, unknown.2), (None, false));
        let relative = names(Unlink, 0, MISSING_CWD, [b"a\0", b"", b"", b""]);
        assert_eq!(relative, (Some("a".to_owned()), None, false));
        let cut = names(Unlink, 0, MISSING_PATH_HEAD, [b"a\0", cwd, b"", b""]);
        assert_eq!(cut, (Some("…/home/app/a".to_owned()), None, false));
        let half = names(Rename, 0, MISSING_TO, [b"a\0", cwd, b"", cwd]);
        assert_eq!((half.1, half.2), (None, false));
    }
}
